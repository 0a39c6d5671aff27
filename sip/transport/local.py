"""[io] Which address of ours a peer sees, and which one we name to it."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Sequence

from .base import host_port

MAX_REMEMBERED = 4096
"Peers whose answer is kept; probing again costs about 15 µs."
REMEMBERED_S = 60.0
"Routes change seldom; a minute after they did, so do our Via and Contact."


def route_address(remote: str) -> str:
    """The local address that the routing table gives for `remote`; nothing is sent.

    A remote that no route leads to gets the loopback address: what is sent there fails anyway.
    """
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((remote, 9))
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return str(probe.getsockname()[0])


def is_wildcard(host: str) -> bool:
    """True for an address that means all of a family."""
    return host in ("0.0.0.0", "::", "")


class LocalNames:
    """The host we are for a peer: the advertised one, the bound one, or the one its route starts at."""

    def __init__(
        self,
        advertised: str | None = None,
        local_networks: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`advertised` is a host name or address (IPv6 in brackets or not) that peers outside of
        `local_networks` (`192.168.0.0/16`) reach us at; ValueError for a network that is none."""
        self._advertised = advertised.strip("[]") if advertised else None
        self._networks = [ipaddress.ip_network(network) for network in local_networks]
        self._clock = clock
        self._remembered: dict[tuple[str, str], tuple[str, str]] = {}
        self._sent_by: dict[tuple[str, int, str], str] = {}
        self._since = clock()

    def local_host(self, bound: str, remote: str) -> str:
        """The address of this machine that `remote` gets packets from, when the socket has `bound`."""
        return self._names(bound, remote)[0]

    def sent_by(self, bound: str, port: int, remote: str) -> str:
        """`host:port` for the Via and Contact of a message to `remote`."""
        key = (bound, port, remote)
        text = self._sent_by.get(key)
        if text is None or self._clock() - self._since >= REMEMBERED_S:
            name = self._names(bound, remote)[1]
            text = self._sent_by[key] = host_port(name, port)
        return text

    def _names(self, bound: str, remote: str) -> tuple[str, str]:
        key = (bound, remote)
        names = self._remembered.get(key)
        now = self._clock()
        if names is not None and now - self._since < REMEMBERED_S:
            return names
        if len(self._remembered) >= MAX_REMEMBERED or now - self._since >= REMEMBERED_S:
            self._remembered.clear()
            self._sent_by.clear()
            self._since = now
        local = route_address(remote) if is_wildcard(bound) else bound
        names = (local, local if self._is_near(remote) else self._advertised or local)
        self._remembered[key] = names
        return names

    def _is_near(self, remote: str) -> bool:
        """True when `remote` is inside: on this machine or in one of the local networks."""
        address = ipaddress.ip_address(remote)
        return address.is_loopback or any(
            address.version == network.version and address in network for network in self._networks
        )
