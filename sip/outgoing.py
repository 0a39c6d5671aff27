"""The INVITE of an outgoing leg: its headers by trunk policy and by request, with the reason of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from .caller_id import Identity, Rewrites, checked_host, identity_of, sip_uri
from .errors import ParseError
from .grammar import decode_text, encode_text, is_token
from .headers import CSeq, Headers, canonical_name
from .message import Request
from .number import number_of
from .text import refuse_controls
from .trunk import TrunkConfig
from .uri import Uri

__all__ = ["AutoAnswer", "BuiltInvite", "CallIntent", "HeaderReason", "Rewrites", "build_invite"]

HEAD_SIZE: Final = 700  # bytes of an INVITE's head with its Via, but for the name and what crosses
ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO"

_UNSAFE_IN_BRACKETS = re.compile(r"[<>\"\x00-\x20\x7f]").search
_KEYS: Final = {
    name: name.lower()
    for name in (
        *("Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Allow", "Content-Type"),
        *("P-Asserted-Identity", "Remote-Party-ID", "Privacy", "Answer-Mode", "Call-Info", "Alert-Info"),
    )
}
_OURS: Final = frozenset(
    {
        *("via", "route", "record-route", "from", "to", "call-id", "cseq", "contact", "max-forwards"),
        *("content-length", "content-type", "allow", "supported", "require", "proxy-require"),
        *("authorization", "proxy-authorization", "p-asserted-identity", "remote-party-id", "privacy"),
    }
)
"Headers that `extra_headers` may not hold: they carry identity, routing or what we can do."


class AutoAnswer(Enum):
    """The header that asks a phone to answer by itself (conformance D5)."""

    ANSWER_MODE = "ANSWER_MODE"
    CALL_INFO = "CALL_INFO"
    ALERT_INFO_AUTO_ANSWER_DELAY0 = "ALERT_INFO_AUTO_ANSWER_DELAY0"
    ALERT_INFO_AUTO_ANSWER = "ALERT_INFO_AUTO_ANSWER"
    ALERT_INFO_INTERCOM = "ALERT_INFO_INTERCOM"

    def header(self, uri: str) -> tuple[str, str]:
        """The header's name and value; `uri` (ours) stands where RFC 3261 §25.1 demands an absoluteURI."""
        name, before, after = _AUTO_ANSWER[self]
        return name, f"{before}{uri}{after}" if after else before


# RFC 5373 §3 for Answer-Mode; the others are habits of phones, matched by some as bare text: `answer-after=0`
# stays so. `Auto Answer` holds a space and must be a quoted-string to be legal.
_AUTO_ANSWER: Final = {
    AutoAnswer.ANSWER_MODE: ("Answer-Mode", "Auto", ""),
    AutoAnswer.CALL_INFO: ("Call-Info", "<", ">;answer-after=0"),
    AutoAnswer.ALERT_INFO_AUTO_ANSWER_DELAY0: ("Alert-Info", "<", ">;info=alert-autoanswer;delay=0"),
    AutoAnswer.ALERT_INFO_AUTO_ANSWER: ("Alert-Info", "<", '>;info="Auto Answer"'),
    AutoAnswer.ALERT_INFO_INTERCOM: ("Alert-Info", "<", ">;info=intercom"),
}


