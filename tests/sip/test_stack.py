"""The stack: dispatch, matching, what it answers by itself, its limits, where responses go."""

from __future__ import annotations

import gc
import random

import pytest

from sip.errors import ParseError
from sip.message import Request, parse_message, response_to
from sip.stack import SipStack, StackLimits
from sip.timers import Timers
from sip.transactions import ClientTransaction, ServerTransaction
from tests.sip.ladder import FakeFlow, Network, RecordingClient, RecordingServer, answer, request


class Line:
    """The test plays a phone; its user may be told to answer."""

    def __init__(self, transport: str = "UDP", limits: StackLimits | None = None) -> None:
        self.net = Network(transport=transport)
        self.user = RecordingServer()
        self.stack = SipStack(self.user, limits=limits or StackLimits())
        self.us = self.net.node("us", self.stack)
        self.phone = self.net.node("phone")

    def phone_sends(self, message: Request) -> list[str]:
        self.phone.send(message, self.us)
        return self.phone.seen()

    def phone_sends_raw(self, data: bytes) -> list[str]:
        self.phone.send(data, self.us)
        return self.phone.seen()

    def we_answer(self, status: int) -> None:
        transaction = self.user.last
        self.stack.respond(transaction, response_to(transaction.request, status), self.net.now)
        self.net.settle()


@pytest.fixture
def line() -> Line:
    return Line()


# Dispatch.


def test_a_request_outside_dialogs_goes_to_the_user(line: Line) -> None:
    line.phone_sends(request("REGISTER"))
    assert line.user.events == ["REGISTER"]
    assert len(line.user.last.local_tag) == 16


def test_a_request_inside_a_dialog_goes_to_the_dialog(line: Line) -> None:
    dialog = RecordingServer()
    line.stack.add_dialog(("call-1", "us", "alice"), dialog)
    line.phone_sends(request("BYE", to_tag="us"))
    line.phone_sends(request("ACK", to_tag="us", branch="z9hG4bK-2"))
    assert dialog.events == ["BYE", "ACK"]
    assert dialog.last.local_tag == "us"
    assert line.user.events == []


def test_a_dialog_with_a_peer_that_has_no_tag(line: Line) -> None:
    """RFC 3261 §12.1.1: RFC 2543 peers send none, which counts as an empty one."""
    dialog = RecordingServer()
    line.stack.add_dialog(("call-1", "us", ""), dialog)
    message = request("BYE", to_tag="us")
    message.headers.set("From", "<sip:alice@example.org>")
    line.phone_sends(message)
    assert dialog.events == ["BYE"]


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "OPTIONS", "UPDATE", "NOTIFY"])
def test_an_unknown_dialog_is_481(line: Line, method: str) -> None:
    """RFC 3261 §12.2.2."""
    assert line.phone_sends(request(method, to_tag="gone")) == [f"481 {method}"]
    assert line.user.events == []
    assert line.phone.got_response(481).to.tag == "gone"
    assert line.phone.got_response(481).get("Server") == "Ringway"
    assert not any(line.stack.counts().values()), "answered without a transaction"


@pytest.mark.parametrize("part", ["call_id", "from_tag"])
def test_all_three_parts_of_a_dialog_count(line: Line, part: str) -> None:
    line.stack.add_dialog(("call-1", "us", "alice"), RecordingServer())
    different = request("BYE", to_tag="us", **{part: "other"})  # type: ignore[arg-type]  # both are str
    assert line.phone_sends(different) == ["481 BYE"]


def test_a_removed_dialog_is_481(line: Line) -> None:
    line.stack.add_dialog(("call-1", "us", "alice"), line.user)
    line.stack.remove_dialog(("call-1", "us", "alice"))
    line.stack.remove_dialog(("call-1", "us", "alice"))
    assert line.phone_sends(request("BYE", to_tag="us")) == ["481 BYE"]


def test_an_ack_for_nobody_is_dropped(line: Line) -> None:
    assert line.phone_sends(request("ACK")) == []
    assert line.phone_sends(request("ACK", to_tag="gone")) == []
    assert line.stack.dropped["stray_ack"] == 2


