from __future__ import annotations

from typing import Protocol, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ParseError
from sip.headers import Address, AuthValue, CSeq, MediaType, Reason, Via, parse_addresses
from sip.uri import Uri
from tests.sip import strategies
from tests.sip.strategies import WIRE_TEXT

BOB = Uri.parse("sip:bob@example.com")
TYPES = (Address, AuthValue, CSeq, MediaType, Reason, Uri, Via)


class Value(Protocol):
    @classmethod
    def parse(cls, text: str) -> Self: ...


@given(
    strategies.addresses()
    | strategies.vias()
    | strategies.cseqs()
    | strategies.media_types()
    | strategies.reasons()
    | strategies.auth_values()
)
def test_round_trip(value: Value) -> None:
    assert type(value).parse(str(value)) == value


@given(WIRE_TEXT, st.sampled_from(TYPES))
def test_any_text_is_read_or_refused(text: str, type_: type[Value]) -> None:
    try:
        value = type_.parse(text)
    except ParseError:
        return
    assert type_.parse(str(value)) == value


# ------------------------------------------------------------------------------------------------------ Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<sip:bob@example.com>", Address(None, BOB)),
        ("sip:bob@example.com", Address(None, BOB)),
        ("sip:bob@example.com;tag=x", Address(None, BOB, (("tag", "x"),))),
        ("sip:bob@example.com ; tag = x", Address(None, BOB, (("tag", "x"),))),
        ("Bob <sip:bob@example.com>", Address("Bob", BOB)),
        ("Bob B.\r\n Builder<sip:bob@example.com>;tag=x", Address("Bob B. Builder", BOB, (("tag", "x"),))),
        ('"Bob" <sip:bob@example.com>;a="x;y"', Address("Bob", BOB, (("a", '"x;y"'),))),
        ('"Bob"<sip:bob@example.com>', Address("Bob", BOB)),
        (' "a \\"b\\" <c>" <sip:bob@example.com> ', Address('a "b" <c>', BOB)),
        ('"" <sip:bob@example.com>', Address("", BOB)),
        ('"caf\xc3\xa9" <sip:bob@example.com>', Address("café", BOB)),
        ('"caf\xe9" <sip:bob@example.com>', Address("café", BOB)),
        ("caf\xc3\xa9 <sip:bob@example.com>", Address("café", BOB)),
        ("Bob (home) <sip:bob@example.com>", Address("Bob (home)", BOB)),
        ("<tel:+33123>;q=1", Address(None, Uri("tel", opaque="+33123"), (("q", "1"),))),
    ],
)
def test_address(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "<>", "<sip:a@b", "sip:a@b>", '"x <sip:a@b>', '"x\\" <sip:a@b>', '"x" y <sip:a@b>', '"x"', "*"),
        *("a, b <sip:a@b>", 'a "b" <sip:a@b>', "a;b <sip:a@b>", "a\0 <sip:a@b>", "< sip:a@b >", "<sip:a@b>x"),
        *("<sip:a@b>, <sip:c@d>", "sip:a@b, sip:c@d", "sip:a@b?x=y", "sip:a,b@c", "<sip:a@b>;", "<sip:a@b>;tag=x,y"),
        *("<sip:a@b>;tag=x <sip:c@d>", '"a\nb" <sip:a@b>', "<<sip:a@b>>"),
    ],
)
def test_addresses_refused(text: str) -> None:
    with pytest.raises(ParseError):
        Address.parse(text)


def test_what_other_parsers_get_wrong() -> None:
    """A display name that ends in an escaped quote and holds an address must not become that address."""
    (address,) = parse_addresses([r'"x \" <sip:evil@h>, " <sip:good@h>'])
    assert address == Address('x " <sip:evil@h>, ', Uri.parse("sip:good@h"))


def test_address_parameters() -> None:
    address = Address.parse('<sip:a@b>;TAG=x;lr;+sip.instance="<urn:uuid:1>";empty=')
    assert address.tag == "x"
    assert address.has("LR")
    assert not address.has("q")
    assert address.parameter("q") is None
    assert address.parameter("lr") == ""
    assert address.parameter("+SIP.instance") == "<urn:uuid:1>"
    assert Address.parse("<sip:a@b>;tag").tag is None
    assert Address.parse("<sip:a@b>").tag is None


