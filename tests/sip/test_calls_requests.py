"""Other requests inside a call: INFO, OPTIONS, what we do not take, and the order of CSeq."""

from __future__ import annotations

import pytest

from sip.calls import Ended, RequestAnswered, RequestReceived
from sip.message import Response

from .peer import Peer, Us, Wire, accepted_call, answered_call


@pytest.fixture
def us() -> Us:
    return Us()


@pytest.fixture
def peer(us: Us) -> Peer:
    return Peer(us)


def test_info_is_given_to_the_user_who_answers(us: Us, peer: Peer) -> None:
    call = answered_call(us, peer)
    peer.send("INFO", headers=[("Info-Package", "x")])
    received = us.take(RequestReceived)
    assert (received.call, received.request.method) == (call, "INFO")
    assert us.seen() == []
    received.respond(us.now, 415, headers=[("Accept", "application/dtmf-relay")])
    received.respond(us.now, 200)
    refused = peer.get("415 INFO")
    assert refused.get("Accept") == "application/dtmf-relay"


def test_methods_to_deliver_are_a_choice() -> None:
    us = Us(deliver=("INFO", "MESSAGE"))
    peer = Peer(us)
    answered_call(us, peer)
    peer.send("MESSAGE")
    us.take(RequestReceived).respond(us.now, 202, "Fine", body=b"x")
    message = us.sent()[0]
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.body) == (202, "Fine", b"x")
    assert us.core.allow == "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE"


def test_options_is_answered_inside(us: Us, peer: Peer) -> None:
    accepted_call(us, peer)
    peer.send("OPTIONS")
    ok = peer.get("200 OPTIONS")
    assert ok.get("Allow") == "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"
    assert (ok.get("Accept"), ok.get("Supported")) == ("application/sdp", "")
    assert us.events == []


@pytest.mark.parametrize(
    ("method", "status"),
    [("UPDATE", 405), ("REFER", 405), ("MESSAGE", 405), ("PRACK", 481), ("NOTIFY", 481), ("FOO", 501)],
)
def test_what_we_do_not_take(us: Us, peer: Peer, method: str, status: int) -> None:
    accepted_call(us, peer)
    peer.send(method)
    answer = peer.get(f"{status} {method}")
    assert ("Allow" in answer.headers) is (status != 481)
    assert us.events == []


def test_a_lower_cseq_gets_500_and_does_not_count(us: Us, peer: Peer) -> None:
    accepted_call(us, peer)
    peer.send("OPTIONS", cseq=200)
    assert us.seen() == ["200 OPTIONS"]
    peer.send("BYE", cseq=150)
    assert us.seen() == ["500 BYE"]
    assert us.events == []
    peer.send("OPTIONS", cseq=1000)  # gaps are lawful
    assert us.seen() == ["200 OPTIONS"]


def test_we_send_requests_with_our_own_cseq(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    call.send(us.now, "INFO", [("X-Key", "1")], b"Signal=5\r\n", content_type="application/dtmf-relay")
    info = peer.get_request("INFO")
    assert (info.cseq.number, info.get("X-Key"), info.body) == (1, "1", b"Signal=5\r\n")
    assert info.get("Content-Type") == "application/dtmf-relay"
    call.send(us.now, "OPTIONS")
    assert peer.get_request("OPTIONS").cseq.number == 2
    peer.respond(info, 200)
    answered = us.take(RequestAnswered)
    assert (answered.call, answered.method, answered.status) == (call, "INFO", 200)
    assert answered.response is not None


def test_a_request_without_an_answer_leaves_the_call(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    call.send(us.now, "OPTIONS")
    us.run_for(33)
    answered = us.take(RequestAnswered)
    assert (answered.status, answered.response) == (408, None)
    assert not call.ended


def test_481_to_any_request_ends_the_call(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    call.send(us.now, "INFO")
    peer.respond(peer.get_request("INFO"), 481)
    assert us.take(RequestAnswered).status == 481
    assert us.take(Ended).by == "remote"
    assert us.seen() == ["BYE"]
    us.run_for(80)
    assert us.counts() == {}


def test_answers_after_the_end_are_not_told(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    call.send(us.now, "INFO")
    info = peer.get_request("INFO")
    call.bye(us.now)
    peer.respond(info, 200)
    assert us.events == []


def test_requests_after_our_bye_find_no_call(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    call.bye(us.now)
    us.sent()
    peer.send("INFO")
    assert us.seen() == ["481 INFO"]
    assert us.events == []


def test_requests_between_2xx_and_ack(us: Us, peer: Peer) -> None:
    peer.send("INVITE", "v=0\r\n")
    assert us.incoming is not None
    call = us.incoming.accept(us.now, "v=0\r\n")
    peer.learn(peer.get("200 INVITE"))
    peer.send("INFO")
    us.take(RequestReceived)
    call.send(us.now, "INFO")
    assert us.seen() == ["INFO"]


def test_a_peer_back_on_another_connection_is_answered_there(us: Us, peer: Peer) -> None:
    call = accepted_call(us, peer)
    again = Wire("again", transport="TCP")
    peer.send("OPTIONS", flow=again)
    assert call.flow is us.flow
    us.flow.closed = True
    peer.send("OPTIONS", flow=again)
    us.sent()
    call.bye(us.now)
    assert [flow for _, flow in us.stack.messages_to_send()] == [again]
