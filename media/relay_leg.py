"""[io] The relay path: what a leg does with each RTP packet it receives."""

from __future__ import annotations

import random
import time
from typing import Protocol

from . import relay
from .codecs import Codec
from .dtmf import EventReader, EventWriter, at_clock
from .negotiation import Agreement, Negotiation
from .out_stream import OutStream
from .receiver import AudioReceiver
from .relay import NOTHING, Plan, Route, plan_for
from .rtcp_session import RtcpSession
from .rtp import (
    BUFFER,
    HEADER,
    HEADER_SIZE,
    MARKER,
    MASK16,
    MASK32,
    MAX_PACKET,
    TAIL,
    VERSION_2,
    VERSION_MASK,
    VIEWS,
    payload_end,
    payload_offset,
)
from .sdp import RECEIVE, SEND
from .sdp_leg import SdpLeg

CLOCKS_HZ = {hz: hz for hz in (8_000, 16_000, 48_000)}
"Numbers read with every packet should be one object, not one a leg: then they stay in the processor's cache."

SUCCESSION_S = 0.2  # a new SSRC of the settled source is taken once the old one was silent for this long
MAX_DROPOUT = 3000  # RFC 3550 appendix A.1: a larger jump of sequence numbers is a restart of the sender
MAX_MISORDER = 100
MAX_MOVED = 8000  # ticks; 1 s of G.711
FRAME_MS = 20

Address = tuple[str, int]

_monotonic = time.monotonic
_read_header = HEADER.unpack_from
_write_tail = TAIL.pack_into


class PacketSource(Protocol):
    """Where packets come from: a socket, or who looks at their senders first."""

    def recv_into(self, buffer: bytearray, /) -> int:
        """Receive into the buffer; the size, or 0 for what is not ours."""


class PacketSink(Protocol):
    """Where packets go to: a connected socket, or who knows the address."""

    def send(self, packet: memoryview | bytes, /) -> int:
        """Send one packet whole. Raises OSError."""


class PacketState(SdpLeg):
    """What is touched with every packet, kept together and little of it.

    With hundreds of legs most of the time goes into fetching their state from memory, and each number that
    changes is an object of its own. So nothing is counted that can be worked out: packets from sequence numbers,
    octets from runs of equal sizes, what was sent from what was received. For the same reason sockets are kept and
    not their bound methods: those would be two more objects to fetch.
    """

    __slots__ = (
        "_clock_hz",
        "_forward",
        "_highest",
        "_jitter",
        "_route",
        "_shifted",
        "_size",
        "_source",
        "_ssrc",
        "_transit",
    )

    def __init__(self, leg_id: str, negotiation: Negotiation) -> None:
        super().__init__(leg_id, negotiation)
        self._source: PacketSource
        self._ssrc: int | None = None
        self._highest = -1
        "Extended sequence number: not cut to 16 bits."
        self._size = -1
        "Of the last packet; of none yet, which no packet has: a packet of somebody else comes as one of 0 octets."
        self._route: Route = NOTHING
        self._clock_hz = 8_000
        self._transit = self._jitter = 0.0
        "In ticks of that clock (RFC 3550 §6.4.1)."
        self._shifted = False
        "Whether headers are to be rewritten."
        self._forward: PacketSink
        "Sends to the peer's party; set while a route leads there."


