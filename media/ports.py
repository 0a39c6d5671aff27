"""[io] RTP/RTCP port pairs out of a range (RFC 3550 §11: RTP even, RTCP the odd port after it)."""

from __future__ import annotations

import errno
import os
import random
import socket
import sys
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from .errors import NoPortsLeft

if TYPE_CHECKING:
    import ctypes

REST_S = 2.0  # a freed pair rests, so that late packets of its last call do not reach the next one
BUSY_REST_S = 30.0  # a pair that another program holds is tried again after this
RTP_BUFFER = 64 * 1024  # octets, 1 to 3 s of G.711 by what a driver allocates a packet; older audio is of no use
RTCP_BUFFER = 8 * 1024

BAD_PORTS = frozenset(
    [1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080]
)
"""Of those above 1023 that the Fetch standard blocks (port blocking): Chromium sends nothing there over WebRTC either,
not even ICE checks, and says nothing of it."""

NO_MORE_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"Errors of `socket` that no other port would cure."

CAN_DISCONNECT = sys.platform == "linux"
"Whether a connected UDP socket can be made to hear everybody again; otherwise we never connect one."


@dataclass(slots=True)
class PortPair:
    """Two bound, non-blocking UDP sockets."""

    host: str
    "Numeric address that others reach it by."
    port: int
    "Of RTP; RTCP has the next one."
    rtp: socket.socket
    rtcp: socket.socket

    @property
    def ipv6(self) -> bool:
        """Its IP version."""
        return ":" in self.host

    def close(self) -> None:
        """Close both sockets."""
        self.rtp.close()
        self.rtcp.close()


def rtp_ports(first: int, last: int) -> list[int]:
    """Those for RTP in a range, both ends included. ValueError when there are none."""
    if not 1024 <= first <= last <= 65535:
        raise ValueError("RTP ports are a range within 1024-65535")
    ports = [port for port in range(first + first % 2, last, 2) if BAD_PORTS.isdisjoint((port, port + 1))]
    if not ports:
        raise ValueError("the RTP port range holds no even and odd port side by side that browsers send to")
    return ports


class PortPool:
    """The pairs of one range at one address, given out longest-free first."""

    __slots__ = ("_busy", "_family", "_free", "_host", "_rest_s", "_resting", "advertised", "used")

    def __init__(
        self, host: str, first: int, last: int, *, rest_s: float = REST_S, advertised: str | None = None
    ) -> None:
        """`host` is numeric; `first` and `last` are the ends of the range, both included; BAD_PORTS in it are left out.

        `advertised`: the numeric address that others reach it by, if another.
        """
        pairs = rtp_ports(first, last)
        random.shuffle(pairs)  # the next port should not be easy to guess from outside
        self._host = host
        self.advertised = advertised or host
        "What others reach it by."
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._rest_s = rest_s
        self._free = deque(pairs)
        self._resting: deque[tuple[float, int]] = deque()
        self._busy: deque[tuple[float, int]] = deque()
        "Held by others; apart, for each of the two is in the order of time."
        self.used: set[int] = set()
        "RTP ports given out."

    @property
    def resting(self) -> int:
        """How many pairs rest."""
        return len(self._resting) + len(self._busy)

    def take(self, now: float) -> PortPair:
        """Bind a free pair; those that cannot be bound are skipped. Raises NoPortsLeft."""
        for waiting in (self._resting, self._busy):
            while waiting and waiting[0][0] <= now:
                self._free.append(waiting.popleft()[1])
        busy = []
        try:
            while self._free:
                port = self._free.popleft()
                pair = self._bind(port)
                if pair is not None:
                    self.used.add(port)
                    return pair
                busy.append((now + BUSY_REST_S, port))
        finally:
            self._busy.extend(busy)
        raise NoPortsLeft("no RTP port is free")

    def give_back(self, pair: PortPair, now: float) -> None:
        """Close a pair and let its ports rest."""
        pair.close()
        self.used.discard(pair.port)
        self._resting.append((now + self._rest_s, pair.port))

    def owns(self, host: str, port: int) -> bool:
        """True if this address is one of our own sockets in use."""
        if port & ~1 not in self.used:
            return False
        return host == self._host or self._is_local(host)

    def _bind(self, port: int) -> PortPair | None:
        opened: list[socket.socket] = []
        try:
            for number, size in ((port, RTP_BUFFER), (port + 1, RTCP_BUFFER)):
                opened.append(socket.socket(self._family, socket.SOCK_DGRAM))
                if self._family == socket.AF_INET6:  # "::" leaves IPv4 to the pool that has it, on the same ports
                    opened[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                opened[-1].setblocking(False)
                opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
                opened[-1].bind((self._host, number))
        except OSError as error:
            for each in opened:
                each.close()
            if error.errno in NO_MORE_FILES:
                self._free.append(port)
                raise NoPortsLeft("no file descriptor is free for an RTP port") from error
            return None
        return PortPair(self.advertised, port, *opened)

    def _is_local(self, host: str) -> bool:
        """Whether an address is one of this machine: only those can be bound."""
        with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host, 0))
            except OSError:
                return False
        return True


def disconnect(connected: socket.socket) -> None:
    """Undo `connect` of a UDP socket, which keeps the port it was bound to by number. Linux; raises OSError."""
    # connect(2): a sockaddr whose family is AF_UNSPEC dissolves the association. Python cannot say that.
    import ctypes  # late: 5 ms of a start

    null = bytes(28)  # as long as sockaddr_in6; AF_UNSPEC is 0
    if _libc().connect(connected.fileno(), null, len(null)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@cache
def _libc() -> ctypes.CDLL:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
