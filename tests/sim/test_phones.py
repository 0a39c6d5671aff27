"""The scripted phones, among themselves and against registrar and call layer."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from sip import (
    Call,
    CallCore,
    CallEvent,
    DigestServer,
    IncomingCall,
    Registrar,
    ServerTransaction,
    SipStack,
    credentials,
)

from .fixture import Sim
from .network import SimEndpoint
from .phones import Script, SimPhone
from .wire import Wire, address_uri, digest, parameter, uri_address


def two(sim: Sim, transport: str = "UDP") -> tuple[SimPhone, SimPhone]:
    """Alice calls Bob without anybody between them."""
    bob = sim.phone("bob", transport=transport, server="alice")
    return sim.phone("alice", transport=transport, server="bob"), bob


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_call(sim: Sim, transport: str) -> None:
    alice, bob = two(sim, transport)
    bob.script = Script(ring_after_s=0.1, answer_after_s=2)
    call = alice.invite("bob")
    sim.run_for(1)
    assert (call.state, bob.call.state) == ("ringing", "ringing")
    sim.run_for(2)
    assert (call.state, bob.call.state) == ("talking", "talking")
    assert "c=IN IP4 10.0.0.1" in call.remote_sdp
    assert "c=IN IP4 10.0.0.2" in bob.call.remote_sdp
    bob.call.bye()
    sim.run_for(1)
    assert call.state == "ended"
    assert [line for line in sim.network.ladder() if "100" not in line] == [
        "alice > bob: INVITE",
        "bob > alice: 180 INVITE",
        "bob > alice: 200 INVITE",
        "alice > bob: ACK",
        "bob > alice: BYE",
        "alice > bob: 200 BYE",
    ]


def test_a_call_on_a_bad_line(sim: Sim) -> None:
    alice, bob = two(sim)
    bob.script = Script(answer_after_s=2)
    sim.network.loss = 0.3
    sim.network.duplication = 0.2
    call = alice.invite("bob")
    sim.run_for(20)
    assert (call.state, bob.call.state) == ("talking", "talking")
    call.bye()
    sim.run_for(30)
    assert bob.call.state == "ended"
    assert len(bob.calls) == 1


def test_refused_cancelled_and_unanswered(sim: Sim) -> None:
    alice, bob = two(sim)
    bob.script = Script(refuse=486)
    call = alice.invite("bob")
    sim.run_for(1)
    assert (call.state, call.status) == ("ended", 486)
    bob.script = Script()
    call = alice.invite("bob")
    sim.run_for(1)
    call.cancel()
    sim.run_for(1)
    assert (call.state, call.status) == ("ended", 487)
    assert bob.call.state == "ended"
    bob.script = Script(ring_after_s=None)
    call = alice.invite("bob")
    sim.run_for(60)
    assert call.state == "calling"
    assert sim.network.sent("alice").count("INVITE") == 9, "two earlier ones, and seven of this one"


def test_the_200_crosses_the_cancel(sim: Sim) -> None:
    alice, bob = two(sim)
    bob.script = Script()
    call = alice.invite("bob")
    sim.run_for(1)
    bob.call.accept()
    call.cancel()
    sim.run_for(1)
    assert call.state == "ended"
    assert bob.call.state == "ended"
    assert "BYE" in sim.network.sent("alice")


def test_hold_and_resume(sim: Sim) -> None:
    alice, bob = two(sim)
    bob.script = Script(answer_after_s=0)
    call = alice.invite("bob")
    sim.run_for(1)
    call.reinvite("sendonly")
    sim.run_for(1)
    assert "a=sendonly" in bob.call.remote_sdp
    call.reinvite()
    sim.run_for(1)
    assert "a=sendrecv" in bob.call.remote_sdp
    bob.script.answer_reinvites = 491
    call.reinvite()
    sim.run_for(1)
    assert call.state == "talking"
    assert call.status == 491
    call.send("INFO", "Signal=1\r\n", "application/dtmf-relay")
    sim.run_for(1)
    assert bob.call.received[-1] == "INFO"


def test_what_a_careful_peer_objects_to(sim: Sim) -> None:
    alice, bob = two(sim)
    bob.send_raw(b"OPTIONS sip:alice SIP/2.0\r\nContent-Length: 5\r\n\r\n")
    bob.send_raw(
        b"OPTIONS sip:alice SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=1;rport\r\nCSeq: 1 OPTIONS\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    sim.run_for(1)
    assert len(alice.faults) == 7
    alice.faults.clear()


class Server:
    """A registrar that wants a password, and calls that answer themselves after a second."""

    def __init__(self, sim: Sim) -> None:
        self.stack = SipStack(self, random=random.Random(3))
        self.endpoint = SimEndpoint(sim.network, "ringway", self.stack)
        self.core = CallCore(self.stack)
        self.registrar = Registrar()
        self.digest = DigestServer("ringway", b"0123456789abcdef")
        for core in (self.core, self.registrar):
            self.endpoint.add_core(core)
        self.events: list[CallEvent] = []
        self.calls: list[Call] = []

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        request, flow = transaction.request, transaction.flow
        if request.method == "REGISTER":
            verdict = self.digest.verify(
                request, flow.remote[0], now, lambda user, realm, kind: credentials(user, realm, "secret", kind)
            )
            if verdict.ok:
                response = self.registrar.register(request, flow, verdict.username or "", now)
            else:
                response = self.digest.challenge(request, flow.remote[0], now)
            self.stack.respond(transaction, response, now)
            return
        incoming = self.core.incoming(transaction, now, self.events.append, contact=f"<sip:{flow.sent_by}>")
        incoming.ring(now)
        self.later(incoming)

    def later(self, incoming: IncomingCall) -> None:
        def answer() -> None:
            if not incoming.over:
                self.calls.append(incoming.accept(self.endpoint.now(), "v=0\r\ns=ringway\r\n"))
                self.endpoint.pump()

        assert self.endpoint._loop is not None
        self.endpoint._loop.call_later(1, answer)


@pytest.fixture
def server(sim: Sim) -> Iterator[Server]:
    server = Server(sim)
    yield server
    sim.run_for(40)
    assert not any(server.stack.counts().values())
    assert not any(server.core.counts().values())


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_registering_with_a_password(sim: Sim, server: Server, transport: str) -> None:
    phone = sim.phone("phone", "1001", "secret", transport=transport)
    phone.register()
    sim.run_for(1)
    assert phone.registered_for_s == 3600
    assert sim.network.ladder() == [
        "phone > ringway: REGISTER",
        "ringway > phone: 401 REGISTER",
        "phone > ringway: REGISTER",
        "ringway > phone: 200 REGISTER",
    ]
    (binding,) = server.registrar.bindings("1001", sim.now)
    assert binding.flow.transport == transport
    phone.register(0)
    sim.run_for(1)
    assert phone.registered_for_s == 0
    assert server.registrar.bindings("1001", sim.now) == []


def test_a_wrong_password(sim: Sim, server: Server) -> None:
    phone = sim.phone("phone", "1001", "wrong")
    phone.register()
    sim.run_for(1)
    assert [response.status for response in phone.responses] == [401]


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_calling_the_call_layer(sim: Sim, server: Server, transport: str) -> None:
    phone = sim.phone("phone", transport=transport)
    call = phone.invite("600")
    sim.run_for(0.5)
    assert call.state == "ringing"
    sim.run_for(1)
    assert call.state == "talking"
    call.bye()
    sim.run_for(1)
    assert [type(event).__name__ for event in server.events] == ["Confirmed", "Ended"]


def test_the_call_layer_hangs_up_on_a_bad_line(sim: Sim, server: Server) -> None:
    phone = sim.phone("phone")
    sim.network.loss = 0.3
    call = phone.invite("600")
    sim.run_for(20)
    assert call.state == "talking"
    server.calls[0].bye(sim.now)
    server.endpoint.pump()
    sim.run_for(30)
    assert call.state == "ended"


def test_a_phone_that_gives_up(sim: Sim, server: Server) -> None:
    phone = sim.phone("phone")
    call = phone.invite("600")
    sim.run_for(0.5)
    call.cancel()
    sim.run_for(2)
    assert (call.state, call.status) == ("ended", 487)
    assert [type(event).__name__ for event in server.events] == ["Cancelled"]


def test_a_phone_that_never_acknowledges(sim: Sim, server: Server) -> None:
    phone = sim.phone("phone")
    phone.script.ack = False
    phone.invite("600")
    sim.run_for(40)
    assert [type(event).__name__ for event in server.events] == ["NoAck", "Ended"]


def test_wire_text() -> None:
    wire = Wire.parse(
        b'SIP/2.0 180 Ringing\r\nv: a;branch=z9\r\nTo: "x;tag=no" <sip:a;tag=no@b>;tag=yes\r\nl: 0\r\n\r\n'
    )
    assert (wire.status, wire.branch, parameter(wire.get("To"), "tag")) == (180, "z9", "yes")
    assert address_uri(wire.get("To")) == "sip:a;tag=no@b"
    assert address_uri("sip:a@b;tag=1") == "sip:a@b"
    assert uri_address("sip:a@bob;transport=tcp", {"bob": "10.0.0.1"}) == ("10.0.0.1", 5060)
    assert uri_address("sip:10.0.0.2:5070", {}) == ("10.0.0.2", 5070)
    for bad in (b"no end", b"OPTIONS a SIP/2.0\r\nl 0\r\n\r\n", b"OPTIONS a SIP/2.0\r\nl: 3\r\n\r\n"):
        with pytest.raises(ValueError, match=r"."):
            Wire.parse(bad)
    with pytest.raises(ValueError, match="not a SIP URI"):
        uri_address("tel:1", {})


def test_digest_of_rfc_2617() -> None:
    challenge = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc"'
    value = digest(challenge, "GET", "/dir/index.html", "Mufasa", "Circle Of Life")
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in value
    assert 'opaque="5ccc"' in value
