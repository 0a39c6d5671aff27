"""Order, loss, copies and restarts of one stream, by a clock of the test's own."""

from __future__ import annotations

import random

import pytest

from media.jitter import MAX_HOLD_S, MAX_WAITING, MIN_HOLD_S, JitterBuffer, Packet


def packet(seq: int) -> Packet:
    return Packet(seq & 0xFFFF, seq * 160 & 0xFFFFFFFF, 0, b"%d" % seq)


def taken(buffer: JitterBuffer, now: float) -> list[tuple[int, int]]:
    """All that is ready: sequence numbers, and what was missing before each."""
    found = []
    while (each := buffer.pop(now)) is not None:
        found.append((each.seq, each.missing))
    return found


def started(first: int = 10) -> JitterBuffer:
    """A buffer that has heard the packet before `first`."""
    buffer = JitterBuffer()
    assert buffer.insert(packet(first - 1), 0.0)
    one = buffer.pop(0.0)
    assert one is not None
    assert one.restart
    return buffer


def test_what_comes_in_order_passes_at_once() -> None:
    buffer = started(65530)
    for number in range(20):
        now = 0.02 * number
        buffer.insert(packet(65530 + number), now)
        assert taken(buffer, now) == [((65530 + number) & 0xFFFF, 0)]
        assert buffer.deadline is None


def test_what_is_out_of_order_is_put_in_order() -> None:
    buffer = started()
    buffer.insert(packet(11), 1.0)
    assert taken(buffer, 1.0) == []
    assert buffer.deadline == 1.0 + MIN_HOLD_S
    buffer.insert(packet(10), 1.005)
    assert taken(buffer, 1.005) == [(10, 0), (11, 0)]
    assert buffer.deadline is None


def test_a_missing_one_is_waited_for_until_the_deadline() -> None:
    buffer = started()
    buffer.insert(packet(12), 1.0)
    buffer.insert(packet(13), 1.002)
    assert taken(buffer, 1.009) == []
    assert taken(buffer, 1.01) == [(12, 2), (13, 0)]
    assert buffer.deadline is None


def test_a_lost_packet_leaves_no_delay() -> None:
    buffer = started()
    now = 0.0
    for seq in range(11, 100):  # 10 is lost
        now += 0.02
        buffer.insert(packet(seq), now)
        taken(buffer, now)
        if seq > 11:
            assert buffer.deadline is None, seq


def test_two_gaps_have_a_deadline_each() -> None:
    buffer = started()
    buffer.insert(packet(11), 1.0)
    buffer.insert(packet(13), 1.004)
    assert taken(buffer, 1.01) == [(11, 1)]
    assert buffer.deadline == pytest.approx(1.014, abs=1e-6)
    assert taken(buffer, 1.0141) == [(13, 1)]


def test_late_and_doubled_packets_are_dropped() -> None:
    buffer = started()
    assert buffer.insert(packet(10), 1.0)
    assert taken(buffer, 1.0) == [(10, 0)]
    assert not buffer.insert(packet(10), 1.0)
    assert buffer.insert(packet(12), 1.02)
    assert not buffer.insert(packet(12), 1.02)
    assert taken(buffer, 1.04) == [(12, 1)]
    assert not buffer.insert(packet(11), 1.05)
    assert buffer.dropped == 3
    assert taken(buffer, 2.0) == []


def test_the_hold_grows_where_packets_come_late_and_shrinks_again() -> None:
    buffer = started()
    buffer.insert(packet(11), 1.0)
    taken(buffer, 1.01)
    buffer.insert(packet(10), 1.03)  # it would have taken 30 ms
    assert 0.03 <= buffer.hold_s <= 0.04
    for seq in range(12, 3000):
        buffer.insert(packet(seq), seq / 50)
        taken(buffer, seq / 50)
    assert buffer.hold_s == pytest.approx(MIN_HOLD_S, rel=0.1)


def test_the_hold_has_a_limit() -> None:
    buffer = started()
    for seq in range(10, 1000, 2):
        now = seq / 50
        buffer.insert(packet(seq + 1), now)
        taken(buffer, now + buffer.hold_s)
        buffer.insert(packet(seq), now + buffer.hold_s + 0.01)
        assert buffer.hold_s <= MAX_HOLD_S


def test_a_jump_is_another_stream() -> None:
    buffer = started()
    buffer.insert(packet(11), 1.0)
    buffer.insert(packet(30000), 1.001)
    one = buffer.pop(1.001)
    assert one is not None
    assert (one.seq, one.restart) == (30000, True)
    assert buffer.pop(5.0) is None


def test_what_waits_is_bounded() -> None:
    buffer = started()
    for number in range(MAX_WAITING):
        buffer.insert(packet(11 + number), 1.0)
    assert len(taken(buffer, 1.0)) == MAX_WAITING


@pytest.mark.parametrize("seed", range(20))
def test_any_network_is_put_in_order(seed: int) -> None:
    """Every packet that came within the hold is heard once, in order, none later than the longest hold."""
    chance = random.Random(seed)
    arrivals = []
    for seq in range(10, 1000):
        if chance.random() > 0.1:
            at = seq / 50 + chance.random() * chance.choice((0.0, 0.03, 0.08))
            arrivals += [(at, seq)] * chance.choice((1, 1, 1, 2))
    arrivals.sort()
    arrived = {seq: at for at, seq in reversed(arrivals)}
    buffer = started()
    heard: list[int] = []
    for at, seq in arrivals:
        while buffer.deadline is not None and buffer.deadline <= at:
            due = buffer.deadline
            heard += [each for each, _ in taken(buffer, due)]
        buffer.insert(packet(seq), at)
        for each, _ in taken(buffer, at):
            heard.append(each)
            assert at - arrived[each] <= MAX_HOLD_S + 1e-9
    assert heard == sorted(set(heard))
    assert len(heard) > 0.8 * len(arrived)
