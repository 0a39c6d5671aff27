"""A bad network: a UDP relay that loses, delays and reorders, the same for the same seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Weather:
    """What becomes of datagrams; loss and reordering are shares of 0 to 1."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    "Added to the delay, anything from 0 to this: later datagrams may overtake."
    reordering: float = 0.0
    "The share that is held back for REORDERED_S more."

    REORDERED_S = 0.03

    @property
    def longest_s(self) -> float:
        """The longest time that a datagram is under way."""
        return self.delay_s + self.jitter_s + (self.REORDERED_S if self.reordering else 0.0)


class RoughPath:
    """Stands between a client and one address of a server; each sees only the path."""

    def __init__(self, far: Address, weather: Weather, seed: int) -> None:
        self.weather = weather
        self.passed = self.lost = 0
        self._far = far
        self._chance = random.Random(seed)
        self._client: Address | None = None
        self._near_side = _Side(self._to_server)
        self._far_side = _Side(self._to_client)

    @classmethod
    async def open(cls, far: Address, weather: Weather, seed: int = 1) -> Self:
        """A path to `far`, on ports of its own."""
        path = cls(far, weather, seed)
        loop = asyncio.get_running_loop()
        for side in (path._near_side, path._far_side):
            await loop.create_datagram_endpoint(lambda side=side: side, local_addr=("127.0.0.1", 0))  # type: ignore[misc]
        return path

    @property
    def near(self) -> Address:
        """Where the client sends to."""
        return self._near_side.address

    @property
    def far_side(self) -> Address:
        """Where the server sees the client."""
        return self._far_side.address

    def expect(self, client: Address) -> None:
        """Where the client is, for one that must be sent to before it has sent anything."""
        self._client = client

    async def close(self) -> None:
        """Close both sockets; what is under way is lost."""
        self._near_side.transport.close()
        self._far_side.transport.close()
        await asyncio.sleep(0)

    def carry(self, data: bytes) -> None:
        """Take a datagram to the server, or lose it."""
        self._carry(self._far_side, data, self._far)

    def _to_server(self, data: bytes, source: Address) -> None:
        self._client = source
        self.carry(data)

    def _to_client(self, data: bytes, source: Address) -> None:
        if self._client is not None:
            self._carry(self._near_side, data, self._client)

    def _carry(self, side: _Side, data: bytes, target: Address) -> None:
        weather, chance = self.weather, self._chance
        if chance.random() < weather.loss:
            self.lost += 1
            return
        self.passed += 1
        delay_s = weather.delay_s + chance.random() * weather.jitter_s
        if chance.random() < weather.reordering:
            delay_s += weather.REORDERED_S
        asyncio.get_running_loop().call_later(delay_s, side.send, data, target)


class _Side(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self.receive = receive
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    @property
    def address(self) -> Address:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def send(self, data: bytes, target: Address) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, target)

    def datagram_received(self, data: bytes, source: tuple[str | Any, int]) -> None:
        self.receive(data, (source[0], source[1]))
