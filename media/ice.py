"""[io] ICE and DTLS by aiortc's ORTC classes, on sockets of ours.

The only file that uses names private to aiortc or aioice: `tests/media/test_ice.py` fails with their names when a new
release moves them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol
from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceTransport,
)
from aiortc.rtcicetransport import candidate_from_aioice
from pylibsrtp import Error as SrtpError

from .errors import MediaError
from .webrtc_sdp import RemoteTransport

__all__ = ["RTCP_FIRST", "RTCP_LAST", "Keys", "SecureTransport", "SrtpError", "certificate", "fingerprint"]

SETUP_S = 15.0  # for ICE and DTLS together; aiortc would wait for ever for candidates that do not come
SRTP_FIRST, SRTP_LAST = 128, 191  # of the first octet (RFC 7983)
RTCP_FIRST, RTCP_LAST = 192, 223  # of the second one (RFC 5761)


@cache
def certificate() -> RTCCertificate:
    """One for the process."""
    return RTCCertificate.generateCertificate()


@cache
def fingerprint() -> str:
    """SHA-256 of it, in hex with colons."""
    return next(each.value for each in certificate().getFingerprints() if each.algorithm == "sha-256")


def host_candidate(host: str, port: int) -> Candidate:
    """The candidate of a socket that others reach at this address."""
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=1,
        transport="udp",
        priority=candidate_priority(1, "host"),
        host=host,
        port=port,
        type="host",
    )


class BoundConnection(Connection):
    """An ICE agent on a socket that is bound already, which hands over SRTP as it comes."""

    def __init__(self, sock: socket.socket, candidate: Candidate) -> None:
        super().__init__(ice_controlling=False)
        self.on_srtp: Callable[[bytes], None] | None = None
        self.heard = 0
        "Datagrams of any kind."
        self._socket = sock
        self._candidate = candidate

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 -- as the base class has it
    ) -> list[Candidate]:
        """Our one socket, instead of new ones on ports of the system's choice."""
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: StunProtocol(self), sock=self._socket
        )
        protocol.local_candidate = self._candidate
        self._protocols.append(protocol)
        return [self._candidate]

    def data_received(self, data: bytes, component: int) -> None:
        """SRTP without a queue and a task; the rest is DTLS."""
        self.heard += 1
        if self.on_srtp is not None and data and SRTP_FIRST <= data[0] <= SRTP_LAST:
            self.on_srtp(data)
        else:
            super().data_received(data, component)

    def request_received(self, message: Any, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """A check of the remote party: it lives."""
        self.heard += 1
        super().request_received(message, addr, protocol)

    def selected(self) -> tuple[Callable[[bytes, tuple[str, int]], None], tuple[str, int]]:
        """How to send on the nominated pair. ConnectionError while there is none."""
        pair = self._nominated.get(1)
        if pair is None:
            raise ConnectionError("no pair of candidates is nominated")
        return pair.protocol.transport.sendto, pair.remote_addr


@dataclass(slots=True)
class Keys:
    """The SRTP sessions of a finished handshake."""

    unprotect: Callable[[bytes], bytes]
    unprotect_rtcp: Callable[[bytes], bytes]
    protect: Callable[[bytes], bytes]
    protect_rtcp: Callable[[bytes], bytes]


class SecureTransport:
    """One ICE agent with one DTLS session on it. Raises MediaError when either fails."""

    def __init__(self, sock: socket.socket, advertised: tuple[str, int]) -> None:
        gatherer = RTCIceGatherer(iceServers=[])
        self.candidate = host_candidate(*advertised)
        self.connection = BoundConnection(sock, self.candidate)
        gatherer._connection = self.connection
        self._gatherer = gatherer
        self._ice = RTCIceTransport(gatherer)
        self._dtls = RTCDtlsTransport(self._ice, [certificate()])
        self._adding: set[asyncio.Task[None]] = set()

    @property
    def ufrag(self) -> str:
        """Our ICE user name fragment."""
        return self.connection.local_username

    @property
    def password(self) -> str:
        """Our ICE password."""
        return self.connection.local_password

    async def connect(
        self, remote: RemoteTransport, *, active: bool, controlling: bool, later: Sequence[str | None] = ()
    ) -> Keys:
        """Find a way and agree on keys. `later`: candidates that came beside the description."""
        self.connection.ice_controlling = controlling
        try:
            async with asyncio.timeout(SETUP_S):
                await self._gatherer.gather()
                for line in (*remote.candidates, *later, *([None] if remote.complete else [])):
                    await self.add_candidate(line)
                await self._ice.start(RTCIceParameters(remote.ufrag, remote.password, remote.ice_lite))
                if self._ice.state != "completed":
                    raise MediaError("no way to the browser was found (ICE)")
                self._dtls._set_role("client" if active else "server")
                await self._dtls.start(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", remote.fingerprint)]))
        except TimeoutError:
            raise MediaError(f"the browser was not reached within {SETUP_S:g} s") from None
        except ConnectionError as error:
            raise MediaError(f"the way to the browser was lost: {error}") from error
        if self._dtls.state != "connected":
            raise MediaError("the browser's certificate is not the one that it announced, or DTLS failed")
        receive, send = self._dtls._rx_srtp, self._dtls._tx_srtp
        return Keys(receive.unprotect, receive.unprotect_rtcp, send.protect, send.protect_rtcp)

    def add_later(self, line: str | None) -> None:
        """As `add_candidate`, while `connect` is under way."""
        task = asyncio.get_running_loop().create_task(self.add_candidate(line))
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)

    async def add_candidate(self, line: str | None) -> None:
        """A remote candidate, the value of a=candidate; None: that was all. What we cannot use is ignored."""
        if line is None:
            await self._ice.addRemoteCandidate(None)
            return
        try:
            candidate = Candidate.from_sdp(line.removeprefix("candidate:"))
        except (ValueError, IndexError, AssertionError):
            return
        # Names would be looked up, .local ones for a second; components beyond RTP do not exist with rtcp-mux.
        if candidate.component != 1 or candidate.transport.lower() != "udp" or not _is_address(candidate.host):
            return
        await self._ice.addRemoteCandidate(candidate_from_aioice(candidate))

    async def close(self) -> None:
        """End both, and the socket with them."""
        self.connection.on_srtp = None
        for task in self._adding:
            task.cancel()
        await self._dtls.stop()
        await self._ice.stop()


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
