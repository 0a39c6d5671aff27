"""What crosses a back-to-back user agent from one leg to the other: statuses, Reasons, a few headers, the hop count.

Nothing crosses unless it is named here: Call-ID, tags, Via, Route, Record-Route, Contact, User-Agent, Server, Warning
and every header unknown to us stay on their own side, and with them the topology of the network behind.

Final statuses of the callee's leg, as the caller gets them:

    3xx                     480   we follow no redirection and show nobody's address
    400 402 405 406 407 401
    411-417 420-424 428-430
    436-439 469 470 481 485
    489 493 494 and unknown 500   our request was at fault, or our credentials: nothing that the caller can mend
    403 404 408 410 433 480
    482 483 484 486 487 603
    600 604 607 608         same  of the callee, the number or the way; the caller's agent knows what to make of it
    415 488 606             488   no common media: the caller may try another offer
    491                     480   no caller of ours caused a glare there
    502 504                 same
    503                     500   RFC 3261 21.5.4: what a 503 says of one server is not to be taken for all
    other 5xx               500
    other 6xx               603

Provisional ones: 180 to 183 cross as they are, 100 and 199 stay, others become 183.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from .errors import ParseError
from .grammar import split_list
from .headers import Reason
from .message import Response

if TYPE_CHECKING:
    from .headers import Via
    from .message import Message, Request

__all__ = [
    "ANSWERED_ELSEWHERE",
    "forwarded_hops",
    "headers_to_cross",
    "info_to_cross",
    "loop_status",
    "progress_to_cross",
    "reason_header",
    "reason_to_cross",
    "reasons_of",
    "status_of_reason",
    "status_to_cross",
]

ANSWERED_ELSEWHERE: Final = 'SIP;cause=200;text="Call completed elsewhere"'
"Reason of the CANCEL to those who did not answer first (RFC 3326 section 3.1): phones then show no missed call."

MAX_FORWARDS: Final = 70
"Of a request that says nothing (RFC 3261 section 8.1.1.6)."
MAX_OWN_HOPS: Final = 3
"Times that one request may come through here: a transferred number or two, not a circle."
MAX_REASONS: Final = 4
"Reason values that cross: one a protocol (RFC 3326 section 2), SIP and Q.850 in practice."
MAX_REASON_TEXT: Final = 128
"Characters of a Reason's text that cross."

_SAME: Final = frozenset(
    (403, 404, 408, 410, 433, 480, 482, 483, 484, 486, 487, 488, 502, 504, 600, 603, 604, 607, 608)
)
_OTHER: Final = {415: 488, 491: 480, 606: 488}

# RFC 3398 section 7.2.4.1, for a leg that ends with a Q.850 cause alone.
_STATUS_OF_Q850: Final = {
    1: 404, 2: 404, 3: 404, 17: 486, 18: 408, 19: 480, 20: 480, 21: 403, 22: 410, 23: 410, 26: 404, 27: 502, 28: 484,
    29: 501, 31: 480, 34: 503, 38: 503, 41: 503, 42: 503, 47: 503, 55: 403, 57: 403, 58: 503, 65: 488, 70: 488,
    79: 501, 87: 403, 88: 503, 102: 504, 111: 500, 127: 500,
}  # fmt: skip

_INVITE_HEADERS: Final = ("Subject", "Priority", "Accept-Language", "User-to-User")
_RESPONSE_HEADERS: Final = ("Retry-After", "User-to-User")
_BYE_HEADERS: Final = ("User-to-User",)
_BY_METHOD: Final = {"INVITE": _INVITE_HEADERS, "BYE": _BYE_HEADERS}

INFO_TYPES: Final = frozenset(
    ("application/dtmf-relay", "application/dtmf", "application/media_control+xml", "application/broadsoft")
)
"Bodies of INFO that cross: key presses and requests for a video frame. Others get 415."


def status_to_cross(status: int) -> int:
    """The final status for the other leg; see the table above. ValueError below 300."""
    if status < 300:
        raise ValueError("only a refusal is mapped")
    if status in _SAME:
        return status
    if status < 400:
        return 480
    mapped = _OTHER.get(status)
    if mapped is not None:
        return mapped
    return 603 if status >= 600 else 500


def progress_to_cross(status: int) -> int | None:
    """The provisional status for the other leg, None for one that does not cross."""
    if 180 <= status <= 183:
        return status
    return None if status == 100 or status == 199 else 183


def reason_header(
    status: int | None = None, text: str | None = None, *, q850: int | None = None, q850_text: str | None = None
) -> str | None:
    """The value of a Reason header (RFC 3326) from a SIP status, a Q.850 cause, or both; None from neither."""
    values = []
    if status is not None:
        values.append(str(Reason("SIP", status, text)))
    if q850 is not None:
        values.append(str(Reason("Q.850", q850, q850_text)))
    return ", ".join(values) or None


def reasons_of(raw: str | None) -> tuple[Reason, ...]:
    """The values of a raw Reason header; what is malformed is left out: it is a remark, not a command."""
    if raw is None:
        return ()
    try:
        values = split_list(raw)
    except ParseError:
        return ()
    return tuple(reason for reason in map(_reason, values) if reason is not None)


def _reason(value: str) -> Reason | None:
    try:
        return Reason.parse(value)
    except ParseError:
        return None


def _plain(text: str | None) -> str | None:
    if text is None:
        return None
    return "".join(character for character in text if character.isprintable())[:MAX_REASON_TEXT]


def reason_to_cross(raw: str | None) -> str | None:
    """A peer's Reason as the other leg gets it: SIP and Q.850, cause and a text of bounded length; None for none."""
    kept = [
        Reason(reason.protocol, reason.cause, _plain(reason.text))
        for reason in reasons_of(raw)
        if reason.cause is not None and reason.protocol.upper() in ("SIP", "Q.850")
    ]
    return ", ".join(str(reason) for reason in kept[:MAX_REASONS]) or None


