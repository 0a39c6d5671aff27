"""The endpoint in virtual time over the simulated network, and once over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest

from sip.dialog import Dialog
from sip.endpoint import SipEndpoint
from sip.message import Request, Response, response_to
from sip.resolver import ResolveError, Srv
from sip.stack import SipStack
from sip.transactions import ClientTransaction, Failure, ServerTransaction
from sip.transport.base import Flow, Listen, Target, TransportLimits
from sip.uri import Uri
from tests.sim.fixture import Sim
from tests.sim.network import SimEndpoint
from tests.sip.transport.loops import on_both_loops


class Answering:
    """Answers every request 200, and keeps it."""

    def __init__(self, stack: SipStack) -> None:
        self.stack = stack
        self.requests: list[Request] = []
        self.flows: list[Flow] = []
        self.on_each: Callable[[], None] = lambda: None
        stack.user = self

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        self.requests.append(transaction.request)
        self.flows.append(transaction.flow)
        self.on_each()
        self.stack.respond(transaction, response_to(transaction.request, 200), now)


class Asking:
    """Keeps the outcome of requests."""

    def __init__(self) -> None:
        self.outcomes: list[int | Failure] = []

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        self.outcomes.append(response.status)

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        self.outcomes.append(failure)


def message(uri: str, flow: Flow, body: bytes = b"") -> Request:
    return Request(
        "MESSAGE",
        uri,
        [
            ("From", "<sip:us@192.0.2.1>;tag=us"),
            ("To", f"<{uri}>"),
            ("Call-ID", f"{flow.transport}-{len(body)}"),
            ("CSeq", "1 MESSAGE"),
            ("Max-Forwards", "70"),
            ("Content-Type", "text/plain"),
        ],
        body,
    )


def endpoint(sim: Sim, host: str, **options: object) -> tuple[SimEndpoint, Answering]:
    stack = SipStack(random=random.Random(host))
    return SimEndpoint(sim.network, host, stack, **options), Answering(stack)  # type: ignore[arg-type]  # passed on


def ask(ours: SipEndpoint, flow: Flow, body: bytes = b"") -> Asking:
    asking = Asking()
    request = message(f"sip:them@{flow.remote[0]}:{flow.remote[1]}", flow, body)
    ours.stack.send_request(request, flow, ours.now(), asking)
    ours.pump()
    return asking


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_request_and_its_answer(sim: Sim, transport: str) -> None:
    ours, _ = endpoint(sim, "ours")
    _, them = endpoint(sim, "theirs")
    asking = ask(ours, ours.flow("theirs", transport=transport))
    sim.run_for(0.1)
    assert asking.outcomes == [200]
    assert them.requests[0].via.transport == transport
    assert sim.network.ladder() == ["ours > theirs: MESSAGE", "theirs > ours: 200 MESSAGE"]
    sim.run_for(60)
    assert ours.stack.counts()["client_transactions"] == 0


def test_a_lost_request_is_sent_again_by_the_one_timer(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    endpoint(sim, "theirs")
    sim.network.lose("MESSAGE", times=2)
    asking = ask(ours, ours.flow("theirs"))
    sim.run_for(1.4)
    assert asking.outcomes == []
    sim.run_for(0.2)
    assert asking.outcomes == [200]
    assert sim.network.sent("ours") == ["MESSAGE"] * 3


def test_a_closed_port_fails_at_once_and_a_silent_one_by_its_timer(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    lost: list[Flow] = []
    ours.on_flow_lost(lambda flow, now: lost.append(flow))
    asking = ask(ours, ours.flow("nobody"))
    sim.run_for(0.1)
    assert asking.outcomes == [Failure.TRANSPORT]
    assert lost == [ours.flow("nobody")]
    sim.network.icmp = False
    asking = ask(ours, ours.flow("nobody"))
    sim.run_for(31)
    assert asking.outcomes == []
    sim.run_for(2)
    assert asking.outcomes == [Failure.TIMEOUT]


def test_a_refused_connection_fails_at_once(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    endpoint(sim, "theirs", transports=("UDP",))
    asking = ask(ours, ours.flow("theirs", transport="TCP"))
    sim.run_for(0.1)
    assert asking.outcomes == [Failure.TRANSPORT]


def test_a_large_request_takes_tcp_where_there_is_one(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    theirs, them = endpoint(sim, "theirs")
    uri = Uri.parse(f"sip:a@{theirs.address[0]}")
    assert [f.transport for f in sim.run(ours.flows_to(uri, size=1300))] == ["UDP"]
    flows = sim.run(ours.flows_to(uri, size=1301))
    assert [f.transport for f in flows] == ["TCP", "UDP"]
    asking = ask(ours, flows[0], bytes(1400))
    sim.run_for(0.1)
    assert asking.outcomes == [200]
    assert them.requests[0].via.transport == "TCP"
    assert them.requests[0].via.sent_by == "10.0.0.1:5060"


def test_a_large_request_takes_udp_where_tcp_is_refused(sim: Sim) -> None:
    """RFC 3261 §18.1.1: the layers above see one flow, and its Via is right from the start."""
    ours, _ = endpoint(sim, "ours")
    theirs, them = endpoint(sim, "theirs", transports=("UDP",))
    flows = sim.run(ours.flows_to(Uri.parse(f"sip:a@{theirs.address[0]}"), size=3000))
    assert [f.transport for f in flows] == ["UDP"]
    asking = ask(ours, flows[0], bytes(3000))
    sim.run_for(0.1)
    assert asking.outcomes == [200]
    assert them.requests[0].via.transport == "UDP"


def test_a_large_request_stays_on_udp_when_we_have_no_tcp(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours", transports=("UDP",))
    endpoint(sim, "theirs")
    flows = sim.run(ours.flows_to(Uri.parse("sip:theirs:5060"), size=3000))
    assert [f.transport for f in flows] == ["UDP"]


def test_a_silent_firewall_delays_a_large_request_a_little(sim: Sim) -> None:
    limits = TransportLimits(promote_connect_s=2.0)
    ours, _ = endpoint(sim, "ours", limits=limits)
    sim.network.host("walled")
    sim.network.take_down("walled")
    before = sim.now
    flows = sim.run(ours.flows_to(Uri.parse("sip:walled:5060"), size=3000))
    assert [f.transport for f in flows] == ["UDP"]
    assert sim.now - before == pytest.approx(2.0, abs=0.1)


def test_numbers_do_not_wait(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    with pytest.raises(StopIteration) as done:
        ours.flows_to(Uri.parse("sip:a@10.0.0.9:5070;transport=tcp")).send(None)
    (flow,) = done.value.value
    assert (flow.transport, flow.remote) == ("TCP", ("10.0.0.9", 5070))
    assert sim.network.dns.asked == []


def test_names_lead_to_all_their_targets_in_order(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    for name in ("one", "two"):
        sim.network.host(name)
    sim.network.dns.srv_records["_sip._udp.carrier.test"] = [Srv(2, 0, 5062, "two"), Srv(1, 0, 5061, "one")]
    flows = sim.run(ours.flows_to(Uri.parse("sip:+33123456789@carrier.test")))
    assert [f.remote for f in flows] == [("10.0.0.2", 5061), ("10.0.0.3", 5062)]


def test_failover_to_the_next_target(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    endpoint(sim, "two")
    sim.network.host("one")
    sim.network.dns.srv_records["_sip._udp.carrier.test"] = [Srv(1, 0, 5060, "one"), Srv(2, 0, 5060, "two")]
    outcomes = []
    for flow in sim.run(ours.flows_to(Uri.parse("sip:carrier.test"))):
        outcomes.append(ask(ours, flow))
        sim.run_for(0.1)
    assert [asking.outcomes for asking in outcomes] == [[Failure.TRANSPORT], [200]]


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sip:nowhere.test", "has no address"),
        ("sips:10.0.0.1", "TLS"),
        ("sip:10.0.0.1;transport=tls", "TLS is not spoken"),
        ("sip:224.0.1.75", "no way"),
        ("sip:255.255.255.255", "no way"),
        ("sip:0.0.0.0", "no way"),
        ("sip:[ff02::1]", "no way"),
        ("sip:[2001:db8::1]", "no way"),
        ("sip:10.0.0.1:0", "no way"),
    ],
)
def test_where_no_way_leads(sim: Sim, uri: str, why: str) -> None:
    ours, _ = endpoint(sim, "ours")
    with pytest.raises(ResolveError, match=why):
        sim.run(ours.flows_to(Uri.parse(uri)))


def test_dns_that_takes_too_long(sim: Sim) -> None:
    class Slow:
        async def naptr(self, name: str) -> list[object]:
            await asyncio.sleep(60)
            return []

        srv = naptr
        addresses = naptr

    ours, _ = endpoint(sim, "ours")
    ours._lookups = Slow()  # type: ignore[assignment]  # never gets to answer
    with pytest.raises(ResolveError, match="no answer from DNS within 8 s"):
        sim.run(ours.flows_to(Uri.parse("sip:slow.test")))


class Alarm:
    """A core with one deadline."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.rang: list[float] = []

    def handle_timeout(self, now: float) -> None:
        self.rang.append(now)
        self.deadline = None


