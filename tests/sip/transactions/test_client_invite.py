"""INVITE client transactions: RFC 3261 §17.1.1 and Figure 5, RFC 6026 §7.2, CANCEL in each of its races (§9.1)."""

from __future__ import annotations

import weakref

import pytest

from sip.message import Request, Response
from sip.stack import SipStack
from sip.transactions import ClientTransaction, State, TransactionError
from sip.transactions.client_invite import TABLE, Event
from tests.sip.ladder import Network, Node, RecordingClient, answer, request

QUIET = {"client_transactions", "server_transactions", "merge_keys", "timers", "flows", "dialogs"}


class Line:
    """We call, the test plays the trunk."""

    def __init__(self, transport: str = "UDP") -> None:
        self.net = Network(transport=transport)
        self.stack = SipStack()
        self.us: Node = self.net.node("us", self.stack)
        self.trunk: Node = self.net.node("trunk")
        self.user = RecordingClient()
        self.transaction: ClientTransaction

    def invite(self, method: str = "INVITE", headers: tuple[tuple[str, str], ...] = ()) -> Request:
        """Send it, and return it as the trunk got it."""
        message = request(method, uri="sip:bob@192.0.2.2", with_via=False, headers=headers)
        self.transaction = self.stack.send_request(message, self.us.flow_to(self.trunk), self.net.now, self.user)
        return self.trunk.got_request(method)

    def trunk_answers(self, status: int, tag: str = "bob") -> None:
        self.trunk.send(answer(self.trunk.got_request("INVITE"), status, tag=tag), self.us)

    def is_quiet(self) -> bool:
        counts = self.stack.counts()
        assert set(counts) == QUIET
        return not any(counts.values())


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def tcp() -> Line:
    return Line("TCP")


def test_calling_repeats_by_timer_a_and_ends_by_timer_b(line: Line) -> None:
    """§17.1.1.2: intervals T1, 2*T1, 4*T1, ...; after 64*T1 the user hears of it."""
    line.invite()
    line.net.run_for(31.9)
    assert [at for at, _ in line.trunk.seen_at()] == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert line.user.events == []
    line.net.run_for(0.1)
    assert line.user.events == ["timeout"]
    assert line.transaction.state is State.TERMINATED
    assert line.is_quiet()


def test_calling_on_a_reliable_flow_is_sent_once(tcp: Line) -> None:
    """§17.1.1.2: no timer A, but timer B."""
    tcp.invite()
    tcp.net.run_for(31.9)
    assert tcp.trunk.seen() == ["INVITE"]
    tcp.net.run_for(0.1)
    assert tcp.user.events == ["timeout"]
    assert tcp.is_quiet()


def test_repetitions_are_the_same_octets(line: Line) -> None:
    line.invite()
    line.net.run_for(4)
    assert len({message.to_bytes() for _, message in line.trunk.inbox}) == 1


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_ringing_outlives_timer_b(transport: str) -> None:
    """Figure 5 has no timer in Proceeding: a call rings for as long as its user lets it."""
    line = Line(transport)
    line.invite()
    line.trunk_answers(180)
    line.net.run_for(3600)
    assert line.user.events == ["180"]
    assert line.trunk.seen() == ["INVITE"]
    line.trunk_answers(200)
    assert line.user.events == ["180", "200"]


def test_100_stops_the_repetitions(line: Line) -> None:
    line.invite()
    line.net.run_for(0.6)
    line.trunk_answers(100)
    line.net.run_for(100)
    assert line.trunk.seen() == ["INVITE", "INVITE"]
    assert line.user.events == ["100"]
    assert line.stack.counts()["timers"] == 0


def test_every_provisional_response_goes_up(line: Line) -> None:
    line.invite()
    for status in (100, 180, 183, 183):
        line.trunk_answers(status)
    assert line.user.events == ["100", "180", "183", "183"]


def test_a_refusal_in_calling_gets_its_ack(line: Line) -> None:
    """§17.1.1.3: the ACK has To of the response, the single Via and the Route of the INVITE, its CSeq number."""
    invite = line.invite(headers=(("Route", "<sip:proxy.example;lr>"), ("Route", "<sip:second.example;lr>")))
    line.trunk.seen()
    line.trunk_answers(486)
    assert line.trunk.seen() == ["ACK"]
    assert line.user.events == ["486"]
    ack = line.trunk.got_request("ACK")
    assert ack.uri == invite.uri
    assert [str(via) for via in ack.vias] == [str(via) for via in invite.vias]
    assert ack.get("To") == "<sip:bob@example.org>;tag=bob"
    assert ack.get("From") == invite.get("From")
    assert ack.call_id == invite.call_id
    assert (ack.cseq.number, ack.cseq.method) == (1, "ACK")
    assert ack.headers.get_all("Route") == ["<sip:proxy.example;lr>", "<sip:second.example;lr>"]
    assert ack.max_forwards == 70
    assert ack.body == b""


