"""The lexical rules shared by all headers (RFC 3261 §25.1): tokens, quoted strings, parameters, lists.

Text here is *wire text*: one character an octet (Latin-1), so that any bytes survive. `encode_text` and
`decode_text` cross between wire text and what people read. Every scanner is linear in its input.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from .errors import ParseError

__all__ = [
    "MAX_PARAMETERS",
    "MAX_VALUES",
    "PLAIN",
    "Parameters",
    "decode_text",
    "encode_text",
    "find_parameter",
    "format_parameters",
    "is_token",
    "parse_host_port",
    "parse_ipv6",
    "parse_number",
    "parse_parameters",
    "parse_plain_parameters",
    "quote",
    "quoted_end",
    "replace_parameter",
    "split_list",
    "unfold",
    "unquote",
]

_Parameter = tuple[str, str | None]
Parameters = tuple[_Parameter, ...]
"Name as written and value as written (quotes included), None for a flag, in the order of the wire."

MAX_PARAMETERS: Final = 128  # on one value; longreq of RFC 4475 has 3, an IMS contact about 20
MAX_VALUES: Final = 128  # in one list; RFC 4475 has 34 Vias, Max-Forwards stops honest ones at 70

SPACE: Final = " \t\r\n"

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+").fullmatch
_VALUE = re.compile(r'[^\x00-\x20"<>,;\\\x7f]*').fullmatch
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._\-]*[A-Za-z0-9_.])?").fullmatch
PLAIN: Final = r"[A-Za-z0-9\-.!%*_+`'~:;=/&$\[\]]"
"The characters of parameters that need no scanner: no quotes, no white space, nothing that ends a value."
_PLAIN_PARAMETERS = re.compile(f";{PLAIN}+").fullmatch
# Possessive, so that no text makes them try twice.
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_QUOTED_STRING = re.compile(_QUOTED, re.DOTALL).match
_ELEMENT = re.compile(rf'[^,"<]*+(?:(?:{_QUOTED}|<[^>]*+>)[^,"<]*+)*+', re.DOTALL).match
_PIECE = re.compile(rf'[^;"]*+(?:{_QUOTED}[^;"]*+)*+', re.DOTALL).match
_THIRD_COLON = re.compile(r":::(?=[0-9]{1,3}\.[0-9.]+$)")


def is_token(text: str) -> bool:
    """True for a `token`: at least one of its 78 characters and nothing else."""
    return _TOKEN(text) is not None


def encode_text(text: str) -> str:
    """People's text as wire text: its UTF-8 octets, one character each."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("latin-1")


def decode_text(wire: str) -> str:
    """Wire text as people's text: UTF-8 where the octets are UTF-8, else Latin-1. Never fails."""
    if wire.isascii():
        return wire
    try:
        return wire.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return wire


def unfold(raw: str) -> str:
    """A raw header value on one line: a fold (RFC 3261 §7.3.1) becomes a space, outer white space goes.

    ParseError for a CR or LF that is no part of a fold.
    """
    if "\n" in raw or "\r" in raw:
        first, *folded = raw.split("\r\n")
        if any(part and part[0] not in " \t" for part in folded):
            raise ParseError("Bare CR or LF")
        raw = " ".join([part for part in [part.strip(" \t") for part in (first, *folded)] if part])
        if "\n" in raw or "\r" in raw:
            raise ParseError("Bare CR or LF")
    return raw.strip(" \t")


def quote(text: str) -> str:
    """People's text as a `quoted-string` in wire text. ValueError for CR and LF: no quoting carries them."""
    if "\r" in text or "\n" in text:
        raise ValueError("a quoted string holds no line break")
    wire = encode_text(text)
    if '"' in wire or "\\" in wire or "\0" in wire:
        wire = wire.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\\\0")
    return f'"{wire}"'


def unquote(wire: str) -> str:
    """What a parameter value says, decoded: a quoted string without its quotes and escapes, or the text."""
    if wire[:1] != '"':
        return decode_text(wire)
    inside = wire[1:-1]
    if "\\" in inside:
        inside = "\\".join([piece.replace("\\", "") for piece in inside.split("\\\\")])
    return decode_text(inside)


def quoted_end(text: str, start: int) -> int:
    """The index just after the quoted string that opens at `start`. ParseError if it never closes."""
    found = _QUOTED_STRING(text, start)
    if found is None:
        raise ParseError("Unbalanced quotes")
    return found.end()


def split_list(text: str) -> list[str]:
    """The values of a comma-separated list, stripped; commas in quotes and in <> do not count.

    Empty elements are dropped. ParseError for unbalanced quotes or brackets, and for more than `MAX_VALUES`
    elements.
    """
    if "," not in text:
        text = text.strip(SPACE)
        return [text] if text else []
    if '"' not in text and "<" not in text:
        parts = text.split(",", MAX_VALUES)
    else:
        parts = _split_guarded(text)
    if len(parts) > MAX_VALUES:
        raise ParseError("Too many values in a header")
    return [part for part in [part.strip(SPACE) for part in parts] if part]


