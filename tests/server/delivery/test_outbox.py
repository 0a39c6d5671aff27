"""The outbox: order in a lane, retries, dead letters, restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.delivery import outbox as module
from server.delivery.outbox import Backoff, Refused, RetryLater
from server.store.queries.outbox import dead
from server.store.writer import StoreUnavailable

from .desk import later, open_desk, until

TENANT = "default/default"


async def test_issue_12_order_is_kept_within_a_lane_and_lanes_run_beside_each_other(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        desk.courier.gates["slow"] = asyncio.Event()
        for n in range(30):
            desk.put(n, "one", "slow")
        for n in range(100, 130):
            desk.put(n, "two", "quick")
        await until(lambda: len(desk.courier.taken) == 30)
        assert desk.courier.taken == list(range(100, 130))
        assert [n for _, n in desk.courier.attempts if n < 100] == [0], "one at a time within a lane"
        desk.courier.gates["slow"].set()
        await until(lambda: len(desk.courier.taken) == 60)
        assert desk.courier.taken[30:] == list(range(30))


async def test_issue_12_a_failure_is_tried_again_with_the_same_id_and_holds_up_its_lane_alone(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        desk.courier.faults[0] = later(2)
        first = desk.put(0)
        desk.put(1)
        desk.put(2, "other")
        await until(lambda: desk.courier.taken == [2] and desk.results[-1:] and len(desk.courier.attempts) == 2)
        desk.pass_time(1.9)
        await asyncio.sleep(0.05)
        assert len(desk.courier.attempts) == 2, "2 s have not passed"
        desk.pass_time(0.2)
        await until(lambda: len(desk.courier.attempts) == 3)
        desk.pass_time(8.1)
        await until(lambda: desk.courier.taken == [2, 0, 1])
        assert [id for id, n in desk.courier.attempts if n == 0] == [first] * 3
        assert [(r.state, r.attempts, r.error) for r in desk.results if r.payload == {"n": 0}] == [
            ("pending", 1, "busy"),
            ("pending", 2, "busy"),
            ("delivered", 3, None),
        ]


async def test_issue_12_after_all_attempts_it_is_dead_and_listed_and_can_be_redelivered(
    tmp_path: Path, database_url: str
) -> None:
    async with open_desk(tmp_path, url=database_url) as desk:
        desk.courier.faults[0] = later(4)
        id = desk.put(0)
        desk.put(1)
        for attempt in range(1, 5):
            await until(lambda attempt=attempt: len(desk.results) >= attempt)  # type: ignore[misc]  # a loop's lambda
            await desk.writer.settled()
            desk.pass_time(200.0)
        await until(lambda: desk.courier.taken == [1])
        assert await desk.states() == {0: "dead", 1: "delivered"}
        (letter,) = await dead(desk.database, TENANT, limit=10)
        assert (letter.id, letter.attempts, letter.last_error) == (id, 4, "busy")
        assert await desk.outbox.redeliver("other/app", id) is False
        assert await desk.outbox.redeliver(TENANT, "nothing") is False
        assert await desk.outbox.redeliver(TENANT, id) is True
        await until(lambda: desk.courier.taken == [1, 0])
        assert desk.courier.attempts[-1] == (id, 0)
        assert await desk.states() == {0: "delivered", 1: "delivered"}


async def test_issue_12_a_refusal_is_dead_at_once_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        desk.courier.faults[0] = [Refused("never")]
        desk.put(0)
        desk.put(1)
        await until(lambda: desk.courier.taken == [1])
        assert await desk.states() == {0: "dead", 1: "delivered"}
        assert desk.results[0].state == "dead"
        assert desk.results[0].error == "never"


async def test_what_the_target_asks_for_is_waited_but_never_longer_than_the_limit(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        desk.courier.faults[0] = [RetryLater("later", 50.0), RetryLater("much later", 1e9)]
        desk.put(0)
        await until(lambda: len(desk.results) == 1)
        desk.pass_time(49.0)
        await asyncio.sleep(0.05)
        assert len(desk.results) == 1
        desk.pass_time(1.1)
        await until(lambda: len(desk.results) == 2)
        desk.pass_time(100.1)
        await until(lambda: desk.courier.taken == [0])


async def test_a_fault_of_the_deliverer_counts_as_a_failed_attempt(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        desk.courier.faults[0] = [ZeroDivisionError("oops")]
        desk.put(0)
        await until(lambda: len(desk.results) == 1)
        assert desk.results[0].error == "ZeroDivisionError('oops')"
        desk.pass_time(2.1)
        await until(lambda: desk.courier.taken == [0])


async def test_an_id_that_was_put_before_is_not_delivered_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        assert desk.put(0, id="mine") == "mine"
        await until(lambda: desk.courier.taken == [0])
        desk.put(0, id="mine")
        desk.put(1)
        await until(lambda: desk.courier.taken == [0, 1])


async def test_what_is_pending_is_delivered_after_a_restart_and_the_rest_is_not_repeated(
    tmp_path: Path, database_url: str
) -> None:
    now = [1_800_000_000.0]
    async with open_desk(tmp_path, url=database_url, now=now) as desk:
        desk.courier.faults[1] = later(1)
        for n in range(3):
            desk.put(n)
        await until(lambda: len(desk.results) == 2)
    now[0] += 0.5
    async with open_desk(tmp_path, url=database_url, now=now) as desk:
        desk.put(3)
        desk.put(9, "other")
        await until(lambda: desk.courier.taken == [9])
        assert [n for _, n in desk.courier.attempts] == [9], "the lane still rests"
        desk.pass_time(1.6)
        await until(lambda: desk.courier.taken == [9, 1, 2, 3])


async def test_an_attempt_that_was_cut_off_is_repeated_with_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(tmp_path) as desk:
        desk.courier.gates["target"] = asyncio.Event()
        id = desk.put(0)
        await until(lambda: desk.courier.attempts)
        monkeypatch.setattr(module, "CLOSE_S", 0.01)
    async with open_desk(tmp_path) as desk:
        await until(lambda: desk.courier.taken == [0])
        assert desk.courier.attempts == [(id, 0)]


async def test_memory_holds_a_window_and_everything_is_delivered_all_the_same(
    tmp_path: Path, database_url: str
) -> None:
    async with open_desk(tmp_path, url=database_url, started=False, at_once=10) as desk:
        desk.outbox._lanes.limit = 20
        for n in range(600):
            desk.put(n, f"lane {n % 60}", f"target {n % 7}")
        assert len(desk.outbox._lanes) == 20
        await desk.outbox.start()
        await until(lambda: len(desk.courier.taken) >= 160)
        while len(desk.courier.taken) < 600:
            assert len(desk.outbox._lanes) <= 20
            before = len(desk.courier.taken)
            desk.pass_time(6.0)  # it looks for the others now and then
            await until(lambda before=before: len(desk.courier.taken) > before)  # type: ignore[misc]  # a loop's lambda
        assert sorted(desk.courier.taken) == list(range(600))
        for lane in range(60):
            taken = [n for n in desk.courier.taken if n % 60 == lane]
            assert taken == sorted(taken)
        assert desk.courier.most_under_way <= 10


async def test_a_target_that_answers_slowly_holds_up_no_other(tmp_path: Path) -> None:
    async with open_desk(tmp_path, at_once=20) as desk:
        desk.courier.gates["dead"] = asyncio.Event()
        for n in range(100):
            desk.put(n, f"dead {n}", "dead")
        await until(lambda: desk.courier.under_way == 16)
        desk.put(1000, "quick", "quick")
        await until(lambda: desk.courier.taken == [1000])
        assert desk.courier.under_way == 16
        desk.courier.gates["dead"].set()
        await until(lambda: len(desk.courier.taken) == 101)


async def test_it_waits_while_the_database_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORE_DOWN_S", 0.01)
    async with open_desk(tmp_path) as desk:
        settled = desk.writer.settled
        down = [True]

        async def maybe() -> None:
            if down[0]:
                raise StoreUnavailable("down")
            await settled()

        monkeypatch.setattr(desk.writer, "settled", maybe)
        desk.put(0)
        await asyncio.sleep(0.1)
        assert desk.courier.attempts == []
        down[0] = False
        await until(lambda: desk.courier.taken == [0])


async def test_what_nobody_delivers_waits_without_counting_attempts(tmp_path: Path) -> None:
    async with open_desk(tmp_path, kind="another") as desk:
        desk.put(0)
        await asyncio.sleep(0.3)
        assert desk.courier.attempts == []
        assert await desk.states() == {0: "pending"}


def test_backoff_grows_to_its_limit_less_up_to_half_by_chance() -> None:
    backoff = Backoff(first_s=2.0, factor=4.0, limit_s=100.0)
    assert [backoff.after(n, 0.0) for n in (1, 2, 3, 4, 1000)] == [2.0, 8.0, 32.0, 100.0, 100.0]
    assert backoff.after(2, 1.0) == 4.0
