"""Header names: long, compact and in any case (RFC 3261 §7.3.1, §7.3.3)."""

from __future__ import annotations

from typing import Final

__all__ = ["CANONICAL_NAMES", "canonical_name"]

_COMPACT: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"IANA's registry of compact forms, to the long name in lower case."

# fmt: off
_SPELLINGS: Final = (
    "Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Length", "Content-Type",
    "Route", "Record-Route", "Allow", "Supported", "Require", "Proxy-Require", "Unsupported",
    "User-Agent", "Server", "Expires", "Min-Expires", "Authorization", "Proxy-Authorization",
    "WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Accept", "Accept-Encoding",
    "Accept-Language", "Alert-Info", "Allow-Events", "Call-Info", "Content-Disposition",
    "Content-Encoding", "Content-Language", "Date", "Error-Info", "Event", "In-Reply-To", "MIME-Version",
    "Organization", "Path", "P-Asserted-Identity", "P-Preferred-Identity", "Priority", "Privacy", "RAck",
    "RSeq", "Reason", "Refer-To", "Referred-By", "Remote-Party-ID", "Replaces", "Reply-To", "Retry-After",
    "Session-Expires", "Min-SE", "Subject", "Subscription-State", "Timestamp", "Warning", "Service-Route",
    "Diversion", "History-Info", "Identity", "Answer-Mode", "Priv-Answer-Mode",
)
# fmt: on
"The names worth a place in the table, as they are usually written."


def _table() -> dict[str, str]:
    table: dict[str, str] = {}
    for spelling in _SPELLINGS:
        name = spelling.lower()
        table[spelling] = table[name] = table[spelling.upper()] = name
    for letter, name in _COMPACT.items():
        table[letter] = table[letter.upper()] = table.setdefault(name, name)
    return table


CANONICAL_NAMES: Final[dict[str, str]] = _table()
"Usual spellings to canonical names; one string object a name, so that comparing them is comparing pointers."


def canonical_name(name: str) -> str:
    """The name in lower case and in its long form: the key by which headers are compared."""
    known = CANONICAL_NAMES.get(name)
    if known is not None:
        return known
    name = name.strip(" \t").lower()
    return CANONICAL_NAMES.get(name, name)
