"""Calls that a program asks for (conformance D3-D21), on the wire of a simulated network."""

from __future__ import annotations

import re
from typing import Any
from unittest.mock import patch

import pytest

from signalling import (
    BadRequest,
    NoRoute,
    NotAllowed,
    NotRegistered,
    OriginateRequest,
    Principal,
    SignallingError,
    TrunkUnavailable,
    UnknownTrunk,
    WrongState,
)
from tests.flows.house import ADMIN, House, route, sim, trunk
from tests.media.fake import FakeMediaEngine
from tests.sim.fixture import Sim
from tests.sim.phones import PhoneCall, SimPhone

__all__ = ["sim"]


def phones(sim: Sim, **fields: Any) -> tuple[House, SimPhone, SimPhone]:
    house = House(sim, **fields)
    alice, bob = house.phone("1001"), house.phone("1002")
    alice.script.answer_after_s = 1.0
    return house, alice, bob


def header(call: PhoneCall, name: str) -> str:
    assert call.invite is not None
    return call.invite.get(name)


def test_d11_rings_the_caller_first_then_the_callee_and_bridges(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    session = house.originate()
    assert session.id.isdigit()
    sim.run_until(lambda: alice.calls)
    sim.run_for(0.5)
    assert bob.calls == []
    sim.run_until(lambda: bob.calls)
    assert house.media.live[0].attached is not None
    assert house.media.live[0].attached.kind == "ringback"
    bob.call.accept()
    sim.run_for(2.5)
    assert house.media.counts()["bridges"] == 1
    assert session.call.talking_time_s == 2
    bob.call.bye()
    sim.run_until(lambda: alice.call.state == "ended")
    assert session.ended
    assert house.registry.get(session.id) is session
    assert house.quiet() == {}


def test_d11_callee_failure_ends_the_callers_leg_with_a_fitting_cause(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    bob.script.refuse = 486
    house.originate()
    sim.run_until(lambda: alice.calls and alice.call.state == "ended")
    assert "SIP;cause=486" in alice.call.end_reason
    assert house.quiet() == {}


def test_d11_caller_hanging_up_while_the_callee_rings_cancels(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    house.originate()
    sim.run_until(lambda: bob.calls)
    sim.run_for(1)
    alice.call.bye()
    sim.run_until(lambda: bob.call.state == "ended")
    assert "CANCEL" in bob.call.received
    assert house.quiet() == {}


def test_d11_caller_refuses_and_the_callee_is_never_called(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    alice.script.refuse = 603
    session = house.originate()
    sim.run_until(lambda: session.ended)
    assert bob.calls == []
    assert session.call.status == 603
    assert house.quiet() == {}


def test_d12_send_sdp_true_offers_at_once(sim: Sim) -> None:
    house, alice, _ = phones(sim)
    house.originate(send_sdp=True)
    sim.run_until(lambda: alice.calls)
    assert "m=audio" in alice.call.remote_sdp


def test_d12_send_sdp_false_asks_the_caller_for_an_offer(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    bob.script.answer_after_s = 0.5
    house.originate(send_sdp=False)
    sim.run_until(lambda: alice.calls)
    assert alice.call.invite is not None
    assert alice.call.invite.body == ""
    sim.run_until(lambda: bob.calls and bob.call.state == "talking")
    sim.run_for(0.5)
    assert "m=audio" in alice.call.remote_sdp  # the ACK carried our answer
    assert all(leg.agreed for leg in house.media.live)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("ANSWER_MODE", "Answer-Mode", "Auto"),
        ("CALL_INFO", "Call-Info", "<sip:ringway>;answer-after=0"),
        ("ALERT_INFO_AUTO_ANSWER_DELAY0", "Alert-Info", "<sip:ringway>;info=alert-autoanswer;delay=0"),
        ("ALERT_INFO_AUTO_ANSWER", "Alert-Info", '<sip:ringway>;info="Auto Answer"'),
        ("ALERT_INFO_INTERCOM", "Alert-Info", "<sip:ringway>;info=intercom"),
    ],
)
@pytest.mark.parametrize("direction", ["CALLER", "CALLEE", "ALL", None])
def test_d5_d6_auto_answer_headers(sim: Sim, kind: str, name: str, value: str, direction: str | None) -> None:
    house, alice, bob = phones(sim)
    house.originate(additional_header=kind, header_direction=direction)
    sim.run_until(lambda: bob.calls)
    shown = value.replace("<sip:ringway>", "")
    to_caller = header(alice.call, name).endswith(shown) and header(alice.call, name) != ""
    to_callee = header(bob.call, name).endswith(shown) and header(bob.call, name) != ""
    assert to_caller == (direction in ("CALLER", "ALL", None))  # D13: CALLER when it is not said
    assert to_callee == (direction in ("CALLEE", "ALL"))


def test_d6_direction_without_header_is_ignored(sim: Sim) -> None:
    house, _, bob = phones(sim)
    house.originate(header_direction="ALL")
    sim.run_until(lambda: bob.calls)
    assert not any(header(bob.call, name) for name in ("Answer-Mode", "Call-Info", "Alert-Info"))


def trunked(sim: Sim, **fields: object) -> tuple[House, SimPhone, SimPhone]:
    house = House(sim, trunks=[trunk("carrier", **fields), trunk("other")], routes=[route(".", "other", "carrier")])
    alice, carrier = house.phone("1001"), house.carrier("carrier")
    alice.script.answer_after_s = 0.5
    carrier.script.answer_after_s = 0.5
    return house, alice, carrier


def test_d7_rewrites_change_the_user_part_only(sim: Sim) -> None:
    house, alice, carrier = trunked(sim, pai="caller", rpi="caller")
    house.originate(
        callee="+33123",
        trunk="carrier",
        caller_display_name="Front Desk",
        rewrite_from="100",
        rewrite_pai="200",
        rewrite_rpi="300",
    )
    sim.run_until(lambda: carrier.calls)
    assert header(carrier.call, "From").startswith('"Front Desk" <sip:100@ringway>;tag=')
    assert "sip:200@ringway" in header(carrier.call, "P-Asserted-Identity")
    assert "sip:300@ringway" in header(carrier.call, "Remote-Party-ID")
    assert "sip:100@" not in header(alice.call, "From")  # the caller's own leg does not go through the trunk


def test_d15_rewritten_identities_are_added_when_absent(sim: Sim) -> None:
    house, _, carrier = trunked(sim)
    house.originate(callee="+33123", trunk="carrier", rewrite_pai="200", rewrite_rpi="300")
    sim.run_until(lambda: carrier.calls)
    assert header(carrier.call, "P-Asserted-Identity") == "<sip:200@ringway>"
    assert header(carrier.call, "Remote-Party-ID") == "<sip:300@ringway>;party=calling;screen=yes;privacy=off"


def test_d14_rewrites_without_a_trunk_are_noted_and_ignored(sim: Sim) -> None:
    house, _, bob = phones(sim)
    session = house.originate(rewrite_from="999")
    sim.run_until(lambda: bob.calls)
    assert "sip:1001@" in header(bob.call, "From")
    assert any("D14" in getattr(event, "text", "") for event in session.events)


def test_d16_a_trunk_on_both_legs_rewrites_both(sim: Sim) -> None:
    house, _, carrier = trunked(sim)
    house.originate(caller="+331", callee="+332", trunk="carrier", rewrite_from="100")
    sim.run_until(lambda: len(carrier.calls) == 2)
    assert all("<sip:100@" in header(call, "From") for call in carrier.calls)


def test_d9_a_named_trunk_that_is_down_fails_the_call(sim: Sim) -> None:
    house, _, _ = trunked(sim, max_calls=1)
    house.lines["carrier"].take(sim.now)
    with pytest.raises(TrunkUnavailable):
        house.originate(callee="+33123", trunk="carrier")
    with pytest.raises(UnknownTrunk):
        house.originate(callee="+33123", trunk="nowhere")
    assert house.registry.sessions() == []


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"caller": "1003"}, NotRegistered),
        ({"callee": "1003"}, NotRegistered),
        ({"callee": "4711"}, NoRoute),
        ({"caller": "600"}, BadRequest),
        ({"callee": "sip:[bad"}, BadRequest),
        ({"target": "10.9.9.9:5060"}, NotRegistered),
        ({"target_extension_number": "9"}, BadRequest),
    ],
)
def test_d22_what_cannot_be_called_is_refused_at_once(
    sim: Sim, fields: dict[str, object], error: type[SignallingError]
) -> None:
    house, alice, _ = phones(sim)
    with pytest.raises(error):
        house.originate(**fields)
    assert alice.calls == []
    assert house.registry.sessions() == []