def status_of_reason(raw: str | None) -> int | None:
    """The SIP status that a Reason names, or that its Q.850 cause stands for; None if it says nothing (or 200, 16)."""
    q850 = None
    for reason in reasons_of(raw):
        protocol = reason.protocol.upper()
        if protocol == "SIP" and reason.cause is not None and 300 <= reason.cause <= 699:
            return reason.cause
        if protocol == "Q.850" and q850 is None and reason.cause is not None:
            q850 = _STATUS_OF_Q850.get(reason.cause)
    return q850


def headers_to_cross(message: Message, method: str) -> list[tuple[str, str]]:
    """The headers of a request, or of a response to one, of `method` that the other leg gets too.

    Alert-Info, Call-Info and Answer-Mode are not among them: they can make a phone answer by itself, which is for our
    own API to ask and not for any caller.
    """
    names: Iterable[str]
    names = _RESPONSE_HEADERS if isinstance(message, Response) else _BY_METHOD.get(method, ())
    headers = message.headers
    return [(name, value) for name in names if name in headers for value in headers.get_all(name)]


def info_to_cross(request: Request) -> tuple[str, bytes] | None:
    """Content-Type and body of an INFO for the other leg; None if it must not cross (answer 415).

    An INFO without a body crosses as ("", b"").
    """
    if not request.body:
        return ("", b"")
    kind = request.content_type
    if kind is None or kind.essence not in INFO_TYPES:
        return None
    return (str(kind), request.body)


def forwarded_hops(request: Request) -> int:
    """Max-Forwards of the other leg's request: one less (RFC 7332 section 4); below 0 where it must not be sent."""
    hops = request.max_forwards
    return (MAX_FORWARDS if hops is None else min(hops, 255)) - 1


def loop_status(request: Request, is_ours: Callable[[Via], bool]) -> int | None:
    """Why a request must not be sent on: 483 (hops used up), 482 (it came through here too often), None to go on.

    `is_ours` tells by its sent-by whether a Via is one of this server. A circle through another back-to-back agent
    shows no Via of ours: there the hop count ends it (RFC 7332).
    """
    if forwarded_hops(request) < 0:
        return 483
    if request.headers.count("Via") == 1 and "," not in (request.get("Via") or ""):
        return None
    own = sum(1 for via in request.vias if is_ours(via))
    return 482 if own >= MAX_OWN_HOPS else None
