"""Forms of a session's id, and the ids that follow from it.

Inside, a session's id is a decimal number that rises with time. The dialects show it as it is, as `sess_…`, or as a
UUID (RFC 9562 version 8); each form can be read back, so that no table of ids is needed. The same kind of UUID names
the participants of a session and the channel of one that has no room of its own.
"""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID

MAX_ID = 2**63  # a session's id fits the database's signed integer
MAX_INDEX = 2**24  # participants of one session

_SHORT = "sess_"
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {char: value for value, char in enumerate(_DIGITS)}

_SESSION, _CHANNEL, _PEER = 1, 2, 3


def session_id_of(text: str) -> str | None:
    """The decimal id that `text` stands for, in whichever of its forms; None when it is none of them."""
    if text.isascii() and text.isdigit():
        return text if len(text) <= 19 and text[0] != "0" and int(text) < MAX_ID else None
    if text.startswith(_SHORT):
        return _read_short(text[len(_SHORT) :])
    read = _read_uuid(text, _SESSION)
    return None if read is None else read[0]


def short_of_session(session_id: str) -> str:
    """`sess_` and at most 13 characters."""
    number = int(session_id)
    text = ""
    while number:
        number, digit = divmod(number, 32)
        text = _DIGITS[digit] + text
    return _SHORT + text


def uuid_of_session(session_id: str) -> str:
    """The UUID of a session."""
    return _uuid(session_id, _SESSION, 0)


def uuid_of_channel(session_id: str) -> str:
    """The UUID of the channel that a session without a room of its own is the one sitting of."""
    return _uuid(session_id, _CHANNEL, 0)


def implicit_channel_of(text: str) -> str | None:
    """The session whose own channel `text` names; None when it names no such channel."""
    read = _read_uuid(text, _CHANNEL)
    return None if read is None else read[0]


def uuid_of_peer(session_id: str, index: int) -> str:
    """The UUID of the participant that came as number `index`, from 0, into a session."""
    return _uuid(session_id, _PEER, index)


def peer_of(text: str) -> tuple[str, int] | None:
    """Session and index of the participant that `text` names; None when it names none."""
    return _read_uuid(text, _PEER)


def user_number(tenant: str, user_id: str) -> int:
    """A number below 2**53 (exact in JavaScript), above 0, that is the same for the same user at all times."""
    digest = blake2b(f"{tenant}\0{user_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") & (2**53 - 1)) or 1


def _read_short(text: str) -> str | None:
    if not 1 <= len(text) <= 13 or text[0] == "0":
        return None
    number = 0
    for char in text:
        value = _VALUES.get(char)
        if value is None:
            return None
        number = number * 32 + value
    return str(number) if number < MAX_ID else None


def _uuid(session_id: str, kind: int, index: int) -> str:
    """48 + 12 bits of the id, then within the last 62: its low 4 bits, the kind (6), the index (24), a check (28)."""
    number = int(session_id)
    check = _check(number, kind, index)
    low = (number & 0xF) << 58 | kind << 52 | index << 28 | check
    value = (number >> 16) << 80 | 8 << 76 | ((number >> 4) & 0xFFF) << 64 | 0b10 << 62 | low
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _read_uuid(text: str, kind: int) -> tuple[str, int] | None:
    if len(text) != 36:
        return None
    try:
        value = UUID(text).int
    except ValueError:
        return None
    if (value >> 76) & 0xF != 8 or (value >> 62) & 0b11 != 0b10 or (value >> 52) & 0x3F != kind:
        return None
    number = (value >> 80) << 16 | ((value >> 64) & 0xFFF) << 4 | (value >> 58) & 0xF
    index = (value >> 28) & (MAX_INDEX - 1)
    if number >= MAX_ID or number == 0 or value & 0xFFFFFFF != _check(number, kind, index):
        return None
    return str(number), index


def _check(number: int, kind: int, index: int) -> int:
    digest = blake2b(b"%d %d %d" % (number, kind, index), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 4