def test_without_a_user_requests_outside_dialogs_get_503(line: Line) -> None:
    line.stack.user = None
    assert line.phone_sends(request("INVITE")) == ["503 INVITE"]
    assert line.phone.got_response(503).get("Retry-After") == "5"


# Merged requests (RFC 3261 §8.2.2.2).


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_request_that_comes_on_a_second_way_is_482(line: Line, method: str) -> None:
    line.phone_sends(request(method, branch="z9hG4bK-1"))
    assert line.phone_sends(request(method, branch="z9hG4bK-2")) == [f"482 {method}"]
    assert line.user.events == [method]


@pytest.mark.parametrize("part", ["from_tag", "call_id", "cseq"])
def test_a_request_that_differs_is_another_one(line: Line, part: str) -> None:
    line.phone_sends(request("OPTIONS", branch="z9hG4bK-1"))
    other = {part: 2 if part == "cseq" else "other"}
    line.phone_sends(request("OPTIONS", branch="z9hG4bK-2", **other))  # type: ignore[arg-type]  # fits each part
    assert line.user.events == ["OPTIONS", "OPTIONS"]


def test_requests_inside_dialogs_do_not_merge(line: Line) -> None:
    line.stack.add_dialog(("call-1", "us", "alice"), line.user)
    line.phone_sends(request("INFO", branch="z9hG4bK-1", to_tag="us"))
    line.phone_sends(request("INFO", branch="z9hG4bK-2", to_tag="us"))
    assert line.user.events == ["INFO", "INFO"], "the order of CSeq is for the dialog to check"


def test_merging_ends_with_the_transaction(line: Line) -> None:
    line.phone_sends(request("OPTIONS", branch="z9hG4bK-1"))
    line.we_answer(200)
    assert line.phone_sends(request("OPTIONS", branch="z9hG4bK-2")) == ["200 OPTIONS", "482 OPTIONS"]
    line.net.run_for(33)
    line.phone_sends(request("OPTIONS", branch="z9hG4bK-2"))
    assert line.user.events == ["OPTIONS", "OPTIONS"]


# Matching (RFC 3261 §17.2.3, §17.1.3).


def test_sent_by_and_method_are_part_of_the_key(line: Line) -> None:
    """Two clients may choose one branch by accident or by malice."""
    line.phone_sends(request("OPTIONS", call_id="a"))
    line.phone_sends(request("OPTIONS", call_id="b", via="SIP/2.0/UDP 192.0.2.2:5062"))
    line.phone_sends(request("MESSAGE", call_id="c"))
    line.phone_sends(request("OPTIONS", call_id="d", via="SIP/2.0/UDP 192.0.2.2:5060"))
    assert line.user.events == ["OPTIONS", "OPTIONS", "MESSAGE"]


@pytest.mark.parametrize("branch", [None, "1", "z9hG4bK", "Z9HG4BK-1"])
def test_branches_of_rfc_2543_are_matched_by_the_whole_request(line: Line, branch: str | None) -> None:
    """§17.2.3: Request-URI, tags, Call-ID, CSeq and top Via; a bare or misspelt cookie says nothing either."""
    line.phone_sends(request("INVITE", branch=branch))
    line.phone_sends(request("INVITE", branch=branch))
    assert line.user.events == ["INVITE"]
    line.phone_sends(request("INVITE", branch=branch, call_id="call-2"))
    line.phone_sends(request("INVITE", branch=branch, cseq=2))
    line.phone_sends(request("INVITE", branch=branch, from_tag="other"))
    line.phone_sends(request("INVITE", branch=branch, uri="sip:carol@192.0.2.1", cseq=4))
    assert line.user.events == ["INVITE"] * 5


