"""[io] SIP over TCP: connections, their limits, and the flow that queues while one opens."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, cast

from ..errors import ParseError
from ..message import Request, Response
from ..stream import KeepAlive, MessageStream
from .base import Flow, Target, TransportLimits, canonical_address
from .local import LocalNames, is_wildcard

BACKLOG = 1024
"Connections that the kernel holds until we take them: all phones of a site after a power cut."
SWEEP_S = 1.0
"How often connections are looked at for what they should have done by now."
FLUSH_S = 5.0
"How long a connection that we close may take to read what we still have for it."
SLICE = 8 * 1024
"Bytes of a connection handled before others get their turn; some twenty messages."
PING = b"\r\n\r\n"
PONG = b"\r\n"
PONG_S = 10.0
"RFC 5626 §4.4.1: no pong within 10 s means that the flow has failed."
PROBE_IDLE_S = 60
"Silence after which the kernel asks whether the peer still lives."
MAX_REFUSALS = 4096
"Targets remembered for having no TCP; the oldest are forgotten."


class StreamUser(Protocol):
    """Who takes what arrives."""

    def begin_wakeup(self) -> None:
        """Messages are about to be delivered."""

    def receive_message(self, message: Request | Response, flow: Flow) -> None:
        """One message."""

    def receive_error(self, error: ParseError, flow: Flow) -> None:
        """Something that is none."""

    def end_wakeup(self) -> None:
        """That was all for now."""

    def lose(self, flow: Flow) -> None:
        """The connection is gone."""


class TcpFlow(asyncio.Protocol):
    """One connection, ours or theirs. While ours opens, what is sent on it waits."""

    __slots__ = (
        "_active_at",
        "_close_at",
        "_pinged_at",
        "_pipe",
        "_ponged",
        "_rest",
        "_since",
        "_spoke",
        "_stream",
        "_tcp",
        "_waiting",
        "_waiting_bytes",
        "closed",
        "local",
        "opening",
        "remote",
        "sent_by",
    )

    transport = "TCP"
    reliable = True

    def __init__(self, tcp: TcpTransport, remote: tuple[str, int] | None = None) -> None:
        """A connection to open to `remote`, or one that comes in."""
        self._tcp = tcp
        self._pipe: asyncio.Transport | None = None
        self._stream = MessageStream()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._rest = b""
        self._since = self._active_at = tcp.loop.time()
        self._spoke = remote is not None
        self._pinged_at: float | None = None
        self._ponged = False
        self._close_at: float | None = None
        self.closed = False
        self.opening: asyncio.Task[None] | None = None
        "Opens a connection of ours; None for theirs."
        self.remote = remote or ("", 0)
        self.local, self.sent_by = tcp.names_for(self.remote[0]) if remote else (("", 0), "")

    def __repr__(self) -> str:
        return f"<TCP {self.local[0]}:{self.local[1]} to {self.remote[0]}:{self.remote[1]}>"

    @property
    def is_open(self) -> bool:
        """True from the handshake to the end."""
        return self._pipe is not None and not self.closed

    def send(self, data: bytes) -> None:
        """Write a message, or keep it until the connection is open."""
        if self.closed:
            return
        self._active_at = self._tcp.loop.time()
        if self._pipe is not None:
            self._pipe.write(data)
            return
        self._waiting_bytes += len(data)
        self._waiting.append(data)
        if self._waiting_bytes > self._tcp.limits.max_write_buffer:
            self.cut()

    def cut(self) -> None:
        """Close at once; what is unsent is lost. Told to the user once."""
        if self._pipe is not None:
            self._pipe.abort()
        self._end()

    def finish(self, now: float) -> None:
        """Close after what is unsent has left, or after `FLUSH_S`."""
        if self._pipe is None or self.closed:
            self.cut()
            return
        self._close_at = now + FLUSH_S
        self._pipe.close()
        self._end()

    def _end(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._waiting.clear()
        self._rest = b""
        self._tcp.user.lose(self)
        if self._close_at is None:
            self._tcp.forget(self)

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        pipe = cast(asyncio.Transport, transport)  # uvloop's class is no subclass of it
        if self.closed:
            pipe.abort()
            return
        peer, own = pipe.get_extra_info("peername"), pipe.get_extra_info("sockname")
        if not peer or not own:  # it is gone already
            pipe.abort()
            return
        self._pipe = pipe
        self.local, self.remote = own[:2], peer[:2]
        if self.opening is None:
            self.sent_by = self._tcp.names_for(peer[0], own[0])[1]
            if not self._tcp.admit(self):
                self.closed = True
                pipe.abort()
                return
        keep_alive(pipe.get_extra_info("socket"))
        pipe.set_write_buffer_limits(high=self._tcp.limits.max_write_buffer)
        for data in self._waiting:
            pipe.write(data)
        self._waiting.clear()
        self._tcp.user.begin_wakeup()
        self._tcp.user.end_wakeup()  # sets the timer for the sweep

    def pause_writing(self) -> None:
        """More is unsent than we keep: the peer has stopped reading."""
        self.cut()

    def data_received(self, data: bytes) -> None:
        """Handle a slice, and the rest when the others have had their turn."""
        if self.closed or self._pipe is None:
            return
        if len(data) > SLICE:
            self._pipe.pause_reading()
            self._rest = data[SLICE:]
            self._tcp.loop.call_soon(self._take_rest)
            data = data[:SLICE]
        self._take(data)

    def _take_rest(self) -> None:
        if self.closed or self._pipe is None:
            return
        data, self._rest = self._rest[:SLICE], self._rest[SLICE:]
        if self._rest:
            self._tcp.loop.call_soon(self._take_rest)
        else:
            self._pipe.resume_reading()
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._active_at = now = self._tcp.loop.time()
        if self._pinged_at is not None:
            self._pinged_at = None  # whatever came, it shows that the flow works
            self._ponged = True
        user = self._tcp.user
        user.begin_wakeup()
        try:
            self._stream.receive_data(data, now)
            self._deliver()
        finally:
            user.end_wakeup()
        if self._stream.failed:
            self.finish(now)

    def _deliver(self) -> None:
        user = self._tcp.user
        for event in self._stream.events():
            if isinstance(event, KeepAlive):
                self.send(PONG)
            elif isinstance(event, ParseError):
                user.receive_error(event, self)
            else:
                self._spoke = True
                user.receive_message(event, self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever closed it."""
        self._pipe = None
        self._close_at = None
        self._tcp.forget(self)
        self._end()

    # Called by the sweep.

    def check(self, now: float) -> None:
        """Close a connection that owes us something, ping one of ours that is silent."""
        if self._close_at is not None:
            if now >= self._close_at and self._pipe is not None:
                self._pipe.abort()
            return
        if self._pipe is None:
            return
        limits = self._tcp.limits
        silent = not self._spoke and now >= self._since + limits.first_message_s
        if silent or now >= self._active_at + limits.idle_s:
            self.cut()
        elif self._stream.deadline is not None and now >= self._stream.deadline:
            self._stream.handle_timeout(now)
            self._deliver()
            self.finish(now)
        elif self.opening is not None:
            self._keep_alive(now)

    def _keep_alive(self, now: float) -> None:
        every_s = self._tcp.keep_alive_s
        if self._pinged_at is not None:
            # A peer that never answered a ping may not know them (RFC 5626 §4.4.1): no reason to cut it.
            if self._ponged and now >= self._pinged_at + PONG_S:
                self.cut()
        elif every_s is not None and now >= self._active_at + every_s:
            self.send(PING)
            self._pinged_at = now


