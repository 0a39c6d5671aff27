"""TCP on the loopback of this machine; the sweep's time is passed in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sip.errors import ParseError
from sip.message import Request, Response
from sip.stream import HALF_MESSAGE_S
from sip.transport.base import Flow, Target, TransportLimits
from sip.transport.local import LocalNames
from sip.transport.tcp import FLUSH_S, PONG_S, TcpFlow, TcpTransport

from .loops import on_both_loops

Event = tuple[str, object, Flow]


def options(number: int = 1, body: str = "") -> bytes:
    return (
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:b@127.0.0.1>\r\nCall-ID: c\r\nCSeq: {number} OPTIONS\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class User:
    """Keeps what arrives, in order."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Event] = asyncio.Queue()
        self.wakeups = 0

    def begin_wakeup(self) -> None:
        self.wakeups += 1

    def receive_message(self, message: Request | Response, flow: Flow) -> None:
        self.got.put_nowait(("message", message.cseq.number, flow))

    def receive_error(self, error: ParseError, flow: Flow) -> None:
        self.got.put_nowait(("error", error.status, flow))

    def end_wakeup(self) -> None: ...

    def lose(self, flow: Flow) -> None:
        self.got.put_nowait(("lost", flow.remote, flow))

    async def next(self) -> Event:
        return await asyncio.wait_for(self.got.get(), 5)


@asynccontextmanager
async def tcp(
    *, limits: TransportLimits | None = None, keep_alive_s: float | None = None
) -> AsyncIterator[tuple[TcpTransport, User]]:
    user = User()
    transport = TcpTransport(
        user,
        names=LocalNames(),
        limits=limits or TransportLimits(),
        keep_alive_s=keep_alive_s,
        loop=asyncio.get_running_loop(),
    )
    try:
        yield transport, user
    finally:
        await transport.close()
        assert not transport.flows


