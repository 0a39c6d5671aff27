"""Calls to us, before and at their answer: ladders against a scripted caller."""

from __future__ import annotations

import pytest

from sip.calls import CallGone, CallStateError, Cancelled, Confirmed, Ended, IncomingCall, NoAck, refusal
from sip.message import Request, Response

from .peer import ANSWER, CONTACT, OFFER, Peer, Us, accepted_call, is_free, name_of


@pytest.fixture
def us() -> Us:
    return Us()


@pytest.fixture
def peer(us: Us) -> Peer:
    return Peer(us)


def receive_call(us: Us, peer: Peer, sdp: str | None = OFFER) -> IncomingCall:
    peer.send("INVITE", sdp)
    assert us.incoming is not None
    return us.incoming


def nothing_left(us: Us) -> None:
    us.run_for(80)
    assert us.counts() == {}


# The plain call


def test_a_call_is_rung_accepted_confirmed_and_ended_by_the_caller(us: Us, peer: Peer) -> None:
    incoming = receive_call(us, peer)
    assert (incoming.offer, incoming.over, incoming.flow) == (OFFER, False, us.flow)
    incoming.ring(us.now)
    ringing = peer.get("180 INVITE")
    assert ringing.get("Contact") == CONTACT
    assert ringing.to.tag is not None
    call = incoming.accept(us.now, ANSWER, [("User-to-User", "00")])
    assert incoming.over
    ok = peer.get("200 INVITE")
    assert ok.to.tag == ringing.to.tag
    assert (ok.text, ok.get("Contact"), ok.get("User-to-User")) == (ANSWER, CONTACT, "00")
    assert ok.get("Content-Type") == "application/sdp"
    assert ok.get("Allow") == "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"
    peer.learn(ok)
    assert us.events == []
    assert not is_free(call)
    peer.ack()
    confirmed = us.take(Confirmed)
    assert (confirmed.call, confirmed.sdp) == (call, None)
    assert is_free(call)
    peer.ack()
    assert us.events == []
    peer.send("BYE", headers=[("Reason", 'Q.850;cause=16;text="bye"')])
    assert us.seen() == ["200 BYE"]
    ended = us.take(Ended)
    assert (ended.call, ended.by, ended.reason) == (call, "remote", 'Q.850;cause=16;text="bye"')
    nothing_left(us)


def test_early_media_and_extra_headers_of_a_183(us: Us, peer: Peer) -> None:
    receive_call(us, peer).ring(us.now, 183, ANSWER, [("Subject", "early")])
    progress = peer.get("183 INVITE")
    assert (progress.text, progress.get("Subject")) == (ANSWER, "early")


def test_the_last_progress_is_repeated_each_minute(us: Us, peer: Peer) -> None:
    receive_call(us, peer).ring(us.now)
    us.sent()
    us.run_for(121)
    assert us.seen() == ["180 INVITE", "180 INVITE"]


