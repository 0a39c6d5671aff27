"""What we refuse or answer without asking the user (RFC 3261 sections 8.2 and 11.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ..grammar import find_parameter
from ..offer_answer import SDP, session_description

if TYPE_CHECKING:
    from ..message import Request

_KNOWN: Final = frozenset({"MESSAGE", "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE"})
"Methods that we know of but do not take inside a call: 405, where others get 501."
_STRAY: Final = frozenset({"NOTIFY", "PRACK"})
"Answers to what we never sent: a subscription, a reliable provisional response (RFC 6665, RFC 3262): 481."


class Refusal(NamedTuple):
    """A status to answer with, and the headers it asks for."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


def refusal(request: Request, *, supported: Sequence[str] = ()) -> Refusal | None:
    """Why an INVITE cannot be taken whoever it is for: 420, 415 or 400; None if nothing is wrong with it.

    `supported`: option tags that are understood beside those of RFC 3261 itself, which has none.
    """
    unknown = [tag for tag in request.require if tag.lower() not in supported]
    if unknown:
        return Refusal(420, (("Unsupported", ", ".join(unknown)),))
    if not request.contacts:
        return Refusal(400)  # Section 8.1.1.8: without it no dialog can be made.
    return _unreadable(request) if request.body else None


def _unreadable(request: Request) -> Refusal | None:
    """A body that we must understand and cannot (section 8.2.3)."""
    coding = request.get("Content-Encoding")
    if coding is not None and coding.lower() != "identity":
        return Refusal(415, (("Accept-Encoding", "identity"),))
    if session_description(request) is not None:
        return None
    disposition = request.get("Content-Disposition")
    if disposition is not None and _is_optional(disposition):
        return None
    return Refusal(415, (("Accept", SDP),))


def _is_optional(disposition: str) -> bool:
    # Section 20.11: handling is "required" where it is not said.
    _, semicolon, rest = disposition.partition(";")
    if not semicolon:
        return False
    pairs = tuple((part.partition("=")[0].strip(), part.partition("=")[2].strip()) for part in rest.split(";"))
    return (find_parameter(pairs, "handling") or "").lower() == "optional"


def options_headers(allow: str) -> tuple[tuple[str, str], ...]:
    """What a 200 to OPTIONS tells of us (section 11.2)."""
    return (("Allow", allow), ("Accept", SDP), ("Accept-Encoding", "identity"), ("Supported", ""))


def not_taken(method: str, allow: str) -> Refusal:
    """The answer to an in-dialog method that we do not take (sections 8.2.1 and 21.5.2)."""
    if method in _STRAY:
        return Refusal(481)
    return Refusal(405 if method in _KNOWN else 501, (("Allow", allow),))
