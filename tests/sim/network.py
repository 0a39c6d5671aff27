"""A network in memory: hosts with names, links with latency and misfortune, and a record of what passed.

network = Network(clock)
server = SimEndpoint(network, "ringway", stack)
network.lose("200 INVITE", source="trunk")
...
assert network.ladder() == ["phone > ringway: INVITE", "ringway > phone: 100 INVITE", ...]
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sip.endpoint import SipEndpoint
from sip.errors import ParseError
from sip.resolver import Naptr, Srv
from sip.stack import SipStack
from sip.stream import KeepAlive, MessageStream
from sip.transport.base import Flow, Listen, Target, TransportLimits, host_port

from .clock import Clock

LATENCY_S = 0.001
APART_S = 1e-7
"Between two arrivals, so that what was sent first arrives first."

AddressPort = tuple[str, int]


def label_of(data: bytes) -> str:
    """`INVITE` for a request, `180 INVITE` for a response, `CRLF` for a keep-alive, `?` for anything else."""
    if not data.strip():
        return "CRLF"
    lines = data.decode("latin-1").split("\r\n")
    start = lines[0].split(" ")
    if start[0] != "SIP/2.0":
        return start[0] if start[-1] == "SIP/2.0" else "?"
    for line in lines:
        if line.lower().startswith("cseq:"):
            return f"{start[1]} {line.split()[-1]}"
    return start[1]


@dataclass(slots=True)
class Packet:
    """One message on its way."""

    at: float
    transport: str
    source: str
    destination: str
    data: bytes
    lost: bool = False

    @property
    def label(self) -> str:
        """What `label_of` calls it."""
        return label_of(self.data)

    def __str__(self) -> str:
        return f"{self.source} > {self.destination}: {self.label}{' (lost)' if self.lost else ''}"


@dataclass(slots=True)
class Rule:
    """A misfortune that happens to the next `times` packets that fit."""

    label: str
    source: str | None
    destination: str | None
    times: int
    delays_s: Sequence[float]
    "One arrival each, so much later than usual; none: lost."

    def fits(self, packet: Packet) -> bool:
        """True while it still has to happen, to this packet."""
        return (
            self.times > 0
            and self.label in ("*", packet.label)
            and self.source in (None, packet.source)
            and self.destination in (None, packet.destination)
        )


class Port(Protocol):
    """Who is bound to a UDP port."""

    def receive(self, data: bytes, source: AddressPort) -> None:
        """A datagram came."""

    def unreachable(self, remote: AddressPort) -> None:
        """A datagram to `remote` came back as an ICMP error."""


class End:
    """One end of a TCP connection. What is sent before it opens waits; what is sent leaves in order."""

    def __init__(self, network: Network, local: AddressPort, remote: AddressPort) -> None:
        self.network = network
        self.local = local
        self.remote = remote
        self.peer: End | None = None
        self.closed = False
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_open: Callable[[], None] = lambda: None
        self.on_closed: Callable[[], None] = lambda: None
        self._waiting: list[bytes] = []

    def send(self, data: bytes) -> None:
        """Hand bytes over."""
        if self.closed:
            return
        if self.peer is None:
            self._waiting.append(data)
        else:
            self.network.carry("TCP", self.local, self.remote, data, self.peer.take)

    def close(self) -> None:
        """Close this end; the peer hears of it."""
        if self.closed:
            return
        self.closed = True
        if self.peer is not None:
            self.network.later(self.peer.gone)

    def opened(self, peer: End) -> None:
        """The handshake is done."""
        self.peer = peer
        for data in self._waiting:
            self.send(data)
        self._waiting.clear()
        self.on_open()

    def gone(self) -> None:
        """The peer closed, or refused."""
        if not self.closed:
            self.closed = True
            self.on_closed()

    def take(self, data: bytes) -> None:
        """Bytes came."""
        if not self.closed:
            self.on_data(data)


@dataclass
class SimDns:
    """The records of the test, and the addresses of the network's hosts. Counts what it is asked."""

    hosts: dict[str, str]
    srv_records: dict[str, list[Srv]] = field(default_factory=dict)
    naptr_records: dict[str, list[Naptr]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def naptr(self, name: str) -> Sequence[Naptr]:
        """NAPTR records of `name`."""
        self.asked.append(f"NAPTR {name}")
        return self.naptr_records.get(name, [])

    async def srv(self, name: str) -> Sequence[Srv]:
        """SRV records of `name`."""
        self.asked.append(f"SRV {name}")
        return self.srv_records.get(name, [])

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        """The address of a host, of whichever version it is."""
        self.asked.append(f"{'AAAA' if ipv6 else 'A'} {name}")
        return [self.hosts[name]] if name in self.hosts and (":" in self.hosts[name]) == ipv6 else []


class Network:
    """Hosts and what passes between them."""

    def __init__(self, clock: Clock, *, latency_s: float = LATENCY_S, seed: int = 1) -> None:
        self.clock = clock
        self.latency_s = latency_s
        self.loss = 0.0
        "Share of datagrams that are lost."
        self.duplication = 0.0
        "Share of datagrams that arrive twice."
        self.icmp = True
        "Whether a closed port answers, or swallows."
        self.trace: list[Packet] = []
        self.hosts: dict[str, str] = {}
        "Address by name."
        self.dns = SimDns(self.hosts)
        self._names: dict[str, str] = {}
        self._random = random.Random(seed)
        self._rules: list[Rule] = []
        self._down: set[str] = set()
        self._ports: dict[AddressPort, Port] = {}
        self._listeners: dict[AddressPort, Callable[[End], None]] = {}
        self._next_port = 49152
        self._last_at = 0.0

    # The scene.

    def host(self, name: str, address: str | None = None) -> str:
        """The address of a host; one that is new gets the next of 10.0.0.0/24."""
        if name not in self.hosts:
            self.hosts[name] = address or f"10.0.0.{len(self.hosts) + 1}"
            self._names[self.hosts[name]] = name
        return self.hosts[name]

    def name(self, address: str) -> str:
        """The host that has an address, or the address."""
        return self._names.get(address, address)

    def bind(self, address: AddressPort, port: Port) -> None:
        """Deliver datagrams to `port`."""
        assert address not in self._ports, f"{address} is taken"
        self._ports[address] = port

    def unbind(self, address: AddressPort) -> None:
        """Stop delivering; the port is closed."""
        self._ports.pop(address, None)
        self._listeners.pop(address, None)

    def listen(self, address: AddressPort, accept: Callable[[End], None]) -> None:
        """Take TCP connections."""
        self._listeners[address] = accept

    # Misfortunes.

    def lose(self, label: str, *, source: str | None = None, destination: str | None = None, times: int = 1) -> None:
        """Lose the next datagrams with that label (`*`: any)."""
        self._rules.append(Rule(label, source, destination, times, ()))

    def duplicate(
        self, label: str, *, source: str | None = None, destination: str | None = None, times: int = 1
    ) -> None:
        """Have them arrive twice."""
        self._rules.append(Rule(label, source, destination, times, (0.0, 0.0)))

    def delay(
        self,
        label: str,
        by_s: float,
        *,
        source: str | None = None,
        destination: str | None = None,
        times: int = 1,
    ) -> None:
        """Have them arrive late, overtaken by others."""
        self._rules.append(Rule(label, source, destination, times, (by_s,)))

    def take_down(self, name: str) -> None:
        """From now on nothing reaches or leaves a host, and nobody is told."""
        self._down.add(self.host(name))

    def bring_up(self, name: str) -> None:
        """End that."""
        self._down.discard(self.host(name))

    # What passed.

    def ladder(self, *hosts: str) -> list[str]:
        """What was sent, one line a message; with names, only what passed between these hosts."""
        return [str(p) for p in self.trace if not hosts or {p.source, p.destination} <= set(hosts)]

    def sent(self, source: str, destination: str | None = None) -> list[str]:
        """Labels of what one host sent, to one other or to all."""
        return [p.label for p in self.trace if p.source == source and destination in (None, p.destination)]

    def messages(self, label: str, *, source: str | None = None) -> list[str]:
        """The texts of what was sent under a label."""
        return [p.data.decode("latin-1") for p in self.trace if p.label == label and source in (None, p.source)]

    # Carriage.

    def later(self, action: Callable[[], None], after_s: float = 0.0) -> None:
        """Do something one latency (and `after_s`) from now, after all that is already on its way."""
        at = self.clock.now + self.latency_s + after_s
        if not after_s:
            at = self._last_at = max(at, self._last_at + APART_S)
        self.clock.loop.call_at(at, action)

    def carry(
        self,
        transport: str,
        source: AddressPort,
        destination: AddressPort,
        data: bytes,
        arrive: Callable[[bytes], None],
    ) -> None:
        """Put a message on the way."""
        packet = Packet(self.clock.now, transport, self.name(source[0]), self.name(destination[0]), data)
        self.trace.append(packet)
        delays_s = self._fate(packet)
        if {source[0], destination[0]} & self._down:
            delays_s = ()
        packet.lost = not delays_s
        for delay_s in delays_s:
            self.later(lambda: arrive(data), delay_s)

    def _fate(self, packet: Packet) -> Sequence[float]:
        for rule in self._rules:
            if rule.fits(packet):
                rule.times -= 1
                return rule.delays_s
        if packet.transport == "UDP":
            if self._random.random() < self.loss:
                return ()
            if self._random.random() < self.duplication:
                return (0.0, 0.0)
        return (0.0,)

    def send_datagram(self, source: AddressPort, destination: AddressPort, data: bytes) -> None:
        """Send a datagram from a bound port."""

        def arrive(data: bytes) -> None:
            port = self._ports.get(destination)
            if port is not None:
                port.receive(data, source)
            elif self.icmp:
                self.later(lambda: self._refuse(source, destination))

        self.carry("UDP", source, destination, data, arrive)

    def _refuse(self, source: AddressPort, destination: AddressPort) -> None:
        port = self._ports.get(source)
        if port is not None:
            port.unreachable(destination)

    def connect(self, source_host: str, destination: AddressPort) -> End:
        """Begin to open a TCP connection: `on_open` or `on_closed` comes a round trip later."""
        self._next_port += 1
        end = End(self, (self.host(source_host), self._next_port), destination)

        def arrive() -> None:
            accept = self._listeners.get(destination)
            if accept is None:
                self.later(end.gone)
                return
            other = End(self, destination, end.local)
            other.peer = end
            accept(other)
            self.later(lambda: end.opened(other))

        if not {end.local[0], destination[0]} & self._down:
            self.later(arrive)
        return end


class SimUdpFlow:
    """A remote address seen from an endpoint."""

    transport = "UDP"
    reliable = False
    closed = False

    def __init__(self, network: Network, local: AddressPort, remote: AddressPort) -> None:
        self._network = network
        self.local = local
        self.remote = remote
        self.sent_by = host_port(*local)

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        self._network.send_datagram(self.local, self.remote, data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimUdpFlow) and (self.local, self.remote) == (other.local, other.remote)

    def __hash__(self) -> int:
        return hash((self.local, self.remote))


class SimTcpFlow:
    """A connection of an endpoint."""

    transport = "TCP"
    reliable = True

    def __init__(self, endpoint: SimEndpoint, end: End) -> None:
        self._endpoint = endpoint
        self._end = end
        self._stream = MessageStream()
        self.sent_by = host_port(end.local[0], endpoint.port)
        self.opened = asyncio.Event()
        "Set when it is open, or will never be."
        end.on_data = self._on_data
        end.on_open = self.opened.set
        end.on_closed = self._on_closed

    @property
    def remote(self) -> AddressPort:
        """Address and port of the peer."""
        return self._end.remote

    @property
    def local(self) -> AddressPort:
        """Our address and port."""
        return self._end.local

    @property
    def closed(self) -> bool:
        """True once nothing can be sent."""
        return self._end.closed

    def send(self, data: bytes) -> None:
        """Write a message."""
        self._end.send(data)

    def close(self) -> None:
        """Close from our side."""
        self._end.close()
        self._endpoint.lose(self)

    def _on_closed(self) -> None:
        self.opened.set()
        self._endpoint.lose(self)

    def _on_data(self, data: bytes) -> None:
        self._endpoint.begin_wakeup()
        try:
            self._stream.receive_data(data, self._endpoint.now())
            for event in self._stream.events():
                if isinstance(event, KeepAlive):
                    self.send(b"\r\n")
                elif isinstance(event, ParseError):
                    self._endpoint.receive_error(event, self)
                else:
                    self._endpoint.receive_message(event, self)
        finally:
            self._endpoint.end_wakeup()
        if self._stream.failed:
            self.close()


class SimEndpoint(SipEndpoint):
    """A `SipEndpoint` on a `Network`: the same timer, the same pump, the same way from a URI to a flow."""

    def __init__(
        self,
        network: Network,
        host: str,
        stack: SipStack,
        *,
        port: int = 5060,
        transports: Sequence[str] = ("UDP", "TCP"),
        limits: TransportLimits | None = None,
    ) -> None:
        super().__init__(stack, lookups=network.dns, limits=limits)
        self.network = network
        self.host = host
        self.port = port
        self.address = (network.host(host), port)
        self.addresses = tuple(Listen(transport, *self.address) for transport in transports)
        self._loop = network.clock.loop
        self.now = network.clock.loop.time
        self._transports = tuple(transports)
        self._versions = (4,)
        self._chance = random.Random(1)
        self._connections: dict[AddressPort, SimTcpFlow] = {}
        if "UDP" in transports:
            network.bind(self.address, self)
        if "TCP" in transports:
            network.listen(self.address, self._accept)

    async def start(self, listens: Sequence[Listen]) -> None:
        """Nothing to do: it is on the network."""

    async def close(self) -> None:
        """Leave the network."""
        await super().close()
        self.network.unbind(self.address)
        for flow in self._connections.values():
            flow.close()

    def flow(self, host: str, port: int = 5060, transport: str = "UDP") -> Flow:
        """The flow to a host of the network, by its name."""
        return self._flow(Target(transport, self.network.host(host), port))

    def receive(self, data: bytes, source: AddressPort) -> None:
        """A datagram came."""
        self.begin_wakeup()
        try:
            self.receive_datagram(data, SimUdpFlow(self.network, self.address, source))
        finally:
            self.end_wakeup()

    def unreachable(self, remote: AddressPort) -> None:
        """A datagram came back."""
        self.lose(SimUdpFlow(self.network, self.address, remote))

    def _accept(self, end: End) -> None:
        flow = self._connections[end.remote] = SimTcpFlow(self, end)
        flow.opened.set()

    def _flow(self, target: Target) -> Flow:
        remote = (target.host, target.port)
        if target.transport == "UDP":
            return SimUdpFlow(self.network, self.address, remote)
        flow = self._connections.get(remote)
        if flow is None or flow.closed:
            flow = SimTcpFlow(self, self.network.connect(self.host, remote))
            self._connections[remote] = flow
        return flow

    async def _open_connection(self, target: Target) -> Flow | None:
        flow = self._flow(target)
        assert isinstance(flow, SimTcpFlow)
        try:
            async with asyncio.timeout(self._limits.promote_connect_s):
                await flow.opened.wait()
        except TimeoutError:
            return None
        return None if flow.closed else flow
