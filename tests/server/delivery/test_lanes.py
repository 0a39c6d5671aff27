"""Whose turn it is in the outbox."""

from __future__ import annotations

from server.delivery.lanes import Lane, Lanes


def names(lanes: list[Lane]) -> list[str]:
    return [lane.name for lane in lanes]


def test_groups_take_turns_and_none_has_more_than_its_share() -> None:
    lanes = Lanes(at_once=5, at_once_a_group=3)
    for n in range(4):
        lanes.stir(f"a{n}", "A")
    lanes.stir("b0", "B")
    picked = lanes.pick()
    assert names(picked) == ["a0", "b0", "a1", "a2"]
    assert lanes.pick() == []
    lanes.drop(picked[0])
    assert names(lanes.pick()) == ["a3"]


def test_no_more_than_at_once_are_busy() -> None:
    lanes = Lanes(at_once=2)
    for n in range(3):
        lanes.stir(f"l{n}", f"g{n}")
    picked = lanes.pick()
    assert len(picked) == 2
    lanes.requeue(picked[0])
    assert names(lanes.pick()) == ["l2"]


def test_a_lane_that_is_stirred_while_busy_is_read_again() -> None:
    lanes = Lanes(at_once=2)
    lanes.stir("l", "g")
    (lane,) = lanes.pick()
    lanes.stir("l", "g")
    assert lanes.pick() == []
    lanes.drop(lane)
    assert lanes.pick() == [lane]
    lanes.drop(lane)
    assert len(lanes) == 0


def test_a_lane_rests_until_its_time_or_until_somebody_hurries_it() -> None:
    lanes = Lanes(at_once=2)
    lanes.stir("l", "g")
    (lane,) = lanes.pick()
    lanes.rest(lane, 10.0)
    assert lanes.deadline == 10.0
    lanes.stir("l", "g")
    lanes.wake(9.9)
    assert lanes.pick() == []
    lanes.wake(10.0)
    assert lanes.pick() == [lane]
    lanes.rest(lane, 20.0)
    lanes.stir("l", "g", now=True)
    assert lanes.pick() == [lane]
    lanes.rest(lane, 30.0)
    lanes.wake(25.0)
    assert lanes.pick() == [], "the rest that was cut short says nothing any more"


def test_when_memory_is_full_one_that_rests_makes_room_and_is_looked_for_later() -> None:
    lanes = Lanes(at_once=5, limit=2)
    assert lanes.stir("a", "g")
    (a,) = lanes.pick()
    lanes.rest(a, 10.0)
    assert not lanes.stir("b", "g"), "full: whoever has no room is to be looked for"
    assert not lanes.stir("c", "g"), "the resting one was forgotten"
    assert len(lanes) == 2
    assert not lanes.stir("d", "g"), "no room at all"
    assert names(lanes.pick()) == ["b", "c"]
    lanes.wake(10.0)
    assert lanes.pick() == []
