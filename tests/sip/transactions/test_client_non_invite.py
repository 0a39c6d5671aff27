"""Client transactions of everything but INVITE: RFC 3261 §17.1.2 and Figure 6."""

from __future__ import annotations

import pytest

from sip.stack import SipStack
from sip.transactions import ClientTransaction, State
from tests.sip.ladder import Network, RecordingClient, answer, request


class Line:
    """We ask, the test plays the peer."""

    def __init__(self, transport: str = "UDP", method: str = "OPTIONS") -> None:
        self.net = Network(transport=transport)
        self.stack = SipStack()
        self.us = self.net.node("us", self.stack)
        self.peer = self.net.node("peer")
        self.user = RecordingClient()
        self.method = method
        message = request(method, with_via=False)
        flow = self.us.flow_to(self.peer)
        self.transaction: ClientTransaction = self.stack.send_request(message, flow, self.net.now, self.user)

    def peer_answers(self, status: int) -> None:
        self.peer.send(answer(self.peer.got_request(self.method), status), self.us)

    def is_quiet(self) -> bool:
        return not any(self.stack.counts().values())


def test_trying_repeats_by_timer_e_and_ends_by_timer_f() -> None:
    """§17.1.2.2: T1, 2*T1, ... up to T2; after 64*T1 the user hears of it."""
    line = Line()
    line.net.run_for(31.9)
    assert [at for at, _ in line.peer.seen_at()] == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert line.user.events == []
    line.net.run_for(0.1)
    assert line.user.events == ["timeout"]
    assert line.transaction.state is State.TERMINATED
    assert line.is_quiet()


def test_proceeding_repeats_every_t2_and_ends_by_timer_f() -> None:
    """§17.1.2.2: after a 1xx timer E is T2 each time it fires; timer F still ends it."""
    line = Line()
    line.peer_answers(100)
    line.net.run_for(32)
    assert [at for at, _ in line.peer.seen_at()] == [0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert line.user.events == ["100", "timeout"]
    assert line.is_quiet()


def test_a_reliable_flow_sends_once() -> None:
    line = Line("TCP")
    line.net.run_for(32)
    assert line.peer.seen() == ["OPTIONS"]
    assert line.user.events == ["timeout"]
    assert line.is_quiet()


@pytest.mark.parametrize("provisional", [[], [100], [100, 183]])
@pytest.mark.parametrize("final", [200, 302, 404, 503, 603])
def test_the_final_response_goes_up_once(provisional: list[int], final: int) -> None:
    """Completed: repetitions end here until timer K, 5 s."""
    line = Line()
    for status in (*provisional, final, final, 100, 200):
        line.peer_answers(status)
    assert line.user.events == [str(status) for status in (*provisional, final)]
    line.net.run_for(4.9)
    assert line.peer.seen() == ["OPTIONS"]
    assert line.stack.counts()["client_transactions"] == 1
    line.net.run_for(0.2)
    assert line.is_quiet()
    line.peer_answers(final)
    assert len(line.user.events) == len(provisional) + 1
    assert line.stack.dropped["stray_response"] == 1


def test_timer_k_is_zero_on_a_reliable_flow() -> None:
    line = Line("TCP")
    line.peer_answers(200)
    assert line.user.events == ["200"]
    assert line.transaction.state is State.TERMINATED
    assert line.is_quiet()


@pytest.mark.parametrize("provisional", [[], [100]])
def test_a_closed_flow_fails_it(provisional: list[int]) -> None:
    """§17.1.4."""
    line = Line("TCP")
    for status in provisional:
        line.peer_answers(status)
    line.us.close_flow(line.peer)
    assert line.user.events[-1] == "transport"
    assert line.is_quiet()


def test_a_lost_socket_ends_completed() -> None:
    line = Line()
    line.peer_answers(200)
    line.us.close_flow(line.peer)
    assert line.user.events == ["200"]
    assert line.is_quiet()


def test_sending_on_a_closed_flow_fails_later_not_at_once() -> None:
    line = Line("TCP")
    line.us.flow_to(line.peer).closed = True
    other = RecordingClient()
    flow = line.us.flow_to(line.peer)
    flow.closed = True
    line.stack.send_request(request("MESSAGE", with_via=False), flow, line.net.now, other)
    assert other.events == []
    line.net.settle()
    assert other.events == ["transport"]
