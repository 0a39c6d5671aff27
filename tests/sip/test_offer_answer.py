"""Whose turn it is, glare, and where the SDP stands."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.message import Request
from sip.offer_answer import (
    TURNS,
    OfferAnswerError,
    Step,
    Turn,
    advance,
    glare,
    glare_delay_s,
    session_description,
)


def test_an_offer_is_answered_before_the_next() -> None:
    turn = advance(Turn.STABLE, Step.WE_OFFER)
    assert turn is Turn.THEIRS
    with pytest.raises(OfferAnswerError, match="WE_OFFER while THEIRS"):
        advance(turn, Step.WE_OFFER)
    assert advance(turn, Step.THEY_ANSWER) is Turn.STABLE


def test_a_refused_offer_leaves_all_as_it_was() -> None:
    for turn in Turn:
        assert advance(turn, Step.REFUSED) is Turn.STABLE


@given(st.lists(st.sampled_from(Step), max_size=30))
def test_no_walk_through_the_table_leaves_an_offer_unanswered_behind_another(steps: list[Step]) -> None:
    turn = Turn.STABLE
    open_offers = 0
    for step in steps:
        if (turn, step) not in TURNS:
            with pytest.raises(OfferAnswerError):
                advance(turn, step)
            continue
        turn = advance(turn, step)
        if step in (Step.WE_OFFER, Step.THEY_OFFER):
            open_offers += 1
        else:
            open_offers = 0
        assert open_offers <= 1
        assert (open_offers == 1) is (turn is not Turn.STABLE)


def test_glare() -> None:
    for ours, theirs, turn in product((False, True), (False, True), Turn):
        expected = 500 if theirs else 491 if ours or turn is not Turn.STABLE else None
        assert glare(ours=ours, theirs=theirs, turn=turn) == expected


def test_the_two_sides_never_choose_the_same_delay() -> None:
    random = Random(1)
    owner = {glare_delay_s(True, random) for _ in range(4000)}
    other = {glare_delay_s(False, random) for _ in range(4000)}
    assert (min(owner), max(owner)) == (2.1, 4.0)
    assert (min(other), max(other)) == (0.0, 2.0)
    assert all(abs(delay * 100 - round(delay * 100)) < 1e-6 for delay in owner | other)


SDP = "v=0\r\ns=Bj\xf6rn\r\n"


def message(body: bytes, content_type: str | None, disposition: str | None = None) -> Request:
    headers = [("Content-Type", content_type)] if content_type is not None else []
    if disposition is not None:
        headers.append(("Content-Disposition", disposition))
    return Request("INVITE", "sip:x@y", headers, body)


@pytest.mark.parametrize(
    ("content_type", "disposition"),
    [
        ("application/sdp", None),
        ("Application/SDP;charset=utf-8", None),
        ("application/sdp", "session"),
        ("application/sdp", "Session ; handling=optional"),
        (None, None),
    ],
)
@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
def test_a_description_is_found(content_type: str | None, disposition: str | None, charset: str) -> None:
    assert session_description(message(SDP.encode(charset), content_type, disposition)) == SDP


@pytest.mark.parametrize(
    ("body", "content_type", "disposition"),
    [
        (b"", "application/sdp", None),
        (b"v=0\r\n", "text/plain", None),
        (b"v=0\r\n", "application/sdp-like", None),
        (b"v=0\r\n", "application/sdp", "early-session"),
        (b"Signal=1", None, None),
    ],
)
def test_other_bodies_are_none(body: bytes, content_type: str, disposition: str | None) -> None:
    assert session_description(message(body, content_type, disposition)) is None


def multipart(*parts: str, boundary: str = "b 1", preamble: str = "") -> bytes:
    inside = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return f"{preamble}{inside}--{boundary}--\r\n".encode()


SDP_PART = f"Content-Type: application/sdp\r\n\r\n{SDP}"
OTHER_PART = "Content-Type: application/isup;version=x\r\nContent-Disposition: signal\r\n\r\nISUP"


def test_multipart() -> None:
    kind = 'multipart/mixed; boundary="b 1"'
    assert session_description(message(multipart(OTHER_PART, SDP_PART), kind)) == SDP
    assert session_description(message(multipart(SDP_PART, preamble="to be ignored\r\n"), kind)) == SDP
    assert session_description(message(multipart(OTHER_PART), kind)) is None
    early = "Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n\r\nv=0\r\n"
    assert session_description(message(multipart(early), kind)) is None
    assert session_description(message(multipart(early, SDP_PART), kind)) == SDP
    assert session_description(message(multipart(SDP_PART), "multipart/mixed")) is None
    assert session_description(message(multipart(*[OTHER_PART] * 9, SDP_PART), kind)) is None


@given(
    st.binary(max_size=200),
    st.sampled_from(["multipart/mixed;boundary=b", "multipart/mixed; boundary", "application/sdp"]),
)
def test_no_body_breaks_it(body: bytes, content_type: str) -> None:
    found = session_description(message(b"--b\r\n" + body + b"\r\n--b", content_type))
    assert found is None or isinstance(found, str)
