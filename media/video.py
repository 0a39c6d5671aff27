"""The video of one leg: relayed packet by packet to the video of another leg, never decoded.

What a receiver misses is sent again from what we keep, or asked of the source; requests for a keyframe go to the
source. Reports are ours on each leg (RFC 3550 §6), numbers are fitted as for audio (RFC 3550 §5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from .leg import VideoStats
from .out_stream import OutStream
from .rtcp import KeyframeRequest, Nack, Report, compound, parse
from .rtcp_session import Received, RtcpSession, Sent
from .rtp import HEADER, HEADER_SIZE, MARKER, MASK16, MASK32, MAX_PACKET, VERSION_2, VERSION_MASK, payload_offset

CLOCK_HZ: Final = 90_000
KEPT: Final = 256  # packets to send again; about a second at 2.5 Mbit/s, and 300 KB
RESENT_A_S: Final = 512  # packets that one receiver may have sent again; more is no loss but an attack
SUCCESSION_S: Final = 0.2  # another SSRC is taken once the one before was silent for this long
KEYFRAME_PAUSE_S: Final = 0.1  # between requests: what is on its way need not be asked for again
HALF: Final = 0x8000  # of the sequence numbers: what is further ahead is behind


class VideoStream:
    """Both directions of one leg's video. `now` is monotonic, in seconds."""

    def __init__(
        self, ssrc: int, cname: str, send: Callable[[bytes], bool], send_rtcp: Callable[[bytes], None]
    ) -> None:
        """`ssrc` and `cname` are those of what we send; `send` tells whether it could."""
        self.ssrc = ssrc
        self.packets_received = self.packets_sent = self.octets_sent = 0
        self.source: int | None = None
        "SSRC of the remote party's stream."
        self._send, self._send_rtcp = send, send_rtcp
        self._rtcp = RtcpSession(cname, ssrc)
        # Received.
        self._highest = self._first = self._received = 0
        self._lost_before = 0
        "Of the sources before this one."
        self._transit = self._jitter = 0.0
        self._last_ts = -1
        self._heard_at = 0.0
        self._asked_at: float | None = None
        self._unasked: bool | None = None
        "A keyframe was wanted too soon after the last request; True: by FIR."
        self._fir = 0
        # Where it goes.
        self._peer: VideoStream | None = None
        self._numbers: Mapping[int, int] = {}
        self._joined = False
        self._joined_at = self._shift_seq = self._shift_ts = 0
        # Sent, by whomever feeds it.
        self._out = OutStream(clock_hz=CLOCK_HZ)
        self._started = False
        self._feeder: VideoStream | None = None
        self._kept: dict[int, bytes] = {}
        self._resent = 0
        self._resent_from = 0.0

    # What the remote party sends.

    def route(self, peer: VideoStream | None, numbers: Mapping[int, int]) -> None:
        """Relay to this one from now on; `numbers`: payload types received -> sent."""
        if peer is self._peer and numbers == self._numbers:
            return
        self._depart()
        self._peer, self._numbers = peer, numbers

    def receive(self, packet: bytes, now: float) -> None:
        """A packet of a video payload type."""
        size = len(packet)
        if not HEADER_SIZE <= size < MAX_PACKET:
            return
        first, kind, seq, timestamp, ssrc = HEADER.unpack_from(packet)
        if first & VERSION_MASK != VERSION_2:
            return
        if ssrc != self.source and not self._admit(ssrc, seq, timestamp, now):
            return
        self._count(seq, timestamp, now)
        if self._unasked is not None:
            self.request_keyframe(now, full=self._unasked)
        peer, out = self._peer, self._numbers.get(kind & ~MARKER)
        if peer is None or out is None:
            return
        if not self._joined:
            self._join(peer, seq, timestamp, now)
        elif self._shift_seq and (seq - self._joined_at) & MASK16 >= HALF:
            return  # from before: its number was another source's
        if first & 0x1F:  # extensions and CSRCs are not negotiated
            payload = packet[payload_offset(packet, size) :]
            first &= 0xE0
        else:
            payload = packet[HEADER_SIZE:]
        seq, timestamp = (seq + self._shift_seq) & MASK16, (timestamp + self._shift_ts) & MASK32
        peer._relay(HEADER.pack(first, kind & MARKER | out, seq, timestamp, peer.ssrc) + payload, seq, timestamp, now)

    def _admit(self, ssrc: int, seq: int, timestamp: int, now: float) -> bool:
        if self.source is not None and now - self._heard_at < SUCCESSION_S:
            return False
        self._depart()
        self._lost_before = self._lost
        self.source = ssrc
        self._first, self._highest, self._received = seq, seq - 1, 0
        self._jitter, self._last_ts = 0.0, -1
        self._rtcp.forget_source()
        return True

    @property
    def _lost(self) -> int:
        if self.source is None:
            return 0
        return self._lost_before + self._highest - self._first + 1 - self._received

    @property
    def stats(self) -> VideoStats | None:
        """A snapshot of the counters, None while they are all zero."""
        if not self.packets_received and not self.packets_sent:
            return None
        rtcp = self._rtcp
        return VideoStats(
            packets_sent=self.packets_sent,
            octets_sent=self.octets_sent,
            packets_received=self.packets_received,
            packets_lost=self._lost,
            jitter_ms=self._jitter * 1000 / CLOCK_HZ,
            rtt_ms=rtcp.rtt_s * 1000 if rtcp.rtt_s is not None else None,
            remote_packets_lost=rtcp.remote_lost,
            remote_jitter_ms=rtcp.remote_jitter * 1000 / CLOCK_HZ,
        )

    def _count(self, seq: int, timestamp: int, now: float) -> None:
        self._heard_at = now
        self.packets_received += 1
        self._received += 1
        ahead = (seq - self._highest) & MASK16
        if ahead >= HALF:
            return
        self._highest += ahead
        if timestamp != self._last_ts:  # the packets of one frame share it
            transit = now * CLOCK_HZ - timestamp
            moved = abs(transit - self._transit)
            if self._last_ts >= 0 and moved < CLOCK_HZ:  # else its clock has jumped, or wrapped
                self._jitter += (moved - self._jitter) / 16
            self._transit, self._last_ts = transit, timestamp

    def _join(self, peer: VideoStream, seq: int, timestamp: int, now: float) -> None:
        """Fit our source to what the peer's party has seen so far; it needs a keyframe to begin with."""
        stream = peer._out
        if peer._started:
            self._shift_seq = (stream.seq + 1 - seq) & MASK16
            self._shift_ts = stream.timestamp(now) - timestamp
        else:
            self._shift_seq = self._shift_ts = 0
            peer._started = True
            stream.begin(peer.ssrc, (seq - 1) & MASK16, timestamp, now)
        peer._feeder = self
        self._joined, self._joined_at = True, seq
        self.request_keyframe(now)

    def _depart(self) -> None:
        if self._joined and self._peer is not None and self._peer._feeder is self:
            self._peer._feeder = None
        self._joined = False

    # What the remote party receives.

    def _relay(self, packet: bytes, seq: int, timestamp: int, now: float) -> None:
        stream = self._out
        if (seq - stream.seq) & MASK16 < HALF:
            stream.seq = seq
            stream.anchor = now * CLOCK_HZ - timestamp
        self._kept[seq] = packet
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        self._transmit(packet)

    def _transmit(self, packet: bytes) -> None:
        if self._send(packet):
            self.packets_sent += 1
            self.octets_sent += len(packet) - HEADER_SIZE

    # RTCP.

    def receive_rtcp(self, data: bytes, now: float, unix_s: float) -> None:
        """A compound packet of the remote party, of whatever streams."""
        self._rtcp.receive(data, self.ssrc, now, unix_s, -1 if self.source is None else self.source)
        for packet in parse(data):
            if isinstance(packet, Nack) and packet.ssrc == self.ssrc:
                self._repeat(packet.seqs, now)
            elif isinstance(packet, KeyframeRequest) and packet.ssrc == self.ssrc and self._feeder is not None:
                self._feeder.request_keyframe(now, full=packet.number is not None)

    def _repeat(self, seqs: tuple[int, ...], now: float) -> None:
        """Send again what we have, ask the source for the rest."""
        if now - self._resent_from >= 1:
            self._resent, self._resent_from = 0, now
        missing = []
        for seq in seqs:
            packet = self._kept.get(seq)
            if packet is None:
                missing.append(seq)
            elif self._resent < RESENT_A_S:
                self._resent += 1
                self._transmit(packet)
        if missing and self._feeder is not None:
            self._feeder._ask_again(missing)

    def _ask_again(self, seqs: list[int]) -> None:
        """Pass on what the peer's party misses, in the numbers of our source."""
        own = [(seq - self._shift_seq) & MASK16 for seq in seqs]
        wanted = tuple(seq for seq in own if (seq - self._joined_at) & MASK16 < HALF)
        if wanted and self.source is not None:
            self._feed_back(Nack(self.source, wanted).to_bytes(self.ssrc))

    def request_keyframe(self, now: float, *, full: bool = False) -> None:
        """Ask the source for a keyframe, now or after a pause: by PLI, or by FIR if `full`."""
        if self.source is None:
            return
        if self._asked_at is not None and now - self._asked_at < KEYFRAME_PAUSE_S:
            self._unasked = full
            return
        self._asked_at, self._unasked = now, None
        if full:
            self._fir = (self._fir + 1) & 0xFF
        self._feed_back(KeyframeRequest(self.source, self._fir if full else None).to_bytes(self.ssrc))

    def _feed_back(self, packet: bytes) -> None:
        self._send_rtcp(compound(Report(self.ssrc, None, ()), self._rtcp.cname) + packet)

    def report(self, now: float, unix_s: float, *, goodbye: bool = False) -> None:
        """Send our counters, if there is anything to say."""
        received = None
        if self.source is not None:
            expected = self._highest - self._first + 1
            received = Received(self.source, self._highest & MASK32, expected, self._received, int(self._jitter))
        if received is None and not self._started:
            return
        sent = Sent(self.packets_sent, self.octets_sent, self._out.timestamp(now))
        ssrc = self.ssrc if self._started else None
        self._send_rtcp(self._rtcp.report(ssrc, sent, received, now, unix_s, goodbye=goodbye))