def test_our_bye_follows_the_dialog(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    call.bye(us.now, headers=[("User-to-User", "01")])
    bye = peer.get_request("BYE")
    assert bye.uri == "sip:peer@192.0.2.2:5062"
    assert bye.to.tag == "peer-tag"
    assert bye.get("From") == peer.last["ACK"].get("To")
    assert (str(bye.cseq), bye.get("User-to-User")) == ("1 BYE", "01")
    peer.respond(bye, 200)
    assert us.take(Ended).by == "local"
    nothing_left(us)


def test_a_call_ends_here_even_if_the_bye_is_never_answered(us: Us, peer: Peer) -> None:
    accepted_call(us, peer).bye(us.now, "SIP;cause=500")
    us.run_for(33)
    ended = us.take(Ended)
    assert (ended.by, ended.reason, ended.message) == ("local", "SIP;cause=500", None)
    nothing_left(us)


def test_the_route_set_is_the_record_route_of_the_invite(us: Us, peer: Peer) -> None:
    peer.send("INVITE", OFFER, [("Record-Route", "<sip:a.example;lr>"), ("Record-Route", "<sip:b.example;lr>")])
    assert us.incoming is not None
    call = us.incoming.accept(us.now, ANSWER)
    ok = peer.get("200 INVITE")
    assert ok.headers.get_all("Record-Route") == ["<sip:a.example;lr>", "<sip:b.example;lr>"]
    peer.learn(ok)
    peer.ack()
    call.bye(us.now)
    assert peer.get_request("BYE").headers.values("Route") == ["<sip:a.example;lr>", "<sip:b.example;lr>"]


@pytest.mark.parametrize("status", [302, 404, 486, 603])
def test_reject(us: Us, peer: Peer, status: int) -> None:
    incoming = receive_call(us, peer)
    incoming.ring(us.now)
    us.sent()
    incoming.reject(us.now, status, "As I say", [("Retry-After", "9")])
    response = us.sent()[0]
    assert isinstance(response, Response)
    assert (response.status, response.reason, response.get("Retry-After")) == (status, "As I say", "9")
    incoming.reject(us.now, 500)
    incoming.ring(us.now)
    assert us.seen() == []
    with pytest.raises(CallStateError) as caught:
        incoming.accept(us.now, ANSWER)
    assert not isinstance(caught.value, CallGone)
    peer.learn(response)
    peer.ack()
    assert us.events == []
    nothing_left(us)


def test_a_2xx_is_repeated_until_its_ack(us: Us, peer: Peer) -> None:
    receive_call(us, peer).accept(us.now, ANSWER)
    ok = peer.get("200 INVITE")
    us.run_for(1.6)
    assert us.seen() == ["200 INVITE", "200 INVITE"]
    peer.learn(ok)
    peer.ack()
    us.take(Confirmed)
    us.run_for(40)
    assert us.seen() == []


# CANCEL


def test_cancel_ends_a_ringing_call(us: Us, peer: Peer) -> None:
    incoming = receive_call(us, peer)
    incoming.ring(us.now)
    us.sent()
    peer.cancel([("Reason", 'SIP;cause=200;text="Call completed elsewhere"')])
    assert us.seen() == ["200 CANCEL", "487 INVITE"]
    cancelled = us.take(Cancelled)
    assert cancelled.call is incoming
    assert cancelled.reason == 'SIP;cause=200;text="Call completed elsewhere"'
    with pytest.raises(CallGone):
        incoming.accept(us.now, ANSWER)
    incoming.ring(us.now)
    incoming.reject(us.now, 486)
    assert us.seen() == []
    nothing_left(us)


def test_cancel_before_any_progress(us: Us, peer: Peer) -> None:
    receive_call(us, peer)
    peer.cancel()
    assert us.seen() == ["200 CANCEL", "487 INVITE"]
    assert us.take(Cancelled).reason is None
    nothing_left(us)


def test_cancel_that_crosses_our_2xx_changes_nothing(us: Us, peer: Peer) -> None:
    call = receive_call(us, peer).accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    invite = peer.last["INVITE"]
    lines = [
        ("Via", invite.get("Via") or ""),
        ("From", invite.get("From") or ""),
        ("To", invite.get("To") or ""),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq.number} CANCEL"),
    ]
    us.receive(Request("CANCEL", invite.uri, lines))
    assert us.seen() == ["200 CANCEL"]
    assert us.events == []
    peer.ack()
    us.take(Confirmed)
    peer.send("BYE")
    assert us.take(Ended).call is call


def test_cancel_after_our_refusal_changes_nothing(us: Us, peer: Peer) -> None:
    receive_call(us, peer).reject(us.now, 486)
    us.sent()
    peer.cancel()
    assert us.seen() == ["200 CANCEL"]
    assert us.events == []


def test_cancel_answered_from_within_the_event(us: Us, peer: Peer) -> None:
    incoming = receive_call(us, peer)
    incoming.listener = lambda event: incoming.reject(us.now, 486)
    peer.cancel()
    assert us.seen() == ["200 CANCEL", "487 INVITE"]


