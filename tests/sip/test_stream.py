from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ParseError
from sip.message import MAX_HEAD, Request, Response
from sip.stream import HALF_MESSAGE_S, MAX_BODY, KeepAlive, MessageStream, StreamEvent


def message(cseq: int = 1, body: bytes = b"", length: str | None = None, extra: str = "") -> bytes:
    head = [
        "OPTIONS sip:b@h SIP/2.0",
        "Via: SIP/2.0/TCP h;branch=z9hG4bKx",
        "From: <sip:a@h>;tag=f",
        "To: <sip:b@h>",
        "Call-ID: c@h",
        f"CSeq: {cseq} OPTIONS",
        f"Content-Length: {len(body) if length is None else length}{extra}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def feed(*chunks: bytes, now: float = 0.0) -> tuple[MessageStream, list[StreamEvent]]:
    stream = MessageStream()
    for chunk in chunks:
        stream.receive_data(chunk, now)
    return stream, stream.events()


def cseqs(events: list[StreamEvent]) -> list[int]:
    return [event.cseq.number for event in events if isinstance(event, Request | Response)]


def refusal(stream: MessageStream, events: list[StreamEvent]) -> ParseError:
    assert stream.failed
    assert isinstance(events[-1], ParseError)
    return events[-1]


def test_messages_in_one_piece() -> None:
    stream, events = feed(message(1) + message(2, b"body") + message(3))
    assert cseqs(events) == [1, 2, 3]
    assert isinstance(events[1], Request)
    assert events[1].body == b"body"
    assert stream.events() == []
    assert (stream.failed, stream.deadline) == (False, None)


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(0, 2**32))
def test_messages_in_any_pieces(cuts: list[int], seed: int) -> None:
    rng = random.Random(seed)
    data = b"".join(message(n, rng.randbytes(rng.randrange(80))) for n in range(5))
    stream = MessageStream()
    for cut in cuts:
        stream.receive_data(data[:cut], 0.0)
        data = data[cut:]
    stream.receive_data(data, 0.0)
    assert cseqs(stream.events()) == [0, 1, 2, 3, 4]
    assert stream.deadline is None


def test_a_broken_message_leaves_the_stream_usable() -> None:
    broken = message(2).replace(b"To: <sip:b@h>", b'To: "<sip:b@h>')
    stream, events = feed(message(1) + broken + message(3))
    assert cseqs(events) == [1, 3]
    assert isinstance(events[1], ParseError)
    assert events[1].request is not None
    assert not stream.failed


def test_compact_and_folded_content_length() -> None:
    data = message(1, b"xyz").replace(b"Content-Length: 3", b"l :\r\n  0003 ")
    _, events = feed(data + message(2))
    assert cseqs(events) == [1, 2]


@pytest.mark.parametrize("length", ["", "-1", "x", "3 4", "1e3", "0x10"])
def test_framing_is_lost_without_a_number(length: str) -> None:
    error = refusal(*feed(message(length=length) + message(2)))
    assert (error.status, error.request is None) == (400, False)


def test_framing_is_lost_without_content_length() -> None:
    data = message().replace(b"Content-Length", b"Content-Depth")
    assert refusal(*feed(data)).reason == "Missing content-length header"


def test_framing_is_lost_with_two_content_lengths() -> None:
    assert refusal(*feed(message(extra="\r\nl: 0"))).reason == "Repeated content-length header"


def test_what_is_no_sip_at_all() -> None:
    assert refusal(*feed(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")).request is None
    assert refusal(*feed(b"\n")).request is None
    assert refusal(*feed(b"\rX")).request is None


def test_nothing_is_taken_after_a_failure() -> None:
    stream, events = feed(b"\n", message(1))
    assert len(events) == 1
    stream.receive_data(message(2), 1.0)
    assert stream.events() == []
    assert stream.deadline is None


def test_limits() -> None:
    stream, events = feed(message().replace(b"Call-ID: c@h", b"Call-ID: " + b"c" * MAX_HEAD))
    assert refusal(stream, events).status == 513
    assert refusal(*feed(message(length=str(MAX_BODY + 1)))).status == 413
    assert refusal(*feed(message(length="9" * 5000))).status == 413
    _, events = feed(message(1, b"x" * MAX_BODY))
    assert cseqs(events) == [1]


def test_a_head_that_never_ends_is_refused_at_the_limit() -> None:
    stream = MessageStream()
    for _ in range(MAX_HEAD // 64 + 1):
        stream.receive_data(b"X: " + b"a" * 59 + b"\r\n", 0.0)
    error = refusal(stream, stream.events())
    assert error.status == 513


def test_half_a_message_has_a_deadline() -> None:
    stream = MessageStream()
    data = message(1, b"body")
    stream.receive_data(data[:20], 10.0)
    stream.receive_data(data[20:-1], 12.0)  # coming slowly buys no time
    assert stream.deadline == 10.0 + HALF_MESSAGE_S
    stream.handle_timeout(9.9 + HALF_MESSAGE_S)
    assert stream.events() == []
    stream.handle_timeout(10.0 + HALF_MESSAGE_S)
    error = refusal(stream, stream.events())
    assert (error.status, error.request is None) == (400, False)


def test_the_deadline_goes_with_the_message() -> None:
    stream = MessageStream()
    data = message(1)
    stream.receive_data(data[:20], 10.0)
    stream.receive_data(data[20:] + data[:1], 12.0)
    assert stream.deadline == 12.0 + HALF_MESSAGE_S
    stream.receive_data(data[1:], 13.0)
    stream.handle_timeout(1e9)
    assert cseqs(stream.events()) == [1, 1]


def test_ping_between_messages() -> None:
    _, events = feed(message(1) + b"\r\n\r\n" + message(2))
    assert [type(event) for event in events] == [Request, KeepAlive, Request]
    assert repr(events[1]) == "KeepAlive()"


def test_ping_in_two_pieces() -> None:
    for cut in (1, 2, 3):
        _, events = feed(b"\r\n\r\n"[:cut], b"\r\n\r\n"[cut:])
        assert [type(event) for event in events] == [KeepAlive]


def test_pongs_are_no_pings() -> None:
    stream = MessageStream()
    for n in range(5):
        stream.receive_data(b"\r\n", 30.0 * n)
    assert stream.events() == []
    _, events = feed(b"\r\n", message(1), b"\r\n")
    assert cseqs(events) == [1]
    assert len(events) == 1


def test_a_flood_of_pings_is_answered_once() -> None:
    _, events = feed(b"\r\n" * 30_000)
    assert len(events) == 1