class Peer:
    """The other end, in plain bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, length: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(length), 5)

    async def read_all(self) -> bytes:
        """Everything up to the end of the connection; a reset is an end, too."""
        got = b""
        try:
            while data := await asyncio.wait_for(self.reader.read(65536), 5):
                got += data
        except ConnectionResetError:
            pass
        return got

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionResetError):  # the other side may be quicker
            await self.writer.wait_closed()


@asynccontextmanager
async def peer(port: int, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    peer = Peer(*await asyncio.open_connection(host, port))
    try:
        yield peer
    finally:
        await peer.close()


@asynccontextmanager
async def server() -> AsyncIterator[tuple[int, asyncio.Queue[Peer]]]:
    """Somebody to connect to."""
    peers: asyncio.Queue[Peer] = asyncio.Queue()
    all_peers: list[Peer] = []

    def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        all_peers.append(Peer(reader, writer))
        peers.put_nowait(all_peers[-1])

    listening = await asyncio.start_server(taken, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], peers
    finally:
        listening.close()
        for one in all_peers:
            await one.close()


def refused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_both_loops
async def test_messages_in_pieces_and_their_answers(host: str) -> None:
    async with tcp() as (ours, user), tcp() as (theirs, other):
        port = await ours.listen(host, 0)
        their_port = await theirs.listen(host, 0)
        flow = theirs.flow_to(Target("TCP", host, port))
        assert not flow.is_open
        assert flow.sent_by == (f"[::1]:{their_port}" if host == "::1" else f"127.0.0.1:{their_port}")
        message = options(1, "body")
        flow.send(message[:20])
        flow.send(message[20:] + options(2))
        (what, number, incoming), second = await user.next(), await user.next()
        assert (what, number) == ("message", 1)
        assert second[1:] == (2, incoming)
        assert incoming.remote == (host, flow.local[1]) or incoming.remote[0] == host
        assert incoming.sent_by.endswith(f":{port}")
        assert incoming.transport == "TCP"
        assert incoming.reliable
        incoming.send(options(3))
        assert (await other.next())[:2] == ("message", 3)
        assert theirs.flow_to(Target("TCP", host, port)) is flow, "an open connection is used again"


@on_both_loops
async def test_their_connection_is_used_for_requests_to_them() -> None:
    async with tcp() as (ours, user):
        port = await ours.listen("127.0.0.1", 0)
        async with peer(port) as them:
            them.send(options())
            incoming = (await user.next())[2]
            assert ours.flow_to(Target("TCP", *incoming.remote)) is incoming


@on_both_loops
async def test_a_ping_gets_its_pong() -> None:
    async with tcp() as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(b"\r\n\r\n" + options())
        assert await them.read(2) == b"\r\n"
        assert (await user.next())[0] == "message"
        them.send(b"\r\n\r\n")
        assert await them.read(2) == b"\r\n"


@on_both_loops
async def test_a_refused_connection_is_lost() -> None:
    async with tcp() as (ours, user):
        flow = ours.flow_to(Target("TCP", "127.0.0.1", refused_port()))
        flow.send(options())
        assert await user.next() == ("lost", flow.remote, flow)
        assert flow.closed
        flow.send(options())  # nobody minds
        assert ours.flow_to(Target("TCP", *flow.remote)) is not flow


@on_both_loops
async def test_an_ending_connection_is_lost_once() -> None:
    async with tcp() as (ours, user):
        async with peer(await ours.listen("127.0.0.1", 0)) as them:
            them.send(options())
            flow = (await user.next())[2]
        assert await user.next() == ("lost", flow.remote, flow)
        assert flow.closed
        assert not ours.flows
        assert user.got.empty()


@on_both_loops
async def test_lost_framing_is_answered_and_closed() -> None:
    async with tcp() as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(options() + b"OPTIONS sip:x SIP/2.0\r\nVia: nothing\r\n\r\n")
        assert (await user.next())[0] == "message"
        what, _, flow = await user.next()
        assert what == "error"
        assert (await user.next())[0] == "lost"
        assert flow.closed
        assert await them.read_all() == b""
        assert ours.deadline is None


@on_both_loops
async def test_a_framed_error_keeps_the_connection() -> None:
    async with tcp() as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(options().replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE") + options(2))
        assert (await user.next())[0] == "error"
        assert (await user.next())[:2] == ("message", 2)


@on_both_loops
async def test_half_a_message_is_waited_for_and_then_cut() -> None:
    async with tcp() as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(options() + options()[:50])
        flow = (await user.next())[2]
        now = ours.loop.time()
        assert ours.deadline is not None
        assert ours.deadline <= now + 1
        ours.handle_timeout(now + HALF_MESSAGE_S - 1)
        assert not flow.closed
        ours.handle_timeout(now + HALF_MESSAGE_S + 1)
        assert (await user.next())[0] == "error"
        assert (await user.next())[0] == "lost"
        assert await them.read_all() == b""


@on_both_loops
async def test_a_connection_that_says_nothing_is_cut() -> None:
    limits = TransportLimits(first_message_s=30)
    async with tcp(limits=limits) as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(b"\r\n\r\n")  # keep-alives are no excuse
        await them.read(2)
        now = ours.loop.time()
        ours.handle_timeout(now + 29)
        assert user.got.empty()
        ours.handle_timeout(now + 31)
        assert (await user.next())[0] == "lost"
        assert await them.read_all() == b""


@on_both_loops
async def test_an_idle_connection_is_cut() -> None:
    limits = TransportLimits(idle_s=100)
    async with tcp(limits=limits) as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(options())
        flow = (await user.next())[2]
        now = ours.loop.time()
        ours.handle_timeout(now + 99)
        assert not flow.closed
        ours.handle_timeout(now + 101)
        assert (await user.next())[0] == "lost"


@on_both_loops
async def test_limits_of_connections() -> None:
    limits = TransportLimits(max_connections=3, max_connections_per_source=2)
    async with tcp(limits=limits) as (ours, user):
        port = await ours.listen("127.0.0.1", 0)
        async with peer(port) as one, peer(port) as two:
            for them in (one, two):
                them.send(options())
                await user.next()
            async with peer(port) as three:
                assert await three.read_all() == b""
            assert ours.refused == 1
            assert len(ours.flows) == 2
        for _ in range(2):
            assert (await user.next())[0] == "lost"
        async with peer(port) as again:
            again.send(options())
            assert (await user.next())[0] == "message"


@on_both_loops
async def test_total_limit_of_connections() -> None:
    async with tcp(limits=TransportLimits(max_connections=1)) as (ours, user):
        port = await ours.listen("127.0.0.1", 0)
        async with peer(port) as one:
            one.send(options())
            await user.next()
            async with peer(port) as two:
                assert await two.read_all() == b""


@on_both_loops
async def test_a_peer_that_stops_reading_is_cut() -> None:
    limits = TransportLimits(max_write_buffer=100_000)
    async with tcp(limits=limits) as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(options())
        flow = (await user.next())[2]
        sent = 0
        while not flow.closed:
            flow.send(bytes(50_000))
            sent += 50_000
            assert sent < 100_000_000
        assert await user.next() == ("lost", flow.remote, flow)


@on_both_loops
async def test_what_waits_for_a_connection_is_bounded() -> None:
    async with tcp(limits=TransportLimits(max_write_buffer=10_000)) as (ours, user):
        flow = ours.flow_to(Target("TCP", "127.0.0.1", refused_port()))
        flow.send(bytes(9_000))
        assert user.got.empty()
        flow.send(bytes(9_000))
        assert flow.closed
        assert (await user.next())[0] == "lost"


@on_both_loops
async def test_a_flood_on_one_connection_comes_in_slices() -> None:
    async with tcp() as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(b"".join(options(number) for number in range(1, 1001)))
        async with asyncio.timeout(5):
            numbers = [(await user.got.get())[1] for _ in range(1000)]
        assert numbers == list(range(1, 1001))
        assert user.wakeups > 20


@on_both_loops
async def test_our_keep_alive_on_our_connections() -> None:
    async with server() as (port, peers), tcp(keep_alive_s=30) as (ours, user):
        flow = ours.flow_to(Target("TCP", "127.0.0.1", port))
        flow.send(options())
        them = await asyncio.wait_for(peers.get(), 5)
        await them.read(len(options()))
        now = ours.loop.time()
        ours.handle_timeout(now + 29)
        ours.handle_timeout(now + 31)
        assert await them.read(4) == b"\r\n\r\n"
        ours.handle_timeout(now + 31 + PONG_S)
        assert not flow.closed, "who never answered a ping may not know them"
        them.send(b"\r\n" + options(7))
        assert (await user.next())[1] == 7
        ours.handle_timeout(now + 62)
        assert await them.read(4) == b"\r\n\r\n"
        ours.handle_timeout(now + 62 + PONG_S)
        assert flow.closed, "who did and does not any more is gone"


@on_both_loops
async def test_a_large_request_prefers_tcp_only_where_there_is_one() -> None:
    async with server() as (port, _), tcp() as (ours, user):
        flow = await ours.opened(Target("TCP", "127.0.0.1", port))
        assert isinstance(flow, TcpFlow)
        assert flow.is_open
        assert await ours.opened(Target("TCP", "127.0.0.1", port)) is flow
        closed = Target("TCP", "127.0.0.1", refused_port())
        assert await ours.opened(closed) is None
        assert (await user.next())[0] == "lost"
        assert await ours.opened(closed) is None
        assert user.got.empty(), "it was not asked again"


@on_both_loops
async def test_a_large_request_does_not_wait_long_for_tcp() -> None:
    limits = TransportLimits(promote_connect_s=0.01, connect_s=0.02)
    async with tcp(limits=limits) as (ours, user):
        never = asyncio.get_running_loop().create_future()

        async def connect(*_: object, **__: object) -> None:
            await never

        ours.connect = connect
        assert await ours.opened(Target("TCP", "127.0.0.1", 5060)) is None
        assert (await user.next())[0] == "lost"


@on_both_loops
async def test_closing_sends_what_is_unsent() -> None:
    async with tcp() as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(options())
        flow = (await user.next())[2]
        flow.send(b"the last word")
        await ours.close()
        assert await them.read_all() == b"the last word"


@on_both_loops
async def test_a_closing_connection_has_little_time_to_read() -> None:
    limits = TransportLimits(max_write_buffer=50_000_000)
    async with tcp(limits=limits) as (ours, user), peer(await ours.listen("127.0.0.1", 0)) as them:
        them.send(options())
        flow = (await user.next())[2]
        assert isinstance(flow, TcpFlow)
        flow.send(bytes(40_000_000))
        now = ours.loop.time()
        flow.finish(now)
        assert (await user.next())[0] == "lost"
        assert ours.flows
        ours.handle_timeout(now + FLUSH_S)
        await ours.close()
        assert not ours.flows


@on_both_loops
async def test_a_wished_port_that_is_taken_is_passed_over() -> None:
    async with tcp() as (ours, _):
        port = await ours.listen("127.0.0.1", 0)
        other = await ours.listen("127.0.0.1", 0, wished=[port])
        assert other not in (0, port)
        with pytest.raises(OSError, match="in use"):
            await ours.listen("127.0.0.1", port)
