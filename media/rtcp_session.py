"""RTCP of one leg: its reports are ours alone and never cross a relay (RFC 3550 §6)."""

from __future__ import annotations

from dataclasses import dataclass

from .rtcp import INTERVAL_S, Report, ReportBlock, SenderInfo, compound, ntp_of, parse


@dataclass(frozen=True, slots=True)
class Sent:
    """The stream we send, at the moment of a report."""

    packets: int
    octets: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Received:
    """The stream we receive, at the moment of a report."""

    ssrc: int
    highest: int
    "Extended sequence number."
    expected: int
    received: int
    jitter: int


class RtcpSession:
    """What must be remembered between reports, ours and theirs."""

    __slots__ = (
        "_expected_before",
        "_last_sr",
        "_last_sr_at",
        "_received_before",
        "_sent_before",
        "cname",
        "due_at",
        "remote_fraction_lost",
        "remote_jitter",
        "remote_lost",
        "rtt_s",
        "ssrc",
    )

    def __init__(self, cname: str, ssrc: int) -> None:
        self.cname = cname
        self.ssrc = ssrc
        "Ours until we send anything."
        self.due_at: float | None = None
        "When the next report is due, None before the first is planned."
        self.rtt_s: float | None = None
        self.remote_lost = 0
        self.remote_fraction_lost = 0.0
        "Of our packets, since the report before, 0 to 1."
        self.remote_jitter = 0
        "In ticks of the stream's clock."
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._expected_before = 0
        self._received_before = 0
        self._sent_before = 0

    def plan(self, now: float, randomness: float) -> None:
        """Set `due_at` 0.5 to 1.5 intervals ahead; `randomness` is within 0-1 (RFC 3550 §6.3.1)."""
        self.due_at = now + INTERVAL_S * (0.5 + randomness)

    def report(
        self,
        ssrc: int | None,
        sent: Sent,
        received: Received | None,
        now: float,
        unix_s: float,
        *,
        goodbye: bool = False,
    ) -> bytes:
        """The compound packet that is due: a sender report if anything was sent since the last one.

        `ssrc` is that of the stream we send, None if we never sent any.
        """
        sender = None
        if sent.packets != self._sent_before:
            self._sent_before = sent.packets
            sender = SenderInfo(ntp_of(unix_s), sent.timestamp, sent.packets, sent.octets)
        blocks = (self._block(received, now),) if received is not None else ()
        return compound(Report(self.ssrc if ssrc is None else ssrc, sender, blocks), self.cname, goodbye=goodbye)

    def forget_source(self) -> None:
        """The received stream is another one from now on."""
        self._expected_before = self._received_before = 0
        self._last_sr = 0

    def receive(
        self, data: bytes | memoryview, ssrc: int | None, now: float, unix_s: float, source: int | None = None
    ) -> None:
        """Read a compound packet of the remote party; `ssrc` is that of our stream.

        `source`: the stream it sends us, if it may send several.
        """
        middle = ntp_of(unix_s) >> 16 & 0xFFFFFFFF
        for packet in parse(data):
            if not isinstance(packet, Report):
                continue
            if packet.sender is not None and (source is None or packet.ssrc == source):
                self._last_sr = packet.sender.middle
                self._last_sr_at = now
            for block in packet.blocks:
                if block.ssrc == ssrc:
                    self.remote_lost = block.lost
                    self.remote_fraction_lost = block.fraction_lost / 256
                    self.remote_jitter = block.jitter
                    if block.last_sr:
                        round_trip = (middle - block.last_sr - block.delay) & 0xFFFFFFFF
                        if round_trip < 0x80000000:  # else a clock was set back
                            self.rtt_s = round_trip / 65536

    def _block(self, received: Received, now: float) -> ReportBlock:
        expected = received.expected - self._expected_before
        lost = expected - (received.received - self._received_before)
        self._expected_before = received.expected
        self._received_before = received.received
        fraction = min(255, lost * 256 // expected) if expected > 0 and lost > 0 else 0
        return ReportBlock(
            received.ssrc,
            fraction,
            received.expected - received.received,
            received.highest,
            received.jitter,
            self._last_sr,
            int((now - self._last_sr_at) * 65536) if self._last_sr else 0,
        )
