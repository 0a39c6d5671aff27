"""Virtual time."""

from __future__ import annotations

import asyncio
import time

import pytest

from .clock import START_AT, Clock, Standstill
from .fixture import Sim


def test_an_hour_takes_no_time(sim: Sim) -> None:
    began = time.monotonic()
    rang: list[float] = []
    for after_s in (3600.0, 1.0, 60.0):
        sim.loop.call_later(after_s, lambda: rang.append(sim.now))
    sim.run_for(3600)
    assert rang == [pytest.approx(START_AT + after_s) for after_s in (1, 60, 3600)]
    assert time.monotonic() - began < 5


def test_the_result_of_a_coroutine(sim: Sim) -> None:
    async def work() -> float:
        await asyncio.sleep(30)
        return asyncio.get_running_loop().time()

    assert sim.run(work()) == pytest.approx(START_AT + 30)
    with pytest.raises(TimeoutError):
        sim.run(work(), limit_s=5)


def test_run_until(sim: Sim) -> None:
    done: list[bool] = []
    sim.loop.call_later(5, lambda: done.append(True))
    sim.run_until(lambda: done)
    assert sim.now == pytest.approx(START_AT + 5)
    with pytest.raises(AssertionError, match="still waiting after 2 s"):
        sim.run_until(lambda: False, limit_s=2)


def test_what_a_callback_raises_fails_the_test() -> None:
    def fail() -> None:
        raise ValueError("in a callback")

    clock = Clock()
    clock.loop.call_later(1, fail)
    with pytest.raises(ValueError, match="in a callback"):
        clock.run_for(2)
    clock.run_for(1)
    clock.loop.call_later(0, fail)
    clock.loop.call_soon(fail)
    with pytest.raises(ValueError, match="in a callback"):
        clock.close()


def test_waiting_for_nobody_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sim.clock.STANDSTILL_S", 0.01)
    clock = Clock()
    never: asyncio.Future[None] = clock.loop.create_future()
    with pytest.raises(Standstill):
        clock.loop.run_until_complete(never)
    clock.close()


def test_threads_are_waited_for(sim: Sim) -> None:
    assert sim.run(asyncio.to_thread(lambda: 7)) == 7


def test_tasks_are_cancelled_at_the_end() -> None:
    clock = Clock()
    task = clock.loop.create_task(asyncio.sleep(10))
    clock.run_for(1)
    clock.close()
    assert task.cancelled()
