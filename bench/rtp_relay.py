"""The relays that the RTP bench measures: `python -m bench.rtp_relay KIND CALLS`.

Reads nothing, prints a line a call (A's port, its relay port, B's port, its relay port), then "ready", and relays
until it is ended. `bare` is the shortest relay that uvloop allows: one DatagramProtocol a port, no header looked at.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from typing import cast

import uvloop

from media import MediaConfig, MediaEngine
from media.coders import G722_MODULE

A_PORTS, B_PORTS = 50_000, 55_000
RELAY_PORTS = (10_000, 29_999)


class Bare(asyncio.DatagramProtocol):
    """One leg of the bare relay."""

    def __init__(self) -> None:
        self.transport: asyncio.DatagramTransport
        self.peer: Bare
        self.source: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Send it on to where the peer's packets came from."""
        if address != self.source:
            self.source = address
        peer = self.peer
        if peer.source is not None:
            peer.transport.sendto(data, peer.source)


async def bare(calls: int) -> None:
    """Two sockets a call."""
    loop = asyncio.get_running_loop()
    for number in range(calls):
        legs = []
        for port in (RELAY_PORTS[0] + 2 * number, RELAY_PORTS[0] + 2 * (calls + number)):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            opened.bind(("127.0.0.1", port))
            _, leg = await loop.create_datagram_endpoint(Bare, sock=opened)
            legs.append((port, leg))
        (a_port, a), (b_port, b) = legs
        a.peer, b.peer = b, a
        print(A_PORTS + number, a_port, B_PORTS + number, b_port)


async def ringway(calls: int, formats: tuple[str, str] = ("0", "0")) -> None:
    """Two legs a call, offered and answered as in a real one; where the formats differ they are transcoded."""
    if formats[0] != formats[1]:
        import_module(G722_MODULE)
    engine = MediaEngine(MediaConfig(port_range=RELAY_PORTS))
    for number in range(calls):
        a, b = engine.create_leg(), engine.create_leg()
        a.receive_offer(description(A_PORTS + number, formats[0]))
        b.create_offer(a)
        b.receive_answer(description(B_PORTS + number, formats[1]))
        a.create_answer(b)
        engine.bridge(a, b)
        print(A_PORTS + number, a.stats.local[1], B_PORTS + number, b.stats.local[1])


def description(port: int, codec: str) -> str:
    """What a phone with one codec and telephone-event says."""
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {codec} 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
        "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n"
    )


KINDS: dict[str, Callable[[int], Coroutine[None, None, None]]] = {
    "bare": bare,
    "ringway": ringway,
    "opus-pcmu": partial(ringway, formats=("96", "0")),
    "g722-pcmu": partial(ringway, formats=("9", "0")),
    "g722-opus": partial(ringway, formats=("9", "96")),
}


async def main() -> None:
    """Open everything, say so, relay until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await KINDS[sys.argv[1]](int(sys.argv[2]))
    gc.freeze()
    print("ready", flush=True)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