def test_address_with_parameter() -> None:
    address = Address(None, BOB)
    assert str(address.with_parameter("tag", "x")) == "<sip:bob@example.com>;tag=x"
    assert str(address.with_parameter("ob", None)) == "<sip:bob@example.com>;ob"
    instance = address.with_parameter("+sip.instance", "<urn:uuid:1>")
    assert str(instance) == '<sip:bob@example.com>;+sip.instance="<urn:uuid:1>"'
    assert instance.with_parameter("+sip.instance", '"<urn:uuid:1>"') == instance
    assert str(instance.with_parameter("a", '"')) == str(instance) + r';a="\""'


def test_address_is_written_safely() -> None:
    assert str(Address('"<sip:evil@h>', BOB)) == r'"\"<sip:evil@h>" <sip:bob@example.com>'
    with pytest.raises(ValueError, match="line break"):
        str(Address("a\r\nVia: x", BOB))


def test_lists_of_addresses() -> None:
    addresses = parse_addresses(['"a, b" <sip:a@b>;q=1,\r\n <sip:c,d@e>', "sip:f@g", ""])
    assert [str(address.uri) for address in addresses] == ["sip:a@b", "sip:c,d@e", "sip:f@g"]
    assert parse_addresses([]) == ()


@pytest.mark.parametrize("raw", [["<sip:a@b>"] * 129, [", ".join(["<sip:a@b>"] * 65)] * 2])
def test_long_lists_of_addresses_are_refused(raw: list[str]) -> None:
    with pytest.raises(ParseError, match="Too many"):
        parse_addresses(raw)


# ---------------------------------------------------------------------------------------------------------- Via


def test_via() -> None:
    via = Via.parse("SIP/2.0/udp 192.0.2.1:5061;branch=z9hG4bKx;rport=1;received=192.0.2.2;hidden")
    assert (via.transport, via.host, via.port, via.sent_by) == ("UDP", "192.0.2.1", 5061, "192.0.2.1:5061")
    assert (via.branch, via.rport, via.received) == ("z9hG4bKx", 1, "192.0.2.2")
    assert via.has("hidden")
    assert via.parameter("Branch") == "z9hG4bKx"
    assert via.with_parameter("rport", "7").rport == 7
    bare = Via.parse("SIP/2.0/TLS example.com")
    assert (bare.sent_by, bare.branch, bare.rport, bare.received) == ("example.com", None, None, None)
    assert not bare.has("rport")


@pytest.mark.parametrize("rport", [";rport", ";rport=", ";rport=x", ";rport=0", ";rport=65536"])
def test_rport_asked_for_or_wrong(rport: str) -> None:
    via = Via.parse(f"SIP/2.0/UDP h{rport}")
    assert via.has("rport")
    assert via.rport is None


@pytest.mark.parametrize(
    "text",
    [
        "SIP/2.0/UDP h:5060;branch=x",
        "SIP / 2.0 / UDP h:5060;branch=x",
        "SIP/2.0/UDP\th : 5060 ; branch = x",
        "sip/2.0/udp  h:5060 ;branch=x",
    ],
)
def test_white_space_in_via(text: str) -> None:
    assert Via.parse(text) == Via("UDP", "h", 5060, (("branch", "x"),))


