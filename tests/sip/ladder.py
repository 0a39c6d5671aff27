"""A network in virtual time for tests that read like ladder diagrams: nothing sleeps, nothing leaves the process.

    net = Network()
    us, phone = net.node("us", SipStack(user)), net.node("phone")
    phone.send(request("INVITE"), us)
    assert phone.seen() == ["100 INVITE"]
    net.run_for(60)

A node with a stack lives by itself; one without is a peer that the test plays. `seen` tells what arrived since it was
last asked. Messages take no time unless `fate` says otherwise, which may also lose or double them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from sip.errors import ParseError
from sip.message import Request, Response, parse_message, response_to
from sip.stack import SipStack
from sip.transactions import ClientTransaction, Failure, ServerTransaction
from sip.transport.base import host_port

Fate = Callable[["Node", "Node", bytes], Sequence[float]]
"Delays in seconds of each copy of a message that arrives; empty if it is lost."


def at_once(source: Node, destination: Node, data: bytes) -> Sequence[float]:
    """The fate of messages in a perfect network."""
    return (0.0,)


class Network:
    """The clock, and all that is under way."""

    def __init__(self, *, transport: str = "UDP", fate: Fate = at_once) -> None:
        self.now = 0.0
        "Seconds."
        self.transport = transport
        self.fate = fate
        self.nodes: list[Node] = []
        self._under_way: list[tuple[float, int, FakeFlow, bytes]] = []
        self._numbers = count()

    def node(self, name: str, stack: SipStack | None = None, *, host: str | None = None, port: int = 5060) -> Node:
        """Add a node; the first has the address 192.0.2.1, the next 192.0.2.2, ..."""
        node = Node(self, name, stack, (host or f"192.0.2.{len(self.nodes) + 1}", port))
        self.nodes.append(node)
        return node

    def carry(self, flow: FakeFlow, data: bytes) -> None:
        """Bring `data` from the owner of `flow` to its other end."""
        for delay in self.fate(flow.owner, flow.peer, data):
            heappush(self._under_way, (self.now + delay, next(self._numbers), flow, data))

    def settle(self) -> None:
        """Let everything happen that takes no time."""
        self.run_for(0.0)

    def run_for(self, seconds: float) -> None:
        """Let time pass: each timer and each message at its very instant."""
        end = self.now + seconds
        while True:
            for node in self.nodes:
                node.pump()
            instants = [node.stack.deadline for node in self.nodes if node.stack is not None]
            due = [at for at in instants if at is not None]
            if self._under_way:
                due.append(self._under_way[0][0])
            if not due or min(due) > end:
                break
            self.now = max(self.now, min(due))
            if self._under_way and self._under_way[0][0] <= self.now:
                _, _, flow, data = heappop(self._under_way)
                flow.peer.arrive(data, flow.owner)
                continue
            for node in self.nodes:
                if node.stack is not None and (at := node.stack.deadline) is not None and at <= self.now:
                    node.stack.handle_timeout(self.now)
        self.now = end


@dataclass(eq=False)
class FakeFlow:
    """The way from one node to another."""

    owner: Node
    peer: Node
    transport: str
    closed: bool = False

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"

    @property
    def remote(self) -> tuple[str, int]:
        return self.peer.address

    @property
    def local(self) -> tuple[str, int]:
        return self.owner.address

    @property
    def sent_by(self) -> str:
        return host_port(*self.owner.address)

    def send(self, data: bytes) -> None:
        if not self.closed:
            self.owner.network.carry(self, data)


class Node:
    """One end of flows: a stack, or a peer that the test plays."""

    def __init__(self, network: Network, name: str, stack: SipStack | None, address: tuple[str, int]) -> None:
        self.network = network
        self.name = name
        self.stack = stack
        self.address = address
        self.inbox: list[tuple[float, Request | Response]] = []
        "All that ever arrived, with its instant."
        self._seen = 0
        self._flows: dict[tuple[Node, str], FakeFlow] = {}

    def flow_to(self, other: Node, transport: str | None = None) -> FakeFlow:
        """The flow to `other`, always the same one until it is closed."""
        key = (other, transport or self.network.transport)
        flow = self._flows.get(key)
        if flow is None or flow.closed:
            flow = self._flows[key] = FakeFlow(self, other, key[1])
        return flow

    def close_flow(self, other: Node) -> None:
        """Close the connection with `other`, for both ends."""
        pairs = [(self, self.flow_to(other)), (other, other.flow_to(self))]
        for _, flow in pairs:
            flow.closed = True
        for node, flow in pairs:
            if node.stack is not None:
                node.stack.flow_closed(flow, self.network.now)
        self.network.settle()

    def send(self, message: bytes | Request | Response, to: Node) -> None:
        """Send as the test's peer, and let everything happen that follows at once."""
        self.flow_to(to).send(message if isinstance(message, bytes) else message.to_bytes())
        self.network.settle()

    def arrive(self, data: bytes, source: Node) -> None:
        """A datagram, or one whole message of a connection, arrived."""
        flow = self.flow_to(source)
        try:
            message = parse_message(data, stream=flow.reliable)
        except ParseError as error:
            if self.stack is None:
                raise AssertionError(f"{self.name} got nonsense: {error.reason}") from error
            self.stack.receive_error(error, flow, self.network.now)
        else:
            self.inbox.append((round(self.network.now, 6), message))
            if self.stack is not None:
                self.stack.receive(message, flow, self.network.now)

    def pump(self) -> None:
        """Send what the stack wants sent."""
        if self.stack is not None:
            for data, flow in self.stack.messages_to_send():
                flow.send(data)

    def seen(self) -> list[str]:
        """What arrived since the last time: `INVITE`, `180 INVITE`."""
        return [text for _, text in self.seen_at()]

    def seen_at(self) -> list[tuple[float, str]]:
        """The same with the instants."""
        self.network.settle()
        arrived = self.inbox[self._seen :]
        self._seen = len(self.inbox)
        return [(at, title(message)) for at, message in arrived]

    def got_request(self, method: str) -> Request:
        """The last request of that method that arrived."""
        self.network.settle()
        found = [m for _, m in self.inbox if isinstance(m, Request) and m.method == method]
        assert found, f"{self.name} never got {method}"
        return found[-1]

    def got_response(self, status: int) -> Response:
        """The last response of that status that arrived."""
        self.network.settle()
        found = [m for _, m in self.inbox if isinstance(m, Response) and m.status == status]
        assert found, f"{self.name} never got {status}"
        return found[-1]


