"""[io] SIP over UDP: one non-blocking socket of ours, drained a little at each wake-up.

The socket is read by `add_reader`, not by a `DatagramTransport`: on asyncio that is a third of the
cost, on uvloop it is no dearer, and it alone gives batches and the errors that ICMP reports
(docs/decisions/0005-udp-by-our-own-sockets.md). On Linux the loop watches an epoll that watches the socket, since
uvloop stops watching a descriptor for ever once it reports an error.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import sys
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from .base import FlowHandler, TransportLimits
from .local import LocalNames

RECEIVE_BUFFER = 4 * 1024 * 1024
"Bytes asked of the kernel: a burst of some thousand messages while the loop is busy."
DENSE_S = 100e-6
"Between two wake-ups: less means that datagrams are waiting."
UNREACHABLE = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOPROTOOPT, errno.EPROTO}
"ICMP errors that end a request (RFC 3261 §18.4); others say nothing about the next datagram."
# linux/in.h, linux/in6.h and asm-generic/socket.h; the socket module has no names for them.
SO_RCVBUFFORCE = 33
IP_RECVERR = 11
IPV6_RECVERR = 25
ERROR_MESSAGES = {(socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)}


class DatagramUser(Protocol):
    """Who takes what arrives."""

    def begin_wakeup(self) -> None:
        """Datagrams are about to be delivered."""

    def receive_datagram(self, data: bytes, flow: UdpFlow) -> None:
        """One datagram, whole."""

    def end_wakeup(self) -> None:
        """The kernel has no more for now, or the loop's turn has come."""


class UdpFlow:
    """One remote address seen from one socket of ours."""

    __slots__ = ("_address", "_socket", "asked")

    transport = "UDP"
    reliable = False
    closed = False

    def __init__(self, udp: UdpSocket, address: tuple[Any, ...]) -> None:
        self._socket = udp
        self._address = address
        self.asked = False
        "Whether a request was ever sent there: only then does anybody wait for an answer."

    @property
    def remote(self) -> tuple[str, int]:
        """Address and port that datagrams go to."""
        return self._address[:2]

    @property
    def local(self) -> tuple[str, int]:
        """Address and port that the peer sees, short of a NAT."""
        udp = self._socket
        return udp.names.local_host(udp.host, self._address[0]), udp.port

    @property
    def sent_by(self) -> str:
        """`host:port` for Via and Contact."""
        udp = self._socket
        return udp.names.sent_by(udp.host, udp.port, self._address[0])

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        if not self.asked and not data.startswith(b"SIP/"):
            self.asked = True
        udp = self._socket
        if not udp.unsent:
            try:
                udp.sendto(data, self._address)
            except OSError:
                pass  # once more, with care
            else:
                return
        udp.send(data, self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, UdpFlow) and self._socket is other._socket and self._address == other._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __repr__(self) -> str:
        return f"<UDP {self._socket.host}:{self._socket.port} to {self._address[0]}:{self._address[1]}>"