def _split_guarded(text: str) -> list[str]:
    parts: list[str] = []
    position = 0
    while len(parts) <= MAX_VALUES:
        element = _ELEMENT(text, position)
        assert element is not None  # it matches nothing at all, too
        parts.append(element[0])
        end = element.end()
        if end == len(text):
            break
        if text[end] != ",":
            raise ParseError("Unbalanced quotes" if text[end] == '"' else "Unbalanced angle brackets")
        position = end + 1
    return parts


def parse_parameters(text: str, *, limit: int = MAX_PARAMETERS) -> Parameters:
    """`;name=value;flag`, or nothing at all, as pairs of name and value as written.

    ParseError for an empty or ill-formed name, separators in an unquoted value, unbalanced quotes, and more
    than `limit` of them.
    """
    if _PLAIN_PARAMETERS(text):
        return parse_plain_parameters(text, limit=limit)
    text = text.strip(SPACE)
    if not text:
        return ()
    if text[0] != ";":
        raise ParseError("Malformed parameters")
    pieces = text[1:].split(";", limit) if '"' not in text else _split_parameters(text, limit)
    if len(pieces) > limit:
        raise ParseError("Too many parameters")
    return tuple([_parameter(piece) for piece in pieces])


def parse_plain_parameters(text: str, *, limit: int = MAX_PARAMETERS) -> Parameters:
    """`parse_parameters` for a text that is known to begin with ";" and to hold `PLAIN` characters alone."""
    pieces = text.split(";", limit + 1)
    if len(pieces) > limit + 1:
        raise ParseError("Too many parameters")
    found: list[_Parameter] = []
    for piece in pieces[1:]:
        name, equals, value = piece.partition("=")
        if not name:
            raise ParseError("Malformed parameter name")
        found.append((name, value if equals else None))
    return tuple(found)


def _parameter(piece: str) -> _Parameter:
    name, equals, value = piece.partition("=")
    if not _TOKEN(name):
        name = name.strip(SPACE)
        # RFC 3261 allows token characters alone; "[", "]", "/", ":", "&", "$" come from URI parameters.
        if not name or not _VALUE(name):
            raise ParseError("Malformed parameter name")
    if not equals:
        return name, None
    if not _VALUE(value) or not value:
        value = value.strip(SPACE)
        if value[:1] == '"':
            if quoted_end(value, 0) != len(value):
                raise ParseError("Malformed quoted parameter")
        elif not _VALUE(value):
            raise ParseError("Malformed parameter value")
    return name, value


def _split_parameters(text: str, limit: int) -> list[str]:
    pieces: list[str] = []
    position = 1
    while len(pieces) <= limit:
        piece = _PIECE(text, position)
        assert piece is not None  # it matches nothing at all, too
        pieces.append(piece[0])
        end = piece.end()
        if end == len(text):
            break
        if text[end] != ";":
            raise ParseError("Unbalanced quotes")
        position = end + 1
    return pieces


def format_parameters(parameters: Parameters) -> str:
    """The pairs as `;name=value;flag`."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in parameters])


def find_parameter(parameters: Parameters, name: str) -> str | None:
    """The first value under that name (lower case given), as written; "" for a flag, None if absent."""
    for key, value in parameters:
        if key == name or key.lower() == name:
            return value or ""
    return None


def replace_parameter(parameters: Parameters, name: str, value: str | None) -> Parameters:
    """The parameters with `name` set to `value` (None: a flag), in its old place or else at the end."""
    lower = name.lower()
    changed: list[_Parameter] = []
    done = False
    for pair in parameters:
        if pair[0].lower() != lower:
            changed.append(pair)
        elif not done:
            changed.append((pair[0], value))
            done = True
    if not done:
        changed.append((name, value))
    return tuple(changed)


def parse_number(text: str, largest: int) -> int | None:
    """A `1*DIGIT` as a number, `largest` if greater; None if it is no number."""
    if not (text.isdecimal() and text.isascii()):
        return None
    if len(text) > 18:
        text = text.lstrip("0") or "0"
        if len(text) > 18:
            return largest
    return min(int(text), largest)


def parse_host_port(text: str) -> tuple[str, int | None]:
    """`host[:port]`; an IPv6 reference keeps its brackets. ParseError if malformed or over port 65535."""
    if text[:1] == "[":
        end = text.find("]") + 1
        host, rest = text[:end], text[end:]
        if end == 0:
            raise ParseError("Unbalanced brackets")
        parse_ipv6(host[1:-1])
        if not rest:
            return host, None
        if rest[0] != ":":
            raise ParseError("Malformed host")
        port_text = rest[1:]
    else:
        host, colon, port_text = text.partition(":")
        if _HOST(host) is None:
            raise ParseError("Malformed host")
        if not colon:
            return host, None
    if not (port_text.isdecimal() and port_text.isascii() and len(port_text) < 10):
        raise ParseError("Malformed port")
    port = int(port_text)
    if port > 65535:
        raise ParseError("Malformed port")
    return host, port


def parse_ipv6(text: str) -> IPv6Address:
    """The address in an IPv6 reference, its brackets removed. ParseError if there is none, and for zones."""
    # RFC 5118 §4.10: RFC 3261 puts a third colon before an IPv4 part, and that must be tolerated.
    if ":::" in text and "." in text:
        text = _THIRD_COLON.sub("::", text)
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise ParseError("Malformed IPv6 reference") from None
    if address.scope_id is not None:
        raise ParseError("Malformed IPv6 reference")
    return address