def test_a_repeated_refusal_gets_the_ack_again_and_is_told_once(line: Line) -> None:
    """Completed, timer D: 32 s over UDP."""
    line.invite()
    line.trunk_answers(180)
    line.trunk_answers(486)
    line.trunk.seen()
    line.net.run_for(31.9)
    line.trunk_answers(486)
    line.trunk_answers(180)  # late, of another fork
    line.trunk_answers(200)  # late too: nobody is left to take it
    assert line.trunk.seen() == ["ACK"]
    assert line.user.events == ["180", "486"]
    line.net.run_for(0.2)
    assert line.is_quiet()
    line.trunk_answers(486)
    assert line.trunk.seen() == []
    assert line.stack.dropped["stray_response"] == 1


def test_a_refusal_on_a_reliable_flow_leaves_nothing(tcp: Line) -> None:
    """Timer D is zero."""
    tcp.invite()
    tcp.trunk_answers(503)
    assert tcp.user.events == ["503"]
    assert tcp.trunk.seen() == ["INVITE", "ACK"]
    assert tcp.transaction.state is State.TERMINATED
    assert tcp.is_quiet()


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_every_2xx_goes_up_for_64_t1(transport: str) -> None:
    """RFC 6026 §7.2: in Accepted each 2xx, repeated or of another fork, is the user's; timer M ends it."""
    line = Line(transport)
    line.invite()
    line.trunk_answers(200)
    line.trunk_answers(200)
    line.net.run_for(31.9)
    line.trunk_answers(200, tag="carol")
    assert line.user.events == ["200", "200", "200"]
    assert line.user.responses[-1].to.tag == "carol"
    assert line.trunk.seen() == ["INVITE"], "the ACK to a 2xx is the user's"
    line.net.run_for(0.2)
    assert line.is_quiet()
    line.trunk_answers(200)
    assert len(line.user.events) == 3


def test_nothing_but_2xx_counts_in_accepted(line: Line) -> None:
    """A refusal of another fork after the 2xx of the first is dropped, without an ACK."""
    line.invite()
    line.trunk_answers(200)
    line.trunk_answers(486, tag="carol")
    line.trunk_answers(180, tag="carol")
    assert line.user.events == ["200"]
    assert line.trunk.seen() == ["INVITE"]


