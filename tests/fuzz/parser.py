"""What must hold for whatever octets reach the parser and the stream."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from sip.errors import ParseError
from sip.headers import Address, AuthValue, Reason, Via
from sip.message import Request, Response, parse_message, response_to
from sip.stream import KeepAlive, MessageStream

__all__ = ["Tally", "check_datagram", "check_stream"]


@dataclass
class Tally:
    """What became of the messages."""

    read: int = 0
    refused: int = 0
    events: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def check_datagram(data: bytes, tally: Tally) -> None:
    """Parse, look at everything, send again, parse again. AssertionError, or whatever was raised, on a surprise."""
    try:
        message = parse_message(data)
    except ParseError as caught:
        tally.refused += 1
        tally.reasons[caught.reason] = tally.reasons.get(caught.reason, 0) + 1
        _check_error(caught)
        return
    tally.read += 1
    _check_views(message)
    sent = message.to_bytes()
    again = parse_message(sent)
    assert again == message, "sent and read again, it is another message"
    assert again.to_bytes() == sent, "sending is not stable"
    if isinstance(message, Request):
        answer = response_to(message, 200, to_tag="fuzz")
        assert isinstance(parse_message(answer.to_bytes()), Response)


def _check_error(error: ParseError) -> None:
    assert error.status in (400, 413, 505, 513), f"status {error.status}"
    assert error.reason.isascii(), "the reason holds octets of the message"
    assert error.reason.isprintable(), "the reason holds octets of the message"
    if error.request is not None:
        answer = response_to(error.request, error.status, error.reason, to_tag="fuzz").to_bytes()
        assert answer.count(b"\r\n\r\n") == 1, "the answer can be split"


def _check_views(message: Request | Response) -> None:
    for address in (message.from_, message.to, *message.contacts, *message.routes, *message.record_routes):
        assert Address.parse(str(address)) == address
    assert message.vias[0] == message.via
    for via in message.vias:
        assert Via.parse(str(via)) == via
    assert message.cseq.number >= 0
    assert message.call_id
    assert message.max_forwards is None or 0 <= message.max_forwards <= 255
    assert message.expires is None or message.expires >= 0
    for view in ("content_type", "require", "supported", "allow", "text", "contact_star"):
        getattr(message, view)
    for name, type_ in (("authorization", AuthValue), ("reason", Reason), ("via", Via)):
        for value in message.headers.get_all(name):
            try:
                parsed = type_.parse(value)
            except ParseError:
                continue
            assert type_.parse(str(parsed)) == parsed


def check_stream(data: bytes, rng: random.Random, tally: Tally) -> None:
    """The octets in one piece and in pieces of any size make the same events."""
    whole, pieces = MessageStream(), MessageStream()
    whole.receive_data(data, 0.0)
    events = whole.events()
    found: list[object] = []
    at = 0
    while at < len(data):
        size = rng.choice((1, 2, 7, 60, 1400))
        pieces.receive_data(data[at : at + size], 0.0)
        found += pieces.events()
        at += size
    tally.events += len(events)
    ours = [repr(event) for event in events if not isinstance(event, KeepAlive)]
    assert ours == [repr(event) for event in found if not isinstance(event, KeepAlive)], "the cuts decide what is read"
    assert whole.failed == pieces.failed, "the cuts decide whether framing is lost"
    for event in events:
        if isinstance(event, ParseError):
            _check_error(event)
    whole.handle_timeout(1e9)
    assert whole.deadline is None, "a deadline outlives its time-out"
