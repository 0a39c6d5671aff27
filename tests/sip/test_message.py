from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ParseError
from sip.headers import CSeq, Headers, MediaType
from sip.message import MAX_HEAD, REASON_PHRASES, Request, Response, parse_message, response_to
from sip.uri import Uri
from tests.corpus.expected import messages
from tests.sip import strategies

LINES = {
    "Via": "SIP/2.0/UDP h;branch=z9hG4bKx",
    "From": '"A" <sip:a@h>;tag=f',
    "To": "<sip:b@h>",
    "Call-ID": "c@h",
    "CSeq": "1 INVITE",
}


def wire(start: str = "INVITE sip:b@h SIP/2.0", body: bytes = b"", **changes: str | None) -> bytes:
    """A message; `changes` replaces, adds or (None) leaves out headers, `_` standing for `-`."""
    return build(start, {name.replace("_", "-"): value for name, value in changes.items()}, body)


def build(start: str, changes: Mapping[str, str | None], body: bytes = b"") -> bytes:
    lines: dict[str, str | None] = {**LINES, **changes}
    head = [start, *(f"{name}: {value}" for name, value in lines.items() if value is not None)]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def request(**changes: str | None) -> Request:
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    message = parse_message(build("INVITE sip:b@h SIP/2.0", named))
    assert isinstance(message, Request)
    return message


def refusal(data: bytes, *, stream: bool = False) -> ParseError:
    with pytest.raises(ParseError) as caught:
        parse_message(data, stream=stream)
    return caught.value


# -------------------------------------------------------------------------------------------------------- reading


def test_views() -> None:
    m = request(
        Contact="<sip:a@c>, <sip:a@d>;q=1",
        Route="<sip:r1;lr>, <sip:r2;lr>",
        Record_Route="<sip:rr;lr>",
        Max_Forwards="70",
        Expires="60",
        Content_Type="application/sdp",
        Require="100rel, x",
        Supported="",
        Allow="INVITE, ACK",
    )
    assert (m.method, m.uri, m.target) == ("INVITE", "sip:b@h", Uri.parse("sip:b@h"))
    assert (m.via.branch, m.vias) == ("z9hG4bKx", (m.via,))
    assert (m.from_.display, m.from_.tag, m.to.tag) == ("A", "f", None)
    assert (m.call_id, m.cseq) == ("c@h", CSeq(1, "INVITE"))
    assert [str(contact.uri) for contact in m.contacts] == ["sip:a@c", "sip:a@d"]
    assert not m.contact_star
    assert [str(route.uri) for route in m.routes] == ["sip:r1;lr", "sip:r2;lr"]
    assert str(m.record_routes[0]) == "<sip:rr;lr>"
    assert (m.max_forwards, m.expires) == (70, 60)
    assert m.content_type == MediaType("application", "sdp")
    assert (m.require, m.supported, m.allow) == (("100rel", "x"), (), ("INVITE", "ACK"))
    assert m.get("call-id") == "c@h"


def test_absent_headers() -> None:
    m = request()
    assert (m.contacts, m.routes, m.record_routes, m.require) == ((), (), (), ())
    assert (m.max_forwards, m.expires, m.content_type) == (None, None, None)
    assert not m.contact_star


def test_views_are_cached_and_follow_changes() -> None:
    m = request(Contact="<sip:a@c>")
    assert m.via is m.via
    assert m.contacts is m.contacts
    m.headers.insert("Via", "SIP/2.0/TCP top")
    assert m.via.host == "top"
    assert len(m.vias) == 2
    m.headers.set("Contact", "<sip:new@c>")
    assert m.contacts[0].uri.user == "new"
    m.headers.set("To", "<sip:b@h>;tag=t")
    assert m.to.tag == "t"
    m.headers.set("Call-ID", "other")
    assert m.call_id == "other"
    m.headers.set("CSeq", "2 INVITE")
    assert m.cseq.number == 2


def test_contact_star() -> None:
    m = request(Contact="*")
    assert m.contact_star
    assert m.contacts == ()


@pytest.mark.parametrize(
    ("expires", "value"), [("0", 0), ("x", None), ("-1", None), ("4294967295", 4294967295), ("9" * 100, 4294967295)]
)
def test_expires(expires: str, value: int | None) -> None:
    assert request(Expires=expires).expires == value