def test_all_cores_share_one_timer(sim: Sim) -> None:
    ours, _ = endpoint(sim, "ours")
    late, early = Alarm(sim.now + 10), Alarm(sim.now + 3)
    armed: list[float] = []
    real = ours._schedule

    def schedule(at: float) -> None:
        armed.append(at)
        real(at)

    ours._schedule = schedule  # type: ignore[method-assign]  # counts
    for core in (late, early):
        ours.add_core(core)
        ours.pump()
    assert len(armed) == 2, "moved earlier once"
    early.deadline = sim.now + 5
    for _ in range(10):
        ours.pump()
    assert len(armed) == 2, "a later deadline lets the timer stand"
    start = sim.now
    sim.run_for(60)
    assert early.rang == [pytest.approx(start + 5)]
    assert late.rang == [pytest.approx(start + 10)]
    assert len(armed) == 4


def test_a_bug_in_one_core_does_not_stop_the_others(sim: Sim) -> None:
    class Broken(Alarm):
        def handle_timeout(self, now: float) -> None:
            self.deadline = None
            raise RuntimeError("a bug above")

    ours, _ = endpoint(sim, "ours")
    fine = Alarm(sim.now + 1)
    ours.add_core(Broken(sim.now + 1))
    ours.add_core(fine)
    ours.pump()
    with pytest.raises(RuntimeError, match="a bug above"):
        sim.run_for(2)
    assert fine.rang


