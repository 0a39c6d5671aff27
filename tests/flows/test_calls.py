"""Calls between phones, as ladders in virtual time (points 6, 8, 12)."""

from __future__ import annotations

import pytest

from signalling import Extension, Limits
from tests.flows.house import House, sim
from tests.media.fake import FakeMediaEngine
from tests.sim.fixture import Sim
from tests.sim.phones import PhoneCall

__all__ = ["sim"]


def test_12_caller_is_answered_only_after_the_callee(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    sim.network.trace.clear()
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ringing")
    sim.run_for(5)
    assert call.state == "ringing"
    bob.call.accept()
    sim.run_until(lambda: call.state == "talking")
    sim.run_for(1)
    assert [line for line in sim.network.ladder() if "OPTIONS" not in line] == [
        "phone1001 > ringway: INVITE",
        "ringway > phone1001: 401 INVITE",
        "phone1001 > ringway: ACK",
        "phone1001 > ringway: INVITE",
        "ringway > phone1002: INVITE",
        "phone1002 > ringway: 180 INVITE",
        "ringway > phone1001: 180 INVITE",
        "phone1002 > ringway: 200 INVITE",
        "ringway > phone1002: ACK",
        "ringway > phone1001: 200 INVITE",
        "phone1001 > ringway: ACK",
    ]
    assert house.media.counts()["bridges"] == 1
    call.bye()
    sim.run_until(lambda: bob.call.state == "ended")
    assert house.quiet() == {}


def talk(sim: Sim, house: House) -> tuple[PhoneCall, PhoneCall]:
    """1001 has called 1002, and both talk."""
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.answer_after_s = 1.0
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "talking" and bob.calls)
    sim.run_for(0.5)
    return call, bob.call


