"""[io] A leg of plain RTP: sockets, the relay path, and what our side sends by itself."""

from __future__ import annotations

import random
import time
from typing import Protocol

from .codecs import Codec
from .dtmf import EventWriter
from .errors import MediaError
from .learning import SourceLearning
from .leg import Attachment, LegStats
from .negotiation import Agreement, Negotiation
from .out_stream import OutStream
from .poller import Poller
from .ports import CAN_DISCONNECT, PortPair, disconnect
from .relay import NOTHING
from .relay_leg import CLOCKS_HZ, Address, RelayLeg
from .rtcp_session import Received, Sent
from .rtp import BUFFER, HEADER, HEADER_SIZE, MARKER, MASK32, MAX_PACKET, VERSION_2, VERSION_MASK, VIEWS
from .sdp import RECEIVE

G711_CLOCK_HZ = 8_000

_monotonic = time.monotonic


class LegHost(Protocol):
    """What a leg needs of the engine."""

    poller: Poller
    timeout_s: float
    advertised_host: str

    def is_own(self, address: Address) -> bool:
        """True for an address of this engine: relaying to it could make a loop."""

    def speak(self, leg: RtpLeg) -> None:
        """Call `leg.tick` every 20 ms until it returns False."""

    def closed(self, leg: RtpLeg, pair: PortPair) -> None:
        """The leg is gone; its ports are free."""


