from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ParseError
from sip.uri import Uri, escape_user
from tests.sip.strategies import PEOPLES_TEXT, uris


def test_all_parts() -> None:
    uri = Uri.parse("sips:alice:secret@Example.com:5061;transport=tcp;lr?Subject=hi")
    assert uri == Uri(
        "sips", "alice", "secret", "Example.com", 5061, (("transport", "tcp"), ("lr", None)), "Subject=hi"
    )
    assert uri.parameter("TRANSPORT") == "tcp"
    assert uri.parameter("lr") == ""
    assert uri.has("lr")
    assert uri.parameter("ttl") is None
    assert str(uri.without_parameters()) == "sips:alice:secret@Example.com:5061"
    assert str(uri.with_parameter("lr", None)) == str(uri)
    assert uri.with_parameter("Transport", "udp").parameter("transport") == "udp"


@pytest.mark.parametrize(
    "text",
    [
        "sip:example.com",
        "sip:1001@192.0.2.1",
        "sip:a@[2001:db8::1]:5060;transport=udp",
        "sip:%61lice@h;x=%20",
        "sip:+33123456789;phone-context=example.com@h;user=phone",
        "sip:*31#@h",
        "sip:a:@h",
        "sip:sales/eu@h?a=b&c=d",
        "tel:+33-1-23;ext=4",
        "urn:service:sos",
        "soap.beep://192.0.2.103:3002",
        "mailto:a@b@c",
    ],
)
def test_round_trip(text: str) -> None:
    assert str(Uri.parse(text)) == text


@given(uris())
def test_round_trip_of_any(uri: Uri) -> None:
    assert Uri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        *("", "sip", "sip:", ":a@b", "sip:@h", "sip:a@", "sip:a@b@c", "sip:a b@c", "sip:a@b c", "1sip:a@b", "s ip:a@b"),
        *("sip:a%2@h", "sip:a%zz@h", "sip:a:%@h", "sip:a:b:c@h", 'sip:"a"@h', "sip:<a>@h", "sip:a@h>", "sip:a\0@h"),
        *("sip:a@h;", "sip:a@h;;lr", "sip:a@h;=x", "sip:a@h; lr", 'sip:a@h;a="b"', "sip:a@h:70000", "sip:a@h:"),
        *("sip:a@h\r\nVia: x", "tel:", "tel:1 2", "sip:a@[::1", "sip:a@2001:db8::1", "sip:a@h?a b", " sip:a@h"),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ParseError):
        Uri.parse(text)


def test_long_uris_are_read_too() -> None:
    text = f"sip:{'a' * 5000}@example.com"
    assert str(Uri.parse(text)) == text


def test_opaque_uris() -> None:
    assert Uri.parse("TEL:+33123;isub=1") == Uri("tel", opaque="+33123;isub=1")
    assert Uri.parse("tel:+33123;isub=1").number == "+33123"
    assert Uri.parse("tel:+33123").host == ""
    assert Uri.parse("tel:+33123").username == ""


def test_username_is_unescaped_once() -> None:
    assert Uri.parse("sip:a%2541@h").username == "a%41"
    assert Uri.parse("sip:caf%C3%A9@h").username == "café"
    assert Uri.parse("sip:caf%E9@h").username == "café"
    assert Uri.parse("sip:caf\xc3\xa9@h").username == "café"
    assert Uri.parse("sip:%00@h").username == "\0"
    assert Uri.parse("sip:h").username == ""
    assert Uri.parse("sip:%2B33@h").number == "+33"


@given(st.text(min_size=1) | PEOPLES_TEXT.filter(bool))
def test_any_text_can_be_a_user(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    uri = Uri("sip", escape_user(text), host="h")
    assert Uri.parse(str(uri)).username == text


def test_escape_user_keeps_numbers_readable() -> None:
    assert escape_user("+33123") == "+33123"
    assert escape_user("a;b@c d#") == "a%3Bb%40c%20d%23"


# RFC 3261 §19.1.4 and more of its kind.
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        ("sip:alice@atlanta.com?subject=x%20y&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=x%20y"),
        ("sip:a@[2001:DB8:0::1]", "sip:a@[2001:db8::1]"),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("tel:863-1234;phone-context=+1;a=b", "tel:8631234;A=b;phone-context=+1"),
        ("urn:service:sos", "urn:service:sos"),
    ],
)
def test_equivalent(one: str, two: str) -> None:
    assert Uri.parse(one).equivalent(Uri.parse(two))
    assert Uri.parse(two).equivalent(Uri.parse(one))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a@h", "sip:a:b@h"),
        ("sip:h", "sip:a@h"),
        ("sip:a%3Bb@h", "sip:a;b@h"),
        ("tel:+1", "tel:1"),
        ("urn:a", "urn:A"),
    ],
)
def test_not_equivalent(one: str, two: str) -> None:
    assert not Uri.parse(one).equivalent(Uri.parse(two))
    assert not Uri.parse(two).equivalent(Uri.parse(one))


@given(uris())
def test_every_uri_is_equivalent_to_itself(uri: Uri) -> None:
    assert uri.equivalent(Uri.parse(str(uri)))
