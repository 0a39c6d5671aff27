"""Dialogs: routes, targets and counters, message by message."""

from __future__ import annotations

from sip.dialog import MAX_ROUTES, Dialog
from sip.message import Request, Response, response_to


def invite(**headers: str) -> Request:
    lines = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("From", '"Bj\xf6rn, B." <sip:a@example.org>;tag=a-tag;x=1'),
        ("To", "sip:b@example.net"),
        ("Call-ID", "call"),
        ("CSeq", "7 INVITE"),
        ("Contact", "<sip:a@192.0.2.1:5080;ob>"),
        *((name.replace("_", "-"), value) for name, value in headers.items()),
    ]
    return Request("INVITE", "sip:b@example.net", lines)


def answer(request: Request, **headers: str) -> Response:
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return response_to(request, 200, to_tag="b-tag", headers=lines)


def caller(**headers: str) -> Dialog:
    request = invite()
    return Dialog.of_caller(request, answer(request, **headers))


def callee(**headers: str) -> Dialog:
    return Dialog.of_callee(invite(**headers), "b-tag", "<sip:b@192.0.2.2>")


def test_both_ends_know_the_same_dialog() -> None:
    ours, theirs = caller(Contact="<sip:b@192.0.2.2>"), callee()
    assert ours.id == ("call", "a-tag", "b-tag")
    assert theirs.id == ("call", "b-tag", "a-tag")
    assert ours.caller
    assert not theirs.caller
    assert ours.remote_target == "sip:b@192.0.2.2"
    assert theirs.remote_target == "sip:a@192.0.2.1:5080;ob"


def test_requests_carry_the_names_as_they_came() -> None:
    request = caller(Contact="<sip:b@192.0.2.2>").request("INFO", [("X-A", "1")], b"x", content_type="text/plain")
    assert [name for name, _ in request.headers.items()] == [
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "X-A",
        "Content-Type",
    ]
    assert request.uri == "sip:b@192.0.2.2"
    assert request.get("From") == '"Bj\xf6rn, B." <sip:a@example.org>;tag=a-tag;x=1'
    assert request.get("To") == "sip:b@example.net;tag=b-tag"
    assert request.get("CSeq") == "8 INFO"
    back = callee().request("INVITE")
    assert back.get("To") == '"Bj\xf6rn, B." <sip:a@example.org>;tag=a-tag;x=1'
    assert back.get("From") == "sip:b@example.net;tag=b-tag"
    assert back.get("Contact") == "<sip:b@192.0.2.2>"
    assert back.get("CSeq") == "1 INVITE"


def test_a_caller_without_a_tag_is_served() -> None:
    request = invite()
    request.headers.set("From", "<sip:old@example.org>")  # RFC 2543
    dialog = Dialog.of_callee(request, "b-tag", "<sip:b@192.0.2.2>")
    assert dialog.id == ("call", "b-tag", "")
    assert dialog.request("BYE").get("To") == "<sip:old@example.org>"


def test_without_contact_the_target_is_what_is_known() -> None:
    assert caller().remote_target == "sip:b@example.net"
    request = invite()
    request.headers.remove("Contact")
    assert Dialog.of_callee(request, "t", "<sip:b@h>").remote_target == "sip:a@example.org"


def test_loose_routes() -> None:
    routes = "<sip:p1.example;lr>;x=1, <sip:p2.example;lr=on>"
    ours = caller(Contact="<sip:b@h>", Record_Route=routes)
    assert ours.routes == ("<sip:p2.example;lr=on>", "<sip:p1.example;lr>;x=1")
    assert ours.next_hop == "sip:p2.example;lr=on"
    theirs = callee(Record_Route=routes)
    assert theirs.routes == ("<sip:p1.example;lr>;x=1", "<sip:p2.example;lr=on>")
    request = theirs.request("BYE")
    assert (request.uri, request.get("Route")) == ("sip:a@192.0.2.1:5080;ob", routes)


def test_a_strict_router_comes_first_and_the_target_last() -> None:
    dialog = callee(Record_Route="<sip:p1.example;method=INVITE;x=1?Subject=y>, <sip:p2.example;lr>")
    assert dialog.next_hop == "sip:p1.example;x=1"
    request = dialog.request("BYE")
    assert request.uri == "sip:p1.example;x=1"
    assert request.headers.values("Route") == ["<sip:p2.example;lr>", "<sip:a@192.0.2.1:5080;ob>"]


def test_a_strict_router_behind_a_loose_one_is_not_ours_to_mind() -> None:
    request = callee(Record_Route="<sip:p1.example;lr>, <sip:p2.example>").request("BYE")
    assert request.uri == "sip:a@192.0.2.1:5080;ob"


def test_routes_are_bounded() -> None:
    routes = ", ".join(f"<sip:p{number}.example;lr>" for number in range(100))
    assert len(callee(Record_Route=routes).routes) == MAX_ROUTES


def test_the_target_is_refreshed_and_the_routes_are_not() -> None:
    dialog = callee(Record_Route="<sip:p1.example;lr>")
    moved = invite(Record_Route="<sip:other.example;lr>")
    moved.headers.set("Contact", "<sip:new@192.0.2.9>, <sip:second@192.0.2.9>")
    assert dialog.refresh(moved)
    assert not dialog.refresh(moved)
    moved.headers.set("Contact", "*")
    assert not dialog.refresh(moved)
    assert (dialog.remote_target, dialog.next_hop) == ("sip:new@192.0.2.9", "sip:p1.example;lr")
    assert callee().next_hop == "sip:a@192.0.2.1:5080;ob"


def test_contact_headers_and_method_do_not_reach_the_request_uri() -> None:
    assert caller(Contact="<sip:b@h;method=BYE;x=1?Replaces=a>").remote_target == "sip:b@h;x=1"


def test_the_order_of_cseq() -> None:
    dialog = callee()
    assert dialog.remote_cseq == 7
    assert dialog.in_order(7)
    assert dialog.in_order(20)
    assert not dialog.in_order(19)
    assert dialog.in_order(20)
    fresh = caller(Contact="<sip:b@h>")
    assert fresh.in_order(0)


def test_ack_takes_the_number_and_the_credentials_of_its_invite() -> None:
    dialog = caller(Contact="<sip:b@h>", Record_Route="<sip:p.example;lr>")
    dialog.request("INFO")
    ack = dialog.ack(7, [("Authorization", "Digest x=1")], "v=0\r\n")
    assert (ack.method, ack.get("CSeq"), ack.get("Authorization")) == ("ACK", "7 ACK", "Digest x=1")
    assert (ack.get("Content-Type"), ack.body, ack.get("Route")) == (
        "application/sdp",
        b"v=0\r\n",
        "<sip:p.example;lr>",
    )
    assert dialog.local_cseq == 8
    assert dialog.ack(7).body == b""


def test_a_fork_is_a_dialog_of_its_own() -> None:
    dialog = caller(Contact="<sip:b@h>")
    dialog.request("INFO")
    other = response_to(
        invite(), 200, to_tag="c-tag", headers=[("Contact", "<sip:c@h>"), ("Record-Route", "<sip:q.example;lr>")]
    )
    fork = dialog.fork(other, 7)
    assert fork.id == ("call", "a-tag", "c-tag")
    assert (fork.remote_target, fork.routes, fork.local_cseq) == ("sip:c@h", ("<sip:q.example;lr>",), 7)
    assert fork.local is dialog.local
