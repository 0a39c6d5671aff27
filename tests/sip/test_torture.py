"""The 49 messages of RFC 4475 and the 12 of RFC 5118, at the parser: read with these views, or refused so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sip.errors import ParseError
from sip.headers import AuthValue, CSeq, MediaType
from sip.message import Request, Response, parse_message, response_to
from sip.stream import MessageStream
from sip.uri import Uri
from tests.corpus.expected import DROP, EXPECTED, load, messages

Check = Callable[[Request], None]
ResponseCheck = Callable[[Response], None]

READ: dict[str, Check] = {}
READ_RESPONSES: dict[str, ResponseCheck] = {}

REFUSED = {
    # name: (status, first words of the reason, can it be answered)
    "badinv01": (400, "Malformed parameter name", True),
    "clerr": (400, "Content-Length does not match", True),
    "ncl": (400, "Malformed Content-Length", True),
    "scalar02": (400, "Malformed CSeq", True),
    "scalarlg": (400, "Malformed CSeq", False),
    "quotbal": (400, "Unbalanced quotes", True),
    "ltgtruri": (400, "Malformed URI", True),
    "lwsruri": (400, "Malformed request line", True),
    "lwsstart": (400, "Malformed request line", True),
    "trws": (400, "Malformed request line", True),
    "escruri": (400, "Headers in the Request-URI", True),
    "regbadct": (400, "A URI with a comma or a question mark", True),
    "badaspec": (400, "Malformed URI", True),
    "baddn": (400, "Header section not terminated", True),
    "badvers": (505, "Version not supported", True),
    "mismatch01": (400, "CSeq method does not match", True),
    "mismatch02": (400, "CSeq method does not match", True),
    "bigcode": (400, "Malformed status line", False),
    "insuf": (400, "Missing from header", True),
    "multi01": (400, "Repeated from header", True),
    "mcl01": (400, "Repeated content-length header", True),
    "ipv6-bad": (400, "Malformed port", True),
}

BODY_CUT = {"inv2543"}
"Without Content-Length: it is added when the message is sent."


def reads(name: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        READ[name] = check
        return check

    return register


def reads_response(name: str) -> Callable[[ResponseCheck], ResponseCheck]:
    def register(check: ResponseCheck) -> ResponseCheck:
        READ_RESPONSES[name] = check
        return check

    return register


def is_plain_audio(request: Request) -> bool:
    return (
        request.content_type == MediaType("application", "sdp") and "\nm=audio 49217 RTP/AVP 0 12\r\n" in request.text
    )


# ------------------------------------------------------------------------------------- RFC 4475 §3.1.1: valid


@reads("wsinv")
def wsinv(m: Request) -> None:
    assert m.method == "INVITE"
    assert m.target.has("unknownparam")
    assert m.to.uri == Uri.parse("sip:vivekg@chair-dnrc.example.com")
    assert m.to.tag == "1918181833n"
    assert m.from_.display == 'J Rosenberg \\"'
    assert m.from_.tag == "98asjd8"
    assert m.max_forwards == 68
    assert m.cseq == CSeq(9, "INVITE")
    assert [via.transport for via in m.vias] == ["UDP", "TCP", "UDP"]
    assert [via.sent_by for via in m.vias] == ["192.0.2.2", "spindle.example.com", "192.168.255.111"]
    assert [via.branch for via in m.vias] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert m.get("subject") == ""
    assert m.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert m.get("unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert m.routes[0].uri.has("lr")
    assert m.routes[0].uri.parameter("unknownwith") == "value"
    (contact,) = m.contacts
    assert contact.display == 'Quoted string ""'
    assert contact.parameter("newparam") == "newvalue"
    assert contact.parameter("secondparam") == ""
    assert contact.parameter("q") == "0.33"
    assert is_plain_audio(m)


@reads("intmeth")
def intmeth(m: Request) -> None:
    method = "!interesting-Method0123456789_*+`.%indeed'~"
    assert m.method == m.cseq.method == method
    assert m.target.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert m.target.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert m.target.host == "example.com"
    assert m.to.display == "BEL:\a NUL:\0 DEL:\x7f"
    assert m.from_.display == "token1~` token2'+_ token3*%!.-"
    assert m.from_.parameter("fromParam''~+*_!.-%") == "работающий"
    assert m.from_.tag == "_token~1'+`*%!-."
    assert m.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert m.via.branch == "z9hG4bK-.!%66*_+`'~"
    value = m.get("extensionHeader-!.%*+_`'~")
    assert value is not None
    assert value.encode("latin-1").decode() == "\N{ZERO WIDTH NO-BREAK SPACE}大停電"


@reads("esc01")
def esc01(m: Request) -> None:
    assert m.target.username == "sips:user@example.com"
    assert m.target.host == "example.net"
    assert m.to.uri.username == "user"
    assert m.to.uri.equivalent(Uri.parse("sip:user@example.com"))
    assert m.from_.uri.username == "I have spaces"
    uri = m.contacts[0].uri
    assert uri.username == "caller"
    assert [name for name, _ in uri.parameters] == ["%6C%72", "n%61me"]
    assert not uri.has("lr")  # escapes are undone nowhere but where text is shown
    assert uri.parameter("n%61me") == "v%61lue%25%34%31"


@reads("escnull")
def escnull(m: Request) -> None:
    assert m.to.uri.username == "null-\0-null"
    assert [contact.uri.username for contact in m.contacts] == ["\0", "\0\0"]
    assert not m.contacts[0].uri.equivalent(m.contacts[1].uri)


@reads("esc02")
def esc02(m: Request) -> None:
    assert m.method == m.cseq.method == "RE%47IST%45R"
    assert m.to.display == "%Z%45"
    assert [contact.uri.user for contact in m.contacts] == ["alias1", "alias3"]
    assert m.get("C%6Fntact") == "<sip:alias2@host2.example.com>"


@reads("lwsdisp")
def lwsdisp(m: Request) -> None:
    assert m.from_.display == "caller"
    assert m.from_.tag == "323"


@reads("longreq")
def longreq(m: Request) -> None:
    assert m.to.display is not None
    assert m.to.display.startswith("I have a user name of extremeextreme")
    assert m.to.uri.port == 6000
    assert m.from_.tag is not None
    assert len(m.from_.tag) > 100
    assert len(m.vias) == 34
    assert m.vias[-1].branch is not None
    assert m.call_id.startswith("longreq.onereally")


@reads("dblreq")
def dblreq(m: Request) -> None:
    assert (m.method, m.body) == ("REGISTER", b"")
    stream = MessageStream()
    stream.receive_data(load("dblreq"), 0.0)
    first, second, *_ = stream.events()
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.method, second.method) == ("REGISTER", "INVITE")


@reads("semiuri")
def semiuri(m: Request) -> None:
    assert m.target.username == "user;par=u@example.net"
    assert m.target.host == "example.com"
    assert m.target.parameters == ()
    assert len(m.headers.values("Accept")) == 6


@reads("transports")
def transports(m: Request) -> None:
    assert [via.transport for via in m.vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


@reads("mpart01")
def mpart01(m: Request) -> None:
    assert len(m.body) == 553
    assert b"\0" in m.body
    assert m.content_type is not None
    assert (m.content_type.type, m.content_type.parameters) == ("multipart", (("boundary", "7a9cbec02ceef655"),))


@reads_response("unreason")
def unreason(m: Response) -> None:
    assert m.status == 200
    assert m.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"


@reads_response("noreason")
def noreason(m: Response) -> None:
    assert (m.status, m.reason) == (100, "")


# --------------------------------------------------------------- §3.1.2: invalid, but not for the parser to refuse


@reads("baddate")
def baddate(m: Request) -> None:
    assert m.get("Date") == "Fri, 01 Jan 2010 16:00:00 EST"


# ------------------------------------------------------------------- §3.2, §3.3: what the layers above decide by


@reads("badbranch")
def badbranch(m: Request) -> None:
    assert m.via.branch == "z9hG4bK"


@reads("unkscm")
def unkscm(m: Request) -> None:
    assert (m.target.scheme, m.target.opaque) == ("nobodyknowsthisscheme", "totallyopaquecontent")


@reads("novelsc")
def novelsc(m: Request) -> None:
    assert (m.target.scheme, m.target.host) == ("soap.beep", "")


@reads("unksm2")
def unksm2(m: Request) -> None:
    assert str(m.to.uri) == "isbn:2983792873"
    assert str(m.from_.uri) == "http://www.example.com"
    assert str(m.contacts[0].uri) == "name:John_Smith"


@reads("bext01")
def bext01(m: Request) -> None:
    assert m.require == ("nothingSupportsThis", "nothingSupportsThisEither")
    assert m.headers.values("Proxy-Require") == ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]


@reads("invut")
def invut(m: Request) -> None:
    assert m.content_type == MediaType("application", "unknownformat")


@reads("regaut01")
def regaut01(m: Request) -> None:
    value = m.get("Authorization")
    assert value is not None
    assert AuthValue.parse(value).scheme == "NoOneKnowsThisScheme"


@reads_response("bcast")
def bcast(m: Response) -> None:
    assert [via.host for via in m.vias] == ["192.0.2.198", "255.255.255.255"]


@reads("zeromf")
def zeromf(m: Request) -> None:
    assert m.max_forwards == 0


@reads("cparam01")
def cparam01(m: Request) -> None:
    assert m.contacts[0].has("unknownparam")
    assert not m.contacts[0].uri.has("unknownparam")


@reads("cparam02")
def cparam02(m: Request) -> None:
    assert not m.contacts[0].has("unknownparam")
    assert m.contacts[0].uri.has("unknownparam")


@reads("regescrt")
def regescrt(m: Request) -> None:
    assert m.contacts[0].uri.headers == "Route=%3Csip:sip.example.com%3E"
    assert m.routes == ()


@reads("sdp01")
def sdp01(m: Request) -> None:
    assert m.headers.values("Accept") == ["text/nobodyKnowsThis"]
    assert is_plain_audio(m)


@reads("inv2543")
def inv2543(m: Request) -> None:
    assert m.via.branch is None
    assert m.from_.tag is None
    assert m.max_forwards is None
    assert m.to.parameter("user") == "phone"
    assert m.to.uri.parameters == ()
    assert m.record_routes[0].uri.parameter("maddr") == "ss1.example.com"
    assert m.text.endswith("m=audio 49217 RTP/AVP 0\r\n")


# -------------------------------------------------------------------------------------------------- RFC 5118


@reads("ipv6-good")
def ipv6_good(m: Request) -> None:
    assert (m.target.host, m.target.bare_host, m.target.port) == ("[2001:db8::10]", "2001:db8::10", None)
    assert (m.via.host, m.via.port) == ("[2001:db8::9:1]", None)
    assert m.contacts[0].uri.host == "[2001:db8::1]"


@reads("port-ambiguous")
def port_ambiguous(m: Request) -> None:
    assert (m.target.host, m.target.port) == ("[2001:db8::10:5070]", None)


@reads("port-unambiguous")
def port_unambiguous(m: Request) -> None:
    assert (m.target.host, m.target.port) == ("[2001:db8::10]", 5070)


@reads("via-received-param-with-delim")
def received_with_delimiters(m: Request) -> None:
    assert m.via.received == "2001:db8::9:255"


@reads("via-received-param-no-delim")
def received_without_delimiters(m: Request) -> None:
    assert m.via.received == "2001:db8::9:255"


@reads("ipv6-in-sdp")
def ipv6_in_sdp(m: Request) -> None:
    assert "c=IN IP6 2001:db8::20\r\n" in m.text


@reads("mult-ip-in-header")
def several_families(m: Request) -> None:
    assert [via.sent_by for via in m.vias] == ["[2001:db8::9:1]:6050", "192.0.2.1", "[2001:db8::9:255]"]
    assert m.vias[2].received == "192.0.2.200"


@reads("mult-ip-in-sdp")
def several_families_in_sdp(m: Request) -> None:
    assert "c=IN IP4 192.0.2.1\r\n" in m.text
    assert "c=IN IP6 2001:db8::1\r\n" in m.text


@reads("ipv4-mapped-ipv6")
def mapped(m: Request) -> None:
    assert m.via.host == "[::ffff:192.0.2.10]"
    assert m.contacts[0].uri.host == "[::ffff:192.0.2.2]"


@reads("ipv6-bug-abnf-3-colons")
def three_colons(m: Request) -> None:
    assert m.target.host == "[2001:db8:::192.0.2.1]"
    assert m.target.bare_host == "2001:db8::c000:201"
    assert m.to.uri.equivalent(Uri.parse("sip:user@[2001:DB8::192.0.2.1]"))


@reads("ipv6-correct-abnf-2-colons")
def two_colons(m: Request) -> None:
    assert m.target.bare_host == "2001:db8::c000:201"


# ---------------------------------------------------------------------------------------------------- the tests


def ids() -> list[str]:
    return [name for name, _ in messages()]


@pytest.mark.parametrize("name", ids())
def test_message_is_read_or_refused_as_the_rfc_expects(name: str) -> None:
    data = load(name)
    if name in REFUSED:
        status, reason, answerable = REFUSED[name]
        with pytest.raises(ParseError) as caught:
            parse_message(data)
        assert caught.value.status == status
        assert caught.value.reason.startswith(reason)
        assert (caught.value.request is not None) is answerable
        return
    message = parse_message(data)
    if isinstance(message, Request):
        READ[name](message)
    else:
        READ_RESPONSES[name](message)


@pytest.mark.parametrize("name", sorted(set(ids()) - REFUSED.keys() - BODY_CUT))
def test_message_leaves_as_it_came(name: str) -> None:
    sent = parse_message(load(name)).to_bytes()
    assert load(name).startswith(sent)
    assert parse_message(sent) == parse_message(load(name))


@pytest.mark.parametrize("name", sorted(name for name in REFUSED if EXPECTED[name] != DROP))
def test_refused_request_can_be_answered(name: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_message(load(name))
    error = caught.value
    assert error.request is not None
    assert error.status in EXPECTED[name]
    answer = response_to(error.request, error.status, error.reason, to_tag="ours").to_bytes()
    assert answer.startswith(f"SIP/2.0 {error.status} {error.reason}\r\n".encode())
    assert b"\r\nVia: SIP" in answer


@pytest.mark.parametrize("name", ids())
def test_stream_finds_what_a_datagram_holds(name: str) -> None:
    data = load(name)
    whole, bit_by_bit = MessageStream(), MessageStream()
    whole.receive_data(data, 0.0)
    for at in range(len(data)):
        bit_by_bit.receive_data(data[at : at + 1], 0.0)
    assert repr(whole.events()) == repr(bit_by_bit.events())
    assert whole.failed == bit_by_bit.failed


def test_every_message_is_judged() -> None:
    assert len(ids()) == 61
    assert set(ids()) == EXPECTED.keys()
    assert set(ids()) == REFUSED.keys() | READ.keys() | READ_RESPONSES.keys()
    drops = {name for name, expected in EXPECTED.items() if expected == DROP}
    assert drops == READ_RESPONSES.keys() | {name for name, (_, _, answerable) in REFUSED.items() if not answerable}
