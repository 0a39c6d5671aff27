"""Telephone numbers as trunks want them (point 10); more in test_trunk.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.number import NumberPlan, number_of, user_part
from sip.uri import Uri, escape_user

GERMAN = NumberPlan("e164_plus", country_code="49", strip_prefix="9", add_prefix="0")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1001", "1001"),
        ("alice", "alice"),
        ("sip:1001@h;x=y", "1001"),
        ("SIPS:al%20ice@h", "al ice"),
        ("tel:+49-30-123;phone-context=x", "+4930123"),
        ("sipping", "sipping"),
        ("sip:h", ""),
        ("mailto:x@y", "mailto:x@y"),
    ],
)
def test_10_numbers_of_uris(text: str, number: str) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["sip:", "sip:a b", "tel:", "sip:a@b@c"])
def test_10_a_malformed_uri_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="URI"):
        number_of(text)


@pytest.mark.parametrize(
    ("dialled", "number", "steps"),
    [
        ("90301234567", "0+49301234567", ["prefix 9 stripped", "E.164 with +", "prefix 0 added"]),
        ("+49301234567", "0+49301234567", ["prefix 0 added"]),
        ("112", "0112", ["prefix 0 added"]),
    ],
)
def test_16_each_step_is_told(dialled: str, number: str, steps: list[str]) -> None:
    told: list[str] = []
    assert GERMAN.dialled(dialled, told) == number
    assert told == steps


@given(st.from_regex(r"(\+|00)?[1-9][0-9 ./()-]{6,20}", fullmatch=True))
def test_10_a_number_in_its_format_stays(number: str) -> None:
    plan = NumberPlan("e164_plus", country_code="49")
    once = plan.international(number)
    assert plan.international(once) == once


@given(st.text())
def test_10_user_parts_are_escaped_as_uris_want_them(text: str) -> None:
    assert user_part(text) == escape_user(text)
    if text:
        assert Uri.parse(f"sip:{user_part(text)}@h").user == user_part(text)
