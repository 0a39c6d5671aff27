"""Server transactions of everything but INVITE and ACK: RFC 3261 §17.2.2 and Figure 8, RFC 4320."""

from __future__ import annotations

import pytest

from sip.message import response_to
from sip.stack import SipStack
from sip.transactions import State, TransactionError
from tests.sip.ladder import Network, RecordingServer, request


class Line:
    """The test plays the phone that asks, and the user that answers."""

    def __init__(self, transport: str = "UDP") -> None:
        self.net = Network(transport=transport)
        self.user = RecordingServer()
        self.stack = SipStack(self.user)
        self.us = self.net.node("us", self.stack)
        self.phone = self.net.node("phone")

    def phone_asks(self, method: str = "OPTIONS", cseq: int = 1) -> None:
        self.phone.send(request(method, cseq=cseq), self.us)

    def we_answer(self, status: int) -> None:
        transaction = self.user.last
        response = response_to(transaction.request, status, to_tag=transaction.local_tag)
        self.stack.respond(transaction, response, self.net.now)
        self.net.settle()

    def is_quiet(self) -> bool:
        return not any(self.stack.counts().values())


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def tcp() -> Line:
    return Line("TCP")


def test_trying_discards_repetitions(line: Line) -> None:
    line.phone_asks()
    line.phone_asks()
    assert line.user.events == ["OPTIONS"]
    assert line.phone.seen() == []


def test_proceeding_answers_repetitions_with_the_last_provisional(line: Line) -> None:
    line.phone_asks()
    line.we_answer(100)
    line.phone_asks()
    line.we_answer(183)
    line.phone_asks()
    assert line.phone.seen() == ["100 OPTIONS", "100 OPTIONS", "183 OPTIONS", "183 OPTIONS"]
    assert line.user.last.state is State.PROCEEDING


@pytest.mark.parametrize("provisional", [[], [100]])
def test_completed_answers_repetitions_until_timer_j(line: Line, provisional: list[int]) -> None:
    """Timer J: 64*T1. Nothing is sent unasked."""
    line.phone_asks()
    for status in provisional:
        line.we_answer(status)
    line.we_answer(404)
    line.phone.seen()
    line.net.run_for(31.9)
    assert line.phone.seen() == []
    line.phone_asks()
    assert line.phone.seen() == ["404 OPTIONS"]
    line.net.run_for(0.2)
    assert line.is_quiet()
    line.phone_asks()
    assert line.user.events == ["OPTIONS", "OPTIONS"], "a new transaction now"


def test_timer_j_is_zero_on_a_reliable_flow(tcp: Line) -> None:
    tcp.phone_asks()
    tcp.we_answer(200)
    assert tcp.phone.seen() == ["200 OPTIONS"]
    assert tcp.is_quiet()


@pytest.mark.parametrize("provisional", [[], [100]])
def test_an_answer_too_late_is_of_no_use(line: Line, provisional: list[int]) -> None:
    """RFC 4320 §4.2: after 64*T1 the client has given up; the answer is dropped, and nothing is kept for ever."""
    line.phone_asks()
    for status in provisional:
        line.we_answer(status)
    line.phone.seen()
    line.net.run_for(32)
    assert line.is_quiet()
    assert line.user.last.abandoned
    line.we_answer(200)
    assert line.phone.seen() == []
    assert line.stack.dropped["late_answer"] == 1


def test_no_second_final_response(line: Line) -> None:
    line.phone_asks()
    line.we_answer(200)
    with pytest.raises(TransactionError):
        line.we_answer(500)
    with pytest.raises(TransactionError):
        line.we_answer(100)


@pytest.mark.parametrize("provisional", [[], [100]])
def test_a_closed_flow_ends_it_silently(tcp: Line, provisional: list[int]) -> None:
    tcp.phone_asks()
    for status in provisional:
        tcp.we_answer(status)
    tcp.us.close_flow(tcp.phone)
    assert tcp.user.events == ["OPTIONS"]
    assert tcp.user.last.abandoned
    assert tcp.is_quiet()
    tcp.we_answer(200)
    assert tcp.is_quiet()


def test_a_lost_socket_ends_completed(line: Line) -> None:
    line.phone_asks()
    line.we_answer(200)
    line.us.close_flow(line.phone)
    assert line.is_quiet()


def test_methods_nobody_knows_are_requests_like_others(line: Line) -> None:
    line.phone_asks("FROBNICATE")
    line.we_answer(501)
    assert line.phone.seen() == ["501 FROBNICATE"]
