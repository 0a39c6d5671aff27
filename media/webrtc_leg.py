"""[io] A leg towards a browser: one audio stream over ICE and DTLS-SRTP, relayed like any other."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, Protocol

from .codecs import Codec
from .errors import MediaError
from .ice import RTCP_FIRST, RTCP_LAST, DtlsSession, Keys, SecureTransport, SrtpError, fingerprint
from .leg import LegStats, MediaLeg
from .negotiation import Agreement, Negotiation, Remote
from .ports import PortPair
from .relay import NOTHING
from .relay_leg import CLOCKS_HZ, Address
from .rtp import HEADER_SIZE, MAX_PACKET
from .rtp_leg import CLOSED
from .sdp import RECEIVE, SEND
from .video import VideoStream
from .video_sdp import VideoAgreement, VideoNegotiation, video_key
from .voice_leg import VoiceHost, VoiceLeg
from .webrtc_sdp import RemoteTransport, WebRtcTransport, read_transport

SILENT_S = 10.0  # browsers send a check every 2.5 s at the latest: four missed ones, and it is gone
LINGER_S = 1.0  # an old path is heard for this long after the new one is in use: packets under way are not lost
MAX_CANDIDATES_EARLY = 64  # that come before the description they belong to is agreed on

State = Literal["new", "connected", "failed", "closed"]
Way = tuple[Callable[[bytes, tuple[str, int]], None], tuple[str, int]]
"Of a packet: `sendto` of a socket, and an address."

_monotonic = time.monotonic


class WebRtcHost(VoiceHost, Protocol):
    """What a leg needs of the engine."""

    def take_pairs(self) -> tuple[PortPair, ...]:
        """A port pair of each IP version that there is. Raises NoPortsLeft."""

    def give_back(self, pair: PortPair) -> None:
        """Close a pair; its ports are free."""

    def closed_later(self, leg: VoiceLeg, closing: Coroutine[Any, Any, None]) -> None:
        """The leg is gone; `closing` gives its ports back."""

    def finish(self, closing: Coroutine[Any, Any, None]) -> None:
        """Run this to its end, whatever becomes of the leg."""


class WebRtcLeg(VoiceLeg):
    """One SRTP stream with a browser.

    The verbs of MediaLeg answer at once, as the sockets are bound already; the way is found and the keys are agreed on
    in a task of the leg's own, which begins with the first agreement. An ICE restart does the same beside the path in
    use, which is left when the new one is ready (RFC 8445 §9).
    """

    __slots__ = (
        "_active",
        "_candidates",
        "_coming",
        "_heard",
        "_heard_at",
        "_keys",
        "_packet",
        "_prepared",
        "_remote_transport",
        "_restart_wanted",
        "_sdp",
        "_secure",
        "_send_to",
        "_task",
        "_video",
        "_video_numbers",
        "_webrtc_host",
        "failure",
        "on_state",
        "state",
    )

    def __init__(
        self,
        leg_id: str,
        host: WebRtcHost,
        pairs: Sequence[PortPair],
        policy: Sequence[Codec],
        session_id: int,
        *,
        video: bool = True,
    ) -> None:
        self._webrtc_host = host
        self._secure: SecureTransport | None = None
        "In use."
        self._coming: SecureTransport | None = None
        "Agreed on, and being connected."
        self._prepared: SecureTransport | None = SecureTransport(pairs)
        "Described, and not agreed on yet."
        self._sdp = WebRtcTransport(fingerprint())
        negotiation = Negotiation(policy, pairs[0].host, pairs[0].port, session_id, self._admit, self._sdp)
        super().__init__(leg_id, host, negotiation)
        self._describe(self._prepared)
        self._out.begin(random.getrandbits(32), random.getrandbits(16), random.getrandbits(32), _monotonic())
        self._video: VideoStream | None = None
        cname, ssrc, video_ssrc = self._rtcp.cname, self._out.ssrc or 0, random.getrandbits(32)
        self._sdp.name_streams(cname, audio=ssrc, video=video_ssrc)
        if video:
            negotiation.video = VideoNegotiation(self._sdp.stream_lines)
            self._video = VideoStream(video_ssrc, cname, self._send_video, self._send_report)
        self._video_numbers: frozenset[int] = frozenset()
        self._source = self._sink = self
        self._remote_transport: RemoteTransport | None = None
        self._active = self._restart_wanted = False
        self._keys: Keys | None = None
        self._send_to: Way | None = None
        self._packet = b""
        self._task: asyncio.Task[None] | None = None
        self._candidates: list[str | None] = []
        self._heard = 0
        self._heard_at = 0.0
        self.state: State = "new"
        self.failure: str | None = None
        "Why it failed."
        self.on_state: Callable[[WebRtcLeg, State], None] | None = None

    # Offer and answer.

    def _describe(self, transport: SecureTransport) -> None:
        """Say this one in our descriptions from now on."""
        self._sdp.show(transport.ufrag, transport.password, [each.to_sdp() for each in transport.candidates])
        default = transport.pairs[0]
        self._negotiation.host, self._negotiation.port = default.host, default.port

    def _prepare(self) -> None:
        """Make another transport for the next agreement, if there is none waiting. Raises NoPortsLeft.

        MediaError once closed.
        """
        if self.state == "closed":
            raise MediaError("the leg is closed")
        if self._prepared is None:
            self._prepared = SecureTransport(self._webrtc_host.take_pairs())
            self._candidates.clear()
            self._describe(self._prepared)

    def restart_ice(self) -> None:
        """Let the next offer of ours ask for a new path (RFC 8839 §4.4.1.1.1)."""
        self._restart_wanted = self._remote_transport is not None

    def _admit(self, remote: Remote, is_offer: bool) -> None:
        transport = read_transport(remote)
        known = self._remote_transport
        restarts = known is not None and (known.ufrag, known.password) != (transport.ufrag, transport.password)
        if known is not None and not restarts and known.fingerprint != transport.fingerprint:
            raise MediaError("a new certificate needs an ICE restart")  # RFC 8842 §4
        if not is_offer:
            if known is not None and restarts != (self._prepared is not None):
                raise MediaError("only an offer can ask for an ICE restart, and then the answer takes part in it")
            return
        if restarts:
            self._prepare()
        self._sdp.mid = transport.mid or "0"
        if known is None or known.fingerprint != transport.fingerprint:
            self._sdp.setup = "passive" if transport.setup == "active" else "active"
        else:
            self._sdp.setup = "active" if self._active else "passive"

    def create_offer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """Offer our policy, what is agreed already, or what the other leg has."""
        if self._restart_wanted and not self._negotiation.pending:
            self._prepare()
            self._restart_wanted = False
        self._sdp.setup = "actpass"
        return super().create_offer(like, direction)

    def rollback(self) -> None:
        """Forget a half-made exchange and go on with the last agreed one."""
        super().rollback()
        current = self._coming or self._secure
        prepared = self._prepared
        if prepared is not None and current is not None:
            self._prepared = None
            self._describe(current)
            self._give_back(prepared)

    def _apply(self, agreement: Agreement) -> None:
        if self.state == "closed":
            return
        prepared = self._prepared
        if prepared is not None:
            self._prepared = None
            self._begin(prepared, agreement)
        self._depart()
        self._agreement = agreement
        clock_hz = agreement.codecs[0].clock_hz
        self._clock_hz = CLOCKS_HZ.get(clock_hz, clock_hz)
        self._ssrc = None
        agreed = self._agreed_video
        self._video_numbers = frozenset(c.payload_type for c in agreed.receives) if agreed is not None else frozenset()
        self._rewire_both()

    def _begin(self, transport: SecureTransport, agreement: Agreement) -> None:
        """Connect a transport that both sides have agreed on."""
        remote = read_transport(agreement.remote)
        known, self._remote_transport = self._remote_transport, remote
        offered = self._sdp.setup == "actpass"
        same = known is not None and known.fingerprint == remote.fingerprint
        if not same:
            self._active = remote.setup == "passive" if offered else self._sdp.setup == "active"
        session = self._secure.session if self._secure is not None and same else None
        if self._task is not None:
            self._webrtc_host.finish(self._end(self._task, self._coming))
        self._coming = transport
        connecting = self._connect(transport, remote, session, controlling=offered)
        self._task = asyncio.get_running_loop().create_task(connecting)

    def _rewire_both(self) -> None:
        self.rewire()
        if self._peer is not None and self._peer is not self:
            self._peer.rewire()

    # Video.

    @property
    def _agreed_video(self) -> VideoAgreement | None:
        video = self._negotiation.video
        return video.agreed if video is not None else None

    def rewire(self) -> None:
        """Work out anew what becomes of the packets we receive."""
        super().rewire()
        if self._video is None:
            return
        peer, agreed = self._peer, self._agreed_video
        if agreed is not None and agreed.direction & RECEIVE and isinstance(peer, WebRtcLeg):
            theirs = peer._agreed_video
            if theirs is not None and theirs.direction & SEND and peer._keys is not None:
                sent = {video_key(codec): codec.payload_type for codec in reversed(theirs.sends)}
                pairs = ((codec.payload_type, sent.get(video_key(codec))) for codec in agreed.receives)
                self._video.route(peer._video, {number: out for number, out in pairs if out is not None})
                return
        self._video.route(None, {})

    def _send_video(self, packet: bytes) -> bool:
        try:
            self.send(packet)
        except OSError:
            return False
        return True

    def add_candidate(self, line: str | None) -> None:
        """A candidate of the remote party that came later (RFC 8838); None: there are no more."""
        if self._prepared is not None:
            if len(self._candidates) < MAX_CANDIDATES_EARLY:
                self._candidates.append(line)
        elif self._coming is not None:
            self._coming.add_later(line)

    # The transport.

    async def _connect(
        self,
        coming: SecureTransport,
        remote: RemoteTransport,
        session: DtlsSession | None,
        *,
        controlling: bool,
    ) -> None:
        if session is not None:
            coming.path.on_srtp = self._on_srtp
        try:
            keys = await coming.connect(
                remote, active=self._active, controlling=controlling, later=self._candidates, session=session
            )
            send_to = coming.path.selected()
        except (MediaError, ConnectionError) as error:
            if self._coming is not coming:  # overtaken by another restart, which leaves this one
                return
            self._coming = None
            self._webrtc_host.finish(self._leave(coming))
            if self._secure is None:
                self._fail(str(error))
            return
        if self._coming is not coming:
            return
        left, self._secure, self._coming = self._secure, coming, None
        self._use(coming, keys, send_to)
        if left is not None:
            try:
                await asyncio.sleep(LINGER_S if session is not None else 0)
            finally:
                self._webrtc_host.finish(self._leave(left))

    def _use(self, transport: SecureTransport, keys: Keys, send_to: Way) -> None:
        self._keys, self._send_to = keys, send_to
        self._destination = send_to[1]
        self._heard, self._heard_at = transport.path.heard, _monotonic()
        transport.path.on_srtp = self._on_srtp
        transport.path.on_selected = self._follow
        if self.state == "new":
            self._set_state("connected")
        self._rewire_both()

    def _follow(self) -> None:
        """The remote party goes on by another pair of candidates."""
        if self._secure is not None:
            self._send_to = self._secure.path.selected()
            self._destination = self._send_to[1]

    async def _leave(self, transport: SecureTransport) -> None:
        """Close a transport that is not used any more."""
        try:
            await transport.close()
        finally:
            self._give_back(transport)

    def _give_back(self, transport: SecureTransport) -> None:
        for pair in transport.pairs:
            self._webrtc_host.give_back(pair)

    def _set_state(self, state: State) -> None:
        self.state = state
        if self.on_state is not None:
            self.on_state(self, state)

    def _fail(self, reason: str) -> None:
        if self.state in ("failed", "closed"):
            return
        self.failure = reason
        self._set_state("failed")
        self._tell_failure()

    def _tell_failure(self) -> None:
        if self.failure is not None and self.on_timeout is not None and not self._timed_out:
            self._timed_out = True
            self.on_timeout(self, self.failure)

    def _on_srtp(self, data: bytes) -> None:
        keys = self._keys
        if keys is None or len(data) < HEADER_SIZE:
            return
        try:
            if RTCP_FIRST <= data[1] <= RTCP_LAST:
                report = keys.unprotect_rtcp(data)
                self._receive_report(report)
                return
            self._packet = keys.unprotect(data)
        except SrtpError:  # forged, replayed, or of keys before ours: dropped, it never ends the call
            self._refused += 1
            return
        if self._video is not None and data[1] & 0x7F in self._video_numbers:
            self._video.receive(self._packet, _monotonic())
        else:
            self.on_packet()

    def _receive_report(self, data: bytes) -> None:
        now, unix_s = _monotonic(), time.time()
        self._rtcp.receive(data, self._out.ssrc, now, unix_s, self._old_ssrc if self._video_numbers else None)
        if self._video is not None and self._video_numbers:
            self._video.receive_rtcp(data, now, unix_s)

    def recv_into(self, buffer: bytearray, /) -> int:
        """The packet that was just decrypted, in place of a socket."""
        packet = self._packet
        size = len(packet)
        if size >= MAX_PACKET:
            return 0
        buffer[:size] = packet
        return size

    def send(self, packet: memoryview | bytes, /) -> int:
        """Encrypt and send, in place of a socket. OSError while there is no way or no key, and for what is too long."""
        keys, way = self._keys, self._send_to
        if keys is None or way is None:
            raise OSError("not connected")
        try:
            protected = keys.protect(bytes(packet))
        except (SrtpError, ValueError) as error:  # a header that belies its length, or longer than SRTP takes
            raise OSError(str(error)) from error
        way[0](protected, way[1])
        return len(packet)

    def _send_report(self, packet: bytes) -> None:
        keys, way = self._keys, self._send_to
        if keys is not None and way is not None:
            with suppress(OSError):  # a lost report; the next one says the same
                way[0](keys.protect_rtcp(packet), way[1])

    def check(self, now: float) -> None:
        """Reports and silence, once a second."""
        if self.failure is not None:
            self._tell_failure()
            return
        if self._secure is not None and self._coming is None:  # a restart has a time limit of its own
            heard = self._secure.path.heard
            if heard != self._heard:
                self._heard, self._heard_at = heard, now
            elif now - self._heard_at >= SILENT_S:
                self._fail(f"the browser has been silent for {SILENT_S:g} s")
                return
            if self._video is not None and self._video_numbers:
                self._video.report(now, time.time())
        super().check(now)

    @property
    def _port(self) -> int:
        return self._negotiation.port if self.state != "closed" else 0

    @property
    def stats(self) -> LegStats:
        """A snapshot of the counters, with those of the video."""
        audio = super().stats
        video = self._video.stats if self._video is not None else None
        return audio if video is None else replace(audio, video=video)

    @property
    def _local(self) -> Address:
        secure, remote = self._secure, self._destination
        if secure is None or remote is None:
            return super()._local
        return next((pair.host, pair.port) for pair in secure.pairs if pair.ipv6 == (":" in remote[0]))

    def close(self) -> None:
        """Say goodbye, end DTLS and ICE, free the ports. Harmless twice."""
        if self.state == "closed":
            return
        if self._keys is not None:
            self._report(_monotonic(), goodbye=True)
            if self._video is not None and self._video_numbers:
                self._video.report(_monotonic(), time.time(), goodbye=True)
        self._depart()
        self._agreement = None
        if self.attachment is not None:
            self.attachment.close()
        self._writer = self._keys = self._send_to = None
        self._route = NOTHING
        self._source = self._sink = CLOSED
        self.on_state = None
        self.state = "closed"
        transports = (self._prepared, self._coming, self._secure)
        self._webrtc_host.closed_later(self, self._end(self._task, *transports))
        self._task = self._prepared = self._coming = self._secure = None

    async def _end(self, task: asyncio.Task[None] | None, *transports: SecureTransport | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=LINGER_S)  # a handshake may miss it (wait_for before Python 3.12), ...
        for transport in transports:  # ... and ends with its transport then
            if transport is not None:
                await self._leave(transport)