class RelayLeg(PacketState):
    """A leg from the packet on: counting, telling digits, relaying to a peer. A subclass brings the sockets."""

    __slots__ = (
        "_agreement",
        "_candidate",
        "_destination",
        "_expected_before",
        "_first",
        "_joined",
        "_kept",
        "_kept_octets",
        "_missing",
        "_muted",
        "_octets_before",
        "_old_ssrc",
        "_out",
        "_peer",
        "_plan",
        "_readers",
        "_received_before",
        "_receiver",
        "_refused",
        "_relayed_before",
        "_relayed_event",
        "_rtcp",
        "_same_size_from",
        "_sent",
        "_sent_octets",
        "_shift_seq",
        "_shift_ts",
        "_sink",
        "_writer",
    )

    def __init__(self, leg_id: str, negotiation: Negotiation) -> None:
        super().__init__(leg_id, negotiation)
        self._agreement: Agreement | None = None
        self._peer: RelayLeg | None = None
        "To whom we relay what we receive, and who relays to us; oneself to echo."
        self._out = OutStream()
        self._sent = self._sent_octets = 0
        "Packets and octets sent, without what the peer relays since it joined."
        self._rtcp = RtcpSession(f"{random.getrandbits(64):016x}", random.getrandbits(32))
        self._writer: EventWriter | None = None
        self._sink: PacketSink
        self._destination: Address | None = None
        self._old_ssrc: int | None = None
        self._candidate: tuple[int, int, float] | None = None
        self._first = self._missing = 0
        self._received_before = self._expected_before = 0
        self._octets_before = self._same_size_from = 0
        self._kept = self._kept_octets = 0
        "What was received and not simply relayed."
        self._relayed_before = (0, 0)
        self._refused = 0
        self._plan: Plan = plan_for((), ())
        self._joined = self._muted = False
        self._shift_seq = self._shift_ts = 0
        self._readers: dict[int, EventReader] = {}
        self._relayed_event: int | None = None
        "Timestamp, as received, of the telephone-event that was relayed with another one last."
        self._receiver: AudioReceiver | None = None
        "Decodes what we receive, once there was any such."

    # Receiving. One packet a call: the poller knows when a second read is worth its cost.

    def on_packet(self) -> bool:
        """RTP may be waiting on the socket; False if there was none."""
        try:
            size = self._source.recv_into(BUFFER)
        except OSError:  # nothing there after all, or an ICMP error that reading has cleared
            return False
        if size != self._size and not self._admit_size(size):
            self._refused += 1
            return True
        first, kind, seq, timestamp, ssrc = _read_header(BUFFER)
        if (ssrc != self._ssrc or first & VERSION_MASK != VERSION_2) and not self._admit_source(
            first, seq, timestamp, ssrc
        ):
            self._refused += 1
            return True
        ahead = (seq - self._highest) & MASK16
        if ahead == 1:
            self._highest += 1
        else:
            self._follow_jump(seq, ahead, timestamp)
        out = self._route[kind]
        if out < 0:
            self._aside(out, size, kind, seq, timestamp)
            return True
        if not seq & 6:
            self._time(timestamp)
        if self._shifted:
            self._rewrite(out, seq, timestamp)
        elif out != kind:
            BUFFER[1] = out
        try:
            self._forward.send(VIEWS[size])
        except OSError:  # full buffer, or the ICMP error of an earlier packet: this packet is lost
            self._kept += 1
            self._kept_octets += size
        return True

    def _time(self, timestamp: int) -> None:
        """Note when a packet came, for jitter: RFC 3550 §6.4.1 asks for each, we take two neighbours of eight.

        The estimate is of the same thing, and steady after 3 s instead of 1; timing each costs 0.2 us a packet.
        """
        transit = _monotonic() * self._clock_hz - timestamp
        moved = abs(transit - self._transit)
        self._transit = transit
        if moved < MAX_MOVED:  # else the sender's clock has jumped, or wrapped
            self._jitter += (moved - self._jitter) * 0.0625

    def _admit_size(self, size: int) -> bool:
        """A size other than that of the packet before: the run of equal ones ends, if it can be RTP at all."""
        if not HEADER_SIZE <= size < MAX_PACKET:
            return False
        self._octets_before = self._octets
        self._same_size_from = self._received
        self._size = size
        return True

    @property
    def _received(self) -> int:
        """Packets received in all."""
        return self._received_before + self._highest - self._first + 1 - self._missing

    @property
    def _expected(self) -> int:
        """Packets that should have been received in all."""
        return self._expected_before + self._highest - self._first + 1

    @property
    def _octets(self) -> int:
        """Octets of all packets received, headers included."""
        return self._octets_before + self._size * (self._received - self._same_size_from)

    @property
    def _relayed(self) -> tuple[int, int]:
        """Packets and octets that `on_packet` has relayed by itself, since the leg was made."""
        return self._received - self._kept, self._octets - self._kept_octets

    @property
    def _sent_in_all(self) -> tuple[int, int]:
        """Packets and octets sent to our party, by whomever."""
        feeder = self._peer
        if feeder is None or not feeder._joined:
            return self._sent, self._sent_octets
        (packets, octets), (before, octets_before) = feeder._relayed, feeder._relayed_before
        return self._sent + packets - before, self._sent_octets + octets - octets_before

    def _admit_source(self, first: int, seq: int, timestamp: int, ssrc: int) -> bool:
        """Whether a packet of another SSRC than the settled one (or not RTP) is the stream of now."""
        if first & VERSION_MASK != VERSION_2:
            return False
        if self._ssrc is not None:
            now, heard, candidate = _monotonic(), self._received, self._candidate
            if candidate is None or candidate[:2] != (ssrc, heard):
                self._candidate = (ssrc, heard, now)
                return False
            if now - candidate[2] < SUCCESSION_S:
                return False
        self._candidate = None
        if ssrc != self._old_ssrc:
            self._restart(seq, timestamp)
        self._ssrc = self._old_ssrc = ssrc
        return True

    def _follow_jump(self, seq: int, ahead: int, timestamp: int) -> None:
        """A sequence number that is not the next one: loss, a late or doubled packet, or a restart."""
        if ahead <= MAX_DROPOUT:
            self._highest += ahead
            self._missing += ahead - 1
        elif ahead >= MASK16 + 1 - MAX_MISORDER:
            self._missing -= 1
        else:
            self._restart(seq, timestamp)
            self._highest += 1

    def _restart(self, seq: int, timestamp: int) -> None:
        """Another stream begins at this packet."""
        self._depart()
        self._received_before = self._received
        self._expected_before = self._expected
        self._first, self._missing = seq, 0
        self._highest = seq - 1
        self._transit = _monotonic() * self._clock_hz - timestamp
        self._jitter = 0.0
        self._rtcp.forget_source()

    def _aside(self, code: int, size: int, kind: int, seq: int, timestamp: int) -> None:
        """Every packet that is not simply relayed."""
        self._kept += 1
        self._kept_octets += size
        if code == relay.REFUSE:
            self._refused += 1
            return
        if code == relay.JOIN:
            fresh = self._join(seq, timestamp)
            code = self._route[kind]
            if code >= 0:
                self._relay(size, code | MARKER if fresh else code, seq, timestamp)
        if code == relay.EVENT:  # its timestamp stands still: of no use for jitter
            self._read_event(size, kind, seq, timestamp)
            return
        self._time(timestamp)
        if code == relay.HEAR:
            begin, end = payload_offset(BUFFER, size), payload_end(BUFFER, size)
            self._hear(kind & ~MARKER, seq, timestamp, bytes(VIEWS[size][begin : max(begin, end)]))
        elif code == relay.CONVERT:
            number, table = self._plan.conversions[kind & ~MARKER]
            begin, end = payload_offset(BUFFER, size), payload_end(BUFFER, size)
            if begin < end:
                BUFFER[begin:end] = BUFFER[begin:end].translate(table)
                self._relay(size, number | kind & MARKER, seq, timestamp)

    def _rewrite(self, out: int, seq: int, timestamp: int) -> None:
        """Put the numbers of the peer's stream into the header."""
        ssrc = self._peer._out.ssrc if self._peer is not None else 0
        _write_tail(BUFFER, 1, out, (seq + self._shift_seq) & MASK16, (timestamp + self._shift_ts) & MASK32, ssrc)

    def _relay(self, size: int, out: int, seq: int, timestamp: int) -> None:
        """What the end of `on_packet` does, for the rarer packets."""
        if self._peer is not None:
            self._rewrite(out, seq, timestamp)
            self._peer.transmit(VIEWS[size])

    def _read_event(self, size: int, kind: int, seq: int, timestamp: int) -> None:
        number = kind & ~MARKER
        route = self._plan.events[number]
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = EventReader(route.clock_hz)
        begin, end = payload_offset(BUFFER, size), payload_end(BUFFER, size)
        payload = VIEWS[size][begin : max(begin, end)]
        now = _monotonic()
        digits = reader.receive(timestamp, payload, now, self._counts)
        if self._receiver is not None:
            self._hear(number, seq, timestamp, b"")  # or it would count as missing
        if reader.refused:
            self._depart(unsent=1)  # the party's sequence numbers go on without it
            self._tell(digits)
            return
        if route.target >= 0 and self._joined and route.clock_hz == route.target_clock_hz:
            self._relay(size, route.target | kind & MARKER, seq, timestamp)
        elif route.target >= 0 and self._peer is not None:
            self._depart(unsent=1)
            fresh = timestamp != self._relayed_event
            self._relayed_event = timestamp
            payload_there = at_clock(payload, route.clock_hz, route.target_clock_hz)
            self._peer.say_event(route.target | kind & MARKER, payload_there, fresh, now)
        self._tell(digits)

    def _counts(self, digit: str) -> bool:
        """Whether a digit that begins is to be relayed and told."""
        raise NotImplementedError

    def _hear(self, payload_type: int, seq: int, timestamp: int, payload: bytes) -> None:
        """Audio that is to be decoded."""
        raise NotImplementedError

    def _deafen(self) -> None:
        """Forget the stream that was decoded."""
        raise NotImplementedError

    def say_event(self, kind: int, payload: bytes, fresh: bool, now: float) -> None:
        """Send a telephone-event to our party in the stream of our own; `fresh` if it is the first of its digit."""
        raise NotImplementedError

    def _tell(self, digits: list[tuple[str, int]]) -> None:
        """Digits were received, each with its duration in ms."""
        raise NotImplementedError

    # Whom it goes to.

    def _send_by(self, sink: PacketSink) -> None:
        """Send to our party in this way from now on."""
        self._sink = sink
        if self._peer is not None and self._peer._joined:
            self._peer._forward = sink

    def feed(self, peer: RelayLeg | None) -> None:
        """Relay what we receive to another leg, to ourselves (echo), or to nobody."""
        self._depart()
        self._peer = peer
        self.rewire()

    def rewire(self) -> None:
        """Work out anew what becomes of the packets we receive."""
        self._depart()
        self._deafen()
        agreement = self._agreement
        if agreement is None:
            return
        peer, receiving = self._peer, bool(agreement.direction & RECEIVE)
        sent: tuple[Codec, ...] = ()
        if peer is not None and receiving and peer._writer is None:
            sent = tuple(codec for codec in peer.sends if codec.is_event or not self._muted)
        self._plan = plan_for(agreement.receives, sent, receiving and self._tapped)
        self._route = self._plan.joining

    @property
    def _tapped(self) -> bool:
        """True if all that we receive is to be decoded."""
        raise NotImplementedError

    @property
    def sends(self) -> tuple[Codec, ...]:
        """The formats we may send now, as the remote party numbers them; none if it does not want any."""
        agreement = self._agreement
        if agreement is None or not agreement.direction & SEND or self._destination is None:
            return ()
        return (*agreement.codecs, *agreement.events)

    def _join(self, seq: int, timestamp: int) -> bool:
        """Fit our source to what the peer's party has seen so far; True if that party may notice the change."""
        peer = self._peer
        assert peer is not None
        if self._receiver is not None:
            self._deafen()
        stream = peer._out
        feeder = (self.id, self._old_ssrc or 0)
        fresh = stream.feeder != feeder
        now = _monotonic()
        if stream.ssrc is None and peer is not self:
            stream.ssrc = self._old_ssrc
            self._shift_seq = self._shift_ts = 0
            fresh = False
        else:
            if stream.ssrc is None:
                stream.begin(random.getrandbits(32), random.getrandbits(16), random.getrandbits(32), now)
            if fresh:
                self._shift_ts = stream.timestamp(now) + self._clock_hz * FRAME_MS // 1000 - timestamp
            self._shift_seq = stream.seq + 1 - seq
        stream.feeder = feeder
        stream.clock_hz = self._clock_hz
        self._shifted = stream.ssrc != self._old_ssrc or bool(self._shift_seq & MASK16 or self._shift_ts & MASK32)
        self._joined = True
        self._route = self._plan.joined
        self._forward = peer._sink
        self._relayed_before = self._relayed
        return fresh

    def _depart(self, unsent: int = 0) -> None:
        """Stop feeding the peer, leaving behind where its stream stands and what it was sent.

        `unsent`: packets counted already that go another way.
        """
        peer = self._peer
        if self._joined and peer is not None:
            peer._sent, peer._sent_octets = peer._sent_in_all
            self._joined = False
            self._route = self._plan.joining
            del self._forward
            stream = peer._out
            stream.seq = (self._highest - unsent + self._shift_seq) & MASK16
            stream.anchor = self._transit - self._shift_ts

    def transmit(self, packet: memoryview | bytes) -> None:
        """Send one RTP packet and count it."""
        try:
            self._sink.send(packet)
        except OSError:  # as in `on_packet`
            return
        self._sent += 1
        self._sent_octets += len(packet)