@pytest.mark.parametrize(
    "text",
    [
        *("", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/3.0/UDP h", "SIP/2.0 h", "X/2.0/UDP h", "SIP/2.0/U,P h", "h"),
        *("SIP/2.0/UDP h;", "SIP/2.0/UDP h:x", "SIP/2.0/UDP h:65536", "SIP/2.0/UDP h, SIP/2.0/UDP i", "SIP/2.0/ h"),
        *("SIP/2.0/UDP [::1", "SIP/2.0/UDP h i", 'SIP/2.0/UDP h;a="b', "SIP/2.0/UDP ;branch=x"),
    ],
)
def test_vias_refused(text: str) -> None:
    with pytest.raises(ParseError):
        Via.parse(text)


# --------------------------------------------------------------------------------------------------- the others


def test_cseq() -> None:
    assert CSeq.parse("1 INVITE") == CSeq(1, "INVITE")
    assert CSeq.parse("0009   NEW-METHOD") == CSeq(9, "NEW-METHOD")
    assert CSeq.parse("2147483647 BYE").number == 2**31 - 1


@pytest.mark.parametrize(
    "text",
    ["", "1", "INVITE", "INVITE 1", "-1 INVITE", "2147483648 BYE", "9" * 6000 + " BYE", "1 A B", "1 A@", "\xb2 BYE"],
)
def test_cseqs_refused(text: str) -> None:
    with pytest.raises(ParseError):
        CSeq.parse(text)


def test_media_type() -> None:
    assert MediaType.parse("Application/SDP") == MediaType("application", "sdp")
    assert MediaType.parse("application / sdp").essence == "application/sdp"
    mixed = MediaType.parse('multipart/mixed; boundary="a b";x')
    assert mixed.parameters == (("boundary", '"a b"'), ("x", None))
    assert MediaType.parse("*/*").essence == "*/*"


@pytest.mark.parametrize("text", ["", "application", "/", "application/", "a/b/c", "a b/c", "a/b;", 'a/b;c="'])
def test_media_types_refused(text: str) -> None:
    with pytest.raises(ParseError):
        MediaType.parse(text)


def test_reason() -> None:
    text = 'SIP ;cause=200 ;text="Call completed elsewhere"'
    assert Reason.parse(text) == Reason("SIP", 200, "Call completed elsewhere")
    assert Reason.parse("Q.850;cause=16") == Reason("Q.850", 16)
    assert Reason.parse('Q.850;cause="16"').cause == 16
    assert Reason.parse("X;cause=y") == Reason("X")
    assert str(Reason("SIP", 200, 'say "x"')) == r'SIP;cause=200;text="say \"x\""'


@pytest.mark.parametrize("text", ["", ";cause=1", "a b;cause=1", 'SIP;text="x', "SIP;", 'SIP;text="a\rb"'])
def test_reasons_refused(text: str) -> None:
    with pytest.raises(ParseError):
        Reason.parse(text)


def test_challenge() -> None:
    value = AuthValue.parse(
        'Digest realm="a, \\"b\\"", nonce = "x=y,z" ,algorithm=SHA-256, qop="auth,auth-int", stale=true, opaque=""'
    )
    assert value.scheme == "Digest"
    assert value.parameters == {
        "realm": 'a, "b"',
        "nonce": "x=y,z",
        "algorithm": "SHA-256",
        "qop": "auth,auth-int",
        "stale": "true",
        "opaque": "",
    }
    assert value.get("NONCE") == "x=y,z"
    assert value.get("charset") is None
    assert 'qop="auth,auth-int"' in str(value)
    assert "stale=true" in str(value)


def test_credentials_quote_what_the_rfc_quotes() -> None:
    value = AuthValue(
        "Digest",
        {"username": "a", "qop": "auth", "nc": "00000001", "algorithm": "MD5", "response": "0" * 32, "uri": "sip:a@b"},
    )
    assert str(value) == (
        'Digest username="a", qop=auth, nc=00000001, algorithm=MD5, '
        'response="00000000000000000000000000000000", uri="sip:a@b"'
    )


@pytest.mark.parametrize("text", ["Basic dXNlcjpwYXNz", "Basic dXNlcg==", "Bearer a.b-c_d~e+f/", "Negotiate"])
def test_other_schemes(text: str) -> None:
    assert str(AuthValue.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            'Digest "a"',
            "Digest a=1, b",
            'Digest a="1',
            'Digest a="1"x',
            "Digest a=1, A=2",
            "Digest =1",
        ),
        *('Digest a=b"c"', "Di@gest a=b", "Digest a=1,,b=2", "Digest " + ", ".join(f"a{n}=1" for n in range(200))),
    ],
)
def test_credentials_refused(text: str) -> None:
    with pytest.raises(ParseError):
        AuthValue.parse(text)
