"""The place of the simulated network taken by real UDP sockets on 127.0.0.1, for a SimPhone at a real server."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

from .network import AddressPort, Network, Port
from .phones import SimPhone

HERE = "127.0.0.1"
SERVER = "ringway"


class Loopback(Network):
    """Every host is this one; what phones send to port 5060 goes to the port where the server really is."""

    def __init__(self, server_port: int) -> None:
        clock = SimpleNamespace(loop=asyncio.get_running_loop())
        super().__init__(cast(Any, clock))
        self._server_port = server_port
        self._sockets: dict[AddressPort, socket.socket] = {}

    def host(self, name: str, address: str | None = None) -> str:
        """Always the same."""
        return HERE

    def bind(self, address: AddressPort, port: Port) -> None:
        """Deliver datagrams to `port`."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(address)
        self._sockets[address] = sock

        def read() -> None:
            data, source = sock.recvfrom(65_536)
            port.receive(data, source)

        asyncio.get_running_loop().add_reader(sock, read)

    def send_datagram(self, source: AddressPort, destination: AddressPort, data: bytes) -> None:
        """Send a datagram from a bound port."""
        host, port = destination
        self._sockets[source].sendto(data, (host, self._server_port if port == 5060 else port))

    def phone(self, number: str, password: str) -> SimPhone:
        """A phone of an extension, on a free port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HERE, 0))
            port = probe.getsockname()[1]
        return SimPhone(self, f"phone{number}", user=number, password=password, server=SERVER, port=port)

    def close(self) -> None:
        """Close every socket."""
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