def test_text() -> None:
    m = request()
    m.body = "café".encode()
    assert m.text == "café"
    m.body = "café".encode("latin-1")
    assert m.text == "café"


def test_octets_survive() -> None:
    data = wire(Subject="caf\xe9 \xff", X_Utf8="caf\xc3\xa9", Content_Length="3", body=b"\0\xff\n")
    assert parse_message(data).to_bytes() == data


def test_folds_survive() -> None:
    data = wire(Subject="one\r\n two \r\n\tthree", Content_Length="0")
    m = parse_message(data)
    assert m.get("subject") == "one two three"
    assert m.to_bytes() == data


def test_untouched_lines_stay_when_others_change() -> None:
    data = wire().replace(b"From: ", b"fRoM   :\r\n   ").replace(b"To: ", b"t:")
    m = parse_message(data)
    m.headers.set("Call-ID", "new")
    sent = m.to_bytes()
    assert b'\r\nfRoM   :\r\n   "A" <sip:a@h>;tag=f\r\nt:<sip:b@h>\r\nCall-ID: new\r\n' in sent


def test_blank_lines_before_a_datagram() -> None:
    assert parse_message(b"\r\n\r\n" + wire()) == parse_message(wire())


def test_responses() -> None:
    m = parse_message(wire("SIP/2.0 486 Busy caf\xc3\xa9"))
    assert isinstance(m, Response)
    assert (m.status, m.reason) == (486, "Busy café")
    assert m.to_bytes().startswith(b"SIP/2.0 486 Busy caf\xc3\xa9\r\n")
    empty = parse_message(wire("SIP/2.0 200"))
    assert isinstance(empty, Response)
    assert empty.reason == ""


def test_start_line_ignores_the_case_of_the_version() -> None:
    assert isinstance(parse_message(wire("INVITE sip:b@h sip/2.0")), Request)
    assert isinstance(parse_message(wire("sip/2.0 200 OK")), Response)


# -------------------------------------------------------------------------------------------------------- framing


def test_octets_after_a_datagrams_body_are_ignored() -> None:
    assert parse_message(wire(Content_Length="2", body=b"abc")).body == b"ab"


def test_datagram_without_content_length_is_all_body() -> None:
    assert parse_message(wire(body=b"abc")).body == b"abc"


def test_stream_needs_an_exact_content_length() -> None:
    assert parse_message(wire(l="3", body=b"abc"), stream=True).body == b"abc"
    for length in ("2", "4", None):
        assert refusal(wire(l=length, body=b"abc"), stream=True).status == 400


@pytest.mark.parametrize("length", ["4", "-3", "+3", "3x", "", "0x3", "3 3", "\xb3", "9" * 6000])
def test_content_lengths_refused(length: str) -> None:
    error = refusal(wire(Content_Length=length, body=b"abc"))
    assert (error.status, error.request is None) == (400, False)


def test_repeated_content_length_is_refused_even_if_equal() -> None:
    assert refusal(wire(Content_Length="3", l="3", body=b"abc")).reason == "Repeated content-length header"


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type", "Expires"])
def test_repeated_single_headers_are_refused(name: str) -> None:
    value = {**LINES, "Max-Forwards": "1", "Content-Type": "a/b", "Expires": "1"}[name]
    twice = f"{value}\r\n{name.lower()}: {value}"
    error = refusal(build("INVITE sip:b@h SIP/2.0", {name: twice}))
    assert (error.status, error.reason) == (400, f"Repeated {name.lower()} header")


@pytest.mark.parametrize("name", LINES)
def test_missing_headers_are_refused(name: str) -> None:
    error = refusal(build("INVITE sip:b@h SIP/2.0", {name: None}))
    assert (error.status, error.reason) == (400, f"Missing {name.lower()} header")
    assert (error.request is None) is (name == "Via")


