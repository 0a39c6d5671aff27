"""Digits as telephone-events (RFC 4733): telling them from packets, and the packets that say them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

DIGITS: Final = "0123456789*#ABCD"
"Events 0 to 15 (RFC 4733 §3.2)."
MAX_QUEUED: Final = 64  # digits; longer than any number with an account and a PIN
END: Final = 0x80
PAYLOAD: Final = Struct(">BBH")
"Event, end bit with volume, duration in units of the clock."
END_PACKETS = 3  # RFC 4733 §2.5.1.4
PACKET_MS = 20
GAP_MS = 60  # silence between digits
VOLUME = 10  # -10 dBm0


class EventReader:
    """Makes one digit of the many packets that say it.

    A digit is done at its first end packet, or when the next event begins, or when `expire` finds it forgotten:
    all three end packets may be lost. Packets of one event share a timestamp.
    """

    __slots__ = ("_clock_hz", "_digit", "_done", "_duration", "_heard_at", "_timestamp", "refused")

    FORGOTTEN_S = 0.5

    def __init__(self, clock_hz: int) -> None:
        self._clock_hz = clock_hz
        self._timestamp: int | None = None
        self._digit = ""
        self._duration = 0
        self._done = True
        self._heard_at = 0.0
        self.refused = False
        "The digit of the last packet does not count."

    @property
    def waiting(self) -> bool:
        """True while a digit has begun and is not done."""
        return not self._done

    def receive(
        self,
        timestamp: int,
        payload: bytes | bytearray | memoryview,
        now: float,
        counts: Callable[[str], bool] = lambda digit: True,
    ) -> list[tuple[str, int]]:
        """The digits that this packet completes, each with its duration in ms: none, one or two.

        `counts` is asked once for each digit, as it begins.
        """
        if len(payload) < PAYLOAD.size:
            return []
        event, flags, duration = PAYLOAD.unpack_from(payload)
        found: list[tuple[str, int]] = []
        if timestamp != self._timestamp:
            found = self._finish()
            self._timestamp = timestamp
            self._digit = DIGITS[event] if event < len(DIGITS) else ""
            self.refused = bool(self._digit) and not counts(self._digit)
            self._done = self.refused or not self._digit
            self._duration = 0
        self._heard_at = now
        self._duration = max(self._duration, duration)
        if flags & END:
            found += self._finish()
        return found

    def expire(self, now: float) -> list[tuple[str, int]]:
        """The digit that was begun and then fell silent, if any."""
        return self._finish() if now - self._heard_at >= self.FORGOTTEN_S else []

    def _finish(self) -> list[tuple[str, int]]:
        if self._done:
            return []
        self._done = True
        return [(self._digit, round(self._duration * 1000 / self._clock_hz))]


def at_clock(payload: bytes | bytearray | memoryview, from_hz: int, to_hz: int) -> bytes:
    """The payload of an event for a stream of another clock: its duration is in units of that (RFC 4733 §2.3.5)."""
    if len(payload) < PAYLOAD.size:
        return bytes(payload)
    event, flags, duration = PAYLOAD.unpack_from(payload)
    return PAYLOAD.pack(event, flags, min(0xFFFF, duration * to_hz // from_hz))


@dataclass(frozen=True, slots=True)
class EventPacket:
    """One packet to send now."""

    payload: bytes
    marker: bool
    "First packet of its digit, whose timestamp those after it share."


class EventWriter:
    """The packets of queued digits, one every 20 ms."""

    __slots__ = ("_clock_hz", "_elapsed_ms", "_ends", "_gap_ms", "_queue")

    def __init__(self, clock_hz: int) -> None:
        self._clock_hz = clock_hz
        self._queue: deque[tuple[int, int]] = deque()
        self._elapsed_ms = 0
        self._ends = 0
        self._gap_ms = 0

    def queue(self, digits: str, duration_ms: int) -> None:
        """Add digits. Raises ValueError for anything else, for too many, and for a duration not within 40-6,000."""
        if not 40 <= duration_ms <= 6000:
            raise ValueError("a digit lasts 40 to 6,000 ms")
        upper = digits.upper()
        if not upper or any(char not in DIGITS for char in upper):
            raise ValueError("digits are 0-9, *, #, A-D")
        if len(self._queue) + len(upper) > MAX_QUEUED:
            raise ValueError("too many digits waiting")
        self._queue.extend((DIGITS.index(char), duration_ms) for char in upper)

    @property
    def idle(self) -> bool:
        """True when all is said, the silence after the last digit included."""
        return not self._queue and self._gap_ms <= 0

    def next(self) -> EventPacket | None:
        """What to send in this 20 ms; None in the silence between two digits."""
        if self._gap_ms > 0:
            self._gap_ms -= PACKET_MS
            return None
        if not self._queue:
            return None
        event, duration_ms = self._queue[0]
        marker = self._elapsed_ms == 0
        self._elapsed_ms += PACKET_MS
        said_ms = min(self._elapsed_ms, duration_ms)
        ending = self._elapsed_ms > duration_ms
        ticks = min(0xFFFF, said_ms * self._clock_hz // 1000)
        packet = EventPacket(PAYLOAD.pack(event, (END if ending else 0) | VOLUME, ticks), marker)
        if ending:
            self._ends += 1
            if self._ends == END_PACKETS:
                self._queue.popleft()
                self._elapsed_ms = self._ends = 0
                self._gap_ms = GAP_MS
        return packet