class Heir:
    """Writes down the tags of the 2xx that follow the first."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    def on_success(self, response: Response, now: float) -> None:
        self.tags.append(response.to.tag or "")


class Giver(RecordingClient):
    """Hands its INVITE over at the first 2xx."""

    def __init__(self, stack: SipStack, heir: Heir) -> None:
        super().__init__()
        self.stack, self.heir = stack, heir

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        super().on_response(transaction, response, now)
        if response.status == 200:
            self.stack.hand_over(transaction, self.heir)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_an_heir_has_each_further_2xx_for_64_t1(transport: str) -> None:
    """RFC 6026 §7.2 as without one; the transaction is let go, and with it the request and the user that it keeps."""
    line, heir = Line(transport), Heir()
    line.user = Giver(line.stack, heir)
    line.invite()
    line.trunk_answers(180)
    line.trunk_answers(200)
    line.trunk_answers(486, tag="carol")
    line.trunk_answers(180, tag="carol")
    assert line.user.events == ["180", "200"]
    user = weakref.ref(line.user)
    del line.transaction, line.user
    assert user() is None
    if transport == "TCP":
        line.us.close_flow(line.trunk)
    line.trunk_answers(200)
    line.net.run_for(31.9)
    line.trunk_answers(200, tag="carol")
    assert heir.tags == ["bob", "carol"]
    line.net.run_for(0.2)
    assert line.is_quiet()
    line.trunk_answers(200)
    assert len(heir.tags) == 2


def test_a_closed_flow_fails_calling_and_proceeding(tcp: Line) -> None:
    """§17.1.4."""
    tcp.invite()
    tcp.us.close_flow(tcp.trunk)
    assert tcp.user.events == ["transport"]
    assert tcp.is_quiet()
    tcp.invite()
    tcp.trunk_answers(180)
    tcp.us.close_flow(tcp.trunk)
    assert tcp.user.events == ["transport", "180", "transport"]
    assert tcp.is_quiet()


def test_a_closed_flow_means_nothing_in_accepted(tcp: Line) -> None:
    tcp.invite()
    tcp.trunk_answers(200)
    tcp.us.close_flow(tcp.trunk)
    assert tcp.user.events == ["200"]
    tcp.net.run_for(32)
    assert tcp.is_quiet()


def test_a_lost_socket_ends_completed(line: Line) -> None:
    line.invite()
    line.trunk_answers(404)
    line.us.close_flow(line.trunk)
    assert line.user.events == ["404"]
    assert line.is_quiet()


def test_sending_on_a_closed_flow_fails_later_not_at_once(tcp: Line) -> None:
    flow = tcp.us.flow_to(tcp.trunk)
    flow.closed = True
    tcp.stack.send_request(request("INVITE", with_via=False), flow, tcp.net.now, tcp.user)
    assert tcp.user.events == []
    tcp.net.run_for(0)
    assert tcp.user.events == ["transport"]
    assert tcp.is_quiet()


# CANCEL in each of its races (RFC 3261 §9.1).


def test_cancel_before_any_response_waits_for_the_first(line: Line) -> None:
    """No CANCEL before a provisional response; then at once, with the Via and Route of the INVITE."""
    invite = line.invite(headers=(("Route", "<sip:proxy.example;lr>"), ("Require", "100rel")))
    line.stack.cancel(line.transaction, line.net.now, 'SIP;cause=200;text="Call completed elsewhere"')
    line.net.run_for(0.6)
    assert line.trunk.seen() == ["INVITE", "INVITE"]
    line.trunk_answers(100)
    assert line.trunk.seen() == ["CANCEL"]
    cancel = line.trunk.got_request("CANCEL")
    assert cancel.uri == invite.uri
    assert [str(via) for via in cancel.vias] == [str(via) for via in invite.vias]
    assert cancel.get("To") == invite.get("To")
    assert cancel.get("From") == invite.get("From")
    assert (cancel.cseq.number, cancel.cseq.method) == (1, "CANCEL")
    assert cancel.headers.get_all("Route") == ["<sip:proxy.example;lr>"]
    assert cancel.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    assert "Require" not in cancel.headers
    assert line.user.events == ["100"]


def test_cancel_that_no_response_ever_allows(line: Line) -> None:
    line.invite()
    line.stack.cancel(line.transaction, line.net.now)
    line.net.run_for(32)
    assert set(line.trunk.seen()) == {"INVITE"}
    assert line.user.events == ["timeout"]
    assert line.is_quiet()


def test_cancel_wish_overtaken_by_a_2xx(line: Line) -> None:
    """There was no provisional response, so no CANCEL: the user takes the 2xx, to send ACK and BYE."""
    line.invite()
    line.stack.cancel(line.transaction, line.net.now)
    line.trunk_answers(200)
    assert line.trunk.seen() == ["INVITE"]
    assert line.user.events == ["200"]


def test_cancel_wish_overtaken_by_a_refusal(line: Line) -> None:
    line.invite()
    line.stack.cancel(line.transaction, line.net.now)
    line.trunk_answers(486)
    assert line.trunk.seen() == ["INVITE", "ACK"]
    assert line.user.events == ["486"]


def test_cancel_after_100_ends_in_487(line: Line) -> None:
    line.invite()
    line.trunk_answers(100)
    line.stack.cancel(line.transaction, line.net.now)
    assert line.trunk.seen() == ["INVITE", "CANCEL"]
    line.trunk.send(answer(line.trunk.got_request("CANCEL"), 200), line.us)
    line.trunk_answers(487)
    assert line.trunk.seen() == ["ACK"]
    assert line.user.events == ["100", "487"], "the 200 is the CANCEL's and tells the user nothing"
    line.net.run_for(33)
    assert line.is_quiet()


def test_cancel_crosses_a_2xx(line: Line) -> None:
    """§9.1: the 2xx was under way; the user gets it. The CANCEL is answered 200 or 481, which changes nothing."""
    line.invite()
    line.trunk_answers(180)
    line.stack.cancel(line.transaction, line.net.now)
    line.trunk_answers(200)
    line.trunk.send(answer(line.trunk.got_request("CANCEL"), 481), line.us)
    assert line.user.events == ["180", "200"]
    line.net.run_for(100)
    assert line.user.events == ["180", "200"], "no time-out of the CANCEL after a final response"
    assert line.is_quiet()


def test_cancel_crosses_a_refusal(line: Line) -> None:
    line.invite()
    line.trunk_answers(180)
    line.stack.cancel(line.transaction, line.net.now)
    line.trunk_answers(486)
    assert line.trunk.seen() == ["INVITE", "CANCEL", "ACK"]
    assert line.user.events == ["180", "486"]
    line.net.run_for(100)
    assert line.user.events == ["180", "486"]
    assert line.is_quiet()


def test_cancel_is_repeated_until_it_is_answered(line: Line) -> None:
    """It is a transaction of its own (§9.1): timer E."""
    line.invite()
    line.trunk_answers(180)
    line.trunk.seen()
    line.stack.cancel(line.transaction, line.net.now)
    line.net.run_for(3.6)
    assert line.trunk.seen_at() == [(0, "CANCEL"), (0.5, "CANCEL"), (1.5, "CANCEL"), (3.5, "CANCEL")]
    line.trunk.send(answer(line.trunk.got_request("CANCEL"), 200), line.us)
    line.net.run_for(10)
    assert line.trunk.seen() == []


def test_200_to_the_cancel_but_no_487(line: Line) -> None:
    """§9.1: 64*T1 after the CANCEL the INVITE is finished, answered or not. A 1xx meanwhile does not prolong that."""
    line.invite()
    line.trunk_answers(180)
    line.stack.cancel(line.transaction, line.net.now)
    line.trunk.send(answer(line.trunk.got_request("CANCEL"), 200), line.us)
    line.net.run_for(20)
    line.trunk_answers(180)
    line.net.run_for(11.9)
    assert line.user.events == ["180", "180"]
    line.net.run_for(0.2)
    assert line.user.events == ["180", "180", "timeout"]
    assert line.is_quiet()


def test_cancel_that_nobody_answers(line: Line) -> None:
    line.invite()
    line.trunk_answers(180)
    line.stack.cancel(line.transaction, line.net.now)
    line.net.run_for(32)
    assert line.user.events == ["180", "timeout"], "once, though the CANCEL timed out too"
    assert line.is_quiet()


def test_cancel_twice_is_cancel_once(line: Line) -> None:
    line.invite()
    line.trunk_answers(180)
    line.stack.cancel(line.transaction, line.net.now)
    line.stack.cancel(line.transaction, line.net.now)
    assert line.trunk.seen() == ["INVITE", "CANCEL"]


@pytest.mark.parametrize("status", [200, 486])
def test_cancel_after_a_final_response_does_nothing(line: Line, status: int) -> None:
    line.invite()
    line.trunk_answers(status)
    line.trunk.seen()
    line.stack.cancel(line.transaction, line.net.now)
    line.net.run_for(1)
    assert line.trunk.seen() == []


def test_cancel_on_a_reliable_flow(tcp: Line) -> None:
    tcp.invite()
    tcp.trunk_answers(180)
    tcp.stack.cancel(tcp.transaction, tcp.net.now)
    tcp.trunk.send(answer(tcp.trunk.got_request("CANCEL"), 200), tcp.us)
    tcp.trunk_answers(487)
    assert tcp.trunk.seen() == ["INVITE", "CANCEL", "ACK"]
    assert tcp.user.events == ["180", "487"]
    assert tcp.is_quiet(), "timers D and K are zero"


def test_only_an_invite_can_be_cancelled(line: Line) -> None:
    """§9.1: SHOULD NOT, for any other request."""
    line.invite("OPTIONS")
    with pytest.raises(TransactionError):
        line.stack.cancel(line.transaction, line.net.now)


def test_table_has_every_pair_of_the_figure() -> None:
    """What is absent is ignored; this is the whole of Figure 5 with RFC 6026, and the CANCEL of §9.1."""
    assert {(state.name, event.name): end.name for (state, event), end in TABLE.items()} == {
        ("CALLING", "PROVISIONAL"): "PROCEEDING",
        ("CALLING", "SUCCESS"): "ACCEPTED",
        ("CALLING", "FAILURE"): "COMPLETED",
        ("CALLING", "TIMER_A"): "CALLING",
        ("CALLING", "TIMER_B"): "TERMINATED",
        ("CALLING", "FLOW_CLOSED"): "TERMINATED",
        ("PROCEEDING", "PROVISIONAL"): "PROCEEDING",
        ("PROCEEDING", "SUCCESS"): "ACCEPTED",
        ("PROCEEDING", "FAILURE"): "COMPLETED",
        ("PROCEEDING", "CANCEL_UNANSWERED"): "TERMINATED",
        ("PROCEEDING", "FLOW_CLOSED"): "TERMINATED",
        ("ACCEPTED", "SUCCESS"): "ACCEPTED",
        ("ACCEPTED", "TIMER_M"): "TERMINATED",
        ("COMPLETED", "FAILURE"): "COMPLETED",
        ("COMPLETED", "TIMER_D"): "TERMINATED",
        ("COMPLETED", "FLOW_CLOSED"): "TERMINATED",
    }
    assert (State.PROCEEDING, Event.TIMER_B) not in TABLE
