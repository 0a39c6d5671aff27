"""Counts of shared sessions: read once, and again when somebody joins."""

from __future__ import annotations

import asyncio

import pytest

from server import relationships
from server.relationships import Pair, Shared, SharedSessions

from .house import TENANT, House

PAIR = Pair(TENANT, "alice", "bob", "rel_1")


class Desk:
    """Counts what is read; the answer waits for `go` when there is one."""

    def __init__(self) -> None:
        self.reads = 0
        self.now = 0.0
        self.go: asyncio.Event | None = None
        self.shared = SharedSessions(self.read, lambda: self.now)

    async def read(self, pair: Pair) -> Shared:
        self.reads += 1
        number = self.reads
        if self.go is not None:
            await self.go.wait()
        return number, 5


async def test_a_count_is_read_once(house: House) -> None:
    desk = Desk()
    desk.shared.follow(house.registry.bus)
    assert [await desk.shared.of(PAIR) for _ in range(3)] == [(1, 5)] * 3
    house.session("carol")
    assert await desk.shared.of(PAIR) == (1, 5)


@pytest.mark.parametrize("who", ["alice", "bob"])
async def test_it_is_read_again_when_one_of_the_two_joins_a_session(house: House, who: str) -> None:
    desk = Desk()
    desk.shared.follow(house.registry.bus)
    await desk.shared.of(PAIR)
    house.session(who)
    assert await desk.shared.of(PAIR) == (2, 5)
    assert await desk.shared.of(PAIR) == (2, 5)


async def test_who_joins_while_it_is_read_makes_it_be_read_again(house: House) -> None:
    desk = Desk()
    desk.go = asyncio.Event()
    desk.shared.follow(house.registry.bus)
    reading = asyncio.create_task(desk.shared.of(PAIR))
    await house.until(lambda: desk.reads)
    house.session("bob")
    desk.go.set()
    assert await reading == (1, 5)
    assert await desk.shared.of(PAIR) == (2, 5)


async def test_it_is_read_again_after_a_while() -> None:
    desk = Desk()
    await desk.shared.of(PAIR)
    desk.now = relationships.FRESH_S
    assert await desk.shared.of(PAIR) == (2, 5)


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relationships, "MAX_KNOWN", 3)
    desk = Desk()
    for n in range(10):
        await desk.shared.of(Pair(TENANT, "alice", f"user{n}", f"rel_{n}"))
    assert len(desk.shared) == 3
    await desk.shared.of(Pair(TENANT, "alice", "user9", "rel_9"))
    assert desk.reads == 10
    await desk.shared.of(Pair(TENANT, "alice", "user0", "rel_0"))
    assert desk.reads == 11