@pytest.mark.parametrize(
    "changes",
    [
        {"From": '"A <sip:a@h>'},
        {"To": "<sip:b@h"},
        {"To": "<sip:b@h>, <sip:c@h>"},
        {"Via": "SIP/2.0/UDP"},
        {"Via": ","},
        {"Via": "SIP/2.0/UDP a, SIP/2.0/UDP b;;"},
        {"Via": "SIP/2.0/UDP a\r\nVia: SIP/2.0/UDP"},
        {"Via": "\r\nVia: SIP/2.0/UDP a"},
        {"Call_ID": ""},
        {"Call_ID": "a b"},
        {"CSeq": "1 ACK"},
        {"CSeq": "1 invite"},
        {"CSeq": "x INVITE"},
        {"Contact": "<sip:a@h>, *"},
        {"Contact": '"x'},
        {"Route": "<sip:r1"},
        {"Record_Route": "sip:"},
        {"Max_Forwards": "many"},
        {"Content_Type": "sdp"},
        {"Subject": "a\0b"},
        {"Subject": "a\nb"},
        {"Subject": "a\rb"},
        {"Subject": "a\r\nno colon here"},
        {"Subject": "a\r\n: no name"},
        {"Subject": "a\r\nb c: x"},
        {"X(Y)": "a"},
    ],
)
def test_faults_of_headers(changes: dict[str, str]) -> None:
    error = refusal(build("INVITE sip:b@h SIP/2.0", {name.replace("_", "-"): value for name, value in changes.items()}))
    assert error.status == 400
    assert error.request is not None
    assert error.request.method == "INVITE"


@pytest.mark.parametrize(
    "start",
    [
        "INVITE sip:b@h",
        "INVITE  sip:b@h SIP/2.0",
        "INVITE sip:b@h  SIP/2.0",
        "INVITE sip:b@h SIP/2.0 ",
        "INVITE sip:b h SIP/2.0",
        "INV(ITE sip:b@h SIP/2.0",
        "INVITE sip:b@h HTTP/1.1",
        "INVITE sip:b@h SIP/x",
        "INVITE b SIP/2.0",
        "INVITE sip:b@h?Route=x SIP/2.0",
        "INVITE sip:b\0@h SIP/2.0",
        "SIP/2.0 99 Low",
        "SIP/2.0 700 High",
        "SIP/2.0 20 Short",
        "SIP/2.0 2000 Long",
        "SIP/2.0  200 OK",
        "SIP/2.0",
        "SIP/2.0 \xb2\xb2\xb2 OK",
        "",
        " INVITE sip:b@h SIP/2.0",
    ],
)
def test_faults_of_the_start_line(start: str) -> None:
    assert refusal(wire(start)).status == 400


@pytest.mark.parametrize("start", ["INVITE sip:b@h SIP/3.0", "SIP/7.0 200 OK", "INVITE sip:b@h SIP/2.1"])
def test_versions(start: str) -> None:
    assert refusal(wire(start)).status == 505


def test_a_quoted_nul_is_legal_and_survives() -> None:
    data = wire(To='"\\\0" <sip:b@h>', Content_Length="0")
    m = parse_message(data)
    assert m.to.display == "\0"
    assert m.to_bytes() == data


def test_faults_that_nobody_can_answer() -> None:
    for data in (
        b"",
        b"\r\n",
        b"\0\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        wire("ACK sip:b@h SIP/2.0", CSeq="x"),
        wire("SIP/2.0 200 OK", CSeq="x"),
        wire(Via=None),
    ):
        assert refusal(data).request is None


def test_what_an_answer_needs_is_saved_from_a_broken_request() -> None:
    data = wire(
        Via="SIP/2.0/UDP a;branch=1,\r\n SIP/2.0/UDP b\r\nVia: SIP/2.0/TCP c",
        To='"unbalanced <sip:b@h>',
        Contact="<sip:a@h>",
        Content_Length="0",
    )
    error = refusal(data)
    assert error.request is not None
    answer = response_to(error.request, error.status, error.reason, to_tag="t")
    assert answer.to_bytes().split(b"\r\n")[:7] == [
        b"SIP/2.0 400 Unbalanced quotes",
        b"Via: SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b",
        b"Via: SIP/2.0/TCP c",
        b'From: "A" <sip:a@h>;tag=f',
        b'To: "unbalanced <sip:b@h>',
        b"Call-ID: c@h",
        b"CSeq: 1 INVITE",
    ]


