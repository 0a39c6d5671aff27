"""The stream that one remote party receives from us, whoever feeds it."""

from __future__ import annotations

from dataclasses import dataclass

from .rtp import MASK16, MASK32


@dataclass(slots=True)
class OutStream:
    """Continuity of the sent stream: one SSRC, sequence numbers without gaps, timestamps that follow the clock.

    The first feeder's own numbers pass through (`ssrc` is None until then); every later one is fitted to them.
    """

    ssrc: int | None = None
    seq: int = 0
    "Last sequence number sent, as of the last change of feeder or the last packet of our own."
    anchor: float = 0.0
    "The stream's clock: at monotonic time t its timestamp is t * clock_hz - anchor."
    clock_hz: int = 8_000
    feeder: tuple[str, int] | None = None
    "Leg id and SSRC of the relayed source that fed it last."

    def begin(self, ssrc: int, seq: int, timestamp: int, now: float) -> None:
        """Give the stream numbers of its own before anything is sent."""
        self.ssrc = ssrc
        self.seq = seq
        self.anchor = now * self.clock_hz - timestamp

    def timestamp(self, now: float) -> int:
        """The timestamp of this instant."""
        return int(now * self.clock_hz - self.anchor) & MASK32

    def next_seq(self) -> int:
        """The next sequence number, now used."""
        self.seq = seq = (self.seq + 1) & MASK16
        return seq