@dataclass(frozen=True, slots=True)
class CallIntent:
    """What is wanted of one outgoing leg. ValueError for control characters (G7) and malformed URIs."""

    caller: str
    "User part, number, or sip/tel URI; empty for a caller without a name"
    callee: str
    "Likewise, never empty"
    caller_display_name: str | None = None
    rewrites: Rewrites | None = None
    rewrites_trunk: str | None = None
    "The only trunk through which `rewrites` apply"
    auto_answer: AutoAnswer | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()
    "Names and values in wire text, as `Headers.get` gives them"
    max_forwards: int = 70
    privacy: bool = False
    "The caller wants to stay anonymous"

    def __post_init__(self) -> None:
        """Refuse whatever could break out of its header."""
        refuse_controls("caller", self.caller)
        refuse_controls("callee", self.callee)
        if self.caller_display_name:
            refuse_controls("caller_display_name", self.caller_display_name)
        if not number_of(self.callee):
            raise ValueError("callee: empty")
        number_of(self.caller)
        if not 0 < self.max_forwards <= 255:
            raise ValueError("max_forwards: 1 to 255")
        for name, value in self.extra_headers:
            if not is_token(name) or canonical_name(name) in _OURS:
                raise ValueError(f"extra header {name!r}: not a name that may be added")
            if not value.isascii() and max(value) > "\xff":
                raise ValueError(f"extra header {name}: not wire text")
            refuse_controls(name, decode_text(value).replace("\t", " "))

    @property
    def head_size(self) -> int:
        """About how many bytes the head of the INVITE will have: a large one goes by TCP (RFC 3261 §18.1.1)."""
        crossing = sum([len(name) + len(value) + 4 for name, value in self.extra_headers])
        # The name may stand in From, P-Asserted-Identity and Remote-Party-ID.
        return HEAD_SIZE + crossing + 3 * len((self.caller_display_name or "").encode())


class HeaderReason(NamedTuple):
    """One header of an INVITE and what made it. The first one of an INVITE is its "Request-URI"."""

    header: str
    value: str
    rule: str
    "A sentence for people"


@dataclass(frozen=True, slots=True)
class BuiltInvite:
    """An INVITE without Via, and why each header is as it is (empty if not asked for)."""

    request: Request
    reasons: tuple[HeaderReason, ...] = field(default=())


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

    `contact` is our Contact for this leg, as URI or as `<URI>`; it should not name the caller, who may want
    privacy. With `reasons`, every header is explained. ValueError for what could break out of its header.
    """
    why: dict[str, str] | None = {} if reasons else None
    through = trunk is not None and intent.rewrites is not None and intent.rewrites_trunk == trunk.name
    identity = identity_of(
        intent.caller,
        intent.caller_display_name,
        private=intent.privacy,
        rewrites=intent.rewrites if through else None,
        trunk=trunk,
        domain=domain,
        target=target,
        why=why,
    )
    if not is_token(from_tag) or _UNSAFE_IN_BRACKETS(call_id) or not call_id:
        raise ValueError("from_tag or call_id: not a token")
    fields = [
        ("Max-Forwards", str(intent.max_forwards)),
        ("From", f"{identity.from_};tag={from_tag}"),
        ("To", f"<{_to_uri(intent, trunk, target, domain)}>"),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} INVITE"),
        ("Contact", _in_brackets(contact)),
    ]
    _add_optional(fields, intent, identity, domain)
    fields.append(("Allow", ALLOW))
    if body:
        fields.append(("Content-Type", "application/sdp"))
    # Every text above was checked, so the lines need no second look.
    names = [_KEYS.get(name) or canonical_name(name) for name, _ in fields]
    headers = Headers.from_lines(names, [f"{name}: {value}" for name, value in fields])
    request = Request("INVITE", target, headers, body)
    if _UNSAFE_IN_BRACKETS(request.uri):
        raise ValueError("target: not a URI")
    headers.views["call-id"] = call_id
    headers.views["cseq"] = CSeq(cseq, "INVITE")
    if why is None:
        return BuiltInvite(request)
    return BuiltInvite(request, _explained(intent, trunk, request.uri, fields, why, through))


def _add_optional(fields: list[tuple[str, str]], intent: CallIntent, identity: Identity, domain: str) -> None:
    if identity.pai:
        fields.append(("P-Asserted-Identity", identity.pai))
    if identity.rpi:
        fields.append(("Remote-Party-ID", identity.rpi))
    if identity.privacy:
        fields.append(("Privacy", identity.privacy))
    if intent.auto_answer is not None:
        fields.append(intent.auto_answer.header(f"sip:{domain}"))
    fields.extend(intent.extra_headers)


def _in_brackets(contact: str) -> str:
    bare = contact[1:-1] if contact[:1] == "<" and contact[-1:] == ">" else contact
    if not bare or _UNSAFE_IN_BRACKETS(bare):
        raise ValueError("contact: not a URI")
    return f"<{bare}>"


def _to_uri(intent: CallIntent, trunk: TrunkConfig | None, target: Uri, domain: str) -> str:
    """Whom the call is for: the Request-URI at a trunk; the callee itself where that is a phone's contact."""
    if trunk is not None:
        return _plain(target)
    callee = intent.callee
    if callee[:5].lower().startswith(("sip:", "sips:")):
        try:
            return _plain(Uri.parse(encode_text(callee)))
        except ParseError as error:
            raise ValueError(f"callee: {error.reason}") from None
    return sip_uri(number_of(callee), checked_host(domain))


