"""Digits as telephone-events."""

from __future__ import annotations

import struct

import pytest

from media.dtmf import DIGITS, MAX_QUEUED, EventReader, EventWriter


def packet(event: int, duration: int, *, end: bool = False) -> bytes:
    return struct.pack(">BBH", event, 0x8A if end else 10, duration)


def test_one_digit_of_many_packets() -> None:
    reader = EventReader(8000)
    told = [reader.receive(1000, packet(11, 160 * n), 0.02 * n) for n in range(1, 6)]
    assert not any(told)
    assert reader.waiting
    assert reader.receive(1000, packet(11, 960, end=True), 0.12) == [("#", 120)]
    assert reader.receive(1000, packet(11, 960, end=True), 0.13) == []
    assert not reader.waiting


def test_a_digit_of_end_packets_alone() -> None:
    """Browsers send three packets a digit, all with the end bit."""
    reader = EventReader(8000)
    assert reader.receive(1000, packet(1, 800, end=True), 0.0) == [("1", 100)]
    assert reader.receive(1000, packet(1, 800, end=True), 0.0) == []
    assert reader.receive(9000, packet(1, 800, end=True), 1.0) == [("1", 100)]


def test_a_digit_whose_end_was_lost_is_told_by_the_next() -> None:
    reader = EventReader(8000)
    reader.receive(1000, packet(1, 800), 0.0)
    assert reader.receive(3000, packet(2, 400, end=True), 0.3) == [("1", 100), ("2", 50)]


def test_a_digit_whose_end_was_lost_is_told_by_time() -> None:
    reader = EventReader(8000)
    assert reader.expire(9.0) == []
    reader.receive(1000, packet(1, 800), 10.0)
    assert reader.expire(10.4) == []
    assert reader.expire(10.5) == [("1", 100)]
    assert reader.expire(11.0) == []


def test_a_late_packet_of_an_earlier_digit_does_no_harm() -> None:
    reader = EventReader(8000)
    reader.receive(1000, packet(1, 800, end=True), 0.0)
    reader.receive(3000, packet(2, 400), 0.3)
    assert reader.receive(3000, packet(2, 400, end=True), 0.3) == [("2", 50)]


@pytest.mark.parametrize("payload", [b"", b"\x01\x8a\x01", packet(16, 100, end=True), packet(200, 100, end=True)])
def test_what_is_no_digit(payload: bytes) -> None:
    assert EventReader(8000).receive(1, payload, 0.0) == []


def said(writer: EventWriter) -> list[tuple[int, bool, bool, int] | None]:
    """All that a writer says, as event, marker, end, duration; None for silence."""
    out: list[tuple[int, bool, bool, int] | None] = []
    while not writer.idle:
        now = writer.next()
        if now is None:
            out.append(None)
        else:
            event, flags, duration = struct.unpack(">BBH", now.payload)
            out.append((event, now.marker, bool(flags & 0x80), duration))
    return out


def test_the_packets_of_two_digits() -> None:
    writer = EventWriter(8000)
    writer.queue("*", 60)
    writer.queue("d", 40)
    star = [(10, True, False, 160), (10, False, False, 320), (10, False, False, 480), *[(10, False, True, 480)] * 3]
    letter = [(15, True, False, 160), (15, False, False, 320), *[(15, False, True, 320)] * 3]
    assert said(writer) == [*star, None, None, None, *letter, None, None, None]
    assert writer.next() is None


def test_what_is_written_is_read() -> None:
    writer, reader = EventWriter(48000), EventReader(48000)
    writer.queue(DIGITS, 100)
    told: list[tuple[str, int]] = []
    tick = timestamp = 0
    while not writer.idle:
        now = writer.next()
        tick += 1
        if now is not None:
            timestamp = tick * 960 if now.marker else timestamp
            told += reader.receive(timestamp, now.payload, tick * 0.02)
    assert told == [(digit, 100) for digit in DIGITS]


@pytest.mark.parametrize(("digits", "duration_ms"), [("", 100), ("12x", 100), ("1", 39), ("1", 6001), ("1" * 65, 100)])
def test_what_cannot_be_said(digits: str, duration_ms: int) -> None:
    with pytest.raises(ValueError, match="digit"):
        EventWriter(8000).queue(digits, duration_ms)
    EventWriter(8000).queue("1" * MAX_QUEUED, 100)


def test_a_long_digit_does_not_overflow_its_duration() -> None:
    writer = EventWriter(48000)
    writer.queue("1", 6000)
    durations = [each[3] for each in said(writer) if each is not None]
    assert max(durations) == 0xFFFF
    assert durations == sorted(durations)
