"""The INVITE of an outgoing leg: its headers by trunk policy and by request, with the reason of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import Request
    from .trunk import TrunkConfig
    from .uri import Uri


class AutoAnswer(Enum):
    """The header that asks a phone to answer by itself (conformance D5)."""

    ANSWER_MODE = "ANSWER_MODE"
    CALL_INFO = "CALL_INFO"
    ALERT_INFO_AUTO_ANSWER_DELAY0 = "ALERT_INFO_AUTO_ANSWER_DELAY0"
    ALERT_INFO_AUTO_ANSWER = "ALERT_INFO_AUTO_ANSWER"
    ALERT_INFO_INTERCOM = "ALERT_INFO_INTERCOM"

    def header(self, uri: str) -> tuple[str, str]:
        """The header's name and value; `uri` (ours) fills the absoluteURI that the grammar demands."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Rewrites:
    """User parts to put in place of those that policy makes (conformance D7)."""

    from_: str | None = None
    pai: str | None = None
    rpi: str | None = None


@dataclass(frozen=True, slots=True)
class CallIntent:
    """What is wanted of one outgoing leg. ValueError if a text holds control characters (G7)."""

    caller: str
    "User part, number, or sip/tel URI"
    callee: str
    caller_display_name: str | None = None
    rewrites: Rewrites | None = None
    rewrites_trunk: str | None = None
    "The only trunk through which `rewrites` apply"
    auto_answer: AutoAnswer | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()
    max_forwards: int = 70
    privacy: bool = False
    "The caller wants to stay anonymous"


@dataclass(frozen=True, slots=True)
class HeaderReason:
    """One header of an INVITE and what made it."""

    header: str
    value: str
    rule: str
    "A sentence for people"


@dataclass(frozen=True, slots=True)
class BuiltInvite:
    """An INVITE without Via, and why each header is as it is (empty if not asked for)."""

    request: Request
    reasons: tuple[HeaderReason, ...]


def build_invite(
    intent: CallIntent,
    *,
    trunk: TrunkConfig | None,
    target: Uri,
    domain: str,
    contact: str,
    call_id: str,
    from_tag: str,
    body: bytes = b"",
    cseq: int = 1,
    reasons: bool = False,
) -> BuiltInvite:
    """The INVITE of one leg. `target` is its Request-URI (of `trunk.request_uri`, or a binding's).

    `contact` is our Contact URI for this leg. With `reasons`, every header is explained.
    """
    raise NotImplementedError
