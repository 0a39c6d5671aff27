"""INVITE server transactions: RFC 3261 §17.2.1 and Figure 7, RFC 6026 §7.1, 2xx and ACK (§13.3.1.4), CANCEL (§9.2)."""

from __future__ import annotations

import pytest

from sip.message import Request, response_to
from sip.stack import SipStack
from sip.transactions import ServerTransaction, State, TransactionError
from tests.sip.ladder import Network, RecordingServer, request


class Line:
    """The test plays the phone that calls, and the user that answers."""

    def __init__(self, transport: str = "UDP", trying_at_once: bool = True) -> None:
        self.net = Network(transport=transport)
        self.user = RecordingServer()
        self.stack = SipStack(self.user, trying_at_once=trying_at_once)
        self.us = self.net.node("us", self.stack)
        self.phone = self.net.node("phone")

    def phone_sends(self, method: str = "INVITE", to_tag: str | None = None, branch: str = "z9hG4bK-1") -> None:
        self.phone.send(request(method, branch=branch, to_tag=to_tag), self.us)

    def we_answer(self, status: int) -> None:
        transaction = self.user.last
        response = response_to(transaction.request, status, to_tag=transaction.local_tag)
        self.stack.respond(transaction, response, self.net.now)
        self.net.settle()

    def dialog(self) -> None:
        """Do what a dialog layer does when it sends its 2xx."""
        self.stack.add_dialog(("call-1", self.user.last.local_tag, "alice"), self.user)

    def is_quiet(self) -> bool:
        return not any(self.stack.counts().values())


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def tcp() -> Line:
    return Line("TCP")


def test_invite_gets_100_at_once_and_goes_up(line: Line) -> None:
    line.phone_sends()
    assert line.phone.seen() == ["100 INVITE"]
    assert line.user.events == ["INVITE"]
    assert line.user.last.state is State.PROCEEDING
    trying = line.phone.got_response(100)
    assert trying.to.tag is None, "RFC 3261 §8.2.6.2: the 100 makes no dialog"


@pytest.mark.parametrize("status", [180, 200, 401])
def test_no_100_where_the_user_answers_at_once(line: Line, status: int) -> None:
    """§17.2.1: the 100 is for users that need longer than 200 ms."""

    class Prompt(RecordingServer):
        def on_request(self, transaction: ServerTransaction, now: float) -> None:
            super().on_request(transaction, now)
            line.stack.respond(transaction, response_to(transaction.request, status), now)

    line.stack.user = line.user = Prompt()
    line.phone_sends()
    assert line.phone.seen() == [f"{status} INVITE"]


def test_100_copies_timestamp(line: Line) -> None:
    """RFC 3261 §8.2.6.1."""
    line.phone.send(request("INVITE", headers=[("Timestamp", "54.2")]), line.us)
    assert line.phone.got_response(100).get("Timestamp") == "54.2"


def test_100_may_wait_200_ms_for_another_response() -> None:
    """RFC 3261 §17.2.1."""
    line = Line(trying_at_once=False)
    line.phone_sends()
    line.net.run_for(0.15)
    assert line.phone.seen() == []
    line.net.run_for(0.1)
    assert line.phone.seen() == ["100 INVITE"]
    assert line.user.events == ["INVITE"]


def test_an_invite_repeated_before_that_gets_100() -> None:
    line = Line(trying_at_once=False)
    line.phone_sends()
    line.phone_sends()
    assert line.phone.seen() == ["100 INVITE"]


def test_no_100_where_another_response_came_first() -> None:
    line = Line(trying_at_once=False)
    line.phone_sends()
    line.we_answer(180)
    line.net.run_for(1)
    assert line.phone.seen() == ["180 INVITE"]


def test_a_repeated_invite_gets_the_last_provisional_response(line: Line) -> None:
    """Proceeding."""
    line.phone_sends()
    line.phone_sends()
    line.we_answer(180)
    line.phone_sends()
    line.we_answer(183)
    line.phone_sends()
    assert line.phone.seen() == [
        "100 INVITE",
        "100 INVITE",
        "180 INVITE",
        "180 INVITE",
        "183 INVITE",
        "183 INVITE",
    ]
    assert line.user.events == ["INVITE"]


