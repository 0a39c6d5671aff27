"""Timers of RFC 3261 Table 4, and the queue of instants."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from sip.timers import TimerQueue, Timers


def test_durations_are_those_of_table_4() -> None:
    timers = Timers()
    assert (timers.t1, timers.t2, timers.t4, timers.transaction_s) == (0.5, 4.0, 5.0, 32.0)
    assert Timers(t1=1.0).transaction_s == 64.0


def test_an_empty_queue_has_no_deadline() -> None:
    queue: TimerQueue[str] = TimerQueue()
    assert queue.deadline is None
    assert list(queue.pop_due(1e9)) == []


def test_owners_come_by_instant_then_by_order_of_setting() -> None:
    queue: TimerQueue[str] = TimerQueue()
    for owner, at in (("late", 3.0), ("first", 1.0), ("second", 1.0)):
        queue.set(owner, at)
    assert queue.deadline == 1.0
    assert list(queue.pop_due(0.9)) == []
    assert list(queue.pop_due(1.0)) == ["first", "second"]
    assert list(queue.pop_due(10.0)) == ["late"]
    assert len(queue) == 0


def test_setting_again_replaces_earlier_and_later() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.set("a", 5.0)
    queue.set("a", 1.0)
    assert queue.deadline == 1.0
    queue.set("a", 7.0)
    assert queue.deadline == 7.0
    assert list(queue.pop_due(6.0)) == []
    assert list(queue.pop_due(7.0)) == ["a"]


def test_cancel_is_allowed_at_any_time() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.cancel("a")
    queue.set("a", 1.0)
    queue.cancel("a")
    queue.cancel("a")
    assert queue.deadline is None
    assert list(queue.pop_due(2.0)) == []


def test_the_queue_may_change_while_it_is_popped() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.set("a", 1.0)
    queue.set("b", 1.5)
    seen = []
    for owner in queue.pop_due(2.0):
        seen.append(owner)
        if owner == "a":
            queue.cancel("b")
            queue.set("c", 2.0)
            queue.set("d", 2.1)
    assert seen == ["a", "c"]
    assert queue.deadline == 2.1


class _Thing:
    pass


def test_a_cancelled_owner_is_let_go_at_once() -> None:
    queue: TimerQueue[_Thing] = TimerQueue()
    thing = _Thing()
    alive = weakref.ref(thing)
    queue.set(thing, 32.0)
    queue.set(thing, 33.0)
    queue.cancel(thing)
    del thing
    gc.collect()
    assert alive() is None


def test_dead_entries_stay_few() -> None:
    """A heap that is only ever set and cancelled does not grow."""
    queue: TimerQueue[int] = TimerQueue()
    for owner in range(10_000):
        queue.set(owner, 32.0 + owner)
        if owner >= 10:
            queue.cancel(owner)
    assert len(queue) == 10
    assert len(queue._heap) <= 2 * 10 + 65
    assert list(queue.pop_due(1e6)) == list(range(10))


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "cancel", "pop"]), st.integers(0, 5), st.floats(0, 100, allow_nan=False)),
        max_size=200,
    )
)
def test_it_is_a_dictionary_of_instants(steps: list[tuple[str, int, float]]) -> None:
    queue: TimerQueue[int] = TimerQueue()
    model: dict[int, float] = {}
    for step, owner, at in steps:
        if step == "set":
            queue.set(owner, at)
            model[owner] = at
        elif step == "cancel":
            queue.cancel(owner)
            model.pop(owner, None)
        else:
            popped = list(queue.pop_due(at))
            assert set(popped) == {known for known, instant in model.items() if instant <= at}
            instants = [model.pop(known) for known in popped]
            assert instants == sorted(instants)
        assert queue.deadline == (min(model.values()) if model else None)
        assert len(queue) == len(model)


def test_an_heir_is_due_in_the_place_of_another() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.set("a", 1.0)
    queue.set("b", 2.0)
    queue.hand_over("a", "c")
    assert queue.deadline == 1.0
    queue.cancel("a")
    assert list(queue.pop_due(1.0)) == ["c"]
    assert list(queue.pop_due(2.0)) == ["b"]
    assert len(queue) == 0