def test_limits() -> None:
    error = refusal(wire(Z="a" * MAX_HEAD))
    assert (error.status, error.request is None) == (513, False)
    assert refusal(wire(body=b"a" * 65536)).status == 513
    assert refusal(wire() * 500).status == 513
    assert refusal(wire(Z="\r\n".join(["a", *["Z: a"] * 256]))).status == 513
    assert refusal(wire().replace(b"\r\n\r\n", b"\r\n")).reason == "Header section not terminated"
    assert parse_message(wire(Z="a" * (MAX_HEAD - 500)))


def test_many_values_are_refused() -> None:
    error = refusal(wire(Contact=",".join(["<sip:a@h>"] * 200)))
    assert (error.status, error.reason) == (400, "Too many values in a header")


# ------------------------------------------------------------------------------------------------------- building


def test_build_request() -> None:
    m = Request("OPTIONS", Uri.parse("sip:b@h"), [("Via", "SIP/2.0/UDP h"), ("Subject", "x")], b"abc")
    assert m.target is m.target
    assert (
        m.to_bytes() == b"OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nSubject: x\r\nContent-Length: 3\r\n\r\nabc"
    )
    m.body = b""
    assert b"Content-Length: 0\r\n" in m.to_bytes()
    m.uri = "tel:1"
    assert m.target == Uri("tel", opaque="1")
    m.uri = Uri.parse("sip:c@h")
    assert m.uri == "sip:c@h"
    assert repr(m) == "<Request OPTIONS sip:c@h>"


def test_build_response() -> None:
    assert Response(200).to_bytes() == b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert Response(299).reason == "Unknown"
    assert Response(486, "Café €").to_bytes().startswith("SIP/2.0 486 Café €\r\n".encode())
    assert repr(Response(180)) == "<Response 180 Ringing>"


@pytest.mark.parametrize("uri", ["sip:a@b\r\nVia: x", "sip:a b@c", "sip:a@b\0", "sip:a\t@b"])
def test_request_uris_that_would_break_out(uri: str) -> None:
    with pytest.raises(ValueError, match="Request-URI"):
        Request("INVITE", uri)


def test_start_lines_that_would_break_out() -> None:
    with pytest.raises(ValueError, match="token"):
        Request("INV ITE", "sip:a@b")
    with pytest.raises(ValueError, match="phrase"):
        Response(200, "OK\r\nVia: x")


def test_content_length_is_made_right_and_only_if_wrong() -> None:
    data = wire(Content_Length="003", body=b"abc")
    m = parse_message(data)
    assert m.to_bytes() == data
    m.body = b"abcd"
    assert m.to_bytes().endswith(b"\r\nContent-Length: 4\r\n\r\nabcd")
    m.headers.add("l", "7")
    assert parse_message(m.to_bytes()).body == b"abcd"


def test_copies_are_independent() -> None:
    m = request()
    twin = m.copy()
    twin.headers.add("A", "b")
    twin.uri = "sip:c@h"
    assert (m.uri, "A" in m.headers) == ("sip:b@h", False)
    answer = Response(180, "Klingelt", [("A", "b")])
    other = answer.copy()
    other.headers.remove("A")
    assert answer.to_bytes() == b"SIP/2.0 180 Klingelt\r\nA: b\r\nContent-Length: 0\r\n\r\n"
    assert (other.status, other.reason) == (180, "Klingelt")


def test_views_of_what_is_not_there() -> None:
    m = Request("OPTIONS", "sip:a@b")
    for view in ("via", "from_", "to", "call_id", "cseq"):
        with pytest.raises(ParseError, match="Missing"):
            getattr(m, view)


def test_equality() -> None:
    assert request() == request()
    assert request() != request(Subject="x")
    assert Response(200) == Response(200)
    assert Response(200) != Response(200, "Fine")
    assert Request("A", "sip:b") != Response(200)
    assert len({request(), request()}) == 2  # messages are things, found by identity in sets


def test_reason_phrases() -> None:
    assert all(100 <= status <= 699 for status in REASON_PHRASES)
    assert REASON_PHRASES[487] == "Request Terminated"


# ------------------------------------------------------------------------------------------------------- answering