def test_what_is_no_message_is_passed_over(sim: Sim) -> None:
    _, us = endpoint(sim, "ours")
    phone = sim.phone("phone", server="ours")
    for data in (b"", b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"\0\x01\0\0\x21\x12\xa4\x42" + bytes(12), b" x"):
        phone.send_raw(data)
    sim.run_for(1)
    assert sim.network.sent("ours") == []
    phone.options()
    sim.run_for(1)
    assert sim.network.sent("ours") == ["200 OPTIONS"]
    again = sim.network.messages("OPTIONS")[0].replace("tag=", "tag=new-").replace("z9hG4bK", "z9hG4bKnew")
    phone.send_raw(b"\r\n\r\n" + again.encode())  # RFC 3261 §7.5: empty lines before the start are no fault
    sim.run_for(1)
    assert len(us.requests) == 2


def test_a_message_with_a_fault_is_answered(sim: Sim) -> None:
    endpoint(sim, "ours")
    phone = sim.phone("phone", server="ours")
    phone.send_raw(
        b"OPTIONS sip:ours SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKx;rport\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:b@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
    )
    sim.run_for(1)
    assert sim.network.sent("ours") == ["400 INVITE"]


def test_pump_once_a_wakeup(sim: Sim) -> None:
    """What callbacks pump is sent when the batch is done."""
    ours, us = endpoint(sim, "ours")
    theirs, _ = endpoint(sim, "theirs")
    sent: list[int] = []

    def on_each() -> None:
        ours.pump()
        sent.append(len(sim.network.sent("ours")))

    us.on_each = on_each
    flow = theirs.flow("ours")
    ask(theirs, flow, b"1")
    ask(theirs, flow, b"22")
    sim.run_for(0.1)
    assert sent == [0, 1], "two wake-ups, each with nothing sent before its end"
    assert sim.network.sent("ours") == ["200 MESSAGE"] * 2


async def ask_real(ours: SipEndpoint, uri: str, body: bytes = b"") -> tuple[list[int | Failure], list[Flow]]:
    flows = await ours.flows_to(Uri.parse(uri), size=len(body) + 500)
    done = asyncio.get_running_loop().create_future()

    class Once(Asking):
        def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
            super().on_response(transaction, response, now)
            done.set_result(None)

        def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
            super().on_failure(transaction, failure, now)
            done.set_result(None)

    once = Once()
    ours.stack.send_request(message(uri, flows[0], body), flows[0], ours.now(), once)
    ours.pump()
    await asyncio.wait_for(done, 5)
    return once.outcomes, flows


async def on_one_port(*listens: Listen) -> SipEndpoint:
    """An endpoint with the same port for UDP and TCP: another one is tried when a program has either of them."""
    for _ in range(5):
        endpoint = SipEndpoint(SipStack())
        await endpoint.start(listens)
        if len({listen.port for listen in endpoint.addresses}) == 1:
            return endpoint
        await endpoint.close()
    pytest.fail("five times another port for TCP than for UDP")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_both_loops
