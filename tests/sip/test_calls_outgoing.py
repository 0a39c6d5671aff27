"""Calls of ours, before and at their answer: ladders against a scripted callee."""

from __future__ import annotations

import pytest

from sip.calls import Answered, Call, CallGone, CallStateError, Ended, Failed, RequestAnswered, Ringing
from sip.message import Request, Response

from .peer import ANSWER, OFFER, Peer, Us, Wire, answered_call, is_free, name_of


@pytest.fixture
def us() -> Us:
    return Us()


@pytest.fixture
def peer(us: Us) -> Peer:
    return Peer(us)


def nothing_left(us: Us) -> None:
    us.run_for(40)
    assert us.counts() == {}


# The plain call


def test_a_call_rings_is_answered_and_ended(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    invite = peer.get_request("INVITE")
    assert invite.text == OFFER
    peer.respond(invite, 100)
    assert us.events == []
    peer.respond(invite, 180)
    ringing = us.take(Ringing)
    assert (ringing.call, ringing.status, ringing.reason, ringing.sdp) == (outgoing, 180, "Ringing", None)
    peer.respond(invite, 200, ANSWER)
    ack = peer.get_request("ACK")
    assert ack.uri == "sip:peer@192.0.2.2:5062"
    assert str(ack.cseq) == "10 ACK"
    assert ack.body == b""
    answered = us.take(Answered)
    assert (answered.sdp, answered.outgoing, answered.needs_ack) == (ANSWER, outgoing, False)
    assert outgoing.over
    call = answered.call
    assert (call.call_id, call.remote_target, call.ended) == (invite.call_id, "sip:peer@192.0.2.2:5062", False)
    call.bye(us.now, 'Q.850;cause=16;text="Normal"')
    bye = peer.get_request("BYE")
    assert str(bye.cseq) == "11 BYE"
    assert bye.to.tag == "peer-tag"
    assert bye.from_.tag == "our-tag"
    assert bye.get("Reason") == 'Q.850;cause=16;text="Normal"'
    assert us.events == []
    assert call.ended
    peer.respond(bye, 200)
    ended = us.take(Ended)
    assert (ended.call, ended.by, ended.reason) == (call, "local", 'Q.850;cause=16;text="Normal"')
    nothing_left(us)


def test_early_media_is_told_and_stands_in_for_a_2xx_without_sdp(us: Us, peer: Peer) -> None:
    us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 183, ANSWER)
    assert us.take(Ringing).sdp == ANSWER
    peer.respond(invite, 200)
    assert us.take(Answered).sdp == ANSWER


def test_a_repeated_2xx_is_acked_again_and_told_once(us: Us, peer: Peer) -> None:
    us.invite()
    ok = peer.respond(peer.get_request("INVITE"), 200, ANSWER)
    first = peer.get_request("ACK")
    us.take(Answered)
    us.run_for(0.5)
    us.receive(ok)
    again = peer.get_request("ACK")
    assert us.events == []
    assert again.via.branch != first.via.branch
    assert (again.uri, again.get("CSeq"), again.get("To")) == (first.uri, first.get("CSeq"), first.get("To"))


def test_a_repeated_2xx_is_acked_even_after_the_bye(us: Us, peer: Peer) -> None:
    us.invite()
    ok = peer.respond(peer.get_request("INVITE"), 200, ANSWER)
    us.take(Answered).call.bye(us.now)
    bye = us.sent()[-1]
    assert isinstance(bye, Request)
    peer.respond(bye, 200)
    us.take(Ended)
    us.receive(ok)
    assert us.seen() == ["ACK"]
    nothing_left(us)


