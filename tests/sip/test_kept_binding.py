"""Registrations of a former process: kept, brought back, and reached as far as anything reaches them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace

import pytest

from sip import Binding, KeptBinding, Listen, ParseError, Registrar, Request, SipEndpoint, SipStack, parse_message
from sip.kept_binding import LostFlow
from sip.transport.base import Flow

from .peer import Wire

NOW = 1000.0


def register(*contacts: str, cseq: int = 1, extra: str = "") -> Request:
    lines = [
        "REGISTER sip:example.org SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.2:5062;branch=z9hG4bK{cseq}",
        "From: <sip:alice@example.org>;tag=a",
        "To: <sip:alice@example.org>",
        "Call-ID: r",
        f"CSeq: {cseq} REGISTER",
        "User-Agent: phone/1",
        *(f"Contact: {contact}" for contact in contacts),
        *([extra] if extra else []),
        "Content-Length: 0",
        "",
        "",
    ]
    message = parse_message("\r\n".join(lines).encode())
    assert isinstance(message, Request)
    return message


class Store:
    """What a keeper holds."""

    def __init__(self, registrar: Registrar) -> None:
        self.bodies: dict[tuple[str, str], str] = {}
        self.writes = 0
        registrar.keeper = self.keep

    def keep(self, binding: Binding, is_there: bool) -> None:
        self.writes += 1
        if is_there:
            self.bodies[binding.aor, binding.key] = json.dumps(asdict(binding.kept()))
        else:
            del self.bodies[binding.aor, binding.key]

    def kept(self) -> list[KeptBinding]:
        return [KeptBinding.of(json.loads(body)) for body in self.bodies.values()]


def again(kept: KeptBinding, flow: Flow) -> tuple[Registrar, Binding | None]:
    registrar = Registrar()
    return registrar, registrar.restore(kept, flow)


def test_6_a_registration_over_udp_goes_on_as_it_was() -> None:
    registrar = Registrar()
    store = Store(registrar)
    flow = Wire()
    registrar.register(
        register('"A" <sip:alice@10.0.0.7:5062;x=y>;q=0.5', extra="Path: <sip:edge;lr>"), flow, "alice", NOW
    )
    (before,) = registrar.bindings("alice", NOW)
    (kept,) = store.kept()
    restored, _ = again(kept, flow)
    (after,) = restored.bindings("alice", NOW + 1)

    for name in (
        "contact",
        "uri",
        "request_uri",
        "path",
        "q",
        "expires_at",
        "cseq",
        "call_id",
        "received",
        "flow_only",
    ):
        assert getattr(after, name) == getattr(before, name), name
    assert after.flow is flow
    restored.handle_timeout(before.expires_at + 1)
    assert restored.counts() == {"aors": 0, "bindings": 0}


def test_6_each_change_is_kept_and_each_end_too() -> None:
    registrar = Registrar()
    store = Store(registrar)
    flow = Wire()
    registrar.register(register("<sip:a@192.0.2.2>", "<sip:b@192.0.2.2>"), flow, "alice", NOW)
    assert [kept.contact for kept in store.kept()] == ["<sip:a@192.0.2.2>", "<sip:b@192.0.2.2>"]
    registrar.register(register("<sip:a@192.0.2.2>", cseq=2), flow, "alice", NOW + 50)
    assert store.kept()[0].expires_at == NOW + 50 + 3600, "a mere refresh as well"
    assert store.writes == 3
    registrar.register(register("<sip:a@192.0.2.2>;expires=0", cseq=3), flow, "alice", NOW + 60)
    assert [kept.contact for kept in store.kept()] == ["<sip:b@192.0.2.2>"]
    registrar.handle_timeout(NOW + 3601)
    assert store.kept() == []


def test_6_a_contact_spelled_anew_takes_the_place_of_the_old() -> None:
    registrar = Registrar()
    store = Store(registrar)
    registrar.register(register("<sip:a@host.example>"), Wire(), "alice", NOW)
    registrar.register(register("<sip:a@HOST.example>", cseq=2), Wire(), "alice", NOW)
    assert [kept.contact for kept in store.kept()] == ["<sip:a@HOST.example>"]


def test_6_outbound_bindings_are_told_apart_by_instance_and_reg_id() -> None:
    registrar = Registrar()
    store = Store(registrar)
    contact = '<sip:a@192.0.2.2>;reg-id={};+sip.instance="<urn:uuid:1>"'
    registrar.register(register(contact.format(1), extra="Supported: outbound"), Wire("one"), "alice", NOW)
    registrar.register(register(contact.format(2), cseq=2, extra="Supported: outbound"), Wire("two"), "alice", NOW)
    assert len(store.kept()) == 2
    restored = Registrar()
    for kept in store.kept():
        assert restored.restore(kept, Wire()) is not None
    answer = restored.register(
        register(contact.format(2), cseq=3, extra="Supported: outbound"), Wire(), "alice", NOW + 1
    )
    assert answer.status == 200
    assert restored.counts()["bindings"] == 2


@pytest.mark.parametrize(("contact", "reached"), [("<sip:a@192.0.2.2:5062>", True), ("<sip:a@10.0.0.7:5062>", False)])
def test_6_of_a_connection_only_a_contact_that_can_be_connected_to_is_left(contact: str, reached: bool) -> None:
    registrar = Registrar()
    store = Store(registrar)
    registrar.register(register(contact), Wire(transport="TCP"), "alice", NOW)
    (kept,) = store.kept()
    _, binding = again(kept, LostFlow(kept.transport, kept.local, kept.remote))
    assert (binding is not None) is reached
    if binding is not None:
        assert binding.flow.closed, "so that its contact is looked up"
        binding.flow.send(b"lost")
        assert binding.flow.sent_by == "192.0.2.1:5060"


def test_6_a_phone_that_was_faster_is_not_put_back() -> None:
    registrar = Registrar()
    store = Store(registrar)
    registrar.register(register("<sip:a@192.0.2.2>"), Wire(), "alice", NOW)
    (kept,) = store.kept()
    registrar.register(register("<sip:a@192.0.2.2>", cseq=2), Wire(), "alice", NOW + 5)
    assert registrar.restore(kept, Wire()) is None
    assert registrar.bindings("alice", NOW + 6)[0].cseq == 2


def test_6_what_was_stored_badly_is_refused() -> None:
    registrar = Registrar()
    store = Store(registrar)
    registrar.register(register("<sip:a@192.0.2.2>"), Wire(), "alice", NOW)
    (kept,) = store.kept()
    with pytest.raises(ParseError):
        registrar.restore(replace(kept, contact="<<"), Wire())
    with pytest.raises((TypeError, ValueError)):
        KeptBinding.of({"aor": "alice"})
    with pytest.raises(TypeError):
        KeptBinding.of({**asdict(kept), "colour": "red"})


async def test_6_the_flow_over_udp_is_that_of_the_socket_which_listens_there_now() -> None:
    endpoint = SipEndpoint(SipStack())
    await endpoint.start([Listen("UDP", "127.0.0.1", 0), Listen("UDP", "127.0.0.1", 0), Listen("UDP", "::1", 0)])
    try:
        for listen in endpoint.addresses:
            remote = (listen.host, 5099)
            flow = endpoint.flow_again("UDP", (listen.host, listen.port), remote)
            assert (flow.transport, flow.local[1], flow.remote) == ("UDP", listen.port, remote)
        elsewhere = endpoint.flow_again("UDP", ("127.0.0.1", 1), ("127.0.0.1", 5099))
        assert elsewhere.local[1] in {listen.port for listen in endpoint.addresses[:2]}
        assert endpoint.flow_again("TCP", ("127.0.0.1", 1), ("127.0.0.1", 5099)).closed
    finally:
        await endpoint.close()
        await asyncio.sleep(0)