def test_6_a_slow_callee_makes_us_send_100(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.ring_after_s = 1.0
    call = alice.invite("1002")
    sim.run_for(0.15)
    assert "100 INVITE" not in call.received
    sim.run_for(0.15)
    assert "100 INVITE" in call.received
    sim.run_for(2)
    assert call.state == "ringing"
    assert sim.network.sent("phone1001").count("INVITE") == 2  # with and without credentials, none repeated


def test_12_bye_of_either_side_crosses(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    far.bye()
    sim.run_until(lambda: near.state == "ended")
    assert house.registry.sessions() == []
    assert house.quiet() == {}


def test_12_call_id_and_topology_stay_hidden(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    assert far.call_id != near.call_id
    assert far.invite is not None
    sent = far.invite.to_bytes().decode()
    for hidden in (near.call_id, "10.0.0.2", "phone1001", near.phone.contact):
        assert hidden not in sent
    assert far.invite.get("Max-Forwards") == "69"


def test_12_cancel_crosses_with_its_reason(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ringing")
    call.cancel()
    sim.run_until(lambda: bob.call.state == "ended")
    assert (call.status, bob.call.status) == (487, 487)
    assert "487" in bob.call.end_reason
    assert house.quiet() == {}


def test_12_cancel_crossing_the_answer_ends_both_legs(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ringing")
    bob.call.accept()
    call.cancel()
    sim.run_for(5)
    assert call.state == "ended"
    assert bob.call.state == "ended"
    assert house.quiet() == {}


def test_12_busy_is_told_to_the_caller(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.refuse = 486
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ended")
    assert call.status == 486
    assert house.quiet() == {}


def test_12_nobody_answers(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    call = alice.invite("1002")
    sim.run_for(59)
    assert call.state == "ringing"
    sim.run_for(2)
    assert (call.state, call.status) == ("ended", 480)
    assert bob.call.state == "ended"
    assert house.quiet() == {}


def test_12_no_phone_registered(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ended")
    assert call.status == 480
    assert house.quiet() == {}


def test_12_unknown_number(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    call = alice.invite("4711")
    sim.run_until(lambda: call.state == "ended")
    assert call.status == 404


def test_12_all_contacts_ring_and_the_first_answer_wins(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    desk, mobile = house.phone("1002", "desk"), house.phone("1002", "mobile", transport="TCP")
    call = alice.invite("1002")
    sim.run_until(lambda: desk.calls and mobile.calls and call.state == "ringing")
    mobile.call.accept()
    sim.run_until(lambda: call.state == "talking" and desk.call.state == "ended")
    sim.run_for(1)
    assert desk.call.end_reason == 'SIP;cause=200;text="Call completed elsewhere"'
    assert mobile.call.state == "talking"
    call.bye()
    sim.run_until(lambda: mobile.call.state == "ended")
    assert house.quiet() == {}


def test_12_two_contacts_answer_at_once_and_one_is_hung_up(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    desk, mobile = house.phone("1002", "desk"), house.phone("1002", "mobile")
    call = alice.invite("1002")
    sim.run_until(lambda: desk.calls and mobile.calls and call.state == "ringing")
    desk.call.accept()
    mobile.call.accept()
    sim.run_for(3)
    assert call.state == "talking"
    assert sorted((desk.call.state, mobile.call.state)) == ["ended", "talking"]
    call.bye()
    assert house.quiet() == {}


def test_12_one_contact_busy_the_other_rings_on(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    desk, mobile = house.phone("1002", "desk"), house.phone("1002", "mobile")
    desk.script.refuse = 486
    call = alice.invite("1002")
    sim.run_for(3)
    assert call.state == "ringing"
    mobile.call.accept()
    sim.run_until(lambda: call.state == "talking")


def test_12_a_decline_for_everywhere_ends_the_ringing(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    desk, mobile = house.phone("1002", "desk"), house.phone("1002", "mobile")
    call = alice.invite("1002")
    sim.run_until(lambda: desk.calls and mobile.calls and call.state == "ringing")
    desk.call.refuse(603)
    sim.run_until(lambda: call.state == "ended" and mobile.call.state == "ended")
    assert call.status == 603


def test_12_early_media_crosses(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.ring_status, bob.script.early_sdp = 183, True
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ringing")
    assert "m=audio" in call.remote_sdp
    assert house.media.counts()["bridges"] == 1
    early = call.remote_sdp
    bob.call.accept()
    sim.run_until(lambda: call.state == "talking")
    assert call.remote_sdp == early
    assert house.media.counts()["bridges"] == 1


def test_12_hold_and_resume_cross_with_the_right_directions(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    near.reinvite("sendonly")
    sim.run_for(1)
    assert "a=sendonly" in far.remote_sdp
    assert "a=recvonly" in near.remote_sdp
    near.reinvite("sendrecv")
    sim.run_for(1)
    assert "a=sendrecv" in far.remote_sdp
    assert "a=sendrecv" in near.remote_sdp
    assert near.state == far.state == "talking"


def test_8_a_reinvite_that_changes_nothing_is_answered_here(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    before = list(far.received)
    near.reinvite()
    sim.run_for(1)
    assert near.status == 200
    assert far.received == before


def test_8_a_reinvite_without_offer_gets_one(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    near.remote_sdp = ""
    near.reinvite(sdp=False)
    sim.run_for(1)
    assert "m=audio" in near.remote_sdp
    assert near.state == far.state == "talking"


def test_8_both_hold_at_once(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    near.reinvite("sendonly")
    far.reinvite("sendonly")
    sim.run_for(10)
    assert near.state == far.state == "talking"
    assert 491 in (near.status, far.status)


def test_8_a_refused_reinvite_keeps_the_call(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    far.phone.script.answer_reinvites = 488
    near.reinvite("sendonly")
    sim.run_for(2)
    assert near.status == 488
    assert near.state == far.state == "talking"
    near.bye()
    sim.run_until(lambda: far.state == "ended")
    assert house.quiet() == {}


def test_12_invite_without_offer(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.answer_after_s = 1.0
    call = alice.invite("1002", sdp=False)
    sim.run_until(lambda: call.state == "talking")
    sim.run_for(1)
    assert "m=audio" in call.remote_sdp
    assert all(leg.agreed for leg in house.media.live)
    call.bye()
    assert house.quiet() == {}


def test_12_info_crosses(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    near.send("INFO", "<fast/>", "application/media_control+xml")
    sim.run_for(1)
    assert far.infos == [("application/media_control+xml", "<fast/>")]
    assert near.received[-1] == "200 INFO"
    near.send("INFO", "<xml/>", "application/unheard-of")
    sim.run_for(1)
    assert near.received[-1] == "415 INFO"


def test_12_options_in_a_call_is_answered(sim: Sim) -> None:
    house = House(sim)
    near, _ = talk(sim, house)
    near.send("OPTIONS")
    sim.run_for(1)
    assert near.received[-1] == "200 OPTIONS"


def test_13_silence_ends_the_call_with_its_reason(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    house.media.live[0].fall_silent("no RTP for 60 s")
    sim.run_until(lambda: near.state == "ended" and far.state == "ended")
    assert near.end_reason == far.end_reason == 'SIP;cause=408;text="no RTP for 60 s"'
    assert house.quiet() == {}


def test_12_an_invitation_that_expires_is_taken_back(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.answer_after_s = None
    call = alice.invite("1002", headers=[("Expires", "5")])
    sim.run_for(4.9)
    assert call.state == "ringing"
    sim.run_for(0.2)
    assert (call.state, call.status, bob.calls[0].state) == ("ended", 487, "ended")
    assert sim.network.sent("ringway", "phone1002").count("CANCEL") == 1
    assert house.quiet() == {}


def test_6_ringing_outlives_timer_b(sim: Sim) -> None:
    house = House(sim, extensions=[Extension("1001"), Extension("1002", ring_timeout_s=300)])
    alice, bob = house.phone("1001"), house.phone("1002")
    call = alice.invite("1002")
    sim.run_for(200)
    assert call.state == "ringing"
    bob.call.accept()
    sim.run_until(lambda: call.state == "talking")


def test_12_lost_messages_are_made_good(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.answer_after_s = 1.0
    sim.network.lose("INVITE", source="ringway")
    sim.network.lose("200 INVITE", source="phone1002")
    sim.network.lose("200 INVITE", source="ringway")
    sim.network.lose("ACK", times=2)
    call = alice.invite("1002")
    sim.run_for(20)
    assert call.state == bob.call.state == "talking"
    call.bye()
    assert house.quiet() == {}


def test_12_a_caller_that_never_acks_is_hung_up(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.answer_after_s = 1.0
    alice.script.ack = False
    alice.invite("1002")
    sim.run_for(40)
    assert bob.call.state == "ended"
    assert house.quiet() == {}


def test_12_hops_used_up(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    call = alice.invite("1002")
    assert call.invite is not None
    sim.run_for(1)
    alice.network.trace.clear()
    again = call.request("INVITE", call.sdp())
    again.headers = [(n, "0" if n == "Max-Forwards" else v) for n, v in again.headers]
    again.start = f"INVITE sip:1002@{alice.domain} SIP/2.0"
    again.headers = [(n, "hops-1" if n == "Call-ID" else v) for n, v in again.headers]
    fresh = PhoneCall(alice, "hops-1", True, call.local, f"<sip:1002@{alice.domain}>", again.uri)
    again.headers = [(n, fresh.remote if n == "To" else v) for n, v in again.headers]
    alice.calls.append(fresh)
    alice.send_request(again, fresh)
    sim.run_until(lambda: fresh.state == "ended")
    assert fresh.status == 483


def test_3_echo_and_tone(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    call = alice.invite("600")
    sim.run_until(lambda: call.state == "talking")
    assert house.media.live[0].attached is not None
    assert house.media.live[0].attached.kind == "echo"
    call.bye()
    other = alice.invite("601")
    sim.run_until(lambda: other.state == "talking")
    assert house.media.live[0].attached.kind == "tone"
    other.bye()
    assert house.quiet() == {}


def test_14_limits_answer_503_and_disturb_nobody(sim: Sim) -> None:
    house = House(sim, limits=Limits(sessions=1))
    near, far = talk(sim, house)
    carol = house.phone("1003")
    refused = carol.invite("600")
    sim.run_until(lambda: refused.state == "ended")
    assert refused.status == 503
    assert "Retry-After: 5" in sim.network.messages("503 INVITE", source="ringway")[-1]
    assert near.state == far.state == "talking"


def test_14_calls_of_an_extension(sim: Sim) -> None:
    house = House(sim, extensions=[Extension("1001", max_calls=1), Extension("1002", max_calls=1), Extension("1003")])
    near, _ = talk(sim, house)
    second = near.phone.invite("600")
    sim.run_until(lambda: second.state == "ended")
    assert second.status == 503
    carol = house.phone("1003")
    busy = carol.invite("1002")
    sim.run_until(lambda: busy.state == "ended")
    assert busy.status == 486


def test_14_early_calls(sim: Sim) -> None:
    house = House(sim, limits=Limits(early=1))
    alice, carol = house.phone("1001"), house.phone("1003")
    house.phone("1002")
    first = alice.invite("1002")
    sim.run_until(lambda: first.state == "ringing")
    second = carol.invite("1002")
    sim.run_until(lambda: second.state == "ended")
    assert second.status == 503


def test_14_no_port_left(sim: Sim) -> None:
    house = House(sim, media=FakeMediaEngine(ports=1))
    alice = house.phone("1001")
    house.phone("1002")
    call = alice.invite("1002")
    sim.run_until(lambda: call.state == "ended")
    assert call.status == 503
    assert house.quiet() == {}


def test_12_a_fault_of_ours_costs_one_call(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    carol = house.phone("1003")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("signalling.inbound.Dialling.run", fail)
    broken = carol.invite("1001")
    sim.run_until(lambda: broken.state == "ended")
    assert broken.status == 500
    assert near.state == far.state == "talking"


def test_3_the_echo_test_answers_in_a_codec_that_it_can_speak(sim: Sim) -> None:
    house = House(sim)
    alice = house.phone("1001")
    call = alice.invite("600")
    sim.run_until(lambda: call.state == "talking")
    assert [codec.name for codec in house.media.live[0].codecs] == ["PCMU", "PCMA"]
    assert "opus" not in call.remote_sdp


def test_13_rtp_of_a_phone_may_come_from_where_its_signalling_comes(sim: Sim) -> None:
    house = House(sim)
    near, far = talk(sim, house)
    assert [leg.peer_host for leg in house.media.live] == [near.phone.address[0], far.phone.address[0]]


def test_8_a_hold_that_is_withdrawn_too_late_is_undone(sim: Sim) -> None:
    house = House(sim)
    alice, bob = house.phone("1001"), house.phone("1002")
    bob.script.answer_after_s = 0.1
    call = alice.invite("1002")
    sim.run_for(1)
    sim.network.lose("200 INVITE", source="phone1002")
    call.reinvite("sendonly")
    sim.run_for(0.2)
    call.cancel()
    sim.run_for(5)
    assert (call.status, call.state) == (487, "talking")
    assert bob.call.received.count("INVITE") == 4  # the call, the hold twice, and its end
    assert "a=sendrecv" in bob.call.remote_sdp
    call.cancelled = False
    call.bye()
    assert house.quiet() == {}