class RtpLeg(RelayLeg):
    """One RTP stream over two UDP sockets of its own."""

    __slots__ = (
        "_connected",
        "_event_ts",
        "_host",
        "_learning",
        "_pair",
        "_peer_host",
        "_rtcp_destination",
        "_rtp_socket",
        "_signalled",
        "_silent_since",
        "_speaking_ts",
        "_timed_out",
        "_watched_count",
        "attachment",
    )

    def __init__(
        self, leg_id: str, host: LegHost, pair: PortPair, negotiation: Negotiation, peer_host: str | None
    ) -> None:
        super().__init__(leg_id, negotiation)
        self._host = host
        self._pair: PortPair | None = pair
        self._rtp_socket = pair.rtp
        self._peer_host = peer_host
        self.attachment: Attachment | None = None
        self._rtcp_destination: Address | None = None
        self._signalled: Address | None = None
        self._learning = SourceLearning(None, None, 0.0)
        self._connected = False
        self._source = self._sink = self
        self._speaking_ts: int | None = None
        self._event_ts = 0
        self._timed_out = False
        self._silent_since: float | None = None
        self._watched_count = 0

    # Whom we hear.

    def recv_into(self, buffer: bytearray, /) -> int:
        """Receive while the source is not settled, in place of the socket; 0 for a packet of somebody else."""
        size, sender = self._rtp_socket.recvfrom_into(buffer)
        address: Address = sender[:2]
        now = _monotonic()
        learning = self._learning
        before = learning.source
        if size < HEADER_SIZE or buffer[0] & VERSION_MASK != VERSION_2:
            return 0
        if address != before and self._host.is_own(address):
            return 0
        if not learning.hear(address, now):
            return 0
        if learning.source != before:
            self._on_source(address)
        if learning.settled(now):
            self._settle(address)
        return int(size)

    def _on_source(self, address: Address) -> None:
        """Packets come from here now: send there too."""
        self._ssrc = None
        if address != self._destination:
            known = self._destination is not None
            self._destination = address
            self._rtcp_destination = (address[0], min(address[1] + 1, 65535))
            if not known and self._peer is not None:
                self._peer.rewire()

    def _settle(self, address: Address) -> None:
        """Hear nobody else from now on; the kernel sees to it, and its calls without addresses are cheaper."""
        if not CAN_DISCONNECT or self._connected:
            return
        try:
            self._rtp_socket.connect(address)
        except OSError:  # no route just now: `SourceLearning` goes on keeping others out
            return
        self._connected = True
        self._source = self._rtp_socket
        self._send_by(self._rtp_socket)

    def _open_to_all(self) -> None:
        if self._connected:
            disconnect(self._rtp_socket)
            self._connected = False
        self._source = self
        self._send_by(self)

    def send(self, packet: memoryview | bytes, /) -> int:
        """Send while the socket is not connected, in its place."""
        assert self._destination is not None
        return self._rtp_socket.sendto(packet, self._destination)

    def _apply(self, agreement: Agreement) -> None:
        pair = self._pair
        if pair is None:
            return
        self._depart()
        first = self._agreement is None
        self._agreement = agreement
        clock_hz = agreement.codecs[0].clock_hz
        self._clock_hz = CLOCKS_HZ.get(clock_hz, clock_hz)
        remote = agreement.remote
        if remote.rtp is not None and remote.rtp != self._signalled:
            self._signalled = self._destination = remote.rtp
            self._rtcp_destination = remote.rtcp
        self._learning = SourceLearning(self._signalled, self._peer_host, _monotonic())
        self._ssrc = None
        self._open_to_all()
        if first:
            self._host.poller.add(pair.rtp.fileno(), self.on_packet)
            self._host.poller.add(pair.rtcp.fileno(), self._on_rtcp)
        self.rewire()
        if self._peer is not None and self._peer is not self:
            self._peer.rewire()

    # What we send by ourselves.

    @property
    def law(self) -> Codec | None:
        """The G.711 codec to play in, None if we may not send or have none."""
        if self._writer is not None:
            return None
        return next((codec for codec in self.sends if codec.is_g711), None)

    def play(self, payload_type: int, frame: bytes, now: float) -> None:
        """Send the next 20 ms of a player."""
        stream = self._own_stream(now)
        marker = 0
        if self._speaking_ts is None:
            marker = MARKER
            self._speaking_ts = stream.timestamp(now)
            stream.clock_hz = G711_CLOCK_HZ
        self._speaking_ts = timestamp = (self._speaking_ts + len(frame)) & MASK32
        header = HEADER.pack(VERSION_2, marker | payload_type, stream.next_seq(), timestamp, stream.ssrc)
        self.transmit(header + frame)
        stream.anchor = now * stream.clock_hz - timestamp

    def pause(self) -> None:
        """The player has nothing to send, or must not."""
        self._speaking_ts = None

    def _own_stream(self, now: float) -> OutStream:
        stream = self._out
        if stream.ssrc is None:
            stream.clock_hz = self._clock_hz
            stream.begin(random.getrandbits(32), random.getrandbits(16), random.getrandbits(32), now)
        stream.feeder = None
        return stream

    def send_dtmf(self, digits: str, duration_ms: int = 160) -> None:
        """Queue digits as telephone-events; what is relayed to this party pauses meanwhile."""
        event = self._event
        if event is None:
            raise MediaError("telephone-event was not negotiated, or the party is on hold")
        writer = self._writer or EventWriter(event.clock_hz)
        writer.queue(digits, duration_ms)
        if self._writer is None:
            self._writer = writer
            if self._peer is not None:
                self._peer.rewire()
            self._host.speak(self)

    @property
    def _event(self) -> Codec | None:
        """The telephone-event format to send: the one at the clock of our codec, if there are several."""
        events = [codec for codec in self.sends if codec.is_event]
        return next((codec for codec in events if codec.clock_hz == self._clock_hz), events[0] if events else None)

    def tick(self, now: float) -> bool:
        """Send what 20 ms of waiting digits need; False when there are none left."""
        writer = self._writer
        if writer is None:
            return False
        event = self._event
        packet = writer.next()
        if packet is not None and event is not None:
            stream = self._own_stream(now)
            if packet.marker:
                self._event_ts = stream.timestamp(now)
            kind = event.payload_type | (MARKER if packet.marker else 0)
            header = HEADER.pack(VERSION_2, kind, stream.next_seq(), self._event_ts, stream.ssrc)
            self.transmit(header + packet.payload)
        if writer.idle or event is None:
            self._writer = None
            if self._peer is not None:
                self._peer.rewire()
            return False
        return True

    def _tell(self, digits: list[tuple[str, int]]) -> None:
        """Call `on_dtmf`."""
        for digit, duration_ms in digits:
            if self.on_dtmf is not None:
                self.on_dtmf(self, digit, duration_ms)

    # Once a second.

    def check(self, now: float) -> None:
        """Reports, silence, and digits whose end was lost."""
        for reader in self._readers.values():
            if reader.waiting:
                self._tell(reader.expire(now))
        if self._agreement is None:
            return
        if self._rtcp.due_at is None:
            self._rtcp.plan(now, random.random())
        elif now >= self._rtcp.due_at:
            self._rtcp.plan(now, random.random())
            self._report(now)
        self._watch(now)

    def _watch(self, now: float) -> None:
        agreement = self._agreement
        expected = agreement is not None and agreement.direction & RECEIVE and not agreement.on_hold
        if not expected or self.on_timeout is None:
            self._silent_since = None
            return
        received = self._received
        if self._silent_since is None or received != self._watched_count:
            self._silent_since, self._watched_count = now, received
        timeout_s = self._host.timeout_s
        if not self._timed_out and now - self._silent_since >= timeout_s:
            self._timed_out = True
            self.on_timeout(self, f"no RTP for {timeout_s:g} s")

    def _report(self, now: float, *, goodbye: bool = False) -> None:
        """Send a compound RTCP packet (RFC 3550 §6)."""
        pair, destination = self._pair, self._rtcp_destination
        if pair is None or destination is None or self._host.is_own(destination):
            return
        stream = self._out
        timestamp = stream.timestamp(now)
        feeder = self._peer
        if feeder is not None and feeder._joined:
            timestamp = int(now * feeder._clock_hz - feeder._transit + feeder._shift_ts) & MASK32
        received = None
        if self._old_ssrc is not None:
            expected = self._highest - self._first + 1
            count = expected - self._missing
            received = Received(self._old_ssrc, self._highest & MASK32, expected, count, int(self._jitter))
        packets, octets = self._sent_in_all
        sent = Sent(packets, octets - HEADER_SIZE * packets, timestamp)
        packet = self._rtcp.report(stream.ssrc, sent, received, now, time.time(), goodbye=goodbye)
        try:
            pair.rtcp.sendto(packet, destination)
        except OSError:  # a lost report; the next one says the same
            return

    def _on_rtcp(self) -> bool:
        """RTCP may be waiting on its socket; False if there was none."""
        if self._pair is None:
            return False
        try:
            size, sender = self._pair.rtcp.recvfrom_into(BUFFER)
        except OSError:  # nothing there after all
            return False
        host = self._destination[0] if self._destination is not None else None
        if sender[0] != host or self._host.is_own(sender[:2]):
            return True
        self._rtcp_destination = sender[:2]
        self._rtcp.receive(VIEWS[min(size, MAX_PACKET - 1)], self._out.ssrc, _monotonic(), time.time())
        return True

    @property
    def stats(self) -> LegStats:
        """A snapshot of the counters."""
        rtcp = self._rtcp
        per_ms = self._clock_hz / 1000
        packets, octets = self._sent_in_all
        return LegStats(
            local=(self._host.advertised_host, self._pair.port if self._pair is not None else 0),
            remote=self._destination,
            packets_sent=packets,
            octets_sent=octets - HEADER_SIZE * packets,
            packets_received=self._received,
            octets_received=self._octets - HEADER_SIZE * self._received,
            packets_lost=self._expected - self._received,
            packets_refused=self._refused,
            jitter_ms=self._jitter / per_ms,
            rtt_ms=rtcp.rtt_s * 1000 if rtcp.rtt_s is not None else None,
            remote_packets_lost=rtcp.remote_lost,
            remote_jitter_ms=rtcp.remote_jitter / per_ms,
        )

    def close(self) -> None:
        """Say goodbye by RTCP, free the ports and whatever is attached."""
        pair = self._pair
        if pair is None:
            return
        if self._sent_in_all[0] or self._received:
            self._report(_monotonic(), goodbye=True)
        self._depart()
        agreed, self._agreement = self._agreement is not None, None
        if self.attachment is not None:
            self.attachment.close()
        if agreed:
            self._host.poller.remove(pair.rtp.fileno())
            self._host.poller.remove(pair.rtcp.fileno())
        self._pair = self._writer = None
        self._route = NOTHING
        self._source = self._sink = CLOSED  # ourselves in there would keep us until the next garbage collection
        self._host.closed(self, pair)


class _Closed:
    """In place of the socket of a leg that is closed."""

    def recv_into(self, buffer: bytearray, /) -> int:
        raise OSError("the leg is closed")

    def send(self, packet: memoryview | bytes, /) -> int:
        raise OSError("the leg is closed")


CLOSED = _Closed()
