"""[io] A leg towards a browser: one audio stream over ICE and DTLS-SRTP, relayed like any other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, Protocol

from .codecs import Codec
from .errors import MediaError
from .ice import RTCP_FIRST, RTCP_LAST, Keys, SecureTransport, SrtpError, fingerprint
from .leg import MediaLeg
from .negotiation import Agreement, Negotiation, Remote
from .ports import PortPair
from .relay import NOTHING
from .relay_leg import CLOCKS_HZ
from .rtp import HEADER_SIZE, MAX_PACKET
from .rtp_leg import CLOSED
from .voice_leg import VoiceHost, VoiceLeg
from .webrtc_sdp import RemoteTransport, WebRtcTransport, read_transport

SILENT_S = 10.0  # browsers send a check every 2.5 s at the latest: four missed ones, and it is gone

State = Literal["new", "connected", "failed", "closed"]

_monotonic = time.monotonic


class WebRtcHost(VoiceHost, Protocol):
    """What a leg needs of the engine."""

    def closed_later(self, leg: VoiceLeg, pair: PortPair, closing: Coroutine[Any, Any, None]) -> None:
        """The leg is gone; its ports are free once `closing` is done."""


class WebRtcLeg(VoiceLeg):
    """One SRTP stream with a browser.

    The verbs of MediaLeg answer at once, as the socket is bound already; the way is found and the keys are agreed on
    in a task of the leg's own, which begins with the first agreement.
    """

    __slots__ = (
        "_active",
        "_candidates",
        "_controlling",
        "_heard",
        "_heard_at",
        "_keys",
        "_packet",
        "_pair",
        "_remote_transport",
        "_sdp",
        "_secure",
        "_send_to",
        "_task",
        "_webrtc_host",
        "failure",
        "on_state",
        "state",
    )

    def __init__(self, leg_id: str, host: WebRtcHost, pair: PortPair, policy: Sequence[Codec], session_id: int) -> None:
        secure = SecureTransport(pair.rtp, (host.advertised_host, pair.port))
        self._sdp = WebRtcTransport(
            ufrag=secure.ufrag,
            password=secure.password,
            fingerprint=fingerprint(),
            candidates=[secure.candidate.to_sdp()],
        )
        negotiation = Negotiation(policy, host.advertised_host, pair.port, session_id, self._admit, self._sdp)
        super().__init__(leg_id, host, negotiation)
        self._webrtc_host = host
        self._pair: PortPair | None = pair
        self._secure = secure
        self._source = self._sink = self
        self._remote_transport: RemoteTransport | None = None
        self._controlling = self._active = False
        self._keys: Keys | None = None
        self._send_to: tuple[Callable[[bytes, tuple[str, int]], None], tuple[str, int]] | None = None
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

    def _admit(self, remote: Remote) -> None:
        transport = read_transport(remote)
        known = self._remote_transport
        if known is not None and (known.ufrag, known.fingerprint) != (transport.ufrag, transport.fingerprint):
            raise MediaError("an ICE restart is not supported: call again")
        if self._negotiation.expects_answer:
            return
        self._sdp.mid = transport.mid or "0"
        if known is None:
            self._sdp.setup = "passive" if transport.setup == "active" else "active"
        else:
            self._sdp.setup = "active" if self._active else "passive"

    def create_offer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """Offer our policy, what is agreed already, or what the other leg has."""
        self._sdp.setup = "actpass"
        return super().create_offer(like, direction)

    def create_answer(self, like: MediaLeg | None = None, direction: str | None = None) -> str:
        """Answer the offer; the exchange is then agreed."""
        if self._remote_transport is None:
            self._active = self._sdp.setup == "active"
        return super().create_answer(like, direction)

    def _apply(self, agreement: Agreement) -> None:
        if self._pair is None:
            return
        if self._remote_transport is None:
            remote = self._remote_transport = read_transport(agreement.remote)
            if self._sdp.setup == "actpass":  # we made the offer
                self._controlling = True
                self._active = remote.setup == "passive"
            self._task = asyncio.get_running_loop().create_task(self._connect(remote))
        self._depart()
        self._agreement = agreement
        clock_hz = agreement.codecs[0].clock_hz
        self._clock_hz = CLOCKS_HZ.get(clock_hz, clock_hz)
        self._ssrc = None
        self._rewire_both()

    def _rewire_both(self) -> None:
        self.rewire()
        if self._peer is not None and self._peer is not self:
            self._peer.rewire()

    def add_candidate(self, line: str | None) -> None:
        """A candidate of the remote party that came later (RFC 8838); None: there are no more."""
        if self._task is None:
            self._candidates.append(line)
        elif self._keys is None and not self._task.done():
            self._secure.add_later(line)

    # The transport.

    async def _connect(self, remote: RemoteTransport) -> None:
        try:
            keys = await self._secure.connect(
                remote, active=self._active, controlling=self._controlling, later=self._candidates
            )
            self._send_to = self._secure.connection.selected()
        except (MediaError, ConnectionError) as error:
            self._fail(str(error))
            return
        self._keys = keys
        self._destination = self._send_to[1]
        self._heard_at = _monotonic()
        self._secure.connection.on_srtp = self._on_srtp
        self._set_state("connected")
        self._rewire_both()

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
                self._rtcp.receive(report, self._out.ssrc, _monotonic(), time.time())
                return
            self._packet = keys.unprotect(data)
        except SrtpError:  # forged, replayed, or of keys before ours: dropped, it never ends the call
            self._refused += 1
            return
        self.on_packet()

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
            way[0](keys.protect_rtcp(packet), way[1])

    def check(self, now: float) -> None:
        """Reports and silence, once a second."""
        if self.failure is not None:
            self._tell_failure()
            return
        if self._keys is not None:
            heard = self._secure.connection.heard
            if heard != self._heard:
                self._heard, self._heard_at = heard, now
            elif now - self._heard_at >= SILENT_S:
                self._fail(f"the browser has been silent for {SILENT_S:g} s")
                return
        super().check(now)

    @property
    def _port(self) -> int:
        return self._pair.port if self._pair is not None else 0

    def close(self) -> None:
        """Say goodbye, end DTLS and ICE, free the port. Harmless twice."""
        pair = self._pair
        if pair is None:
            return
        if self._keys is not None:
            self._report(_monotonic(), goodbye=True)
        self._depart()
        self._agreement = None
        if self.attachment is not None:
            self.attachment.close()
        self._pair = self._writer = self._keys = self._send_to = None
        self._route = NOTHING
        self._source = self._sink = CLOSED
        self.on_state = None
        self.state = "closed"
        self._webrtc_host.closed_later(self, pair, self._end(self._task))
        self._task = None

    async def _end(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._secure.close()
