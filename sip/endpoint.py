"""[io] A SIP stack on the network: sockets, the one timer, and the way from a URI to a flow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from .dialog import Dialog
from .errors import ParseError
from .kept_binding import LostFlow
from .message import Request, Response, parse_message
from .resolver import Chance, Lookups, ResolveError, ip_version, numeric_target, resolve
from .stack import SipStack
from .transport.base import (
    MAX_UNRELIABLE_REQUEST,
    Flow,
    Listen,
    Target,
    TransportLimits,
    canonical_address,
    host_port,
    is_unicast,
)
from .transport.local import LocalNames, is_wildcard
from .transport.tcp import TcpFlow, TcpTransport
from .transport.udp import UdpFlow, UdpSocket, bind_udp
from .transport.websocket import PING, PONG, WebSocketFlow
from .uri import Uri

RESOLVE_S = 8.0
"For all DNS questions about one URI; a caller hears nothing meanwhile."
TIMER_STEP_S = 0.001
"A timer is not armed for less: uvloop counts in milliseconds, and would wake us too early and again."

FlowListener = Callable[[Flow, float], None]


class Core(Protocol):
    """Anything without I/O that waits for an instant: registrar, calls, registrations."""

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called, in seconds of the loop's clock; None: never."""

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""


class SipEndpoint:
    """Sends what the stack wants sent, tells it what arrived, and wakes it when it asked to be woken.

    A core may be used in any callback of the loop; `pump` must follow.
    """

    def __init__(
        self,
        stack: SipStack,
        *,
        advertised: str | None = None,
        local_networks: Sequence[str] = (),
        lookups: Lookups | None = None,
        nameservers: Sequence[str] | None = None,
        limits: TransportLimits | None = None,
        keep_alive_s: float | None = None,
    ) -> None:
        """`advertised` and `local_networks`: see `LocalNames`. `nameservers`: addresses to ask instead of the
        system's; `lookups`: who asks, instead of dnspython.

        `keep_alive_s`: how often a CRLF ping goes out on connections of ours (RFC 5626 §4.4.1); None: never.
        """
        self.stack = stack
        self.addresses: tuple[Listen, ...] = ()
        "What is listened on, with the ports that the system gave."
        self._names = LocalNames(advertised, local_networks)
        self._lookups = lookups
        self._nameservers = nameservers
        self._limits = limits or TransportLimits()
        self._keep_alive_s = keep_alive_s
        self._chance: Chance = random.SystemRandom()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cores: list[Core] = [stack]
        self._flow_listeners: list[FlowListener] = []
        self._sockets: list[UdpSocket] = []
        self._tcp: TcpTransport | None = None
        self._transports: tuple[str, ...] = ()
        self._versions: tuple[int, ...] = ()
        self._lost: list[Flow] = []
        self._busy = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._now = 0.0
        self.now: Callable[[], float] = _time_of_running_loop
        "The loop's clock, seconds: the `now` of every core."

    # Life.

    async def start(self, listens: Sequence[Listen]) -> None:
        """Listen; OSError when an address cannot be had (then nothing is left open)."""
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._tcp = TcpTransport(
            self, names=self._names, limits=self._limits, keep_alive_s=self._keep_alive_s, loop=self._loop
        )
        self._cores.append(self._tcp)
        try:
            await self._listen(listens)
        except OSError:
            await self.close()
            raise
        self._transports = tuple(dict.fromkeys(listen.transport for listen in self.addresses))
        self._versions = tuple(dict.fromkeys(ip_version(listen.host) for listen in self.addresses))

    async def _listen(self, listens: Sequence[Listen]) -> None:
        assert self._tcp is not None
        for listen in sorted(listens, key=lambda listen: listen.transport != "UDP"):
            if listen.transport == "UDP":
                port = self._listen_udp(listen.host, listen.port)
            else:
                # A UDP socket on a free port: the same for TCP, where a large request will look for it.
                twins = [udp.port for udp in self._sockets if udp.host == listen.host]
                port = await self._tcp.listen(listen.host, listen.port, wished=twins)
            self.addresses += (Listen(listen.transport, listen.host, port),)

    def _listen_udp(self, host: str, port: int) -> int:
        assert self._loop is not None
        udp = UdpSocket(
            bind_udp(host, port),
            self,
            self.lose,
            names=self._names,
            limits=self._limits,
            loop=self._loop,
        )
        self._sockets.append(udp)
        return udp.port

    async def close(self) -> None:
        """Send what is pending and close every socket."""
        if self._loop is None:
            return
        self.pump()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for udp in self._sockets:
            udp.close()
        self._sockets.clear()
        if self._tcp is not None:
            await self._tcp.close()

    def add_core(self, core: Core) -> None:
        """Let `core` share the one timer."""
        self._cores.append(core)

    def on_flow_lost(self, listener: FlowListener) -> None:
        """Have `listener(flow, now)` called when a connection closes, or a UDP peer proves unreachable."""
        self._flow_listeners.append(listener)

    def counts(self) -> dict[str, int]:
        """What is open: connections, udp_sockets; and udp_dropped, datagrams lost to a full buffer."""
        return {
            "connections": len(self._tcp.flows) if self._tcp is not None else 0,
            "udp_sockets": len(self._sockets),
            "udp_dropped": sum(udp.dropped for udp in self._sockets),
        }

    # Down: send, tell, re-arm.

    def pump(self) -> None:
        """Send what the stack has ready and set the timer. Call it after every verb on a core."""
        if self._busy or self._loop is None or self._closed:
            return  # inside of a wake-up, which ends with a pump; or not on the network
        self._busy = True
        try:
            for data, flow in self.stack.messages_to_send():
                flow.send(data)
            if self._lost:
                self._tell_lost()
        finally:
            self._busy = False
        if self._lost:
            self._schedule(0.0)  # lost while telling: next time round, so that the loop gets its turn
        self._arm()

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, []
        now = self.now()
        for flow in dict.fromkeys(lost):
            self.stack.flow_closed(flow, now)
            for listener in self._flow_listeners:
                listener(flow, now)
        for data, flow in self.stack.messages_to_send():
            flow.send(data)

    def _arm(self) -> None:
        earliest = self._timer_at
        for core in self._cores:
            deadline = core.deadline
            if deadline is not None and deadline < earliest:
                earliest = deadline
        # A timer that is too early finds nothing to do and is set again: cheaper than to move it each time.
        if earliest < self._timer_at:
            self._schedule(earliest)

    def _schedule(self, at: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = max(at, self._loop.time() + TIMER_STEP_S)
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        now = self.now()
        self._busy = True
        try:
            for core in self._cores:
                deadline = core.deadline
                if deadline is not None and deadline <= now:
                    core.handle_timeout(now)
        finally:
            self._busy = False
            self.pump()

    # Up: what the transports tell.

    def begin_wakeup(self) -> None:
        """Messages are about to be delivered."""
        self._busy = True
        self._now = self.now()

    def end_wakeup(self) -> None:
        """That was all for now."""
        self._busy = False
        self.pump()

    def receive_datagram(self, data: bytes, flow: Flow) -> None:
        """One datagram: a message, or one of the things that keep a NAT open, which want no answer."""
        if not data or data[0] < 0x41:  # below "A": CRLF, NUL bytes, STUN
            data = data.lstrip(b"\r\n")  # RFC 3261 §7.5
            if not data or data[0] < 0x21:
                return
        try:
            message = parse_message(data)
        except ParseError as error:
            self.stack.receive_error(error, flow, self._now)
        else:
            self.stack.receive(message, flow, self._now)

    def receive_message(self, message: Request | Response, flow: Flow) -> None:
        """One message from a stream."""
        self.stack.receive(message, flow, self._now)

    def receive_error(self, error: ParseError, flow: Flow) -> None:
        """Something from a stream that is no message."""
        self.stack.receive_error(error, flow, self._now)

    def receive_frame(self, data: bytes, flow: WebSocketFlow) -> None:
        """One frame of a WebSocket: a message, or a ping that wants its pong (RFC 7118 §5, RFC 5626 §4.4.1)."""
        if not data.strip(b"\r\n"):
            if data == PING:
                flow.send(PONG)
            return
        self.begin_wakeup()
        try:
            self.receive_datagram(data, flow)
        finally:
            self.end_wakeup()

    def lose(self, flow: Flow) -> None:
        """Nothing can be sent on `flow`, or what was sent came back."""
        self._lost.append(flow)
        self.pump()

    # The way to a peer.

    async def flows_to(self, uri: Uri, *, size: int = 0) -> list[Flow]:
        """Ways to reach `uri`, best first (RFC 3263); never empty: `ResolveError` when there is none.

        `size` is the length of the request in bytes. Above 1300, TCP comes before UDP wherever a
        connection is open or can be opened at once (RFC 3261 §18.1.1): this is the only case in which
        an address given as a number may have to be waited for.
        """
        if not self._transports:
            raise ResolveError("no transport is open")
        numeric = numeric_target(uri, self._transports)
        targets = [numeric] if numeric is not None else await self._resolve(uri)
        targets = [target for target in targets if is_reachable(target) and self._speaks(target)]
        promoted: Sequence[Flow | None] = ()
        if size > MAX_UNRELIABLE_REQUEST and "TCP" in self._transports:
            promoted = await asyncio.gather(*map(self._promoted, targets))
        flows: list[Flow] = []
        for index, target in enumerate(targets):
            if promoted and (better := promoted[index]) is not None:
                flows.append(better)
            flows.append(self._flow(target))
        if not flows:
            raise ResolveError("no way to reach any of its addresses")
        return list(dict.fromkeys(flows))

    async def _resolve(self, uri: Uri) -> list[Target]:
        if self._lookups is None:
            from .transport.dns import DnsLookups  # slow to import, and often not needed

            self._lookups = DnsLookups(self._nameservers)
        try:
            async with asyncio.timeout(RESOLVE_S):
                return await resolve(
                    uri,
                    self._lookups,
                    transports=self._transports,
                    versions=self._versions,
                    chance=self._chance,
                )
        except TimeoutError:
            raise ResolveError(f"no answer from DNS within {RESOLVE_S:g} s") from None

    def _speaks(self, target: Target) -> bool:
        """True when we listen on that transport and IP version."""
        version = ip_version(target.host)
        return any(
            listen.transport == target.transport and ip_version(listen.host) == version for listen in self.addresses
        )

    async def _promoted(self, target: Target) -> Flow | None:
        """The TCP flow that a large request takes instead of UDP; None when the target has none for us."""
        tcp = Target("TCP", target.host, target.port)
        if target.transport != "UDP" or not self._speaks(tcp):
            return None
        return await self._open_connection(tcp)

    async def _open_connection(self, target: Target) -> Flow | None:
        assert self._tcp is not None
        return await self._tcp.opened(target)

    def follow(self, dialog: Dialog, flow: Flow) -> Flow:
        """The flow for a dialog's requests, by its route set or remote target (RFC 3261 §12.2.1.1).

        For peers that are not behind NAT. Without a look at DNS: a next hop that is a name, and a connection that is
        open, keep the flow of the INVITE; a connection that is closed is opened again.
        """
        hop = dialog.next_hop
        if not flow.closed and (flow.reliable or f"@{host_port(*flow.remote)}" in hop):
            return flow
        try:
            target = numeric_target(Uri.parse(hop), self._transports if flow.closed else ("UDP",))
        except (ParseError, ResolveError):  # no URI, or a scheme and transport that we do not speak
            return flow
        if target is None and flow.closed and flow.transport in self._transports:
            target = Target(flow.transport, *flow.remote)
        if target is None or (not flow.closed and (target.host, target.port) == flow.remote):
            return flow
        if not (is_reachable(target) and self._speaks(target)):
            return flow  # multicast, or an IP version that we have no socket of
        return self._flow(target)

    def flow_again(self, transport: str, local: tuple[str, int], remote: tuple[str, int]) -> Flow:
        """The flow that a former process had: over UDP the same one, of the socket that listens there now."""
        if transport == "UDP":
            version = ip_version(remote[0])
            fitting = [udp for udp in self._sockets if ip_version(udp.host) == version]
            fitting.sort(key=lambda udp: (udp.port != local[1], udp.host != local[0], not is_wildcard(udp.host)))
            if fitting:
                return fitting[0].flow_to(canonical_address(remote[0]), remote[1])
        return LostFlow(transport, local, remote)

    def _flow(self, target: Target) -> Flow:
        if target.transport == "TCP":
            return self._tcp_flow(target)
        return self._udp_flow(target)

    def _tcp_flow(self, target: Target) -> TcpFlow:
        assert self._tcp is not None
        return self._tcp.flow_to(target)

    def _udp_flow(self, target: Target) -> UdpFlow:
        version = ip_version(target.host)
        fitting = [udp for udp in self._sockets if ip_version(udp.host) == version]
        if len(fitting) > 1:
            wildcard = "::" if version == 6 else "0.0.0.0"
            local = self._names.local_host(wildcard, target.host)
            fitting.sort(key=lambda udp: (udp.host != local, not is_wildcard(udp.host)))
        return fitting[0].flow_to(canonical_address(target.host), target.port)


def is_reachable(target: Target) -> bool:
    """True for what can be one peer."""
    return 0 < target.port < 65536 and is_unicast(target.host)


def _time_of_running_loop() -> float:
    return asyncio.get_running_loop().time()
