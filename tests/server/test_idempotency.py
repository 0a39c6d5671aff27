"""The store of idempotency keys: its bounds, its memory, its waiters."""

from __future__ import annotations

import asyncio

import pytest

from server.api.idempotency import IdempotencyStore
from server.errors import ApiError

SCOPE = ("token", "crm", "create")


class Counter:
    """An act that counts how often it is carried out."""

    def __init__(self) -> None:
        self.done = 0

    async def __call__(self) -> int:
        self.done += 1
        return self.done


async def test_a_key_is_forgotten_after_its_time() -> None:
    store: IdempotencyStore[int] = IdempotencyStore(ttl_s=10)
    act = Counter()
    assert await store.once(SCOPE, "k", "f", act, now=0) == 1
    assert await store.once(SCOPE, "k", "f", act, now=9.9) == 1
    assert await store.once(SCOPE, "k", "f", act, now=10) == 2
    assert len(store) == 1


async def test_the_store_is_bounded_and_forgets_the_oldest() -> None:
    store: IdempotencyStore[int] = IdempotencyStore(max_keys=3)
    act = Counter()
    for number in range(10):
        await store.once(SCOPE, str(number), "f", act, now=0)
        assert len(store) <= 3
    assert await store.once(SCOPE, "9", "f", act, now=0) == 10
    assert await store.once(SCOPE, "0", "f", act, now=0) == 11


async def test_what_is_in_flight_is_never_forgotten() -> None:
    store: IdempotencyStore[int] = IdempotencyStore(ttl_s=1, max_keys=2)
    gate = asyncio.Event()
    begun = asyncio.Event()

    async def slow() -> int:
        begun.set()
        await gate.wait()
        return 7

    first = asyncio.ensure_future(store.once(SCOPE, "slow", "f", slow, now=0))
    await begun.wait()
    act = Counter()
    for number in range(5):
        await store.once(SCOPE, str(number), "f", act, now=100)
    begun.clear()
    other = asyncio.ensure_future(store.once(SCOPE, "slow 2", "f", slow, now=100))
    await begun.wait()
    with pytest.raises(ApiError) as refused:
        await store.once(SCOPE, "one more", "f", act, now=100)
    assert refused.value.status == 503
    gate.set()
    assert await store.once(SCOPE, "slow", "f", act, now=100) == 7
    assert await first == await other == 7


async def test_those_who_wait_get_the_failure_of_the_first() -> None:
    store: IdempotencyStore[int] = IdempotencyStore()
    gate = asyncio.Event()

    async def refuse() -> int:
        await gate.wait()
        raise ApiError(404, "NO_ROUTE", "no route")

    both = [asyncio.ensure_future(store.once(SCOPE, "k", "f", refuse, now=0)) for _ in range(2)]
    gate.set()
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [error.status for error in results if isinstance(error, ApiError)] == [404, 404]
    assert len(store) == 0


async def test_a_cancelled_first_leaves_its_key_used() -> None:
    store: IdempotencyStore[int] = IdempotencyStore()
    begun = asyncio.Event()

    async def hang() -> int:
        begun.set()
        await asyncio.Event().wait()
        return 1

    first = asyncio.ensure_future(store.once(SCOPE, "k", "f", hang, now=0))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(ApiError) as refused:
        await store.once(SCOPE, "k", "f", Counter(), now=0)
    assert (refused.value.status, refused.value.code) == (503, "INTERRUPTED")


async def test_a_waiter_that_gives_up_does_not_stop_the_first() -> None:
    store: IdempotencyStore[int] = IdempotencyStore()
    gate = asyncio.Event()

    async def slow() -> int:
        await gate.wait()
        return 3

    first = asyncio.ensure_future(store.once(SCOPE, "k", "f", slow, now=0))
    waiter = asyncio.ensure_future(store.once(SCOPE, "k", "f", slow, now=0))
    asyncio.get_running_loop().call_soon(waiter.cancel)
    with pytest.raises(asyncio.CancelledError):
        await waiter
    gate.set()
    assert await first == 3