def test_a_closed_connection_ends_a_ringing_call(us: Us, peer: Peer) -> None:
    us.flow.transport, us.flow.reliable = "TCP", True
    incoming = receive_call(us, peer)
    incoming.ring(us.now)
    us.sent()
    us.flow.closed = True
    us.stack.flow_closed(us.flow, us.now)
    assert us.take(Cancelled).call is incoming
    assert us.seen() == []
    nothing_left(us)


# BYE at every stage


def test_bye_on_the_early_dialog_ends_a_ringing_call(us: Us, peer: Peer) -> None:
    incoming = receive_call(us, peer)
    incoming.ring(us.now)
    peer.learn(peer.get("180 INVITE"))
    peer.send("BYE", headers=[("Reason", "SIP;cause=487")])
    assert us.seen() == ["200 BYE", "487 INVITE"]
    assert us.take(Cancelled).reason == "SIP;cause=487"
    nothing_left(us)


def test_bye_crosses_our_2xx(us: Us, peer: Peer) -> None:
    """The caller ended the early dialog while our 2xx was under way: it still has to ACK that (RFC 5407)."""
    incoming = receive_call(us, peer)
    incoming.ring(us.now)
    peer.learn(peer.get("180 INVITE"))
    call = incoming.accept(us.now, ANSWER)
    us.sent()
    peer.send("BYE")
    assert us.seen() == ["200 BYE"]
    ended = us.take(Ended)
    assert (ended.call, ended.by) == (call, "remote")
    us.run_for(0.5)
    assert us.seen() == ["200 INVITE"]
    assert us.counts()["unacked_calls"] == 1
    peer.ack()
    assert us.events == []
    us.run_for(10)
    assert us.seen() == []
    nothing_left(us)


def test_bye_overtakes_the_ack(us: Us, peer: Peer) -> None:
    receive_call(us, peer).accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    peer.send("BYE")
    assert us.seen() == ["200 BYE"]
    assert us.take(Ended).by == "remote"
    peer.send("OPTIONS")
    assert us.seen() == ["481 OPTIONS"]
    nothing_left(us)
    assert us.events == []


def test_our_bye_waits_for_the_ack(us: Us, peer: Peer) -> None:
    call = receive_call(us, peer).accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    call.bye(us.now, "SIP;cause=480")
    assert us.seen() == []
    assert call.ended
    peer.ack()
    bye = peer.get_request("BYE")
    assert bye.get("Reason") == "SIP;cause=480"
    assert us.events == []
    peer.respond(bye, 200)
    assert us.take(Ended).by == "local"
    nothing_left(us)


def test_our_bye_goes_out_when_the_ack_never_comes(us: Us, peer: Peer) -> None:
    call = receive_call(us, peer).accept(us.now, ANSWER)
    us.sent()
    call.bye(us.now)
    us.run_for(33)
    assert us.seen()[-1] == "BYE"
    assert us.events == []
    us.run_for(33)
    assert us.take(Ended).by == "local"
    nothing_left(us)


def test_both_byes_while_the_ack_is_missing(us: Us, peer: Peer) -> None:
    call = receive_call(us, peer).accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    call.bye(us.now)
    peer.send("BYE")
    assert us.seen() == ["200 BYE"]
    assert us.take(Ended).by == "local"
    peer.ack()
    assert us.seen() == []
    nothing_left(us)


def test_without_an_ack_the_call_is_ended_by_bye(us: Us, peer: Peer) -> None:
    call = receive_call(us, peer).accept(us.now, ANSWER)
    us.sent()
    us.run_for(32.5)
    bye = us.sent()[-1]
    assert name_of(bye) == "BYE"
    assert bye.get("Reason") == 'SIP;cause=408;text="No ACK"'
    assert us.take(NoAck).call is call
    ended = us.take(Ended)
    assert (ended.call, ended.by, ended.reason) == (call, "timeout", bye.get("Reason"))
    nothing_left(us)