def test_cancel_and_ack_of_rfc_2543_find_their_invite(line: Line) -> None:
    """§17.2.3: the ACK has the To tag of our response, the INVITE none."""
    line.phone_sends(request("INVITE", branch=None))
    assert line.phone_sends(request("CANCEL", branch=None)) == ["200 CANCEL"]
    assert line.user.events == ["INVITE", "CANCEL"]
    line.we_answer(487)
    line.phone_sends(request("ACK", branch=None, to_tag="someone else's"))
    line.net.run_for(0.6)
    assert line.phone.seen() == ["487 INVITE"], "that was not its ACK"
    line.phone_sends(request("ACK", branch=None, to_tag=line.user.last.local_tag))
    line.net.run_for(5.1)
    assert line.phone.seen() == []


def test_the_ack_of_rfc_2543_to_a_2xx_reaches_the_dialog(line: Line) -> None:
    line.phone_sends(request("INVITE", branch=None))
    line.we_answer(200)
    line.stack.add_dialog(("call-1", line.user.last.local_tag, "alice"), line.user)
    line.phone_sends(request("ACK", branch=None, to_tag=line.user.last.local_tag))
    assert line.user.events == ["INVITE", "ACK"]


def test_a_reinvite_of_rfc_2543_and_its_refusal(line: Line) -> None:
    line.stack.add_dialog(("call-1", "us", "alice"), line.user)
    line.phone_sends(request("INVITE", branch=None, to_tag="us", cseq=2))
    line.we_answer(488)
    line.phone_sends(request("ACK", branch=None, to_tag="us", cseq=2))
    line.phone.seen()
    line.net.run_for(40)
    assert line.phone.seen() == []
    assert line.stack.counts()["server_transactions"] == 0


def test_responses_need_our_branch_and_our_via_alone(line: Line) -> None:
    """§18.1.2, §8.1.3.3: what has another Via below ours is not for us."""
    user = RecordingClient()
    line.stack.send_request(request("OPTIONS", with_via=False), line.us.flow_to(line.phone), 0, user)
    sent = line.phone.got_request("OPTIONS")
    stranger = answer(sent, 200)
    stranger.headers.set("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-other")
    line.phone.send(stranger, line.us)
    two_lines = answer(sent, 200)
    two_lines.headers.insert("Via", "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK-x", 1)
    line.phone.send(two_lines, line.us)
    one_line = answer(sent, 200)
    one_line.headers.set("Via", f"{sent.via}, SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK-x")
    line.phone.send(one_line, line.us)
    no_branch = answer(sent, 200)
    no_branch.headers.set("Via", "SIP/2.0/UDP 192.0.2.1:5060")
    line.phone.send(no_branch, line.us)
    other_method = answer(sent, 200)
    other_method.headers.set("CSeq", "1 INVITE")
    line.phone.send(other_method, line.us)
    assert user.events == []
    assert line.stack.dropped["stray_response"] == 5
    line.phone.send(answer(sent, 200), line.us)
    assert user.events == ["200"]


def test_a_comma_in_a_quoted_via_parameter_is_no_second_via(line: Line) -> None:
    user = RecordingClient()
    line.stack.send_request(request("OPTIONS", with_via=False), line.us.flow_to(line.phone), 0, user)
    response = answer(line.phone.got_request("OPTIONS"), 200)
    response.headers.set("Via", f'{response.get("Via")};note="a, b"')
    line.phone.send(response, line.us)
    assert user.events == ["200"]


# Our Via, and that of others (RFC 3261 §18.2.1, RFC 3581).


@pytest.mark.parametrize(("transport", "tail"), [("UDP", ";rport"), ("TCP", "")])
def test_our_via_goes_on_top_and_the_request_stays_as_it_was(transport: str, tail: str) -> None:
    line = Line(transport)
    message = request("OPTIONS", with_via=False)
    before = message.to_bytes()
    flow = line.us.flow_to(line.phone)
    first = line.stack.send_request(message, flow, 0, RecordingClient())
    wire = line.phone.got_request("OPTIONS")
    assert wire.headers.get_all("Via") == [f"SIP/2.0/{transport} 192.0.2.1:5060;branch={first.branch}{tail}"]
    assert message.to_bytes() == before
    second = line.stack.send_request(message, flow, 0, RecordingClient())
    assert second.branch != first.branch
    assert len(line.phone.got_request("OPTIONS").vias) == 1