def test_ringing_is_said_again_every_minute(line: Line) -> None:
    """RFC 3261 §13.3.1.1: lest proxies on the way cancel the call."""
    line.phone_sends()
    line.net.run_for(10)
    line.we_answer(180)
    line.phone.seen()
    line.net.run_for(150)
    assert line.phone.seen_at() == [(70, "180 INVITE"), (130, "180 INVITE")]
    line.we_answer(486)
    line.phone_sends("ACK", line.user.last.local_tag)
    line.phone.seen()
    line.net.run_for(120)
    assert line.phone.seen() == []


def test_nothing_ends_proceeding_but_an_answer(line: Line) -> None:
    line.phone_sends()
    line.net.run_for(3600)
    assert line.user.last.answerable
    assert line.stack.counts()["server_transactions"] == 1


def test_a_refusal_is_repeated_by_timer_g_until_the_ack(line: Line) -> None:
    """Completed: T1, 2*T1, ... up to T2, and for each INVITE that comes again; Confirmed absorbs for T4 (timer I)."""
    line.phone_sends()
    line.we_answer(486)
    line.phone.seen()
    line.net.run_for(12)
    assert [at for at, _ in line.phone.seen_at()] == [0.5, 1.5, 3.5, 7.5, 11.5]
    line.phone_sends()
    assert line.phone.seen() == ["486 INVITE"]
    line.phone_sends("ACK", line.user.last.local_tag)
    line.phone_sends("ACK", line.user.last.local_tag)
    line.phone_sends()
    line.net.run_for(4.9)
    assert line.phone.seen() == []
    assert line.stack.counts()["server_transactions"] == 1
    line.net.run_for(0.2)
    assert line.is_quiet()
    assert line.user.events == ["INVITE"], "the ACK to a refusal is the transaction's"


def test_a_refusal_without_ack_ends_by_timer_h(line: Line) -> None:
    line.phone_sends()
    line.we_answer(404)
    line.net.run_for(31.9)
    assert line.stack.counts()["server_transactions"] == 1
    line.net.run_for(0.2)
    assert line.is_quiet()
    assert line.user.events == ["INVITE"]


def test_a_refusal_on_a_reliable_flow_is_sent_once(tcp: Line) -> None:
    """No timer G, but timer H; timer I is zero."""
    tcp.phone_sends()
    tcp.we_answer(486)
    tcp.net.run_for(31.9)
    assert tcp.phone.seen() == ["100 INVITE", "486 INVITE"]
    assert tcp.stack.counts()["server_transactions"] == 1
    tcp.phone_sends("ACK", tcp.user.last.local_tag)
    assert tcp.is_quiet()


def test_a_refusal_on_a_reliable_flow_without_ack_ends_by_timer_h(tcp: Line) -> None:
    tcp.phone_sends()
    tcp.we_answer(486)
    tcp.net.run_for(32)
    assert tcp.is_quiet()


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_2xx_is_repeated_until_the_ack(transport: str) -> None:
    """RFC 3261 §13.3.1.4: T1, 2*T1, ... up to T2, whatever the transport. The ACK goes to the dialog."""
    line = Line(transport)
    line.phone_sends()
    line.we_answer(200)
    line.dialog()
    line.phone.seen()
    line.net.run_for(8)
    assert [at for at, _ in line.phone.seen_at()] == [0.5, 1.5, 3.5, 7.5]
    line.phone_sends("ACK", line.user.last.local_tag, branch="z9hG4bK-2")
    assert line.user.events == ["INVITE", "ACK"]
    line.user.last.acked()
    line.net.run_for(60)
    assert line.phone.seen() == []
    assert line.user.events == ["INVITE", "ACK"]
    line.stack.remove_dialog(("call-1", line.user.last.local_tag, "alice"))
    assert line.is_quiet()


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_2xx_without_ack_is_told_after_64_t1(transport: str) -> None:
    """RFC 3261 §13.3.1.4: the user then sends a BYE."""
    line = Line(transport)
    line.phone_sends()
    line.we_answer(200)
    line.net.run_for(31.9)
    assert line.user.events == ["INVITE"]
    line.net.run_for(0.1)
    assert line.user.events == ["INVITE", "ack missing"]
    assert len(line.phone.seen()) == 12
    assert line.is_quiet()
    line.user.last.acked()
    assert line.is_quiet()