def title(message: Request | Response) -> str:
    """`INVITE`, `180 INVITE`."""
    return message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"


def request(
    method: str,
    *,
    uri: str = "sip:bob@192.0.2.1",
    branch: str | None = "z9hG4bK-1",
    via: str = "SIP/2.0/UDP 192.0.2.2:5060",
    call_id: str = "call-1",
    from_tag: str = "alice",
    to_tag: str | None = None,
    cseq: int = 1,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    with_via: bool = True,
) -> Request:
    """A request of the node 192.0.2.2 to 192.0.2.1, or with `with_via=False` one for `send_request`."""
    lines = [("Via", via if branch is None else f"{via};branch={branch}")] if with_via else []
    return Request(
        method,
        uri,
        [
            *lines,
            ("Max-Forwards", "70"),
            ("From", f"<sip:alice@example.org>;tag={from_tag}"),
            ("To", "<sip:bob@example.org>" if to_tag is None else f"<sip:bob@example.org>;tag={to_tag}"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", "<sip:alice@192.0.2.2>"),
            *headers,
        ],
        body,
    )


def answer(
    to: Request, status: int, *, tag: str | None = "bob", headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> Response:
    """A peer's response to a request that it got."""
    return response_to(to, status, to_tag=tag if status > 100 else None, headers=headers, body=body)


@dataclass
class RecordingClient:
    """A user of client transactions that writes down what it is told."""

    events: list[str] = field(default_factory=list)
    "`180`, `200`, `timeout`, `transport`."
    responses: list[Response] = field(default_factory=list)

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        self.events.append(str(response.status))
        self.responses.append(response)

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        self.events.append(failure.value)


@dataclass
class RecordingServer:
    """A user of the stack, of its dialogs and of INVITEs that writes down what it is told, and does nothing else."""

    events: list[str] = field(default_factory=list)
    "`INVITE`, `CANCEL`, `ACK`, `ack missing`, `flow closed`."
    transactions: list[ServerTransaction] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def last(self) -> ServerTransaction:
        """The transaction of the last request."""
        return self.transactions[-1]

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        self.events.append(transaction.request.method)
        self.transactions.append(transaction)
        transaction.user = self

    def on_ack(self, request: Request, now: float) -> None:
        self.events.append("ACK")
        self.requests.append(request)

    def on_cancel(self, transaction: ServerTransaction, cancel: Request, now: float) -> None:
        self.events.append("CANCEL")
        self.requests.append(cancel)

    def on_ack_missing(self, transaction: ServerTransaction, now: float) -> None:
        self.events.append("ack missing")

    def on_flow_closed(self, transaction: ServerTransaction, now: float) -> None:
        self.events.append("flow closed")