def test_11_a_token_dials_only_its_patterns(sim: Sim) -> None:
    house, _, _ = trunked(sim)
    token = Principal("shop", "token")
    with pytest.raises(NotAllowed):
        sim.run(house.registry.originate(OriginateRequest("1001", "+33123", True), token))


def test_d21_target_selects_the_contact_that_rings(sim: Sim) -> None:
    house = House(sim)
    desk, mobile = house.phone("1001", "desk"), house.phone("1001", "mobile")
    house.phone("1002")
    house.originate(target=f"{mobile.address[0]}:{mobile.address[1]}")
    sim.run_for(1)
    assert (len(desk.calls), len(mobile.calls)) == (0, 1)
    house.originate(target_extension_number="1002", callee="600")
    sim.run_for(1)
    assert (len(desk.calls), len(mobile.calls)) == (0, 1)


def test_d9_user_data_stays_with_the_call(sim: Sim) -> None:
    house, _, _ = phones(sim)
    session = house.originate(user_data="order 17")
    assert session.call.user_data == "order 17"


def test_3_a_program_calls_the_echo_test(sim: Sim) -> None:
    house, alice, _ = phones(sim)
    session = house.originate(callee="600")
    sim.run_until(lambda: alice.calls and alice.call.state == "talking")
    sim.run_for(1)
    assert house.media.live[0].attached is not None
    assert house.media.live[0].attached.kind == "echo"
    sim.run(session.end())
    sim.run_until(lambda: alice.call.state == "ended")
    assert house.quiet() == {}