def _plain(uri: Uri) -> str:
    """The URI without password, parameters and headers, which have no place in a To (RFC 3261 §19.1.1)."""
    if uri.opaque:
        return str(uri)
    host = uri.host if uri.port is None else f"{uri.host}:{uri.port}"
    return f"{uri.scheme}:{host}" if uri.user is None else f"{uri.scheme}:{uri.user}@{host}"


_FIXED_RULES: Final = {
    "To": "the callee at our domain: the Request-URI is a contact of it",
    "Call-ID": "new for each leg, so that neither side sees the other's",
    "CSeq": "the first request of a new dialog",
    "Contact": "this server, where the requests of the dialog are to come",
    "Allow": "what this server takes within a dialog",
    "Content-Type": "the body is an SDP offer",
}


def _explained(
    intent: CallIntent,
    trunk: TrunkConfig | None,
    uri: str,
    fields: list[tuple[str, str]],
    why: dict[str, str],
    through: bool,
) -> tuple[HeaderReason, ...]:
    if trunk is None:
        where = "where the callee is reached: its contact, or its own address"
    else:
        steps: list[str] = []
        trunk.numbers.dialled(number_of(intent.callee), steps)
        made = "".join([f", {step}" for step in steps])
        where = f"callee of the request{made}, at a host of trunk {trunk.name}"
        why["To"] = "as the Request-URI, without parameters"
    if intent.max_forwards == 70:
        why["Max-Forwards"] = "the start value of RFC 3261 §8.1.1.6"
    else:
        why["Max-Forwards"] = "one hop less than on the leg that came in"
    if intent.rewrites is not None and not through:
        why["From"] += _ignored(intent.rewrites, intent.rewrites_trunk, trunk)
    if intent.auto_answer is not None:
        why[_AUTO_ANSWER[intent.auto_answer][0]] = f"additional_header {intent.auto_answer.value} of the request"
    found = [HeaderReason("Request-URI", uri, where)]
    for name, value in fields:
        rule = why.get(name) or _FIXED_RULES.get(name) or "carried over from the leg that came in"
        found.append(HeaderReason(name, value, rule))
    return tuple(found)


def _ignored(rewrites: Rewrites, named: str | None, trunk: TrunkConfig | None) -> str:
    """Why rewrites were not applied (conformance D7, D14); "" if none were asked for."""
    asked = [
        name
        for name, user in (
            ("rewrite_from", rewrites.from_),
            ("rewrite_pai", rewrites.pai),
            ("rewrite_rpi", rewrites.rpi),
        )
        if user is not None
    ]
    if not asked:
        return ""
    if named is None:
        reason = "the request names no trunk"
    elif trunk is None:
        reason = f"this leg does not go through trunk {named}"
    else:
        reason = f"this leg goes through trunk {trunk.name}, not {named}"
    return f"; {', '.join(asked)} ignored: {reason}"
