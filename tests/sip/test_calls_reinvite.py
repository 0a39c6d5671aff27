"""Re-INVITEs in both directions, glare in both roles: ladders against a scripted peer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sip.calls import (
    Call,
    CallStateError,
    Confirmed,
    Ended,
    NoAck,
    ReinviteAnswered,
    ReinviteCancelled,
    ReinviteFailed,
    ReinviteReceived,
)
from sip.message import Request

from .peer import (
    ANSWER,
    ANSWER_2,
    CONTACT,
    OFFER,
    OFFER_2,
    Peer,
    Us,
    Wire,
    accepted_call,
    answered_call,
    is_free,
    name_of,
)

MakeCall = Callable[[Us, Peer], Call]
BOTH_ROLES = pytest.mark.parametrize("make_call", [answered_call, accepted_call], ids=["caller", "callee"])


@pytest.fixture
def us() -> Us:
    return Us()


@pytest.fixture
def peer(us: Us) -> Peer:
    return Peer(us)


def nothing_left(us: Us) -> None:
    us.run_for(80)
    assert us.counts() == {}


def last_request(us: Us, method: str) -> Request:
    message = us.sent()[-1]
    assert isinstance(message, Request)
    assert message.method == method
    return message


# Ours


@BOTH_ROLES
def test_our_reinvite_is_answered_and_acked(us: Us, peer: Peer, make_call: MakeCall) -> None:
    call = make_call(us, peer)
    call.reinvite(us.now, OFFER_2, [("Subject", "hold")])
    reinvite = peer.get_request("INVITE")
    assert (reinvite.text, reinvite.get("Contact"), reinvite.get("Subject")) == (OFFER_2, CONTACT, "hold")
    assert reinvite.uri == "sip:peer@192.0.2.2:5062"
    assert not is_free(call)
    peer.respond(reinvite, 100)
    ok = peer.respond(reinvite, 200, ANSWER_2)
    ack = peer.get_request("ACK")
    assert ack.cseq.number == reinvite.cseq.number
    answered = us.take(ReinviteAnswered)
    assert (answered.call, answered.sdp, answered.needs_ack) == (call, ANSWER_2, False)
    us.receive(ok)
    assert us.seen() == ["ACK"]
    assert us.events == []
    assert is_free(call)


def test_the_remote_target_is_refreshed_both_ways(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    peer.contact = "<sip:moved@192.0.2.5:5070;transport=udp?x=y>"
    peer.respond(peer.get_request("INVITE"), 200, ANSWER_2)
    assert peer.get_request("ACK").uri == "sip:moved@192.0.2.5:5070;transport=udp"
    peer.contact = "<sip:again@192.0.2.6>"
    peer.send("INVITE", OFFER)
    us.sent()
    call.reject_reinvite(us.now)
    us.sent()
    call.bye(us.now)
    assert peer.get_request("BYE").uri == "sip:again@192.0.2.6"


def test_an_offerless_reinvite_is_answered_in_the_ack(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, None)
    reinvite = peer.get_request("INVITE")
    assert reinvite.body == b""
    ok = peer.respond(reinvite, 200, OFFER)
    answered = us.take(ReinviteAnswered)
    assert (answered.sdp, answered.needs_ack) == (OFFER, True)
    us.receive(ok)
    assert us.seen() == []
    assert not is_free(call)
    peer.send("INVITE", OFFER_2)
    assert us.seen() == ["491 INVITE"]
    call.ack(us.now, ANSWER)
    assert peer.get_request("ACK").text == ANSWER
    assert is_free(call)
    us.receive(ok)
    assert peer.get_request("ACK").text == ANSWER


def test_bye_instead_of_the_answer_to_an_offerless_reinvite(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, None)
    ok = peer.respond(peer.get_request("INVITE"), 200, OFFER)
    us.take(ReinviteAnswered)
    call.bye(us.now)
    assert us.seen() == ["ACK", "BYE"]
    us.receive(ok)
    assert us.seen() == ["ACK"]


def test_a_2xx_without_description_is_acked_and_changes_nothing(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    for offer in (OFFER_2, None):
        call.reinvite(us.now, offer)
        peer.respond(peer.get_request("INVITE"), 200)
        assert us.seen() == ["ACK"]
        assert us.take(ReinviteFailed).status == 488
        assert is_free(call)


@BOTH_ROLES
def test_a_refused_reinvite_keeps_the_call(us: Us, peer: Peer, make_call: MakeCall) -> None:
    call = make_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    peer.respond(peer.get_request("INVITE"), 488)
    assert us.seen() == ["ACK"]
    failed = us.take(ReinviteFailed)
    assert (failed.call, failed.status) == (call, 488)
    assert not call.ended
    call.reinvite(us.now, OFFER_2)
    assert us.seen() == ["INVITE"]


@pytest.mark.parametrize(("status", "by"), [(481, "remote"), (408, "timeout")])
def test_481_and_408_end_the_call(us: Us, peer: Peer, status: int, by: str) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    peer.respond(peer.get_request("INVITE"), status)
    assert us.seen() == ["ACK", "BYE"]
    ended = us.take(Ended)
    assert (ended.call, ended.by) == (call, by)
    assert us.events == []
    nothing_left(us)


def test_silence_to_a_reinvite_ends_the_call(us: Us, peer: Peer) -> None:
    answered_call(us, peer).reinvite(us.now, OFFER_2)
    us.run_for(33)
    assert us.seen()[-1] == "BYE"
    assert us.take(Ended).by == "timeout"
    nothing_left(us)


def test_a_closed_connection_under_a_reinvite_ends_the_call(us: Us, peer: Peer) -> None:
    us.flow.transport, us.flow.reliable = "TCP", True
    answered_call(us, peer).reinvite(us.now, OFFER_2)
    us.flow.closed = True
    us.stack.flow_closed(us.flow, us.now)
    assert us.take(Ended).by == "transport"
    nothing_left(us)


def test_a_reinvite_that_rings_is_cancelled(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.cancel_reinvite(us.now)
    call.reinvite(us.now, OFFER_2)
    reinvite = peer.get_request("INVITE")
    peer.respond(reinvite, 180)
    call.cancel_reinvite(us.now, "SIP;cause=487")
    cancel = peer.get_request("CANCEL")
    assert cancel.get("Reason") == "SIP;cause=487"
    peer.respond(cancel, 200)
    peer.respond(reinvite, 487)
    assert us.take(ReinviteFailed).status == 487
    assert is_free(call)


def test_a_2xx_crosses_the_cancel_of_a_reinvite(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    reinvite = peer.get_request("INVITE")
    peer.respond(reinvite, 100)
    call.cancel_reinvite(us.now)
    peer.respond(reinvite, 200, ANSWER_2)
    assert us.seen() == ["CANCEL", "ACK"]
    assert us.take(ReinviteAnswered).sdp == ANSWER_2


def test_a_second_reinvite_must_wait(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    with pytest.raises(CallStateError):
        call.reinvite(us.now, OFFER_2)


def test_bye_while_our_reinvite_is_open(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    reinvite = peer.get_request("INVITE")
    peer.respond(reinvite, 100)
    call.bye(us.now)
    cancel, bye = us.sent()
    assert [name_of(cancel), name_of(bye)] == ["CANCEL", "BYE"]
    assert isinstance(bye, Request)
    peer.respond(reinvite, 200, ANSWER_2)  # crosses both
    assert us.seen() == ["ACK"]
    peer.respond(bye, 200)
    assert us.take(Ended).by == "local"
    assert us.events == []
    nothing_left(us)


def test_the_peer_hangs_up_while_our_reinvite_is_open(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    reinvite = peer.get_request("INVITE")
    peer.respond(reinvite, 100)
    peer.send("BYE")
    assert us.seen() == ["200 BYE", "CANCEL"]
    assert us.take(Ended).by == "remote"
    peer.respond(reinvite, 487)
    assert us.seen() == ["ACK"]
    assert us.events == []
    nothing_left(us)


# Theirs


@BOTH_ROLES
def test_their_reinvite_is_accepted_and_confirmed(us: Us, peer: Peer, make_call: MakeCall) -> None:
    call = make_call(us, peer)
    elsewhere = Wire("elsewhere")
    peer.send("INVITE", OFFER_2, flow=elsewhere)
    received = us.take(ReinviteReceived)
    assert (received.call, received.sdp) == (call, OFFER_2)
    assert received.request.cseq == peer.last["INVITE"].cseq
    assert us.seen() == []
    assert not is_free(call)
    with pytest.raises(CallStateError):
        call.reinvite(us.now, OFFER)
    call.accept_reinvite(us.now, ANSWER_2, [("Subject", "held")])
    ok = peer.get("200 INVITE")
    assert (ok.text, ok.get("Contact"), ok.get("Subject")) == (ANSWER_2, CONTACT, "held")
    assert not is_free(call)
    call.accept_reinvite(us.now, ANSWER_2)
    call.reject_reinvite(us.now)
    assert us.seen() == []
    peer.ack()
    confirmed = us.take(Confirmed)
    assert (confirmed.call, confirmed.sdp) == (call, None)
    assert is_free(call)
    assert call.flow is elsewhere


def test_their_offerless_reinvite_gets_our_offer(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INVITE")
    assert us.take(ReinviteReceived).sdp is None
    call.accept_reinvite(us.now, OFFER_2)
    assert peer.get("200 INVITE").text == OFFER_2
    peer.ack(ANSWER_2)
    assert us.take(Confirmed).sdp == ANSWER_2


def test_their_reinvite_is_refused_and_the_call_goes_on(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)
    call.reject_reinvite(us.now, 488, headers=[("Retry-After", "3")])
    refused = peer.get("488 INVITE")
    assert refused.get("Retry-After") == "3"
    assert "Contact" not in refused.headers
    assert is_free(call)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)


def test_their_reinvite_may_be_answered_within_the_event(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.listener = lambda event: call.accept_reinvite(us.now, ANSWER_2)
    peer.send("INVITE", OFFER_2)
    assert us.seen() == ["200 INVITE"]


def test_they_withdraw_their_reinvite(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)
    peer.cancel([("Reason", "SIP;cause=408")])
    assert us.seen() == ["200 CANCEL", "487 INVITE"]
    cancelled = us.take(ReinviteCancelled)
    assert (cancelled.call, cancelled.reason) == (call, "SIP;cause=408")
    call.accept_reinvite(us.now, ANSWER_2)
    call.reject_reinvite(us.now)
    assert us.seen() == []
    assert is_free(call)


def test_their_reinvite_is_withdrawn_with_its_connection(us: Us, peer: Peer) -> None:
    us.flow.transport, us.flow.reliable = "TCP", True
    call = answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)
    us.stack.flow_closed(us.flow, us.now)
    assert us.take(ReinviteCancelled).call is call


def test_without_an_ack_to_a_reinvite_the_call_is_ended(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)
    call.accept_reinvite(us.now, ANSWER_2)
    us.run_for(33)
    assert us.seen()[-1] == "BYE"
    us.take(NoAck)
    assert us.take(Ended).by == "timeout"
    nothing_left(us)


def test_they_hang_up_while_their_reinvite_is_open(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)
    peer.send("BYE")
    assert us.seen() == ["200 BYE", "487 INVITE"]
    assert us.take(Ended).call is call
    nothing_left(us)


def test_we_hang_up_while_their_reinvite_is_open(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)
    call.bye(us.now)
    assert us.seen() == ["487 INVITE", "BYE"]


def test_we_hang_up_before_their_ack_to_a_reinvite(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    call.accept_reinvite(us.now, ANSWER_2)
    us.sent()
    us.events.clear()
    call.bye(us.now)
    bye = peer.get_request("BYE")
    peer.respond(bye, 200)
    assert us.take(Ended).by == "local"
    us.run_for(0.5)
    assert us.seen() == ["200 INVITE"]
    peer.ack()
    us.run_for(10)
    assert us.seen() == []
    nothing_left(us)
    assert us.events == []


def test_a_reinvite_stands_for_the_lost_ack(us: Us, peer: Peer) -> None:
    """RFC 5407 section 3.1.4: who sends a re-INVITE has our 2xx, and the offer in the INVITE was answered."""
    peer.send("INVITE", OFFER)
    assert us.incoming is not None
    call = us.incoming.accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    peer.send("INVITE", OFFER_2)
    us.take(Confirmed)
    us.take(ReinviteReceived)
    call.accept_reinvite(us.now, ANSWER_2)
    assert us.seen() == ["200 INVITE"]
    peer.send("ACK", cseq=101)  # the late ACK of the first
    assert us.events == []
    peer.ack()
    us.take(Confirmed)
    us.run_for(10)
    assert us.seen() == []


def test_hanging_up_within_confirmed_refuses_the_reinvite_that_confirmed(us: Us, peer: Peer) -> None:
    peer.send("INVITE", OFFER)
    assert us.incoming is not None
    call = us.incoming.accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    call.listener = lambda event: call.bye(us.now)
    peer.send("INVITE", OFFER_2)
    assert us.seen() == ["BYE", "487 INVITE"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [([("Require", "precondition")], 420), ([("Content-Encoding", "gzip")], 415)],
)
def test_a_reinvite_that_we_do_not_understand(us: Us, peer: Peer, headers: list[tuple[str, str]], status: int) -> None:
    answered_call(us, peer)
    peer.send("INVITE", OFFER_2, headers)
    assert us.seen() == [f"{status} INVITE"]
    assert us.events == []


# Glare


def test_a_reinvite_against_ours_gets_491(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    reinvite = peer.get_request("INVITE")
    peer.send("INVITE", OFFER)
    assert us.seen() == ["491 INVITE"]
    peer.respond(reinvite, 200, ANSWER_2)
    us.take(ReinviteAnswered)


def test_a_second_reinvite_before_the_answer_to_the_first_gets_500(us: Us, peer: Peer) -> None:
    answered_call(us, peer)
    peer.send("INVITE", OFFER_2)
    us.take(ReinviteReceived)
    peer.send("INVITE", OFFER_2)
    response = peer.get("500 INVITE")
    assert 0 <= int(response.get("Retry-After") or "99") <= 10
    assert us.events == []


@pytest.mark.parametrize(
    ("make_call", "least", "most"),
    [(answered_call, 2.1, 4.0), (accepted_call, 0.0, 2.0)],
    ids=["owner of the Call-ID", "other side"],
)
def test_491_is_tried_again_after_the_delay_of_the_role(
    us: Us, peer: Peer, make_call: MakeCall, least: float, most: float
) -> None:
    call = make_call(us, peer)
    call.reinvite(us.now, OFFER_2, [("Subject", "again")])
    first = peer.get_request("INVITE")
    peer.respond(first, 491)
    assert us.seen() == ["ACK"]
    assert us.events == []
    assert not is_free(call)
    at = us.core.deadline
    assert at is not None
    assert least <= at - us.now <= most
    us.run_for(at - us.now)
    second = peer.get_request("INVITE")
    assert second.cseq.number == first.cseq.number + 1
    assert (second.text, second.get("Subject")) == (OFFER_2, "again")
    peer.respond(second, 200, ANSWER_2)
    assert us.take(ReinviteAnswered).sdp == ANSWER_2
    assert us.core.deadline is None


def test_glare_without_end_is_given_up(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    for _ in range(5):
        assert us.events == []
        peer.respond(last_request(us, "INVITE"), 491)
        us.run_for(4)
    assert us.take(ReinviteFailed).status == 491
    assert is_free(call)


def test_their_reinvite_overtakes_ours_that_waits(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    peer.respond(peer.get_request("INVITE"), 491)
    us.sent()
    peer.send("INVITE", OFFER)
    assert us.take(ReinviteFailed).status == 491
    assert us.take(ReinviteReceived).sdp == OFFER
    assert us.core.deadline is None
    call.accept_reinvite(us.now, ANSWER)
    us.sent()
    peer.ack()
    us.take(Confirmed)
    us.run_for(10)
    assert us.seen() == []
    call.reinvite(us.now, OFFER_2)
    assert us.seen() == ["INVITE"]


def test_an_overtaken_reinvite_cannot_be_sent_again_at_once(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    peer.respond(peer.get_request("INVITE"), 491)
    us.sent()
    call.listener = lambda event: us.listen(event) if not isinstance(event, ReinviteFailed) else call.bye(us.now)
    peer.send("INVITE", OFFER)
    assert us.seen() == ["487 INVITE", "BYE"]
    assert us.events == []


def test_a_waiting_reinvite_is_withdrawn_by_cancel_and_by_bye(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    call.reinvite(us.now, OFFER_2)
    peer.respond(peer.get_request("INVITE"), 491)
    us.sent()
    call.cancel_reinvite(us.now)
    assert us.take(ReinviteFailed).status == 487
    assert us.core.deadline is None
    call.reinvite(us.now, OFFER_2)
    peer.respond(peer.get_request("INVITE"), 491)
    us.sent()
    call.bye(us.now)
    assert us.core.deadline is None
    assert us.seen() == ["BYE"]