@pytest.mark.parametrize("status", [302, 404, 486, 503, 603])
def test_a_refusal_is_told_once(us: Us, peer: Peer, status: int) -> None:
    outgoing = us.invite()
    refusal = peer.respond(peer.get_request("INVITE"), status, headers=[("Contact", "<sip:elsewhere@192.0.2.9>")])
    assert us.seen() == ["ACK"]
    failed = us.take(Failed)
    assert (failed.call, failed.status, failed.cause) == (outgoing, status, "response")
    assert failed.contacts == (("sip:elsewhere@192.0.2.9",) if status == 302 else ())
    us.receive(refusal)
    assert us.events == []
    nothing_left(us)


def test_silence_fails_with_a_timeout_and_a_ringing_call_does_not(us: Us, peer: Peer) -> None:
    us.invite()
    us.run_for(33)
    failed = us.take(Failed)
    assert (failed.status, failed.cause, failed.response) == (408, "timeout", None)
    us.sent()
    us.invite()
    peer.respond(peer.get_request("INVITE"), 180)
    us.take(Ringing)
    us.run_for(600)
    assert us.events == []


def test_a_closed_connection_fails_the_call(us: Us) -> None:
    us.invite()
    us.flow.closed = True
    us.stack.flow_closed(us.flow, us.now)
    failed = us.take(Failed)
    assert (failed.status, failed.cause) == (503, "transport")
    nothing_left(us)


def test_a_flow_closed_before_is_told_after_invite_returned(us: Us) -> None:
    us.flow.closed = True
    us.invite()
    assert us.events == []
    us.run_for(0)
    assert us.take(Failed).cause == "transport"


# CANCEL


