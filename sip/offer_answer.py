"""Offer and answer (RFC 3264, RFC 3261 sections 13 and 14): whose turn it is, glare, and where the SDP stands.

The descriptions themselves are text here: `media` knows what they say.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from .errors import ParseError, SipError
from .grammar import find_parameter, unquote
from .headers import MediaType

if TYPE_CHECKING:
    from .message import Message

__all__ = ["OfferAnswerError", "Step", "Turn", "advance", "glare", "glare_delay_s", "session_description"]

SDP: Final = "application/sdp"
MAX_PARTS: Final = 8
"Of a multipart body: SDP with ISUP and a few more; a body of delimiters alone stays cheap."


class OfferAnswerError(SipError):
    """An offer or an answer was to be sent out of turn (RFC 3264 section 4)."""


class Turn(IntEnum):
    """Whose turn it is in one dialog."""

    STABLE = 0
    "No offer is open: either side may make one."
    THEIRS = 1
    "Our offer is out; they answer."
    OURS = 2
    "Their offer came; we answer."


class Step(IntEnum):
    """What moves the turn."""

    WE_OFFER = 0
    THEY_OFFER = 1
    WE_ANSWER = 2
    THEY_ANSWER = 3
    REFUSED = 4
    "The request that carried the offer failed: all stays as last agreed (RFC 3261 section 14.1)."


# RFC 3264 section 4: no new offer before the open one is answered or refused. A pair that is absent is an error of
# ours (WE_...), or makes the message one without a description that counts (THEY_...).
TURNS: Final = {
    (Turn.STABLE, Step.WE_OFFER): Turn.THEIRS,
    (Turn.STABLE, Step.THEY_OFFER): Turn.OURS,
    (Turn.STABLE, Step.REFUSED): Turn.STABLE,
    (Turn.THEIRS, Step.THEY_ANSWER): Turn.STABLE,
    (Turn.THEIRS, Step.REFUSED): Turn.STABLE,
    (Turn.OURS, Step.WE_ANSWER): Turn.STABLE,
    (Turn.OURS, Step.REFUSED): Turn.STABLE,
}


def advance(turn: Turn, step: Step) -> Turn:
    """The turn after `step`. Raises OfferAnswerError when it is not its turn."""
    after = TURNS.get((turn, step))
    if after is None:
        raise OfferAnswerError(f"{step.name} while {turn.name}")
    return after


class Random(Protocol):
    """Where the delay after glare comes from; `random.Random` has it."""

    def randbytes(self, n: int, /) -> bytes:
        """`n` bytes."""


def glare(*, ours: bool, theirs: bool, turn: Turn) -> int | None:
    """The status that refuses a re-INVITE of the peer (RFC 3261 section 14.2), None to take it.

    `theirs`: an earlier INVITE of the peer has no final answer yet: 500. `ours`: an INVITE of ours is in progress,
    or `turn` is not STABLE (our offer in a 2xx waits for the answer in the ACK, RFC 5407 section 3.1.5): 491.
    """
    if theirs:
        return 500
    if ours or turn is not Turn.STABLE:
        return 491
    return None


def glare_delay_s(owner: bool, random: Random) -> float:
    """Seconds until a re-INVITE refused by 491 is tried again (RFC 3261 section 14.1), in steps of 10 ms.

    2.1 to 4 s for the `owner` of the Call-ID, 0 to 2 s for the other side.
    """
    number = int.from_bytes(random.randbytes(4), "big")
    return 2.1 + number % 191 / 100 if owner else number % 201 / 100


def session_description(message: Message) -> str | None:
    """The SDP of a message, also from within multipart/mixed (RFC 5621); None if it carries none for the session."""
    body = message.body
    if not body:
        return None
    views = message.headers.views
    if "sdp" not in views:  # no header has that name, so that nothing else is kept under it
        views["sdp"] = _description(message, body)
    found: str | None = views["sdp"]
    return found


def _description(message: Message, body: bytes) -> str | None:
    content_type = message.get("Content-Type")
    if content_type is None:  # RFC 3261 section 20.15 wants the header; a body that plainly is SDP is taken for it.
        return message.text if body.startswith(b"v=0") else None
    kind = content_type.partition(";")[0].strip().lower()
    if kind == SDP:
        disposition = message.get("Content-Disposition")
        return message.text if disposition is None or _is_session(disposition) else None
    if kind.startswith("multipart/"):
        return _from_multipart(body, content_type)
    return None


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _is_session(disposition: str) -> bool:
    return disposition.partition(";")[0].strip().lower() == "session"


def _from_multipart(body: bytes, content_type: str) -> str | None:
    try:
        boundary = find_parameter(MediaType.parse(content_type).parameters, "boundary")
    except ParseError:
        return None
    if not boundary:
        return None
    delimiter = b"\r\n--" + unquote(boundary).encode("utf-8")
    for part in (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)[1 : MAX_PARTS + 1]:
        head, _, content = part.partition(b"\r\n\r\n")
        fields = dict(_fields(head.decode("latin-1")))
        kind = fields.get("content-type", "text/plain").partition(";")[0].strip().lower()
        if kind == SDP and _is_session(fields.get("content-disposition", "session")):
            return _text(content)
    return None


def _fields(head: str) -> list[tuple[str, str]]:
    lines = [line.partition(":") for line in head.split("\r\n")]
    return [(name.strip().lower(), value.strip()) for name, colon, value in lines if colon]