def test_ack_has_a_branch_of_its_own_and_no_transaction(line: Line) -> None:
    line.stack.send_ack(request("ACK", with_via=False, to_tag="bob"), line.us.flow_to(line.phone), 0)
    assert line.phone.seen() == ["ACK"]
    assert (line.phone.got_request("ACK").via.branch or "").startswith("z9hG4bK")
    assert not any(line.stack.counts().values())


@pytest.mark.parametrize(
    ("via", "recorded"),
    [
        ("SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK-1", "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK-1"),
        (
            "SIP/2.0/UDP 192.0.2.2;rport;branch=z9hG4bK-1",
            "SIP/2.0/UDP 192.0.2.2;rport=5060;branch=z9hG4bK-1;received=192.0.2.2",
        ),
        (
            "SIP/2.0/UDP 10.0.0.7:5062;branch=z9hG4bK-1;rport",
            "SIP/2.0/UDP 10.0.0.7:5062;branch=z9hG4bK-1;rport=5060;received=192.0.2.2",
        ),
        (
            "SIP/2.0/UDP pc.example.org;branch=z9hG4bK-1",
            "SIP/2.0/UDP pc.example.org;branch=z9hG4bK-1;received=192.0.2.2",
        ),
        (
            "SIP/2.0/UDP 192.0.2.2;received=203.0.113.9;rport=7;branch=z9hG4bK-1",
            "SIP/2.0/UDP 192.0.2.2;rport=5060;branch=z9hG4bK-1;received=192.0.2.2",
        ),
        ("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK-1;received=203.0.113.9", "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK-1"),
        (
            "SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK-1;rport, SIP/2.0/TCP h;branch=z9hG4bK-0",
            "SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK-1;rport=5060;received=192.0.2.2, SIP/2.0/TCP h;branch=z9hG4bK-0",
        ),
    ],
)
def test_the_source_is_recorded_in_the_top_via(line: Line, via: str, recorded: str) -> None:
    """What a client claims of itself is not believed."""
    message = request("OPTIONS", branch=None, via=via)
    message.headers.insert("Via", "SIP/2.0/UDP 10.9.9.9;branch=z9hG4bK-below;rport", 1)
    line.phone_sends(message)
    line.we_answer(200)
    expected = [recorded, "SIP/2.0/UDP 10.9.9.9;branch=z9hG4bK-below;rport"]
    assert line.phone.got_response(200).headers.get_all("Via") == expected
    assert line.user.last.request.via.received == line.user.last.request.vias[0].received


def test_ipv6_sources_are_compared_and_recorded_without_brackets() -> None:
    net = Network()
    user = RecordingServer()
    us = net.node("us", SipStack(user), host="2001:db8::1")
    phone = net.node("phone", host="2001:db8::2")
    phone.send(request("OPTIONS", via="SIP/2.0/UDP [2001:DB8::2]:5060"), us)
    assert user.last.request.via.received is None
    phone.send(request("OPTIONS", cseq=2, branch="z9hG4bK-2", via="SIP/2.0/UDP [2001:db8::9]"), us)
    assert user.last.request.get("Via") == "SIP/2.0/UDP [2001:db8::9];branch=z9hG4bK-2;received=2001:db8::2"


def test_responses_go_back_the_way_the_request_came(line: Line) -> None:
    """RFC 3581, asked for or not: the Via names a host that does not exist."""
    assert line.phone_sends(request("INVITE", via="SIP/2.0/UDP nowhere.invalid:9")) == ["100 INVITE"]


# Responses.