def test_byes_cross(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    call.bye(us.now)
    bye = peer.get_request("BYE")
    peer.send("BYE")
    assert us.seen() == ["200 BYE"]
    assert us.take(Ended).by == "local"
    peer.respond(bye, 481)
    assert us.events == []
    nothing_left(us)


# Late offer


def test_our_offer_in_the_2xx_is_answered_by_the_ack(us: Us, peer: Peer) -> None:
    incoming = receive_call(us, peer, None)
    assert incoming.offer is None
    incoming.accept(us.now, OFFER)
    peer.learn(peer.get("200 INVITE"))
    peer.ack(ANSWER)
    assert us.take(Confirmed).sdp == ANSWER


def test_the_ack_with_the_answer_is_lost_and_comes_again(us: Us, peer: Peer) -> None:
    call = receive_call(us, peer, None).accept(us.now, OFFER)
    peer.learn(peer.get("200 INVITE"))
    peer.send("INVITE", OFFER)  # overtakes the ACK: our offer is open (RFC 5407 section 3.1.5)
    assert us.seen() == ["491 INVITE"]
    us.run_for(0.5)
    assert us.seen()[0] == "200 INVITE"
    peer.send("ACK", ANSWER, cseq=101)
    confirmed = us.take(Confirmed)
    assert (confirmed.call, confirmed.sdp) == (call, ANSWER)


def test_an_ack_without_the_answer_is_told_as_such(us: Us, peer: Peer) -> None:
    receive_call(us, peer, None).accept(us.now, OFFER)
    peer.learn(peer.get("200 INVITE"))
    peer.ack()
    assert us.take(Confirmed).sdp is None


def test_an_ack_of_another_cseq_is_ignored(us: Us, peer: Peer) -> None:
    receive_call(us, peer).accept(us.now, ANSWER)
    peer.learn(peer.get("200 INVITE"))
    peer.send("ACK", cseq=77)
    assert us.events == []


# Requests within the early dialog


@pytest.mark.parametrize(
    ("method", "status"),
    [("OPTIONS", 200), ("INFO", 500), ("UPDATE", 405), ("PRACK", 481), ("INVITE", 500), ("FOO", 501)],
)
def test_requests_in_the_early_dialog(us: Us, peer: Peer, method: str, status: int) -> None:
    receive_call(us, peer).ring(us.now)
    peer.learn(peer.get("180 INVITE"))
    peer.send(method)
    response = us.sent()[0]
    assert name_of(response) == f"{status} {method}"
    assert ("Retry-After" in response.headers) is (status == 500)
    peer.send("OPTIONS", cseq=1)
    assert us.seen() == ["500 OPTIONS"]
    peer.send("ACK")
    assert us.events == []


# What is refused whoever it is for


def request(body: bytes = b"", **headers: str) -> Request:
    lines = [("Contact", "<sip:a@b>")] + [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request("INVITE", "sip:x@y", lines, body)


def test_refusal() -> None:
    assert refusal(request()) is None
    assert refusal(request(OFFER.encode(), Content_Type="application/sdp")) is None
    assert refusal(Request("INVITE", "sip:x@y")) == (400, ())
    assert refusal(request(Require="100rel, timer")) == (420, (("Unsupported", "100rel, timer"),))
    assert refusal(request(Require="100rel, timer"), supported=("timer",)) == (420, (("Unsupported", "100rel"),))
    assert refusal(request(b"x", Content_Type="text/plain")) == (415, (("Accept", "application/sdp"),))
    optional = "render; handling=optional"
    assert refusal(request(b"x", Content_Type="text/plain", Content_Disposition=optional)) is None
    required = "render; handling=required"
    assert refusal(request(b"x", Content_Type="text/plain", Content_Disposition=required)) is not None
    assert refusal(request(b"x", Content_Type="text/plain", Content_Disposition="render")) is not None
    gzip = request(b"x", Content_Type="application/sdp", Content_Encoding="gzip")
    assert refusal(gzip) == (415, (("Accept-Encoding", "identity"),))
