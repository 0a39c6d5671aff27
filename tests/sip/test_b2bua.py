"""What crosses from leg to leg."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.b2bua import (
    ANSWERED_ELSEWHERE,
    forwarded_hops,
    headers_to_cross,
    info_to_cross,
    loop_status,
    progress_to_cross,
    reason_header,
    reason_to_cross,
    reasons_of,
    status_of_reason,
    status_to_cross,
)
from sip.headers import Reason
from sip.message import REASON_PHRASES, Request, Response


@pytest.mark.parametrize(
    ("callee", "caller"),
    [
        (300, 480), (302, 480), (380, 480),
        (400, 500), (401, 500), (402, 500), (405, 500), (407, 500), (413, 500), (420, 500), (481, 500), (489, 500),
        (403, 403), (404, 404), (408, 408), (410, 410), (433, 433), (480, 480), (482, 482), (483, 483), (484, 484),
        (486, 486), (487, 487), (488, 488), (415, 488), (606, 488), (491, 480), (499, 500),
        (500, 500), (501, 500), (502, 502), (503, 500), (504, 504), (505, 500), (513, 500), (580, 500), (599, 500),
        (600, 600), (603, 603), (604, 604), (607, 607), (608, 608), (699, 603),
    ],
)  # fmt: skip
def test_status_to_cross(callee: int, caller: int) -> None:
    assert status_to_cross(callee) == caller


def test_whatever_crosses_has_a_phrase_and_asks_for_nothing_the_caller_cannot_give() -> None:
    for status in range(300, 700):
        crossed = status_to_cross(status)
        assert crossed in REASON_PHRASES
        assert crossed not in (401, 407, 503)
        assert crossed >= 400
        assert status_to_cross(crossed) == crossed
    with pytest.raises(ValueError, match="refusal"):
        status_to_cross(200)


def test_progress_to_cross() -> None:
    expected = {100: None, 180: 180, 181: 181, 182: 182, 183: 183, 199: None, 101: 183, 189: 183}
    assert {status: progress_to_cross(status) for status in expected} == expected


def test_reason_header() -> None:
    assert reason_header() is None
    assert reason_header(480, 'no "answer"') == 'SIP;cause=480;text="no \\"answer\\""'
    assert reason_header(q850=16, q850_text="Normal") == 'Q.850;cause=16;text="Normal"'
    assert reason_header(486, q850=17) == "SIP;cause=486, Q.850;cause=17"
    assert reasons_of(ANSWERED_ELSEWHERE) == (Reason("SIP", 200, "Call completed elsewhere"),)


def test_reasons_of_skips_what_is_malformed() -> None:
    assert reasons_of(None) == ()
    assert reasons_of('SIP;text="open') == ()
    assert reasons_of("Q.850;cause=16, ;;, SIP;cause=200") == (Reason("Q.850", 16), Reason("SIP", 200))


def test_reason_to_cross() -> None:
    assert reason_to_cross(None) is None
    assert reason_to_cross('Q.850 ;cause=16 ;text="a, b"') == 'Q.850;cause=16;text="a, b"'
    assert reason_to_cross("X.internal;cause=1;host=10.0.0.1, sip;cause=486;host=10.0.0.1") == "sip;cause=486"
    assert reason_to_cross('SIP;text="no cause"') is None
    long = reason_to_cross(f'SIP;cause=480;text="{"x" * 5000}"')
    assert long is not None
    assert len(long) < 160
    assert (reason_to_cross(", ".join(["SIP;cause=480"] * 20)) or "").count("SIP") == 4
    assert reason_to_cross('SIP;cause=480;text="a\tb\x01"') == 'SIP;cause=480;text="ab"'


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60))
def test_what_crosses_can_be_sent(raw: str) -> None:
    crossed = reason_to_cross(f'{raw}, SIP;cause=480;text="{raw}"')
    if crossed is not None:
        Request("BYE", "sip:x@y", [("Reason", crossed)])
        assert reason_to_cross(crossed) == crossed


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (None, None),
        ("SIP;cause=200", None),
        ("SIP;cause=486", 486),
        ("Q.850;cause=16", None),
        ("Q.850;cause=17", 486),
        ("Q.850;cause=1, SIP;cause=603", 603),
        ("Q.850;cause=1, Q.850;cause=17", 404),
        ("Q.850", None),
        ("nonsense", None),
    ],
)
def test_status_of_reason(raw: str | None, status: int | None) -> None:
    assert status_of_reason(raw) == status


HEADERS = [
    ("Subject", "hello"),
    ("Priority", "urgent"),
    ("Accept-Language", "fr"),
    ("User-to-User", "00;encoding=hex"),
    ("Call-ID", "secret"),
    ("User-Agent", "phone 1.2.3"),
    ("Alert-Info", "<http://10.0.0.1/>;info=alert-autoanswer"),
    ("Call-Info", "<sip:x>;answer-after=0"),
    ("Answer-Mode", "Auto"),
    ("P-Asserted-Identity", "<sip:boss@example.org>"),
    ("X-Internal", "10.0.0.1"),
    ("Retry-After", "30"),
    ("Warning", '399 pbx.internal "x"'),
]


def test_headers_to_cross() -> None:
    invite = Request("INVITE", "sip:x@y", HEADERS)
    assert [name for name, _ in headers_to_cross(invite, "INVITE")] == [
        "Subject",
        "Priority",
        "Accept-Language",
        "User-to-User",
    ]
    assert headers_to_cross(Request("BYE", "sip:x@y", HEADERS), "BYE") == [("User-to-User", "00;encoding=hex")]
    assert headers_to_cross(Request("INFO", "sip:x@y", HEADERS), "INFO") == []
    refusal = Response(486, "", HEADERS)
    assert headers_to_cross(refusal, "INVITE") == [("Retry-After", "30"), ("User-to-User", "00;encoding=hex")]


def test_info_to_cross() -> None:
    def info(body: bytes, kind: str | None) -> Request:
        return Request("INFO", "sip:x@y", [("Content-Type", kind)] if kind else [], body)

    assert info_to_cross(info(b"Signal=1", "Application/DTMF-Relay")) == ("application/dtmf-relay", b"Signal=1")
    assert info_to_cross(info(b"", None)) == ("", b"")
    assert info_to_cross(info(b"x", "text/plain")) is None
    assert info_to_cross(info(b"x", None)) is None


def request(hops: str | None, *vias: str) -> Request:
    lines = [("Via", f"SIP/2.0/UDP {via};branch=z9hG4bK1") for via in vias]
    if hops is not None:
        lines.append(("Max-Forwards", hops))
    return Request("INVITE", "sip:x@y", lines)


def test_hops() -> None:
    assert forwarded_hops(request(None, "a")) == 69
    assert forwarded_hops(request("70", "a")) == 69
    assert forwarded_hops(request("1", "a")) == 0
    assert forwarded_hops(request("0", "a")) == -1
    assert forwarded_hops(request("255", "a")) == 254


def test_loops() -> None:
    def status(hops: str, *vias: str) -> int | None:
        return loop_status(request(hops, *vias), lambda via: via.sent_by == "us:5060")

    assert status("70", "phone") is None
    assert status("0", "phone") == 483
    assert status("70", "proxy", "us:5060") is None
    assert status("70", "proxy", "us:5060", "proxy", "us:5060", "proxy", "us:5060") == 482
