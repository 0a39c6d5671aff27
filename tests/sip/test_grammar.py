from __future__ import annotations

import pytest
from hypothesis import given

from sip.errors import ParseError
from sip.grammar import (
    MAX_PARAMETERS,
    MAX_VALUES,
    decode_text,
    encode_text,
    find_parameter,
    format_parameters,
    is_token,
    parse_host_port,
    parse_ipv6,
    parse_number,
    parse_parameters,
    quote,
    quoted_end,
    replace_parameter,
    split_list,
    unfold,
    unquote,
)
from tests.sip.strategies import PEOPLES_TEXT, WIRE_TEXT, parameters


@pytest.mark.parametrize("text", ["INVITE", "a", "-.!%*_+`'~", "z9hG4bK"])
def test_tokens(text: str) -> None:
    assert is_token(text)


@pytest.mark.parametrize("text", ["", "a b", "a:b", '"a"', "é", "a\n", "a@b", "<a>"])
def test_what_is_no_token(text: str) -> None:
    assert not is_token(text)


@given(PEOPLES_TEXT)
def test_peoples_text_crosses_the_wire(text: str) -> None:
    assert decode_text(encode_text(text)) == text
    assert unquote(quote(text)) == text
    assert quoted_end(quote(text), 0) == len(quote(text))


@given(WIRE_TEXT)
def test_any_octets_can_be_shown(wire: str) -> None:
    assert isinstance(decode_text(wire), str)


def test_latin_1_is_shown_as_such() -> None:
    assert decode_text("caf\xe9") == "café"
    assert decode_text("caf\xc3\xa9") == "café"
    assert decode_text("already €") == "already €"


def test_quote_escapes() -> None:
    assert quote('a "b" \\ c\0') == '"a \\"b\\" \\\\ c\\\0"'
    assert quote("é") == '"\xc3\xa9"'
    with pytest.raises(ValueError, match="line break"):
        quote("a\r\nVia: x")


def test_unquote_takes_what_has_no_quotes() -> None:
    assert unquote("plain") == "plain"
    assert unquote('""') == ""
    assert unquote(r'"\"\\\a"') == '"\\a'


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (" x ", "x"),
        ("\r\n x", "x"),
        ("a\r\n\tb", "a b"),
        ("a \r\n \r\n  b", "a b"),
        ("a  b", "a  b"),
        ("a\r\n ", "a"),
    ],
)
def test_unfold(raw: str, value: str) -> None:
    assert unfold(raw) == value


@pytest.mark.parametrize("raw", ["a\nb", "a\n b", "a\r b", "a\r\nb", "a\r\n\tb\n"])
def test_line_breaks_that_are_no_folds(raw: str) -> None:
    with pytest.raises(ParseError):
        unfold(raw)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        (" , ,, ", []),
        ("a", ["a"]),
        ("a, b ,c,", ["a", "b", "c"]),
        ('"a,b" <sip:c,d@e>, f', ['"a,b" <sip:c,d@e>', "f"]),
        (r'"x \" <sip:evil@h>, " <sip:good@h>', [r'"x \" <sip:evil@h>, " <sip:good@h>']),
        (r'"\\", b', [r'"\\"', "b"]),
    ],
)
def test_split_list(text: str, values: list[str]) -> None:
    assert split_list(text) == values


@pytest.mark.parametrize("text", ['a, "b', 'a, "b\\"', "a, <b", "," * (MAX_VALUES + 1), "<a>," * (MAX_VALUES + 1)])
def test_lists_refused(text: str) -> None:
    with pytest.raises(ParseError):
        split_list(text)


def test_longest_list() -> None:
    assert len(split_list(",".join("a" * MAX_VALUES))) == MAX_VALUES
    assert len(split_list(",".join(["<a>"] * MAX_VALUES))) == MAX_VALUES


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", ()),
        (";lr", (("lr", None),)),
        (";a=b;c", (("a", "b"), ("c", None))),
        (" ; a = b ;\tc", (("a", "b"), ("c", None))),
        (';a="x;y=\\"z"; b', (("a", '"x;y=\\"z"'), ("b", None))),
        (";a=", (("a", ""),)),
        (";a=b=c", (("a", "b=c"),)),
        (";received=[2001:db8::1]", (("received", "[2001:db8::1]"),)),
    ],
)
def test_parse_parameters(text: str, pairs: tuple[tuple[str, str | None], ...]) -> None:
    assert parse_parameters(text) == pairs


@pytest.mark.parametrize(
    "text",
    [
        *("x", ";", ";;", ";a;;b", ";=b", ';a="b', ';a="b"c', ";a=b c", ";a b", ";a=<b>", ";a=b,c", ";a\0", ';"a"=b'),
        *(";a" * (MAX_PARAMETERS + 1), ';a="b"' * (MAX_PARAMETERS + 1), "; a" * (MAX_PARAMETERS + 1)),
    ],
)
def test_parameters_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_parameters(text)


@given(parameters())
def test_parameters_round_trip(pairs: tuple[tuple[str, str | None], ...]) -> None:
    assert parse_parameters(format_parameters(pairs)) == pairs


def test_most_parameters() -> None:
    assert len(parse_parameters(";a" * MAX_PARAMETERS)) == MAX_PARAMETERS
    assert len(parse_parameters('; a="b"' * MAX_PARAMETERS)) == MAX_PARAMETERS


def test_find_and_replace_parameter() -> None:
    pairs = (("Tag", "x"), ("lr", None), ("tag", "y"))
    assert find_parameter(pairs, "tag") == "x"
    assert find_parameter(pairs, "lr") == ""
    assert find_parameter(pairs, "z") is None
    assert replace_parameter(pairs, "TAG", "z") == (("Tag", "z"), ("lr", None))
    assert replace_parameter(pairs, "new", None) == (*pairs, ("new", None))


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("0070", 70), ("255", 255), ("256", 255), ("9" * 10_000, 255), ("0" * 10_000 + "7", 7)],
)
def test_numbers(text: str, number: int) -> None:
    assert parse_number(text, 255) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1.0", "\xb2", "٣", "0x1", "1_0"])
def test_what_is_no_number(text: str) -> None:
    assert parse_number(text, 255) is None


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.com", "example.com", None),
        ("Example.COM.:5060", "Example.COM.", 5060),
        ("192.0.2.1:0", "192.0.2.1", 0),
        ("[2001:db8::1]", "[2001:db8::1]", None),
        ("[2001:db8::1]:65535", "[2001:db8::1]", 65535),
        ("under_score", "under_score", None),
        ("h", "h", None),
    ],
)
def test_host_and_port(text: str, host: str, port: int | None) -> None:
    assert parse_host_port(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":5060", "a:", "a:b", "a:65536", "a:" + "9" * 5000, "a b", "-a", "a-", "é.com", "a:\xb2", "2001:db8::1"),
        *(
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "[:::]",
            "[2001:db8:::1]",
            "a\0",
            "a\n",
        ),
    ],
)
def test_hosts_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_host_port(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("::1", "::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        (":::192.0.2.1", "::c000:201"),
        ("1:::192.0.2.1", "1::c000:201"),
    ],
)
def test_ipv6(text: str, address: str) -> None:
    assert str(parse_ipv6(text)) == address