def test_a_to_tag_is_added_where_it_is_missing(line: Line) -> None:
    line.phone_sends(request("REGISTER"))
    line.we_answer(200)
    assert line.phone.got_response(200).to.tag == line.user.last.local_tag


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ('"a;tag=b" <sip:bob@example.org>', '"a;tag=b" <sip:bob@example.org>;tag='),
        ("sip:bob@example.org", "sip:bob@example.org;tag="),
        ("<sip:bob@example.org;tag=uri>", "<sip:bob@example.org;tag=uri>;tag="),
        ("<sip:bob@example.org>;x=y", "<sip:bob@example.org>;x=y;tag="),
    ],
)
def test_a_tag_elsewhere_is_no_to_tag(line: Line, to: str, expected: str) -> None:
    message = request("OPTIONS")
    message.headers.set("To", to)
    line.phone_sends(message)
    line.we_answer(200)
    assert line.phone.got_response(200).get("To") == expected + line.user.last.local_tag


@pytest.mark.parametrize("to", ["<sip:bob@example.org>;tag=us", "<sip:bob@example.org> ; TAG = us"])
def test_a_to_tag_is_not_doubled(line: Line, to: str) -> None:
    line.stack.add_dialog(("call-1", "us", "alice"), line.user)
    message = request("INFO", to_tag="us")
    message.headers.set("To", to)
    line.phone_sends(message)
    line.we_answer(200)
    assert line.phone.got_response(200).get("To") == to


def test_the_tag_that_the_user_chose_stays(line: Line) -> None:
    line.phone_sends(request("INVITE"))
    transaction = line.user.last
    line.stack.respond(transaction, response_to(transaction.request, 180, to_tag="mine"), 0)
    assert line.phone.got_response(180).to.tag == "mine"


# Errors.


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (request("OPTIONS").to_bytes().replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1), ["505 OPTIONS"]),
        (request("OPTIONS").to_bytes().replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"), ["400 INVITE"]),
        (request("ACK").to_bytes().replace(b"CSeq: 1 ACK", b"CSeq: 1 INVITE"), []),
        (b"hello\r\n\r\n", []),
    ],
)
def test_what_is_no_message_is_answered_if_it_can_be(line: Line, data: bytes, seen: list[str]) -> None:
    assert line.phone_sends_raw(data) == seen
    assert line.user.events == []
    assert not any(line.stack.counts().values())


def test_an_error_answer_goes_to_the_source_even_if_the_via_is_broken(line: Line) -> None:
    broken = request("OPTIONS")
    error = ParseError("Malformed Via", 400, broken)
    broken.headers.set("Via", "SIP/2.0/UDP ;;;")
    flow = line.us.flow_to(line.phone)
    line.stack.receive_error(error, flow, 0)
    ((data, to),) = line.stack.messages_to_send()
    assert data.startswith(b"SIP/2.0 400 Malformed Via\r\n")
    assert b"Via: SIP/2.0/UDP ;;;\r\n" in data
    assert to is flow


class Faulty(RecordingServer):
    def __init__(self, error: Exception, first: int | None = None) -> None:
        super().__init__()
        self.error = error
        self.first = first
        self.stack: SipStack

    def on_request(self, transaction: ServerTransaction, now: float) -> None:
        super().on_request(transaction, now)
        if self.first is not None:
            self.stack.respond(transaction, response_to(transaction.request, self.first), now)
        raise self.error


def test_a_header_that_the_user_cannot_read_is_answered(line: Line) -> None:
    """Headers are parsed when somebody asks for them; that somebody need not catch."""
    line.stack.user = Faulty(ParseError("Malformed Authorization"))
    assert line.phone_sends(request("REGISTER")) == ["400 REGISTER"]
    assert line.phone.got_response(400).reason == "Malformed Authorization"
    assert line.phone_sends(request("INVITE", call_id="2")) == ["400 INVITE"]


def test_the_same_after_a_final_response_is_too_late(line: Line) -> None:
    user = line.stack.user = Faulty(ParseError("Malformed Contact"), first=200)
    user.stack = line.stack
    assert line.phone_sends(request("REGISTER")) == ["200 REGISTER"]


def test_a_fault_of_ours_is_500_and_not_hidden(line: Line) -> None:
    line.stack.user = Faulty(RuntimeError("bug"))
    with pytest.raises(RuntimeError, match="bug"):
        line.phone_sends(request("INVITE"))
    assert line.phone.seen() == ["500 INVITE"]