def test_accepted_absorbs_the_invite_before_and_after_the_ack(line: Line) -> None:
    """RFC 6026 §7.1: it is neither a new call nor answered again; timer L ends that, 64*T1 after the 2xx."""
    line.phone_sends()
    line.we_answer(200)
    line.dialog()
    line.phone_sends()
    line.net.run_for(1)
    line.user.last.acked()
    line.phone.seen()
    line.net.run_for(30.9)
    line.phone_sends()
    assert line.phone.seen() == []
    assert line.user.events == ["INVITE"]
    line.net.run_for(0.2)
    assert line.stack.counts()["server_transactions"] == 0


def test_acked_on_a_reliable_flow_frees_at_once(tcp: Line) -> None:
    tcp.phone_sends()
    tcp.we_answer(200)
    tcp.user.last.acked()
    assert tcp.is_quiet()
    tcp.user.last.acked()


def test_an_ack_with_the_branch_of_its_invite_still_reaches_the_dialog(line: Line) -> None:
    """Wrong of the peer, but RFC 6026 §7.1 passes on every ACK that comes in Accepted."""
    line.phone_sends()
    line.we_answer(200)
    line.dialog()
    line.phone_sends("ACK", line.user.last.local_tag)
    assert line.user.events == ["INVITE", "ACK"]
    line.user.last.acked()
    line.phone_sends("ACK", line.user.last.local_tag)
    assert line.user.events == ["INVITE", "ACK", "ACK"]


def test_an_ack_before_any_final_response_is_nothing(line: Line) -> None:
    line.phone_sends()
    line.phone_sends("ACK")
    assert line.user.events == ["INVITE"]
    assert line.user.last.answerable


@pytest.mark.parametrize("first", [200, 486])
@pytest.mark.parametrize("second", [180, 200, 486])
def test_no_second_final_response(line: Line, first: int, second: int) -> None:
    line.phone_sends()
    line.we_answer(first)
    line.phone.seen()
    with pytest.raises(TransactionError):
        line.we_answer(second)
    assert line.phone.seen() == []


def test_a_closed_flow_is_told_while_unanswered(tcp: Line) -> None:
    tcp.phone_sends()
    tcp.we_answer(180)
    tcp.us.close_flow(tcp.phone)
    assert tcp.user.events == ["INVITE", "flow closed"]
    assert tcp.user.last.abandoned
    assert not tcp.user.last.answerable
    assert tcp.is_quiet()
    tcp.we_answer(200)  # the callee was faster than the news: no error, no message
    assert tcp.stack.dropped["late_answer"] == 1
    assert tcp.is_quiet()


def test_a_closed_flow_ends_completed_silently(tcp: Line) -> None:
    tcp.phone_sends()
    tcp.we_answer(486)
    tcp.us.close_flow(tcp.phone)
    assert tcp.user.events == ["INVITE"]
    assert tcp.is_quiet()


def test_a_closed_flow_leaves_accepted_to_the_ack_or_its_absence(tcp: Line) -> None:
    """The ACK follows the dialog's route, which may be another connection."""
    tcp.phone_sends()
    tcp.we_answer(200)
    tcp.us.close_flow(tcp.phone)
    assert tcp.user.events == ["INVITE"]
    tcp.net.run_for(32)
    assert tcp.user.events == ["INVITE", "ack missing"]
    assert tcp.is_quiet()


def test_a_lost_socket_ends_confirmed(line: Line) -> None:
    line.phone_sends()
    line.we_answer(486)
    line.phone_sends("ACK", line.user.last.local_tag)
    line.us.close_flow(line.phone)
    assert line.is_quiet()


# CANCEL (RFC 3261 §9.2).