def talking(sim: Sim) -> tuple[House, SimPhone, SimPhone]:
    house, alice, bob = phones(sim)
    bob.script.answer_after_s = 0.5
    house.originate()
    sim.run_until(lambda: bob.calls and bob.call.state == "talking")
    sim.run_for(1)
    return house, alice, bob


def test_d26_destroy_hangs_up_both(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    sim.run(session.end())
    sim.run_until(lambda: alice.call.state == bob.call.state == "ended")
    with pytest.raises(WrongState):
        sim.run(session.end())
    assert house.quiet() == {}


def test_d26_destroy_while_it_rings(sim: Sim) -> None:
    house, alice, bob = phones(sim)
    session = house.originate()
    sim.run_until(lambda: bob.calls)
    sim.run(session.end())
    sim.run_until(lambda: alice.call.state == bob.call.state == "ended")
    assert house.quiet() == {}


def test_d26_hold_and_unhold_both_legs(sim: Sim) -> None:
    house, alice, bob = talking(sim)
    session = house.session
    with pytest.raises(WrongState):
        sim.run(session.unhold())
    sim.run(session.hold())
    sim.run_for(1)
    assert "a=sendonly" in alice.call.remote_sdp
    assert "a=sendonly" in bob.call.remote_sdp
    with pytest.raises(WrongState):
        sim.run(session.hold())
    sim.run(session.unhold())
    sim.run_for(1)
    assert "a=sendrecv" in alice.call.remote_sdp
    assert "a=sendrecv" in bob.call.remote_sdp


@pytest.mark.parametrize("sdp", [True, False])
def test_d26_a_phone_cannot_undo_the_hold_of_a_command(sim: Sim, sdp: bool) -> None:
    house, alice, bob = talking(sim)
    sim.run(house.session.hold())
    sim.run_for(1)
    alice.call.reinvite("sendrecv", sdp=sdp)
    sim.run_for(1)
    for phone in (alice, bob):
        assert "a=sendrecv" not in phone.call.remote_sdp
        assert "a=recvonly" not in phone.call.remote_sdp
    sim.run(house.session.unhold())
    sim.run_for(1)
    for phone in (alice, bob):
        assert "a=sendrecv" in phone.call.remote_sdp


def test_d26_hold_before_the_answer_is_a_conflict(sim: Sim) -> None:
    house, _, bob = phones(sim)
    session = house.originate()
    sim.run_until(lambda: bob.calls)
    with pytest.raises(WrongState):
        sim.run(session.hold())


def test_16_dry_run_shows_what_would_be_sent_and_sends_nothing(sim: Sim) -> None:
    house, alice, carrier = trunked(sim)
    sent = len(sim.network.trace)
    request = OriginateRequest(
        "1001",
        "+33123",
        True,
        trunk="carrier",
        rewrite_from="100",
        additional_header="CALL_INFO",
        header_direction="ALL",
    )
    run = sim.run(house.registry.dry_run(request, ADMIN))
    assert len(sim.network.trace) == sent
    assert house.media.live == []
    caller, callee = run.legs
    assert (caller.role, caller.trunk, callee.role, callee.trunk) == ("CALLER", None, "CALLEE", "carrier")
    assert callee.why_not == (("other", "the request names trunk carrier"),)
    sim.run(house.registry.originate(request, ADMIN))
    sim.run_until(lambda: carrier.calls)
    for shown, call in ((caller, alice.call), (callee, carrier.call)):
        assert call.invite is not None
        assert _comparable(shown.invite) == _comparable(call.invite.to_bytes().decode())
    rules = {name: rule for name, _, rule in callee.headers}
    assert "rewrite_from" in rules["From"]
    assert "additional_header" in rules["Call-Info"]


def _comparable(message: str) -> list[str]:
    """What of an INVITE does not differ from one to the next."""
    head = message.partition("\r\n\r\n")[0].split("\r\n")
    kept = []
    for line in head:
        name = line.partition(":")[0].lower()
        if name not in ("via", "call-id", "content-length"):
            kept.append(line.partition(";tag=")[0])
    return kept


def rehearsed_and_sent(sim: Sim, house: House, leg: int, **fields: object) -> tuple[str, str]:
    """The INVITE that a dry run shows for a leg, and the one that goes out, but for what is new each time."""
    request = OriginateRequest("1001", send_sdp=True, **fields)  # type: ignore[arg-type]  # the test names real fields
    run = sim.run(house.registry.dry_run(request, ADMIN))
    house.originate(send_sdp=True, **fields)
    sim.run_for(2)
    called = sim.network.messages("INVITE", source="ringway")[leg]
    fresh = re.compile(r"(branch=|tag=|Call-ID: |o=- |m=audio )[0-9a-zA-Z@.-]+(?: [0-9]+(?= IN))?")
    return fresh.sub(r"\1", run.legs[leg].invite), fresh.sub(r"\1", called)


def test_16_dry_run_of_a_service_offers_what_the_service_can(sim: Sim) -> None:
    house = House(sim, media=FakeMediaEngine(codecs=("G722", "PCMU", "PCMA")))
    house.phone("1001")
    shown, sent = rehearsed_and_sent(sim, house, 0, callee="600")
    assert shown == sent


def test_16_dry_run_of_a_phone_behind_a_proxy_explains_the_route(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    house.phone("1002")
    path = f"<sip:{alice.address[0]};lr>"
    house.switch.registrar.bindings("1001", sim.now)[0].path = (path,)
    run = sim.run(house.registry.dry_run(OriginateRequest("1001", "1002", True), ADMIN))
    assert ("Route", path) in [(name, value) for name, value, _ in run.legs[0].headers]


def test_16_dry_run_of_a_large_invite_goes_the_way_it_would_go(sim: Sim) -> None:
    names = ("Opus", "G722", "PCMU", "PCMA")
    house = House(sim, trunks=[trunk("carrier", codecs=names)], routes=[route(".", "carrier")])
    sim.phone("carrier")
    sim.network.listen((sim.network.host("carrier"), 5060), lambda end: None)
    alice = house.phone("1001")
    alice.script.answer_after_s = 0.1
    house.phone("1002")
    with patch("sip.outgoing.HEAD_SIZE", 1200):
        shown, sent = rehearsed_and_sent(sim, house, 1, callee="+33123")
    assert shown.splitlines()[1].startswith("Via: SIP/2.0/TCP ")
    assert shown.splitlines()[1] == sent.splitlines()[1]