# Limits.


def test_beyond_the_limit_of_transactions_new_requests_get_503(line: Line) -> None:
    """Inside dialogs a reserve remains, so that calls can be ended."""
    line = Line(limits=StackLimits(transactions=3, in_dialog_reserve=2, retry_after_s=7))
    line.stack.add_dialog(("call-1", "us", "alice"), line.user)
    for number in range(3):
        line.phone_sends(request("INVITE", branch=f"z9hG4bK-{number}", call_id=f"new-{number}"))
    assert line.phone_sends(request("INVITE", branch="z9hG4bK-x", call_id="x")) == ["503 INVITE"]
    assert line.phone.got_response(503).get("Retry-After") == "7"
    assert line.phone_sends(request("OPTIONS", branch="z9hG4bK-x", call_id="x")) == ["503 OPTIONS"]
    for number in range(2):
        line.phone_sends(request("BYE", branch=f"z9hG4bK-b{number}", to_tag="us", cseq=number))
    assert line.phone_sends(request("BYE", branch="z9hG4bK-b2", to_tag="us", cseq=3)) == ["503 BYE"]
    assert line.user.events == ["INVITE"] * 3 + ["BYE"] * 2
    assert line.stack.counts()["server_transactions"] == 5
    for transaction in line.user.transactions:
        line.stack.respond(transaction, response_to(transaction.request, 603), line.net.now)
    line.net.run_for(33)
    assert line.phone_sends(request("INVITE", branch="z9hG4bK-x", call_id="x"))[-1] == "100 INVITE"


def test_error_answers_to_one_source_are_limited(line: Line) -> None:
    line = Line(limits=StackLimits(error_answers_per_s=10.0, error_answers_burst=5))
    other = line.net.node("other")
    for number in range(50):
        line.phone.send(request("BYE", to_tag="gone", branch=f"z9hG4bK-{number}"), line.us)
    assert line.phone.seen() == ["481 BYE"] * 5
    assert line.stack.dropped["silenced"] == 45
    other.send(request("BYE", to_tag="gone", via="SIP/2.0/UDP 192.0.2.3"), line.us)
    assert other.seen() == ["481 BYE"], "nobody pays for another"
    line.net.run_for(0.3)
    for number in range(50):
        line.phone.send(request("BYE", to_tag="gone", branch=f"z9hG4bK-{number}"), line.us)
    assert line.phone.seen() == ["481 BYE"] * 3


def test_a_silenced_source_still_has_its_calls(line: Line) -> None:
    line = Line(limits=StackLimits(error_answers_burst=1, error_answers_per_s=0.001))
    line.phone_sends(request("BYE", to_tag="gone"))
    line.phone_sends(request("BYE", to_tag="gone"))
    assert line.phone_sends(request("INVITE")) == ["100 INVITE"]


def test_sources_are_forgotten_when_they_are_idle(line: Line) -> None:
    line = Line(limits=StackLimits(error_answers_per_s=1.0, error_answers_burst=2, sources=3))
    peers = [line.net.node(f"peer{number}") for number in range(5)]

    def send(number: int) -> list[str]:
        peers[number].send(request("BYE", to_tag="gone", via=f"SIP/2.0/UDP {peers[number].address[0]}"), line.us)
        return peers[number].seen()

    line.net.run_for(10)
    assert [send(number) for number in range(3)] == [["481 BYE"]] * 3
    assert send(3) == [], "all three remembered ones are busy"
    line.net.run_for(1.0)
    assert send(3) == ["481 BYE"]
    assert len(line.stack._error_answers._buckets) == 1


# Identifiers.


def test_identifiers_are_long_and_never_the_same(line: Line) -> None:
    branches = {line.stack.new_branch() for _ in range(1000)}
    assert len(branches) == 1000
    assert all(branch.startswith("z9hG4bK") and len(branch) == 27 for branch in branches)
    assert len({line.stack.new_tag() for _ in range(1000)}) == 1000
    assert {len(line.stack.new_call_id()) for _ in range(1000)} == {32}