async def test_over_real_sockets(host: str) -> None:
    ours = await on_one_port(Listen("TCP", host, 0), Listen("UDP", host, 0))
    theirs = await on_one_port(Listen("UDP", host, 0), Listen("TCP", host, 0))
    them = Answering(theirs.stack)
    try:
        assert [listen.transport for listen in theirs.addresses] == ["UDP", "TCP"]
        port = theirs.addresses[0].port
        place = f"[{host}]" if ":" in host else host
        for transport in ("udp", "tcp"):
            assert (await ask_real(ours, f"sip:them@{place}:{port};transport={transport}"))[0] == [200]
            assert them.flows[-1].transport == transport.upper()
        outcomes, flows = await ask_real(ours, f"sip:them@{place}:{port}", bytes(2000))
        assert outcomes == [200]
        assert [flow.transport for flow in flows] == ["TCP", "UDP"]
        assert them.requests[-1].via.sent_by == f"{place}:{ours.addresses[0].port}"
        assert them.requests[-1].via.received in (None, host)
    finally:
        await ours.close()
        await theirs.close()
        await ours.close()
    assert ours.counts() == {"connections": 0, "udp_sockets": 0, "udp_dropped": 0}


@on_both_loops
async def test_a_dead_port_over_real_sockets() -> None:
    ours, gone = SipEndpoint(SipStack()), SipEndpoint(SipStack())
    await ours.start([Listen("UDP", "127.0.0.1", 0)])
    await gone.start([Listen("UDP", "127.0.0.1", 0)])
    dead = f"sip:a@127.0.0.1:{gone.addresses[0].port}"
    await gone.close()
    try:
        assert (await ask_real(ours, dead))[0] == [Failure.TRANSPORT]
    finally:
        await ours.close()


@on_both_loops
async def test_a_taken_port_leaves_nothing_open() -> None:
    first, second = SipEndpoint(SipStack()), SipEndpoint(SipStack())
    await first.start([Listen("TCP", "127.0.0.1", 0)])
    try:
        with pytest.raises(OSError, match="in use"):
            await second.start([Listen("UDP", "127.0.0.1", 0), first.addresses[0]])
        assert second.counts()["udp_sockets"] == 0
    finally:
        await first.close()


@on_both_loops
async def test_the_socket_of_the_route_is_taken() -> None:
    """Bound to several addresses, a request leaves from the one that the peer's route starts at."""
    ours = SipEndpoint(SipStack(), advertised="203.0.113.5")
    await ours.start([Listen("UDP", "127.0.0.2", 0), Listen("UDP", "127.0.0.1", 0), Listen("UDP", "::1", 0)])
    try:
        (flow,) = await ours.flows_to(Uri.parse("sip:a@127.0.0.1:5099"))
        assert flow.local == ("127.0.0.1", ours.addresses[1].port)
        assert flow.sent_by == f"127.0.0.1:{ours.addresses[1].port}", "near ones get our own address"
        (flow,) = await ours.flows_to(Uri.parse("sip:a@[0::1]:5099"))
        assert flow.remote == ("::1", 5099)
        assert ours._flow(Target("UDP", "198.51.100.9", 5060)).sent_by.startswith("203.0.113.5:")
    finally:
        await ours.close()


async def test_nothing_is_reached_before_the_start() -> None:
    ours = SipEndpoint(SipStack())
    ours.add_core(Alarm(0.0))
    ours.pump()
    with pytest.raises(ResolveError, match="no transport is open"):
        await ours.flows_to(Uri.parse("sip:127.0.0.1"))
    await ours.close()


@dataclass
class Hop:
    """The part of a dialog that decides where its requests go."""

    next_hop: str


@pytest.mark.parametrize(
    ("hop", "remote"),
    [
        ("sip:gw@10.0.0.9:5070", ("10.0.0.9", 5070)),
        ("sip:gw@10.0.0.2:5060", ("10.0.0.2", 5060)),
        ("sip:gw@carrier.test", ("10.0.0.2", 5060)),
        ("sip:gw@10.0.0.9;transport=tcp", ("10.0.0.2", 5060)),
        ("sips:gw@10.0.0.9", ("10.0.0.2", 5060)),
        ("sip:gw@[2001:db8::1]", ("10.0.0.2", 5060)),
        ("sip:gw@224.0.1.75", ("10.0.0.2", 5060)),
        ("tel:+33123456789", ("10.0.0.2", 5060)),
        ("nonsense", ("10.0.0.2", 5060)),
    ],
)
def test_requests_of_a_dialog_follow_its_route_where_it_leads(sim: Sim, hop: str, remote: tuple[str, int]) -> None:
    """What a peer writes into Contact or Record-Route is its own; it must not make us fail."""
    ours, _ = endpoint(sim, "ours")
    flow = ours.flow("theirs")
    assert ours.follow(cast(Dialog, Hop(hop)), flow).remote == remote
