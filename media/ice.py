"""[io] ICE by aioice and DTLS by aiortc, on sockets of ours.

The only file that uses names private to aiortc or aioice: `tests/media/test_ice.py` fails with their names when a new
release moves them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from aioice import Candidate, Connection, TransportPolicy, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, RTCIceTransport
from pylibsrtp import Error as SrtpError

from .errors import MediaError
from .ports import PortPair
from .webrtc_sdp import RemoteTransport

__all__ = ["RTCP_FIRST", "RTCP_LAST", "Keys", "SecureTransport", "SrtpError", "certificate", "fingerprint"]

SETUP_S = 15.0  # for ICE and DTLS together; aioice would wait for ever for candidates that do not come
PATIENCE_S = 1.0  # for the first check of a browser that restarts ICE
DTLS_FIRST, SRTP_FIRST, SRTP_LAST = 20, 128, 191  # of the first octet (RFC 7983); STUN is below
RTCP_FIRST, RTCP_LAST = 192, 223  # of the second one (RFC 5761)
MAX_WAITING = 64  # datagrams of DTLS not read yet; a handshake's largest flight is about 5
BEST_PREFERENCE = 65535  # of a candidate of ours among those of its type (RFC 8445 §5.1.2.1)
MAX_ADDRESSES = 64  # of one remote party; as many as the candidates we read

PRIVATE = {
    "aioice.ice.Connection": ("_nominated", "_protocols"),
    "aiortc.RTCDtlsTransport": ("_rx_srtp", "_set_role", "_tx_srtp"),
}
"What we use beyond the documented interfaces, by class."


@cache
def certificate() -> RTCCertificate:
    """One for the process."""
    return RTCCertificate.generateCertificate()


@cache
def fingerprint() -> str:
    """SHA-256 of it, in hex with colons."""
    return next(each.value for each in certificate().getFingerprints() if each.algorithm == "sha-256")


def host_candidate(pair: PortPair, rank: int = 0) -> Candidate:
    """The candidate of these ports, as others reach them; `rank`: how many are better."""
    return Candidate(
        foundation=candidate_foundation("host", "udp", pair.host),
        component=1,
        transport="udp",
        priority=candidate_priority(1, "host", BEST_PREFERENCE - rank),
        host=pair.host,
        port=pair.port,
        type="host",
    )


def _ignore(data: bytes) -> None:
    """Nobody is there yet, or any more."""


class Path(Connection):
    """An ICE agent on sockets that are bound already; hands over DTLS and SRTP as they come."""

    def __init__(self, ways: Sequence[tuple[socket.socket, Candidate]]) -> None:
        # RELAY: it does not list this machine's addresses then, which costs 1 ms and is of no use to us.
        super().__init__(ice_controlling=False, transport_policy=TransportPolicy.RELAY)
        self.on_srtp: Callable[[bytes], None] = _ignore
        self.on_dtls: Callable[[bytes], None] = _ignore
        self.on_selected: Callable[[], None] = lambda: None
        "Another pair of candidates was nominated."
        self.heard = 0
        "Datagrams of the remote party, of any kind."
        self.addresses: set[tuple[str, int]] = set()
        "Where it has proved to be, by checks with our password or answers to ours."
        self.checked = asyncio.Event()
        "The remote party has begun with its checks."
        self._ways = ways

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 -- as the base class has it
    ) -> list[Candidate]:
        """Our sockets, instead of new ones on ports of the system's choice."""
        for sock, candidate in self._ways:
            self._protocols.append(await self._begin(sock, candidate))
        return [candidate for _, candidate in self._ways]

    async def _begin(self, sock: socket.socket, candidate: Candidate) -> StunProtocol:
        protocol = _Demultiplexer(self, candidate)
        try:
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: protocol, sock=sock)
        except asyncio.CancelledError:  # uvloop would keep the socket open
            protocol.abandon()
            raise
        return protocol

    def data_received(self, data: bytes, component: int) -> None:
        """What looked like STUN and is not."""

    def media_received(self, data: bytes) -> None:
        """DTLS or SRTP of the remote party."""
        self.heard += 1
        if SRTP_FIRST <= data[0] <= SRTP_LAST:
            self.on_srtp(data)
        else:
            self.on_dtls(data)

    def request_received(self, message: Any, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """A check of anybody."""
        self.checked.set()
        super().request_received(message, addr, protocol)

    def check_incoming(self, message: Any, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """A check of the remote party, with our password: it lives, and there."""
        self.heard += 1
        if len(self.addresses) < MAX_ADDRESSES:
            self.addresses.add(addr)
        super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: Any) -> None:
        """A check of ours has succeeded or failed."""
        before = self._nominated.get(1)
        super().check_complete(pair)
        now = self._nominated.get(1)
        if now is not None and now is not before:
            self.addresses.add(now.remote_addr)
            self.on_selected()

    async def let_begin(self) -> None:
        """Give the remote party time for the first check.

        Chromium never answers by a check of its own if, in an ICE restart, ours comes before our description.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self.checked.wait()

    def selected(self) -> tuple[Callable[[bytes, tuple[str, int]], None], tuple[str, int]]:
        """How to send on the nominated pair; to be told ConnectionError once it is closed, as while there is none."""
        pair = self._nominated.get(1)
        if pair is None:
            raise ConnectionError("no pair of candidates is nominated")
        return cast(_Demultiplexer, pair.protocol).send_media, pair.remote_addr


class _Demultiplexer(StunProtocol):
    """Tells STUN from the rest (RFC 7983), which is taken only from where the remote party has proved to be."""

    def __init__(self, path: Path, candidate: Candidate) -> None:
        super().__init__(path)
        self.local_candidate = candidate
        self._path = path
        self._abandoned = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is the loop's."""
        if self._abandoned:
            transport.close()
        else:
            super().connection_made(transport)

    def abandon(self) -> None:
        """Nobody waits for the socket any more."""
        self._abandoned = True
        transport = getattr(self, "transport", None)
        if transport is not None:
            transport.close()

    def send_media(self, data: bytes, address: tuple[str, int]) -> None:
        """Send SRTP. ConnectionError once closed: by us, by aioice when the browser answers no checks, or by the loop.

        A transport of asyncio that is closed has no socket, and says so by an AttributeError.
        """
        if self.transport.is_closing():
            raise ConnectionError("the path to the browser is closed")
        self.transport.sendto(data, address)

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send DTLS. ConnectionError as `send_media`."""
        self.send_media(data, addr)

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        """Send a check or an answer to one; lost once closed."""
        if not self.transport.is_closing():
            super().send_stun(message, addr)

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """A datagram of anybody."""
        data = cast(bytes, data)
        if not data or data[0] < DTLS_FIRST:
            # aioice trips over an attribute of a wrong size, and over a check without a priority.
            with suppress(struct.error, KeyError):
                super().datagram_received(data, addr)
        elif addr[:2] in self._path.addresses:
            self._path.media_received(data)


@dataclass(slots=True)
class Keys:
    """The SRTP sessions of a finished handshake."""

    unprotect: Callable[[bytes], bytes]
    unprotect_rtcp: Callable[[bytes], bytes]
    protect: Callable[[bytes], bytes]
    protect_rtcp: Callable[[bytes], bytes]


class DtlsSession:
    """One DTLS association; it can move to another path (RFC 8842 §4.4: an ICE restart keeps it)."""

    role = "controlled"

    def __init__(self, path: Path) -> None:
        self.keys: Keys | None = None
        "Once the handshake is done."
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self._closed = False
        # Of an RTCIceTransport it uses the three names below.
        self._dtls = RTCDtlsTransport(cast(RTCIceTransport, self), [certificate()])
        self.move(path)

    def move(self, path: Path) -> None:
        """Go on over this path."""
        self.path = path
        path.on_dtls = self._hear

    def _hear(self, data: bytes) -> None:
        if not self._waiting.full():  # else lost, as on the network; DTLS repeats
            self._waiting.put_nowait(data)

    async def _recv(self) -> bytes:
        data = b"" if self._closed else await self._waiting.get()
        if not data:
            raise ConnectionError("closed")
        return data

    async def _send(self, data: bytes) -> None:
        await self.path.send(data)

    async def agree(self, fingerprint: str, *, active: bool) -> Keys:
        """Handshake. Raises MediaError, ConnectionError."""
        self._dtls._set_role("client" if active else "server")
        await self._dtls.start(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", fingerprint)]))
        if self._dtls.state != "connected":
            raise MediaError("the browser's certificate is not the one that it announced, or DTLS failed")
        receive, send = self._dtls._rx_srtp, self._dtls._tx_srtp
        self.keys = Keys(receive.unprotect, receive.unprotect_rtcp, send.protect, send.protect_rtcp)
        return self.keys

    async def close(self) -> None:
        """Say so to the remote party."""
        await self._dtls.stop()
        self._closed = True
        if self._waiting.empty():
            self._waiting.put_nowait(b"")  # whoever waits shall wait no longer


class SecureTransport:
    """One path to a browser, with a DTLS session of its own or that of the path before."""

    def __init__(self, pairs: Sequence[PortPair]) -> None:
        """`pairs`: one, or one of each IP version, that of m= lines first."""
        self.pairs = pairs
        ranked = sorted(pairs, key=lambda pair: not pair.ipv6)  # RFC 8421 §4: IPv6 is tried first
        self.candidates = [host_candidate(pair, rank) for rank, pair in enumerate(ranked)]
        self.path = Path([(pair.rtp, candidate) for pair, candidate in zip(ranked, self.candidates, strict=True)])
        self.session: DtlsSession | None = None
        self._adding: set[asyncio.Task[None]] = set()
        self._complete = False

    @property
    def ufrag(self) -> str:
        """Our ICE user name fragment."""
        return self.path.local_username

    @property
    def password(self) -> str:
        """Our ICE password."""
        return self.path.local_password

    async def connect(
        self,
        remote: RemoteTransport,
        *,
        active: bool,
        controlling: bool,
        later: Sequence[str | None] = (),
        session: DtlsSession | None = None,
    ) -> Keys:
        """Find a way, and agree on keys unless `session` has them. Raises MediaError.

        `later`: candidates that came beside the description.
        """
        path = self.path
        path.ice_controlling = controlling
        path.remote_is_lite = remote.ice_lite
        path.remote_username, path.remote_password = remote.ufrag, remote.password
        fresh = DtlsSession(path) if session is None else None
        self.session = fresh
        try:
            async with asyncio.timeout(SETUP_S):
                await path.gather_candidates()
                for line in (*remote.candidates, *later, *([None] if remote.complete else [])):
                    await self.add_candidate(line)
                if session is not None and not controlling:
                    await path.let_begin()
                await path.connect()
                if fresh is not None:
                    return await fresh.agree(remote.fingerprint, active=active)
        except TimeoutError:
            raise MediaError(f"the browser was not reached within {SETUP_S:g} s") from None
        except ConnectionError as error:
            raise MediaError(f"no way to the browser was found, or it was lost: {error}") from error
        assert session is not None
        assert session.keys is not None
        session.move(path)
        self.session = session
        return session.keys

    def add_later(self, line: str | None) -> None:
        """As `add_candidate`, while `connect` is under way."""
        task = asyncio.get_running_loop().create_task(self.add_candidate(line))
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)

    async def add_candidate(self, line: str | None) -> None:
        """A remote candidate, the value of a=candidate; None: that was all. What we cannot use is ignored."""
        if self._complete:
            return
        if line is None:
            self._complete = True
            await self.path.add_remote_candidate(None)
            return
        try:
            candidate = Candidate.from_sdp(line.removeprefix("candidate:"))
        except (ValueError, IndexError, AssertionError):
            return
        # Names would be looked up, .local ones for a second; components beyond RTP do not exist with rtcp-mux.
        if candidate.component == 1 and candidate.transport.lower() == "udp" and _is_address(candidate.host):
            await self.path.add_remote_candidate(candidate)

    async def close(self) -> None:
        """End the path, and DTLS unless it has moved on."""
        self.path.on_srtp = self.path.on_dtls = _ignore
        self.path.on_selected = lambda: None
        for task in self._adding:
            task.cancel()
        if self.session is not None and self.session.path is self.path:
            await self.session.close()
        await self.path.close()


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