class TcpTransport:
    """All connections of an endpoint, by whichever side they were opened."""

    def __init__(
        self,
        user: StreamUser,
        *,
        names: LocalNames,
        limits: TransportLimits,
        keep_alive_s: float | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.user = user
        self.limits = limits
        self.keep_alive_s = keep_alive_s
        self.loop = loop
        self.connect: Callable[..., Awaitable[object]] = loop.create_connection
        self.flows: set[TcpFlow] = set()
        "Open, opening, and closing until their last byte has left."
        self.refused = 0
        "Connections turned away for a limit."
        self._names = names
        self._servers: list[asyncio.Server] = []
        self._listening: list[tuple[str, int]] = []
        self._by_remote: dict[tuple[str, int], TcpFlow] = {}
        self._per_source: Counter[str] = Counter()
        self._theirs = 0
        self._no_tcp: dict[tuple[str, int], float] = {}
        self._sweep_at = 0.0
        self._gone = asyncio.Event()
        "Set when the last connection goes."

    async def listen(self, host: str, port: int, *, wished: Sequence[int] = ()) -> int:
        """Take connections at an address; returns the port. For port 0 those in `wished` are tried first."""
        sock = _bind(host, port, wished)
        self._servers.append(await self.loop.create_server(lambda: TcpFlow(self), sock=sock, backlog=BACKLOG))
        bound: tuple[str, int] = sock.getsockname()[:2]
        self._listening.append(bound)
        return bound[1]

    async def close(self) -> None:
        """Close the listeners and every connection, giving those a moment to take what is unsent."""
        for server in self._servers:
            server.close()
        now = self.loop.time()
        opening = [flow.opening for flow in self.flows if flow.opening is not None and not flow.opening.done()]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for flow in list(self.flows):
            flow.finish(now)
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._all_gone()
        except TimeoutError:
            for flow in list(self.flows):
                flow.cut()
            await self._all_gone()

    async def _all_gone(self) -> None:
        if self.flows:
            self._gone.clear()
            await self._gone.wait()

    def flow_to(self, target: Target) -> TcpFlow:
        """The open connection to a target, or a new one that begins to open."""
        key = (canonical_address(target.host), target.port)
        flow = self._by_remote.get(key)
        if flow is not None and not flow.closed:
            return flow
        flow = TcpFlow(self, key)
        self._add(flow)
        flow.opening = self.loop.create_task(self._open(flow))
        return flow

    async def opened(self, target: Target) -> TcpFlow | None:
        """A connection for a request that merely prefers TCP; None when the target gives none in time.

        RFC 3261 §18.1.1 wants UDP tried after a reset or an ICMP error; we take silence for the same, and
        remember it, since a request that waits for TCP at each call would be worse than a fragmented one.
        """
        key = (canonical_address(target.host), target.port)
        if self.loop.time() < self._no_tcp.get(key, 0.0):
            return None
        flow = self.flow_to(target)
        if flow.opening is not None and not flow.opening.done():
            await asyncio.wait([flow.opening], timeout=self.limits.promote_connect_s)
        if flow.is_open:
            self._no_tcp.pop(key, None)
            return flow
        if len(self._no_tcp) >= MAX_REFUSALS:
            del self._no_tcp[next(iter(self._no_tcp))]
        self._no_tcp[key] = self.loop.time() + self.limits.no_tcp_memory_s
        return None

    async def _open(self, flow: TcpFlow) -> None:
        host, port = flow.remote
        local = flow.local[0] if not is_wildcard(self._listener(host)[0]) else None
        try:
            async with asyncio.timeout(self.limits.connect_s):
                await self.loop.create_connection(lambda: flow, host, port, local_addr=(local, 0) if local else None)
        except OSError:  # refused, unreachable, or out of time
            flow.cut()

    def names_for(self, remote: str, own: str | None = None) -> tuple[tuple[str, int], str]:
        """(local address and port, sent-by) of a connection with `remote`, at our end `own` if known.

        The port is that of the listener, not of the connection: others shall reach us there.
        """
        bound, port = self._listener(remote)
        bound = own or bound
        return (self._names.local_host(bound, remote), port), self._names.sent_by(bound, port, remote)

    def _listener(self, remote: str) -> tuple[str, int]:
        """The address we listen on that suits `remote` best."""
        suiting = [bound for bound in self._listening if (":" in bound[0]) == (":" in remote)]
        if not suiting:
            return ("::", 5060) if ":" in remote else ("0.0.0.0", 5060)
        if len(suiting) > 1:
            local = self._names.local_host("::" if ":" in remote else "0.0.0.0", remote)
            suiting.sort(key=lambda bound: (bound[0] != local, not is_wildcard(bound[0])))
        return suiting[0]

    def admit(self, flow: TcpFlow) -> bool:
        """Count a connection that came in; False when there are too many."""
        source = flow.remote[0]
        theirs = self._per_source
        if self._theirs >= self.limits.max_connections or (theirs[source] >= self.limits.max_connections_per_source):
            self.refused += 1
            return False
        theirs[source] += 1
        self._theirs += 1
        self._add(flow)
        return True

    def _add(self, flow: TcpFlow) -> None:
        if not self.flows:
            self._sweep_at = self.loop.time() + SWEEP_S
        self.flows.add(flow)
        self._by_remote[flow.remote] = flow

    def forget(self, flow: TcpFlow) -> None:
        """A connection is gone."""
        if flow not in self.flows:
            return
        self.flows.remove(flow)
        if not self.flows:
            self._gone.set()
        if self._by_remote.get(flow.remote) is flow:
            del self._by_remote[flow.remote]
        if flow.opening is None:
            self._theirs -= 1
            self._per_source[flow.remote[0]] -= 1
            if not self._per_source[flow.remote[0]]:
                del self._per_source[flow.remote[0]]

    @property
    def deadline(self) -> float | None:
        """When the next sweep is due; None without connections."""
        return self._sweep_at if self.flows else None

    def handle_timeout(self, now: float) -> None:
        """Look at every connection."""
        self._sweep_at = now + SWEEP_S
        for flow in list(self.flows):
            flow.check(now)


def _bind(host: str, port: int, wished: Sequence[int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for choice in (*(wished if port == 0 else ()), port):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, choice))
        except OSError:
            sock.close()
            if choice == port:
                raise
        else:
            return sock
    raise AssertionError("the last choice either binds or raises")


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out about a peer that vanished without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
