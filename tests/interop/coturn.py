"""Debian's coturn: a TURN server whose users prove themselves by credentials that expire."""

from __future__ import annotations

from pathlib import Path

from .network import Network
from .program import Program, needs

RELAY_PORTS = 20


class Coturn:
    """A running TURN server on one address."""

    def __init__(self, network: Network, folder: Path, address: str, secret: str, port: int = 0) -> None:
        needs("turnserver")
        self.port = port or network.ports(1)
        self.secret = secret
        first = network.ports(RELAY_PORTS)
        self.relay_ports = range(first, first + RELAY_PORTS)
        arguments = f"""
            -n --no-cli --no-tls --no-dtls --no-rfc5780 --use-auth-secret --static-auth-secret={secret} --realm=test
            --listening-ip={address} --relay-ip={address} --listening-port={self.port} --allow-loopback-peers
            --min-port={first} --max-port={first + RELAY_PORTS - 1} --log-file=stdout --simple-log --verbose
            --userdb={folder / "turndb"} --pidfile={folder / "pid"}
        """
        self.url = f"turn:{address}:{self.port}?transport=udp"
        self.program = Program(network, ["turnserver", *arguments.split()], folder)

    @classmethod
    async def start(cls, network: Network, folder: Path, address: str, secret: str, *, port: int = 0) -> Coturn:
        """Start it and wait until it listens."""
        coturn = cls(network, folder, address, secret, port)
        try:
            await coturn.program.listens(coturn.port)
        except AssertionError:
            coturn.program.kill()
            raise
        return coturn

    async def stop(self) -> None:
        """End it."""
        await self.program.stop()
