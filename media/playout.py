"""The samples of one party, written as its packets come and read by a clock of ours (a `receiver.SampleSink`).

What waits is kept near a target: it grows where packets come late, shrinks again, and where the party's clock is the
faster one two pieces are made one now and then, so that the delay does not grow.
"""

from __future__ import annotations

from array import array
from typing import Final

MIN_TARGET_MS, MAX_TARGET_MS = 40, 120
STEP_MS: Final = 20
MAX_WAITING_MS: Final = 300
WINDOW: Final = 50
"Reads after which it is looked whether more waits than need be."
CALM: Final = 500
"Reads without running dry after which the target shrinks."


class Playout:
    """16-bit mono samples of one rate."""

    __slots__ = ("_calm", "_dry", "_least", "_per_ms", "_playing", "_reads", "_waiting", "target_ms")

    def __init__(self, rate_hz: int) -> None:
        self._per_ms = 2 * rate_hz // 1000  # octets
        self._waiting = b""
        self._playing = False
        self._dry = False
        "It ran dry, and the party did not say that it pauses."
        self._least = MAX_WAITING_MS
        self._reads = self._calm = 0
        self.target_ms = MIN_TARGET_MS

    @property
    def waiting_ms(self) -> int:
        """What is written and not yet read."""
        return len(self._waiting) // self._per_ms

    def write(self, pcm: bytes, now: float) -> None:
        """The next samples; the oldest are dropped where far too many wait."""
        if self._dry:
            self._dry = False
            self.target_ms = min(MAX_TARGET_MS, self.target_ms + STEP_MS)
        self._waiting = (self._waiting + pcm)[-MAX_WAITING_MS * self._per_ms :]

    def skip(self, samples: int, now: float) -> None:
        """The party pauses: to run dry is no lateness."""
        self._dry = False

    def read(self, ms: int) -> bytes | None:
        """The samples of so long; None while there are not enough."""
        size = ms * self._per_ms
        needed = size if self._playing else max(size, self.target_ms * self._per_ms)
        if len(self._waiting) < needed:
            if self._playing:
                self._playing, self._dry, self._calm = False, True, 0
            return None
        self._playing = True
        pcm, self._waiting = self._waiting[:size], self._waiting[size:]
        self._adapt(size)
        return pcm

    def _adapt(self, size: int) -> None:
        self._least = min(self._least, self.waiting_ms)
        self._reads += 1
        self._calm += 1
        if self._calm >= CALM:
            self._calm = 0
            self.target_ms = max(MIN_TARGET_MS, self.target_ms - STEP_MS)
        if self._reads >= WINDOW:
            if self._least >= self.target_ms and len(self._waiting) >= 2 * size:
                first, second, rest = self._waiting[:size], self._waiting[size : 2 * size], self._waiting[2 * size :]
                self._waiting = _overlap(first, second) + rest
            self._reads, self._least = 0, MAX_WAITING_MS


def _overlap(first: bytes, second: bytes) -> bytes:
    """One piece that begins as the first and ends as the second."""
    ours, theirs = array("h", first), array("h", second)
    length = len(ours)
    faded = ((a * (length - n) + b * n) // length for n, (a, b) in enumerate(zip(ours, theirs, strict=True)))
    return array("h", faded).tobytes()
