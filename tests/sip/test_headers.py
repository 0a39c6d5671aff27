from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ParseError
from sip.headers import Headers, line_value, nul_is_escaped
from sip.names import CANONICAL_NAMES, canonical_name
from tests.sip.strategies import TOKENS


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("Via", "via"),
        ("v", "via"),
        ("V", "via"),
        ("vIA \t", "via"),
        ("CALL-ID", "call-id"),
        ("i", "call-id"),
        ("call-Id", "call-id"),
        ("X-New", "x-new"),
        ("k", "supported"),
        ("y", "identity"),
    ],
)
def test_canonical_names(written: str, canonical: str) -> None:
    assert canonical_name(written) == canonical


def test_canonical_names_are_one_object() -> None:
    for spelling, name in CANONICAL_NAMES.items():
        assert CANONICAL_NAMES[name] is name
        assert canonical_name(spelling.upper()) is name


def make() -> Headers:
    return Headers([("Via", "a, b"), ("X-One", "1"), ("v", "c"), ("Subject", "hello")])


def test_lookup() -> None:
    headers = make()
    assert headers.get("VIA") == "a, b"
    assert headers.get("S") == "hello"
    assert headers.get("x-two") is None
    assert headers.get_all("v") == ["a, b", "c"]
    assert headers.get_all("x-two") == []
    assert headers.values("via") == ["a", "b", "c"]
    assert "via" in headers
    assert "x-ONE" in headers
    assert "x-two" not in headers
    assert 7 not in headers
    assert len(headers) == 4
    assert list(headers.items())[2] == ("v", "c")


def test_add_and_insert() -> None:
    headers = make()
    headers.add("To", "<sip:a@b>")
    headers.insert("Via", "top")
    headers.insert("Route", "<sip:r>", 1)
    assert [name for name, _ in headers.items()] == ["Via", "Route", "Via", "X-One", "v", "Subject", "To"]
    assert headers.get("via") == "top"


def test_set_and_remove() -> None:
    headers = make()
    headers.set("Via", "only")
    headers.set("New", "n")
    assert list(headers.items()) == [("Via", "only"), ("X-One", "1"), ("Subject", "hello"), ("New", "n")]
    headers.remove("s")
    headers.remove("absent")
    assert list(headers.items()) == [("Via", "only"), ("X-One", "1"), ("New", "n")]


def test_replace_first() -> None:
    headers = make()
    headers.replace_first("Via", "z")
    assert headers.get_all("via") == ["z", "c"]
    with pytest.raises(KeyError):
        headers.replace_first("absent", "z")


def test_copy_is_independent() -> None:
    headers = make()
    twin = headers.copy()
    assert twin == headers
    twin.add("A", "b")
    assert "A" not in headers
    assert twin != headers
    assert headers != "something else"
    assert "Subject" in repr(headers)


@pytest.mark.parametrize("value", ["a\r\nEvil: x", "a\n", "\r", "a\0b", '"a\0b"', '"\\\\\0"'])
def test_values_that_would_break_out(value: str) -> None:
    headers = make()
    for change in (headers.add, headers.insert, headers.set, headers.replace_first):
        with pytest.raises(ValueError, match="in the value of X-One"):
            change("X-One", value)
    assert headers == make()


@pytest.mark.parametrize("name", ["", "a b", "a:", "X\r\nY", "é"])
def test_names_that_would_break_out(name: str) -> None:
    with pytest.raises(ValueError, match="token"):
        make().add(name, "x")


def test_octets_of_values() -> None:
    headers = Headers([("A", "caf\xe9"), ("B", "5 €")])
    assert headers.raw_lines() == ["A: caf\xe9", "B: 5 \xe2\x82\xac"]


def test_lines_as_they_came() -> None:
    lines = ["Via  :  a", "s:", "New:one\r\n\ttwo"]
    headers = Headers.from_lines(["via", "subject", "new"], lines)
    assert headers.raw_lines() == lines
    assert list(headers.items()) == [("Via", "a"), ("s", ""), ("New", "one two")]
    assert headers.get("new") == "one two"
    assert line_value("X : \r\n y ") == "y"


def test_changes_drop_views() -> None:
    headers = make()
    changes: list[Callable[[], None]] = [
        lambda: headers.add("Via", "x"),
        lambda: headers.insert("v", "x"),
        lambda: headers.set("Via", "x"),
        lambda: headers.replace_first("Via", "x"),
        lambda: headers.remove("Via"),
    ]
    for change in changes:
        headers.views.update({"via": 1, "vias": 2, "to": 3})
        change()
        assert headers.views == {"to": 3}


def test_values_of_a_broken_list() -> None:
    with pytest.raises(ParseError):
        Headers([("Accept", 'a, "b')]).values("Accept")


@pytest.mark.parametrize(("text", "escaped"), [('"\\\0"', True), ("\0", False), ('"\0', False), ('"a" \0', False)])
def test_nul(text: str, escaped: bool) -> None:
    assert nul_is_escaped(text) is escaped


@given(st.lists(st.tuples(TOKENS, st.text(st.characters(min_codepoint=32, max_codepoint=126)))))
def test_items_make_the_same_headers(items: list[tuple[str, str]]) -> None:
    headers = Headers(items)
    assert Headers(list(headers.items())).raw_lines() == [f"{name}: {value.strip(' ')}" for name, value in items]
