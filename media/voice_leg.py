"""[io] A leg that also speaks by itself: players, digits, RTCP reports, and a watch over the other side's silence."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .codecs import KNOWN, Codec
from .coders import G722, G722_MODULE, can_code, is_loaded
from .dtmf import EventWriter
from .errors import MediaError
from .leg import Attachment, LegStats
from .negotiation import Negotiation
from .out_stream import OutStream
from .player import comfort_frames
from .receiver import AudioReceiver, SampleSink
from .relay_leg import Address, RelayLeg
from .rtcp_session import Received, Sent
from .rtp import HEADER, HEADER_SIZE, MARKER, MASK32, VERSION_2
from .sdp import RECEIVE
from .transcode import target_of, transcoder

FRAMES_A_SECOND = 50  # of players

Tap = tuple[SampleSink, int]
"Who hears a leg, and at which rate in Hz."

_monotonic = time.monotonic


class VoiceHost(Protocol):
    """What such a leg needs of the engine."""

    timeout_s: float

    def every_tick(self, tick: Callable[[float], bool]) -> None:
        """Call this every 20 ms with the monotonic time, until it returns False."""

    def load(self, module: str) -> None:
        """Import in the background what takes long."""


class VoiceLeg(RelayLeg):
    """All of a leg but its transport: a subclass brings the way packets and reports take."""

    __slots__ = (
        "_event_ts",
        "_hushed",
        "_silent_since",
        "_speaking_ts",
        "_talking",
        "_tap",
        "_ticking",
        "_timed_out",
        "_voice_host",
        "_watched_count",
        "attachment",
    )

    def __init__(self, leg_id: str, host: VoiceHost, negotiation: Negotiation) -> None:
        super().__init__(leg_id, negotiation)
        self._voice_host = host
        self.attachment: Attachment | None = None
        self._speaking_ts: int | None = None
        self._event_ts = 0
        self._tap: Tap | None = None
        self._ticking = self._talking = False
        self._hushed = 0
        "Frames of comfort noise that others heard in place of a party that is muted."
        self._timed_out = False
        self._silent_since: float | None = None
        self._watched_count = 0

    @property
    def _port(self) -> int:
        """The port that we announce; 0 once closed."""
        raise NotImplementedError

    @property
    def _local(self) -> Address:
        """The address and port that the remote party sends to; port 0 once closed."""
        return self._negotiation.host, self._port

    def close(self) -> None:
        """Free the transport and whatever is attached. Harmless twice."""
        raise NotImplementedError

    def _send_report(self, packet: bytes) -> None:
        """Send a compound RTCP packet, if the way is known and open."""
        raise NotImplementedError

    def receive_offer(self, sdp: str) -> None:
        """Take a remote offer."""
        super().receive_offer(sdp)
        self._foresee()

    def receive_answer(self, sdp: str) -> None:
        """Take the answer to our offer, or a later one to the same offer."""
        super().receive_answer(sdp)
        self._foresee()

    def _foresee(self) -> None:
        """Load what the party's first choice may take, before it speaks."""
        if self.codecs and self.codecs[0].key == G722:
            self._loaded(self.codecs[:1])

    def _loaded(self, codecs: Sequence[Codec]) -> bool:
        """True if these can be coded; else they are being loaded."""
        if not is_loaded(codecs):
            self._voice_host.load(G722_MODULE)
            return False
        return True

    # What we hear.

    def tap(self, tap: Tap | None) -> None:
        """Decode all that we receive, for somebody."""
        self._tap = tap
        self.rewire()

    @property
    def _tapped(self) -> bool:
        return self._tap is not None and not self._muted

    def _hear(self, payload_type: int, seq: int, timestamp: int, payload: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            receiver = self._receiver = self._open_receiver()
            if receiver is None:
                return
        if self._joined:
            self._depart(unsent=1)
        receiver.receive(payload_type, seq, timestamp, payload, _monotonic())
        if receiver.waiting and not self._ticking:
            self._ticking = True
            self._voice_host.every_tick(self._tick_receiver)

    def _open_receiver(self) -> AudioReceiver | None:
        """A decoder of the stream that begins; None if there is nobody to hear it, or it must be loaded first."""
        peer, agreement = self._peer, self._agreement
        if agreement is None:
            return None
        received = agreement.receives
        if self._tap is not None:
            if not self._loaded(received):
                return None
            sink, rate_hz = self._tap
            return AudioReceiver(received, rate_hz, sink)
        codec = target_of(peer.sends) if peer is not None else None
        if codec is None or not isinstance(peer, VoiceLeg):
            return None
        if not self._loaded((codec, *received)):
            return None
        return transcoder(received, codec, peer.ptime_ms, peer.maxptime_ms, peer)

    def _tick_receiver(self, now: float) -> bool:
        receiver = self._receiver
        if receiver is not None and receiver.waiting:
            receiver.handle_tick(now)
        self._ticking = receiver is not None and receiver.waiting
        return self._ticking

    def _deafen(self) -> None:
        if self._receiver is not None:
            self._receiver = None
            if isinstance(self._peer, VoiceLeg):
                self._peer.pause()

    def _restart(self, seq: int, timestamp: int) -> None:
        super()._restart(seq, timestamp)
        self._deafen()

    def mute(self, on: bool) -> None:
        """Drop what this party says, but not its digits, until told otherwise; others hear comfort noise meanwhile."""
        if on == self._muted:
            return
        self._muted = on
        self.rewire()
        if on:
            self._voice_host.every_tick(self._hush)

    def _hush(self, now: float) -> bool:
        """Comfort noise in place of the party that is muted."""
        peer, agreement = self._peer, self._agreement
        speaks = self._muted and agreement is not None and bool(agreement.direction & RECEIVE)
        if isinstance(peer, VoiceLeg) and peer is not self:
            codec = peer.voice if speaks else None
            if codec is None:
                peer.pause()
            else:
                frames = comfort_frames(KNOWN[codec.key[0]])
                self._hushed += 1
                peer.play(codec, frames[self._hushed % len(frames)], now)
        return self._muted and self._port != 0

    # What we send by ourselves.

    @property
    def voice(self) -> Codec | None:
        """The codec to play in, None if we may not send, have none that we can encode, or must load it first."""
        if self._writer is not None:
            return None
        codec = target_of(self.sends)
        return codec if codec is not None and self._loaded((codec,)) else None

    @property
    def can_hear_players(self) -> bool:
        """True if it agreed on a codec that we can encode, held or not."""
        return any(can_code(codec) for codec in self.codecs)

    @property
    def maxptime_ms(self) -> int | None:
        """The most milliseconds of audio a packet that the remote party takes (RFC 8866 §6.4), if it said."""
        remote = self._negotiation.remote
        return remote.media.maxptime_ms if remote is not None else None

    @property
    def loss_percent(self) -> int:
        """How much of what we sent lately was lost, as the remote party reports it."""
        return round(100 * self._rtcp.remote_fraction_lost)

    def play(self, codec: Codec, frame: bytes, now: float) -> None:
        """Send the next 20 ms of a player."""
        self.say(codec, frame, codec.clock_hz // FRAMES_A_SECOND, now)

    def say(self, codec: Codec, payload: bytes, ticks: int, now: float) -> None:
        """Send a packet of our own, which lasts so many ticks of the codec's clock."""
        stream = self._own_stream(now)
        marker = 0
        if not self._talking:
            marker = MARKER  # RFC 3551 §4.1: the first after a silence
            self._talking = True
        if self._speaking_ts is None or stream.clock_hz != codec.clock_hz:
            self._speaking_ts = stream.timestamp(now)
            stream.clock_hz = codec.clock_hz
        self._speaking_ts = timestamp = (self._speaking_ts + ticks) & MASK32
        header = HEADER.pack(VERSION_2, marker | codec.payload_type, stream.next_seq(), timestamp, stream.ssrc)
        self.transmit(header + payload)
        stream.anchor = now * stream.clock_hz - timestamp

    def be_silent(self, ticks: int) -> None:
        """Send nothing for so long; timestamps go on."""
        self._talking = False
        if self._speaking_ts is not None:
            self._speaking_ts = (self._speaking_ts + ticks) & MASK32

    def say_event(self, kind: int, payload: bytes, fresh: bool, now: float) -> None:
        """Send a telephone-event of somebody else's in the stream of our own."""
        stream = self._own_stream(now)
        if fresh:
            self._event_ts = stream.timestamp(now)
        self.transmit(HEADER.pack(VERSION_2, kind, stream.next_seq(), self._event_ts, stream.ssrc) + payload)

    def pause(self) -> None:
        """The player has nothing to send, or must not."""
        self._speaking_ts = None
        self._talking = False

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
            self._voice_host.every_tick(self.tick)

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

    def _counts(self, digit: str) -> bool:
        """Ask `on_dtmf_begin`."""
        return self.on_dtmf_begin is None or self.on_dtmf_begin(self, digit)

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
        timeout_s = self._voice_host.timeout_s
        if not self._timed_out and now - self._silent_since >= timeout_s:
            self._timed_out = True
            self.on_timeout(self, f"no RTP for {timeout_s:g} s")

    def _report(self, now: float, *, goodbye: bool = False) -> None:
        """Send a compound RTCP packet (RFC 3550 §6)."""
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
        self._send_report(packet)

    @property
    def stats(self) -> LegStats:
        """A snapshot of the counters."""
        rtcp = self._rtcp
        per_ms = self._clock_hz / 1000
        packets, octets = self._sent_in_all
        return LegStats(
            local=self._local,
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
