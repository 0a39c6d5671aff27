"""What the layers above know of a transport: a `Flow` to send bytes on, and a `Target` to reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

MAX_UNRELIABLE_REQUEST = 1300
"Bytes; a larger request leaves UDP where the target takes TCP (RFC 3261 §18.1.1, path MTU unknown)."


class Flow(Protocol):
    """A way to one peer over one transport; what is sent on it leaves in order.

    Two flows are equal, and hash alike, when they are the same connection (TCP) or the same local
    socket and remote address (UDP).
    """

    @property
    def transport(self) -> str:
        """`UDP` or `TCP`, as it stands in a Via."""

    @property
    def reliable(self) -> bool:
        """True when the transport retransmits, so that transactions need not."""

    @property
    def remote(self) -> tuple[str, int]:
        """Address of the peer, without brackets, and its port."""

    @property
    def local(self) -> tuple[str, int]:
        """Address and port that the peer sees us at, as far as this machine knows."""

    @property
    def sent_by(self) -> str:
        """`host:port` (IPv6 in brackets) for Via and Contact: where new requests to us shall go."""

    @property
    def closed(self) -> bool:
        """True once nothing can be sent any more; always False for UDP."""

    def send(self, data: bytes) -> None:
        """Hand over one whole message. Never raises and never waits: a failure closes the flow."""


@dataclass(frozen=True, slots=True)
class Target:
    """One place to send a request to, in the order of RFC 3263."""

    transport: str
    "`UDP` or `TCP`."
    host: str
    "An IPv4 or IPv6 address, without brackets."
    port: int


@dataclass(frozen=True, slots=True)
class Listen:
    """One address to listen on."""

    transport: str
    "`UDP` or `TCP`."
    host: str
    "A local address, `0.0.0.0` or `::` for all of a family."
    port: int
    "0 takes a free one."


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What peers may cost us. All are per endpoint."""

    max_connections: int = 10_000
    "TCP connections that others opened; each holds a descriptor and about 10 KB."
    max_connections_per_source: int = 200
    "Of those, from one address: an office of phones behind one NAT, not a flood."
    first_message_s: float = 30.0
    "Time for a new connection to bring its first whole message."
    idle_s: float = 7200.0
    "A connection silent both ways for longer is closed; longer than the longest usual registration."
    connect_s: float = 5.0
    "Time for a connection of ours to open: short enough to try the next trunk before a caller gives up."
    promote_connect_s: float = 2.0
    "The same when a large request merely prefers TCP; it goes by UDP afterwards."
    no_tcp_memory_s: float = 300.0
    "How long a target that refused TCP gets its large requests by UDP without being asked again."
    max_write_buffer: int = 256 * 1024
    "Bytes unsent on one connection; a peer that reads so little is cut."
    datagrams_a_wakeup: int = 16
    "Read from one socket before the loop gets its turn."
    max_unsent_datagrams: int = 256
    "Kept per socket while the kernel's buffer is full; more are dropped, as the network would."
    max_udp_flows: int = 20_000
    "Remembered remote addresses of one socket; the oldest are forgotten (a flow kept elsewhere still works)."


FlowHandler = Callable[[Flow], None]


def host_port(host: str, port: int) -> str:
    """`host:port` as Via and Contact want it: IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=1024)
def canonical_address(host: str) -> str:
    """An IP address as the kernel spells it, so that both name the same flow."""
    return str(ipaddress.ip_address(host))


@lru_cache(maxsize=1024)
def is_unicast(host: str) -> bool:
    """False for an IP address that is no single peer: multicast, broadcast, unspecified."""
    address = ipaddress.ip_address(host)
    return not (address.is_multicast or address.is_unspecified or host == "255.255.255.255")
