"""Digits in the bodies of INFO."""

from __future__ import annotations

import pytest

from signalling.info import body_of, digit_of

RELAY, PLAIN = "application/dtmf-relay", "application/dtmf"


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        (RELAY, b"Signal=5\r\nDuration=160\r\n", ("5", 160)),
        (RELAY, b"Signal= 5\nDuration= 160", ("5", 160)),
        (RELAY, b"Duration=100\r\nsignal=d", ("D", 100)),
        ("Application/DTMF-Relay; charset=utf-8", b"Signal=*", ("*", 160)),
        (RELAY, b"Signal=10\r\nDuration=9", ("*", 40)),
        (RELAY, b"Signal=11\r\nDuration=999999", ("#", 6000)),
        (PLAIN, b"7", ("7", 160)),
        (PLAIN, b" a\r\n", ("A", 160)),
        (PLAIN, b"11", ("#", 160)),
        (PLAIN, b"Signal=3\r\nDuration=80", ("3", 80)),
        (RELAY, b"7", None),
        (RELAY, b"Signal=hf", None),
        (RELAY, b"Signal=16", None),
        (RELAY, b"Signal=55", None),
        (RELAY, b"", None),
        (PLAIN, b"", None),
        (PLAIN, b"12345", None),
        (PLAIN, b"\xff", None),
        ("application/sdp", b"Signal=5", None),
        ("", b"5", None),
    ],
)
def test_what_an_info_says(kind: str, body: bytes, digit: tuple[str, int] | None) -> None:
    assert digit_of(kind, body) == digit


def test_what_we_say_is_understood() -> None:
    assert all(digit_of(RELAY, body_of(digit, 200)) == (digit, 200) for digit in "0123456789*#ABCD")