def test_identifiers_can_be_foretold_by_tests_alone() -> None:
    first, second = (SipStack(random=random.Random(7)) for _ in range(2))
    assert first.new_branch() == second.new_branch()
    assert SipStack().new_branch() != SipStack().new_branch()


# Memory, time and output.


def alive(*kinds: type) -> int:
    """How many objects of those kinds the process holds."""
    gc.collect()
    return sum(isinstance(thing, kinds) for thing in gc.get_objects())


def test_nothing_of_an_answered_request_stays_but_its_answer(line: Line) -> None:
    """Over UDP the transaction waits 32 s for repetitions; the request and its user must not."""
    before = alive(ServerTransaction)
    line.phone_sends(request("OPTIONS"))
    line.we_answer(200)
    line.phone_sends(request("INVITE", branch="z9hG4bK-2", cseq=2))
    line.we_answer(404)
    line.user.transactions.clear()
    assert alive(ServerTransaction) == before
    assert line.stack.counts()["server_transactions"] == 2


def test_nothing_of_a_finished_request_of_ours_stays(line: Line) -> None:
    before = alive(ClientTransaction, RecordingClient)
    for method in ("OPTIONS", "INVITE"):
        message = request(method, with_via=False)
        line.stack.send_request(message, line.us.flow_to(line.phone), 0, RecordingClient())
        line.phone.send(answer(line.phone.got_request(method), 404), line.us)
    assert alive(ClientTransaction, RecordingClient) == before
    assert line.stack.counts()["client_transactions"] == 2


def test_messages_to_send_are_drained_in_order(line: Line) -> None:
    flow = FakeFlow(line.us, line.phone, "UDP")
    for method in ("OPTIONS", "MESSAGE", "INFO"):
        line.stack.send_request(request(method, with_via=False), flow, 0, RecordingClient())
    sent = line.stack.messages_to_send()
    assert [parse_message(data).cseq.method for data, _ in sent] == ["OPTIONS", "MESSAGE", "INFO"]
    assert [to for _, to in sent] == [flow] * 3
    assert line.stack.messages_to_send() == []


def test_timers_are_configurable() -> None:
    net = Network()
    user = RecordingClient()
    stack = SipStack(timers=Timers(t1=0.1, t2=0.4, t4=0.5))
    us, peer = net.node("us", stack), net.node("peer")
    stack.send_request(request("OPTIONS", with_via=False), us.flow_to(peer), 0, user)
    assert stack.deadline == pytest.approx(0.1)
    net.run_for(6.5)
    assert user.events == ["timeout"]
    assert stack.deadline is None


def test_a_late_clock_does_not_make_a_burst(line: Line) -> None:
    """The process stood still for ten seconds: one repetition, not five."""
    line.stack.send_request(request("OPTIONS", with_via=False), line.us.flow_to(line.phone), 0, RecordingClient())
    line.phone.seen()
    line.stack.handle_timeout(10.0)
    line.net.now = 10.0
    assert line.phone.seen() == ["OPTIONS"]


def test_a_callback_may_use_the_stack_while_flows_close() -> None:
    """One failure cancels the call beside it, on the same connection."""
    net = Network(transport="TCP")
    stack = SipStack()
    us, peer = net.node("us", stack), net.node("peer")
    flow = us.flow_to(peer)
    second = RecordingClient()

    class Cancelling(RecordingClient):
        def on_failure(self, transaction: object, failure: object, now: float) -> None:
            stack.cancel(other, now)
            stack.send_request(request("OPTIONS", with_via=False), flow, now, second)

    stack.send_request(request("INVITE", with_via=False), flow, 0, Cancelling())
    other = stack.send_request(request("INVITE", with_via=False), flow, 0, second)
    peer.send(answer(peer.got_request("INVITE"), 180), us)
    us.close_flow(peer)
    net.run_for(0)
    assert second.events == ["180", "transport", "transport"]
    assert not any(stack.counts().values())