def test_cancel_waits_for_a_provisional_response(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    invite = peer.get_request("INVITE")
    outgoing.cancel(us.now, 'SIP;cause=200;text="Call completed elsewhere"')
    outgoing.cancel(us.now)
    assert us.seen() == []
    peer.respond(invite, 180)
    cancel = peer.get_request("CANCEL")
    assert cancel.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    assert us.events == []
    peer.respond(cancel, 200)
    peer.respond(invite, 487)
    assert us.seen() == ["ACK"]
    failed = us.take(Failed)
    assert (failed.status, failed.cause) == (487, "cancelled")
    nothing_left(us)


def test_cancel_while_ringing_mutes_later_progress(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180)
    us.take(Ringing)
    outgoing.cancel(us.now)
    peer.respond(invite, 183, ANSWER)
    assert us.events == []


def test_a_2xx_that_crosses_the_cancel_is_acked_and_ended(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180)
    us.take(Ringing)
    outgoing.cancel(us.now, "SIP;cause=487")
    assert us.seen() == ["CANCEL"]
    ok = peer.respond(invite, 200, ANSWER)
    ack, bye = us.sent()
    assert [name_of(ack), name_of(bye)] == ["ACK", "BYE"]
    assert isinstance(bye, Request)
    assert bye.get("Reason") == "SIP;cause=487"
    failed = us.take(Failed)
    assert (failed.status, failed.cause) == (487, "cancelled")
    us.receive(ok)
    assert us.seen() == ["ACK"]
    peer.respond(bye, 200)
    assert us.events == []
    nothing_left(us)


def test_a_2xx_before_any_cancel_could_go_out_is_acked_and_ended(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    invite = peer.get_request("INVITE")
    outgoing.cancel(us.now)
    peer.respond(invite, 200, ANSWER)
    assert us.seen() == ["ACK", "BYE"]
    assert us.take(Failed).cause == "cancelled"


def test_a_refusal_that_crosses_the_cancel_counts_as_cancelled(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180)
    us.take(Ringing)
    outgoing.cancel(us.now)
    peer.respond(invite, 486)
    failed = us.take(Failed)
    assert (failed.status, failed.cause) == (486, "cancelled")


def test_a_callee_that_never_ends_a_cancelled_invite_is_given_up(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180)
    us.take(Ringing)
    outgoing.cancel(us.now)
    us.run_for(33)
    failed = us.take(Failed)
    assert (failed.status, failed.cause, failed.response) == (487, "cancelled", None)
    nothing_left(us)


def test_cancel_after_the_answer_hangs_up(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    peer.respond(peer.get_request("INVITE"), 200, ANSWER)
    us.sent()
    outgoing.cancel(us.now, "SIP;cause=487")
    assert not outgoing.cancelled
    us.take(Answered)
    bye = peer.get_request("BYE")
    assert bye.get("Reason") == "SIP;cause=487"
    outgoing.cancel(us.now)
    peer.respond(bye, 200)
    assert us.take(Ended).by == "local"
    outgoing.cancel(us.now)
    assert us.seen() == []


def test_cancel_after_a_refusal_does_nothing(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    peer.respond(peer.get_request("INVITE"), 486)
    us.sent()
    outgoing.cancel(us.now)
    assert us.seen() == []


def test_cancel_from_within_the_ringing_event(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    outgoing.listener = lambda event: outgoing.cancel(us.now) if isinstance(event, Ringing) else us.listen(event)
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180)
    assert us.seen() == ["CANCEL"]
    peer.respond(invite, 487)
    assert us.take(Failed).cause == "cancelled"


def test_bye_from_within_the_answered_event(us: Us, peer: Peer) -> None:
    outgoing = us.invite()
    outgoing.listener = lambda event: event.call.bye(us.now) if isinstance(event, Answered) else us.listen(event)
    peer.respond(peer.get_request("INVITE"), 200, ANSWER)
    assert us.seen() == ["ACK", "BYE"]


def test_the_next_call_can_start_within_the_failed_event(us: Us, peer: Peer) -> None:

    def listen(event: object) -> None:
        us.invite()

    us.invite().listener = listen
    peer.respond(peer.get_request("INVITE"), 503)
    assert us.seen() == ["ACK", "INVITE"]


# Forks


def test_a_second_2xx_gets_ack_and_bye(us: Us, peer: Peer) -> None:
    other = Peer(us, tag="other-tag", contact="<sip:other@192.0.2.3>")
    us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180)
    other.respond(invite, 180)
    us.take(Ringing)
    us.take(Ringing)
    assert us.counts()["dialogs"] == 2
    peer.respond(invite, 200, ANSWER)
    call = us.take(Answered).call
    assert us.seen() == ["ACK"]
    ok = other.respond(invite, 200, ANSWER)
    ack, bye = us.sent()
    assert isinstance(ack, Request)
    assert isinstance(bye, Request)
    assert [ack.method, bye.method] == ["ACK", "BYE"]
    assert ack.uri == bye.uri == "sip:other@192.0.2.3"
    assert ack.to.tag == bye.to.tag == "other-tag"
    assert (str(ack.cseq), str(bye.cseq)) == ("10 ACK", "11 BYE")
    assert bye.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    us.receive(ok)
    assert us.seen() == ["ACK"]
    other.respond(bye, 200)
    assert us.events == []
    assert not call.ended
    assert us.core.counts()["calls"] == 1


def test_surplus_forks_are_bounded(us: Us, peer: Peer) -> None:
    us.invite()
    invite = peer.get_request("INVITE")
    for number in range(50):
        Peer(us, tag=f"tag-{number}").respond(invite, 180)
    assert us.counts()["dialogs"] == 32
    peer.respond(invite, 200, ANSWER)
    us.sent()
    for number in range(50):
        Peer(us, tag=f"tag-{number}").respond(invite, 200, ANSWER)
    assert us.seen().count("BYE") == 32


def test_a_fork_may_be_answered_by_another_than_rang(us: Us, peer: Peer) -> None:
    us.invite()
    invite = peer.get_request("INVITE")
    Peer(us, tag="other").respond(invite, 183, ANSWER)
    us.take(Ringing)
    peer.respond(invite, 200)
    assert us.take(Answered).sdp is None  # the early answer was of another fork


# Requests before the answer, from a callee whose 2xx was lost or overtaken


def test_bye_overtakes_the_2xx(us: Us, peer: Peer) -> None:
    us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180)
    us.take(Ringing)
    peer.learn(invite)
    peer.remote = invite.get("From") or ""
    peer.send("BYE", headers=[("Reason", "Q.850;cause=16")])
    assert us.seen() == ["200 BYE"]
    assert us.events == []
    peer.respond(invite, 200, ANSWER)
    assert us.seen() == ["ACK"]
    call = us.take(Answered).call
    ended = us.take(Ended)
    assert (ended.call, ended.by, ended.reason) == (call, "remote", "Q.850;cause=16")
    nothing_left(us)


@pytest.mark.parametrize(
    ("method", "status"),
    [("OPTIONS", 200), ("INFO", 500), ("UPDATE", 405), ("PRACK", 481), ("INVITE", 491), ("FOO", 501)],
)
def test_requests_in_an_early_dialog(us: Us, peer: Peer, method: str, status: int) -> None:
    us.invite()
    peer.respond(peer.get_request("INVITE"), 180)
    peer.remote = "<sip:us@example.org>;tag=our-tag"
    peer.call_id = us.core.outgoing_calls.copy().pop().call_id
    peer.send(method)
    assert us.seen() == [f"{status} {method}"]
    peer.send("OPTIONS", cseq=50)
    assert us.seen() == ["500 OPTIONS"]


# Late offer


def test_a_late_offer_is_answered_in_the_ack(us: Us, peer: Peer) -> None:
    us.invite(None)
    ok = peer.respond(peer.get_request("INVITE"), 200, OFFER)
    assert us.seen() == []
    answered = us.take(Answered)
    assert (answered.sdp, answered.needs_ack) == (OFFER, True)
    call = answered.call
    assert not is_free(call)
    us.receive(ok)
    assert us.seen() == []
    call.ack(us.now, ANSWER)
    ack = peer.get_request("ACK")
    assert ack.text == ANSWER
    us.receive(ok)
    assert peer.get_request("ACK").text == ANSWER
    assert is_free(call)
    with pytest.raises(CallStateError):
        call.ack(us.now, ANSWER)


def test_a_late_offer_that_never_comes(us: Us, peer: Peer) -> None:
    us.invite(None)
    invite = peer.get_request("INVITE")
    peer.respond(invite, 183, OFFER)
    us.take(Ringing)
    peer.respond(invite, 200)
    assert us.seen() == ["ACK"]
    answered = us.take(Answered)
    assert (answered.sdp, answered.needs_ack) == (None, False)


def test_bye_instead_of_the_late_answer_sends_the_ack_first(us: Us, peer: Peer) -> None:
    us.invite(None)
    ok = peer.respond(peer.get_request("INVITE"), 200, OFFER)
    call = us.take(Answered).call
    call.bye(us.now)
    assert us.seen() == ["ACK", "BYE"]
    us.receive(ok)
    assert us.seen() == ["ACK"]
    call.ack(us.now, ANSWER)
    assert us.seen() == []


def test_no_ack_is_due_after_an_ordinary_answer(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    with pytest.raises(CallStateError):
        call.ack(us.now, ANSWER)


# Credentials


def authorize(response: Response, request: Request) -> tuple[str, str] | None:
    challenge = response.get("Proxy-Authenticate" if response.status == 407 else "WWW-Authenticate")
    name = "Proxy-Authorization" if response.status == 407 else "Authorization"
    if challenge is None:
        return None
    realm = challenge.split('"')[1]
    return (name, f'Digest username="u", realm="{realm}", nonce="{request.cseq.number}"')


CHALLENGE = [("WWW-Authenticate", 'Digest realm="callee", nonce="n"')]
PROXY_CHALLENGE = [("Proxy-Authenticate", 'Digest realm="proxy", nonce="n"')]


def test_a_challenge_is_answered_with_the_next_cseq(us: Us, peer: Peer) -> None:
    outgoing = us.invite(authorize=authorize)
    first = peer.get_request("INVITE")
    peer.respond(first, 407, headers=PROXY_CHALLENGE)
    ack, second = us.sent()
    assert name_of(ack) == "ACK"
    assert isinstance(second, Request)
    assert second.cseq.number == 11
    assert second.call_id == first.call_id
    assert second.from_.tag == first.from_.tag
    assert second.to.tag is None
    assert second.via.branch != first.via.branch
    assert second.body == first.body
    peer.respond(second, 401, headers=CHALLENGE)
    third = us.sent()[-1]
    assert isinstance(third, Request)
    assert third.cseq.number == 12
    assert 'realm="proxy"' in (third.get("Proxy-Authorization") or "")
    assert 'realm="callee"' in (third.get("Authorization") or "")
    peer.respond(third, 200, ANSWER)
    last = peer.get_request("ACK")
    assert str(last.cseq) == "12 ACK"
    assert last.get("Authorization") == third.get("Authorization")
    assert last.get("Proxy-Authorization") == third.get("Proxy-Authorization")
    assert us.take(Answered).outgoing is outgoing
    us.events.clear()
    nothing_after = us.core.counts()
    assert nothing_after["outgoing_calls"] == 0


def test_credentials_of_two_proxies_stand_side_by_side(us: Us, peer: Peer) -> None:
    us.invite(authorize=authorize)
    peer.respond(peer.get_request("INVITE"), 407, headers=PROXY_CHALLENGE)
    second = us.sent()[-1]
    assert isinstance(second, Request)
    peer.respond(second, 407, headers=[("Proxy-Authenticate", 'Digest realm="second", nonce="n"')])
    third = us.sent()[-1]
    assert [line.split('"')[3] for line in third.headers.get_all("Proxy-Authorization")] == ["proxy", "second"]
    assert isinstance(third, Request)
    peer.respond(third, 407, headers=PROXY_CHALLENGE)  # stale
    fourth = us.sent()[-1]
    assert [line.split('"')[3] for line in fourth.headers.get_all("Proxy-Authorization")] == ["second", "proxy"]


def test_challenges_without_end_are_given_up(us: Us, peer: Peer) -> None:
    us.invite(authorize=authorize)
    for _ in range(5):
        invite = us.sent()[-1]
        assert isinstance(invite, Request)
        assert us.events == []
        peer.respond(invite, 401, headers=CHALLENGE)
    assert us.take(Failed).status == 401


def test_without_credentials_a_challenge_is_a_refusal(us: Us, peer: Peer) -> None:
    us.invite()
    peer.respond(peer.get_request("INVITE"), 401, headers=CHALLENGE)
    assert us.take(Failed).status == 401


def test_no_second_try_after_cancel(us: Us, peer: Peer) -> None:
    outgoing = us.invite(authorize=authorize)
    invite = peer.get_request("INVITE")
    outgoing.cancel(us.now)
    peer.respond(invite, 401, headers=CHALLENGE)
    assert us.seen() == ["ACK"]
    assert us.take(Failed).cause == "cancelled"


def test_early_dialogs_of_the_challenged_try_are_forgotten(us: Us, peer: Peer) -> None:
    us.invite(authorize=authorize)
    invite = peer.get_request("INVITE")
    peer.respond(invite, 183)
    assert us.counts()["dialogs"] == 1
    peer.respond(invite, 407, headers=PROXY_CHALLENGE)
    assert "dialogs" not in us.counts()


def test_in_dialog_requests_answer_challenges_too(us: Us, peer: Peer) -> None:
    us.invite(authorize=authorize)
    peer.respond(peer.get_request("INVITE"), 200, ANSWER)
    us.sent()
    call = us.take(Answered).call
    call.send(us.now, "INFO", body=b"x", content_type="text/plain")
    peer.respond(peer.get_request("INFO"), 407, headers=PROXY_CHALLENGE)
    again = peer.get_request("INFO")
    assert (again.cseq.number, again.body) == (12, b"x")
    assert "proxy" in (again.get("Proxy-Authorization") or "")
    peer.respond(again, 200)
    assert us.take(RequestAnswered).status == 200
    call.reinvite(us.now, OFFER)
    peer.respond(peer.get_request("INVITE"), 407, headers=PROXY_CHALLENGE)
    reinvite = us.sent()[-1]
    assert isinstance(reinvite, Request)
    assert reinvite.cseq.number == 14
    peer.respond(reinvite, 200, ANSWER)
    assert peer.get_request("ACK").get("Proxy-Authorization") == reinvite.get("Proxy-Authorization")
    us.events.clear()
    call.bye(us.now)
    peer.respond(peer.get_request("BYE"), 401, headers=CHALLENGE)
    bye = peer.get_request("BYE")
    assert us.events == []
    peer.respond(bye, 200)
    assert us.take(Ended).by == "local"
    nothing_left(us)


# Routes


def test_the_route_set_is_the_reversed_record_route_of_the_2xx(us: Us, peer: Peer) -> None:
    us.invite()
    invite = peer.get_request("INVITE")
    peer.respond(invite, 180, headers=[("Record-Route", "<sip:early.example;lr>")])
    peer.respond(invite, 200, ANSWER, headers=[("Record-Route", "<sip:b.example;lr>, <sip:a.example;lr>;x=1")])
    ack = peer.get_request("ACK")
    assert ack.headers.values("Route") == ["<sip:a.example;lr>;x=1", "<sip:b.example;lr>"]
    assert ack.uri == "sip:peer@192.0.2.2:5062"


def test_a_strict_router_gets_the_request_and_the_target_goes_last(us: Us, peer: Peer) -> None:
    us.invite()
    peer.respond(
        peer.get_request("INVITE"), 200, ANSWER, headers=[("Record-Route", "<sip:b.example;lr>, <sip:a.example>")]
    )
    ack = peer.get_request("ACK")
    assert ack.uri == "sip:a.example"
    assert ack.headers.values("Route") == ["<sip:b.example;lr>", "<sip:peer@192.0.2.2:5062>"]


def test_the_route_hook_chooses_the_flow_of_the_dialog(us: Us, peer: Peer) -> None:
    direct = Wire("direct")
    asked: list[str] = []

    def route(dialog: object, flow: object) -> Wire:
        asked.append(getattr(dialog, "next_hop", ""))
        return direct

    us.core.route = route
    us.invite()
    peer.respond(peer.get_request("INVITE"), 200, ANSWER)
    assert [flow for _, flow in us.stack.messages_to_send()] == [direct]
    assert asked == ["sip:peer@192.0.2.2:5062"]
    us.take(Answered).call.bye(us.now)
    assert [flow for _, flow in us.stack.messages_to_send()] == [direct]


def test_a_2xx_without_contact_leaves_the_request_uri_as_target(us: Us, peer: Peer) -> None:
    us.invite()
    peer.respond(peer.get_request("INVITE"), 200, ANSWER, contact=False)
    assert peer.get_request("ACK").uri == "sip:peer@example.net"


def test_verbs_of_an_ended_call(us: Us, peer: Peer) -> None:
    call: Call = answered_call(us, peer)
    peer.send("BYE")
    us.take(Ended)
    assert us.seen() == ["200 BYE"]
    with pytest.raises(CallGone):
        call.reinvite(us.now, OFFER)
    with pytest.raises(CallGone):
        call.send(us.now, "INFO")
    call.bye(us.now)
    call.ack(us.now, ANSWER)
    call.accept_reinvite(us.now, ANSWER)
    call.reject_reinvite(us.now)
    call.cancel_reinvite(us.now)
    assert us.seen() == []
    nothing_left(us)