class UdpSocket:
    """A bound socket and the flows that it has seen."""

    def __init__(
        self,
        sock: socket.socket,
        user: DatagramUser,
        on_unreachable: FlowHandler,
        *,
        names: LocalNames,
        limits: TransportLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.names = names
        self.host: str
        self.port: int
        self.host, self.port = sock.getsockname()[:2]
        self.family = sock.family
        self.dropped = 0
        "Datagrams that did not leave: the kernel's buffer and ours were full."
        self._sock = sock
        self.sendto = sock.sendto
        self._recvfrom_into = sock.recvfrom_into
        self._user = user
        self._on_unreachable = on_unreachable
        self._limits = limits
        self._buffer = memoryview(bytearray(65536))
        self._flows: dict[tuple[Any, ...], UdpFlow] = {}
        self.unsent: deque[tuple[bytes, UdpFlow]] = deque()
        self._burst = 1
        self._ready_at = 0.0
        self._watch = Watch(sock, self._on_ready, loop)

    def flow_to(self, host: str, port: int) -> UdpFlow:
        """The flow to an address in its usual spelling (as `str(ip_address(...))` writes it)."""
        return self._flow((host, port) if self.family == socket.AF_INET else (host, port, 0, 0))

    def send(self, data: bytes, flow: UdpFlow) -> None:
        """Send a datagram, or keep it while the kernel takes no more; the order stays."""
        if self.unsent or not self._sent(data, flow):
            if len(self.unsent) >= self._limits.max_unsent_datagrams:
                self.dropped += 1
                return
            if not self.unsent:
                self._watch.want_write(True)
            self.unsent.append((data, flow))

    def close(self) -> None:
        """Close the socket; what was not sent is lost."""
        if self._sock.fileno() < 0:
            return
        self._watch.close()
        self.unsent.clear()
        self._sock.close()

    def _flow(self, address: tuple[Any, ...]) -> UdpFlow:
        flow = self._flows.get(address)
        if flow is None:
            if len(self._flows) >= self._limits.max_udp_flows:
                for old in list(self._flows)[: len(self._flows) // 4 + 1]:
                    del self._flows[old]
            flow = self._flows[address] = UdpFlow(self, address)
        return flow

    def _on_ready(self) -> None:
        if self.unsent:
            self._flush()
        # To read until there is nothing more costs an exception a wake-up, 20 µs when the caches are cold. So one
        # datagram is read, and more only if the loop calls again at once: then there was more.
        dense = perf_counter() - self._ready_at < DENSE_S
        self._burst = min(self._burst * 2, self._limits.datagrams_a_wakeup) if dense else 1
        user, buffer, recvfrom_into, flows = self._user, self._buffer, self._recvfrom_into, self._flows
        user.begin_wakeup()
        try:
            for count in range(self._burst):
                try:
                    length, address = recvfrom_into(buffer)
                except BlockingIOError:
                    self._burst = max(1, count)
                    break
                except OSError:
                    self._take_errors()
                    continue
                if address[1]:  # nothing can be answered to port 0
                    user.receive_datagram(bytes(buffer[:length]), flows.get(address) or self._flow(address))
        finally:
            user.end_wakeup()
            self._ready_at = perf_counter()

    def _sent(self, data: bytes, flow: UdpFlow) -> bool:
        """False when the kernel's buffer is full. A datagram that cannot be sent is reported."""
        for last_try in (False, True):
            try:
                self.sendto(data, flow._address)
            except BlockingIOError:
                return False
            except OSError as error:
                # With IP_RECVERR the error may belong to an earlier datagram: ask once more.
                self._take_errors()
                if last_try and error.errno != errno.EBADF:
                    self._lose(flow)
            else:
                return True
        return True

    def _flush(self) -> None:
        while self.unsent and self._sent(*self.unsent[0]):
            self.unsent.popleft()
        if not self.unsent:
            self._watch.want_write(False)

    def _take_errors(self) -> None:
        """Report the flows whose datagrams came back as ICMP errors."""
        if not sys.platform.startswith("linux"):
            return
        for _ in range(self._limits.datagrams_a_wakeup):
            try:
                _, ancillary, _, address = self._sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            for level, kind, detail in ancillary:
                if (level, kind) not in (
                    (socket.IPPROTO_IP, IP_RECVERR),
                    (socket.IPPROTO_IPV6, IPV6_RECVERR),
                ):
                    continue
                code = int.from_bytes(detail[:4], sys.byteorder)
                if code in UNREACHABLE and (flow := self._flows.get(address)) is not None:
                    self._lose(flow)

    def _lose(self, flow: UdpFlow) -> None:
        # To tell the layers above costs them a look at all they have under way. So strangers who send us requests from
        # ports that they close must not cause it: their responses need no report.
        if flow.asked:
            self._on_unreachable(flow)


class Watch:
    """Calls back while a socket is readable, has errors, or is writable if that was asked for."""

    def __init__(self, sock: socket.socket, on_ready: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fd = sock.fileno()
        self._on_ready = on_ready
        if sys.platform == "linux":
            self._epoll = select.epoll()
            self._epoll.register(self._fd, select.EPOLLIN)
            loop.add_reader(self._epoll.fileno(), on_ready)
        else:
            loop.add_reader(self._fd, on_ready)

    def want_write(self, wanted: bool) -> None:
        """Call back when the socket takes data again, too."""
        if sys.platform == "linux":
            self._epoll.modify(self._fd, select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN)
        elif wanted:
            self._loop.add_writer(self._fd, self._on_ready)
        else:
            self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """Stop; call it before the socket is closed."""
        if sys.platform == "linux":
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        else:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)


def bind_udp(host: str, port: int) -> socket.socket:
    """A bound non-blocking socket; OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _ask_for_buffer(sock)
        if sys.platform.startswith("linux"):
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _ask_for_buffer(sock: socket.socket) -> None:
    """A large receive buffer: above net.core.rmem_max if we are root, else as large as that lets it be."""
    if sys.platform == "linux":
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            pass
        else:
            return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