def test_answer_copies_what_it_must() -> None:
    data = wire(
        Via="SIP/2.0/UDP a;branch=1\r\nv:  SIP/2.0/TCP b , SIP/2.0/TCP c",
        Record_Route="<sip:r1;lr>\r\nRecord-Route: <sip:r2;lr>",
        Subject="not this",
    )
    ask = parse_message(data)
    assert isinstance(ask, Request)
    answer = response_to(
        ask, 200, to_tag="t", headers=[("Contact", "<sip:us@h>")], body=b"v=0", content_type="application/sdp"
    )
    assert answer.to_bytes().split(b"\r\n") == [
        b"SIP/2.0 200 OK",
        b"Via: SIP/2.0/UDP a;branch=1",
        b"v:  SIP/2.0/TCP b , SIP/2.0/TCP c",
        b'From: "A" <sip:a@h>;tag=f',
        b"To: <sip:b@h>;tag=t",
        b"Call-ID: c@h",
        b"CSeq: 1 INVITE",
        b"Record-Route: <sip:r1;lr>",
        b"Record-Route: <sip:r2;lr>",
        b"Contact: <sip:us@h>",
        b"Content-Type: application/sdp",
        b"Content-Length: 3",
        b"",
        b"v=0",
    ]


@pytest.mark.parametrize(("status", "copied"), [(100, False), (180, True), (200, True), (302, False), (404, False)])
def test_record_route_crosses_where_a_dialog_forms(status: int, copied: bool) -> None:
    answer = response_to(request(Record_Route="<sip:r;lr>"), status)
    assert ("Record-Route" in answer.headers) is copied


def test_to_tag() -> None:
    assert response_to(request(), 100).to.tag is None
    assert response_to(request(), 200, to_tag="ours").to.tag == "ours"
    assert response_to(request(To="<sip:b@h>;tag=theirs"), 200, to_tag="ours").to.tag == "theirs"
    assert response_to(request(To="sip:b@h;x=y"), 200, to_tag="ours").to.tag == "ours"


def test_answer_reason() -> None:
    assert response_to(request(), 404).reason == "Not Found"
    assert response_to(request(), 404, "Gone fishing").reason == "Gone fishing"


# ------------------------------------------------------------------------------------------------------ properties


def read(data: bytes, *, stream: bool = False) -> Request | Response | None:
    try:
        return parse_message(data, stream=stream)
    except ParseError as caught:
        error = caught
    assert error.status in (400, 505, 513)
    assert error.reason.isascii()
    assert error.reason.isprintable()
    if error.request is not None:
        response_to(error.request, error.status, error.reason, to_tag="t").to_bytes()
    return None


@given(st.binary(max_size=300), st.booleans())
def test_any_octets_are_read_or_refused(data: bytes, stream: bool) -> None:
    read(data, stream=stream)


@given(
    st.sampled_from([data for _, data in messages()]), st.binary(max_size=8), st.integers(0, 4000), st.integers(0, 9)
)
def test_damaged_messages_are_read_or_refused(data: bytes, patch: bytes, at: int, cut: int) -> None:
    at %= len(data)
    message = read(data[:at] + patch + data[at + cut :])
    if message is not None:
        assert parse_message(message.to_bytes()) == message


@given(
    strategies.uris().filter(lambda uri: not uri.headers),
    strategies.vias(),
    strategies.addresses(),
    strategies.addresses(),
    st.lists(strategies.addresses(), max_size=3),
    strategies.cseqs(),
    st.binary(max_size=50),
)
def test_built_messages_are_read_as_built(
    uri: Uri, via: Any, from_: Any, to: Any, contacts: list[Any], cseq: CSeq, body: bytes
) -> None:
    headers = Headers([("Via", str(via)), ("From", str(from_)), ("To", str(to)), ("Call-ID", "x"), ("CSeq", str(cseq))])
    if contacts:
        headers.add("Contact", ", ".join(str(contact) for contact in contacts))
    built = Request(cseq.method, uri, headers, body)
    m = parse_message(built.to_bytes())
    assert m == built
    assert isinstance(m, Request)
    assert (m.target, m.via, m.from_, m.to, m.cseq, m.body) == (uri, via, from_, to, cseq, body)
    assert list(m.contacts) == contacts