def test_cancel_while_ringing(line: Line) -> None:
    """200 to the CANCEL with the To tag of the INVITE's answer; the user then refuses with 487."""
    line.phone_sends()
    line.we_answer(180)
    line.phone.seen()
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["200 CANCEL"]
    assert line.user.events == ["INVITE", "CANCEL"]
    assert line.phone.got_response(200).to.tag == line.user.last.local_tag
    line.we_answer(487)
    line.phone_sends("ACK", line.user.last.local_tag)
    assert line.phone.seen() == ["487 INVITE"]
    line.net.run_for(33)
    assert line.is_quiet()


def test_cancel_before_any_response_of_the_user(line: Line) -> None:
    line.phone_sends()
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["100 INVITE", "200 CANCEL"]
    assert line.user.events == ["INVITE", "CANCEL"]


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_cancel_repeated(transport: str) -> None:
    """It gets its 200 again, and has its effect once."""
    line = Line(transport)
    line.phone_sends()
    line.phone_sends("CANCEL")
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["100 INVITE", "200 CANCEL", "200 CANCEL"]
    assert line.user.events == ["INVITE", "CANCEL"]


def test_cancel_crosses_our_2xx(line: Line) -> None:
    """§9.2: after a final response it has no effect, but is answered 200."""
    line.phone_sends()
    line.we_answer(200)
    line.phone.seen()
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["200 CANCEL"]
    assert line.user.events == ["INVITE"]


@pytest.mark.parametrize("acked", [False, True])
def test_cancel_crosses_our_refusal(line: Line, acked: bool) -> None:
    line.phone_sends()
    line.we_answer(486)
    if acked:
        line.phone_sends("ACK", line.user.last.local_tag)
    line.phone.seen()
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["200 CANCEL"]
    assert line.user.events == ["INVITE"]


def test_cancel_of_nothing_we_know(line: Line) -> None:
    """§9.2: 481."""
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["481 CANCEL"]
    assert line.phone.got_response(481).to.tag is not None
    line.phone_sends()
    line.phone_sends("CANCEL", branch="z9hG4bK-2")
    assert line.phone.seen() == ["100 INVITE", "481 CANCEL"]
    assert line.user.events == ["INVITE"]


def test_cancel_after_the_end(tcp: Line) -> None:
    tcp.phone_sends()
    tcp.we_answer(486)
    tcp.phone_sends("ACK", tcp.user.last.local_tag)
    tcp.phone.seen()
    tcp.phone_sends("CANCEL")
    assert tcp.phone.seen() == ["481 CANCEL"]


def test_cancel_of_a_request_that_is_no_invite(line: Line) -> None:
    """§9.1 tells clients not to; there is nothing to undo."""
    line.phone_sends("OPTIONS")
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["481 CANCEL"]
    assert line.user.last.answerable


def test_cancel_that_no_user_has_taken_yet(line: Line) -> None:
    """The stack refuses by itself; what its user decides later is dropped."""
    line.phone_sends()
    line.user.last.user = None
    line.phone_sends("CANCEL")
    assert line.phone.seen() == ["100 INVITE", "200 CANCEL", "487 INVITE"]
    assert line.phone.got_response(487).to.tag == line.user.last.local_tag
    assert line.user.last.abandoned
    line.we_answer(200)
    assert line.phone.seen() == []
    line.phone_sends("ACK", line.user.last.local_tag)
    line.net.run_for(33)
    assert line.is_quiet()


def test_the_487_is_repeated_when_its_ack_is_lost(line: Line) -> None:
    line.phone_sends()
    line.phone_sends("CANCEL")
    line.we_answer(487)
    line.phone.seen()
    line.net.run_for(2)
    assert line.phone.seen() == ["487 INVITE", "487 INVITE"]


def test_a_reinvite_can_be_cancelled(line: Line) -> None:
    """Inside a dialog the same holds; To already has our tag."""
    line.stack.add_dialog(("call-1", "us", "alice"), line.user)
    line.phone_sends(to_tag="us")
    line.phone_sends("CANCEL", to_tag="us")
    assert line.phone.seen() == ["100 INVITE", "200 CANCEL"]
    assert line.user.events == ["INVITE", "CANCEL"]
    assert line.user.last.local_tag == "us"
    assert isinstance(line.user.requests[-1], Request)
