"""Header values as frozen objects (RFC 3261 §20).

Each type has `parse(text)` and `str()`, and `parse(str(v)) == v`. `parse` takes a value in wire text and
raises `ParseError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from .errors import ParseError
from .grammar import (
    MAX_PARAMETERS,
    MAX_VALUES,
    PLAIN,
    SPACE,
    Parameters,
    decode_text,
    find_parameter,
    format_parameters,
    is_token,
    parse_host_port,
    parse_number,
    parse_parameters,
    parse_plain_parameters,
    quote,
    quoted_end,
    replace_parameter,
    split_list,
    unfold,
    unquote,
)
from .uri import Uri

__all__ = ["Address", "AuthValue", "CSeq", "MediaType", "Reason", "Via", "parse_addresses"]

MAX_CSEQ: Final = 2**31 - 1  # RFC 3261 §8.1.1.5

# The usual shapes, each read by one linear expression; whatever else the grammar allows goes to the scanners.
_PLAIN_ADDRESS = re.compile(r'(?:"([^"\\\x00-\x1f\x7f-\xff]*)"[ ]?)?<([^<>"\x00-\x20]+)>(;' + PLAIN + "+)?").fullmatch
_PLAIN_VIA = re.compile(
    r"SIP/2\.0/([A-Z]+) ([A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?(;" + PLAIN + "+)?"
).fullmatch
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*").fullmatch
_CACHED_LENGTH: Final = 256  # characters; longer texts are read each time, so that no cache passes 1 MB


@dataclass(frozen=True, slots=True)
class Address:
    """A `name-addr` or `addr-spec` with header parameters: From, To, Contact, Route, P-Asserted-Identity."""

    display: str | None
    "What a person reads, decoded; None if absent."
    uri: Uri
    parameters: Parameters = ()
    "Of the header, not of the URI; as written."

    @staticmethod
    def parse(text: str) -> Address:
        """Read exactly one address."""
        return _read_address_cached(text) if len(text) <= _CACHED_LENGTH else _read_address(text)

    def __str__(self) -> str:
        tail = format_parameters(self.parameters) if self.parameters else ""
        if self.display is None:
            return f"<{self.uri}>{tail}"
        return f"{quote(self.display)} <{self.uri}>{tail}"

    @property
    def tag(self) -> str | None:
        """The `tag` parameter, None if absent or empty."""
        for name, value in self.parameters:
            if name == "tag" or name.lower() == "tag":
                return value or None
        return None

    def parameter(self, name: str) -> str | None:
        """A header parameter with its quotes undone, "" for a flag, None if absent. Names ignore case."""
        value = find_parameter(self.parameters, name.lower())
        return unquote(value) if value else value

    def has(self, name: str) -> bool:
        """True if that header parameter is there, with or without a value."""
        return find_parameter(self.parameters, name.lower()) is not None

    def with_parameter(self, name: str, value: str | None) -> Address:
        """This address with the parameter set (None: a flag); a value that needs quotes gets them."""
        return replace(self, parameters=replace_parameter(self.parameters, name, _parameter_text(value)))


def _parameter_text(value: str | None) -> str | None:
    if value is None or is_token(value):
        return value
    if value[:1] == '"' and len(value) > 1 and quoted_end(value, 0) == len(value):
        return value
    return quote(value)


def _read_address(text: str) -> Address:
    plain = _PLAIN_ADDRESS(text)
    if plain is not None:
        display, uri, tail = plain.groups()
        return Address(display, Uri.parse(uri), parse_plain_parameters(tail) if tail else ())
    text = unfold(text)
    if text[:1] == '"':
        end = quoted_end(text, 0)
        display = unquote(text[:end])
        opening = text.find("<", end)
        if opening < 0 or text[end:opening].strip(SPACE):
            raise ParseError("Malformed display name")
    else:
        opening = text.find("<")
        if opening < 0:
            return _parse_bare(text)
        display = _plain_display(text[:opening])
    closing = text.find(">", opening)
    if closing < 0:
        raise ParseError("Unbalanced angle brackets")
    uri = Uri.parse(text[opening + 1 : closing])
    tail = text[closing + 1 :]
    return Address(display, uri, parse_parameters(tail) if tail else ())


# From, To and Contact come with the same text in every message of a dialog.
_read_address_cached = lru_cache(maxsize=1024)(_read_address)  # a call has four, for as long as it is set up


def _parse_bare(text: str) -> Address:
    # RFC 3261 §20.10: without <> a semicolon starts header parameters, and the URI holds neither "," nor "?".
    at = text.find(";")
    spec, tail = (text, "") if at < 0 else (text[:at].rstrip(SPACE), text[at:])
    if "?" in spec or "," in spec:
        raise ParseError("A URI with a comma or a question mark needs angle brackets")
    return Address(None, Uri.parse(spec), parse_parameters(tail) if tail else ())


def _plain_display(text: str) -> str | None:
    text = text.strip(SPACE)
    if not text:
        return None
    # `*(token LWS)`. What could hide another address or a quote is refused (RFC 4475 §3.1.2.15); phones send
    # more than tokens, and the rest does no harm.
    if "," in text or '"' in text or ";" in text or ">" in text or "\0" in text:
        raise ParseError("Malformed display name")
    return decode_text(text)


def parse_addresses(raw_values: Iterable[str]) -> tuple[Address, ...]:
    """All addresses of a header's lines, comma lists taken apart. ParseError for more than `MAX_VALUES`."""
    found: list[Address] = []
    for raw in raw_values:
        found.extend([Address.parse(value) for value in split_list(unfold(raw))])
        if len(found) > MAX_VALUES:
            raise ParseError("Too many values in a header")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Via:
    """One `Via` value (RFC 3261 §20.42)."""

    transport: str
    "Upper case: UDP, TCP, TLS, WS, WSS."
    host: str
    port: int | None = None
    parameters: Parameters = ()

    @staticmethod
    def parse(text: str) -> Via:
        """Read exactly one value."""
        plain = _PLAIN_VIA(text)
        if plain is not None:
            transport, host, port, tail = plain.groups()
            number = None if port is None else int(port)
            if number is None or number < 65536:
                return Via(transport, host, number, parse_plain_parameters(tail) if tail else ())
        return _parse_via(unfold(text))

    def __str__(self) -> str:
        return f"SIP/2.0/{self.transport} {self.sent_by}{format_parameters(self.parameters)}"

    @property
    def sent_by(self) -> str:
        """`host[:port]` as in the message."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def branch(self) -> str | None:
        """The `branch` parameter, None if absent or empty."""
        for name, value in self.parameters:
            if name == "branch" or name.lower() == "branch":
                return value or None
        return None

    @property
    def received(self) -> str | None:
        """The `received` address without brackets (RFC 5118 §4.5 meets both forms), None if absent."""
        value = find_parameter(self.parameters, "received")
        return value.strip("[]") or None if value else None

    @property
    def rport(self) -> int | None:
        """The port in `rport` (RFC 3581), None if absent, empty or wrong; `has("rport")` tells if it came."""
        value = find_parameter(self.parameters, "rport")
        number = parse_number(value, 65536) if value else None
        return number if number is not None and 0 < number < 65536 else None

    def parameter(self, name: str) -> str | None:
        """A parameter's value as written, "" for a flag, None if absent."""
        return find_parameter(self.parameters, name.lower())

    def has(self, name: str) -> bool:
        """True if that parameter is there, with or without a value."""
        return find_parameter(self.parameters, name.lower()) is not None

    def with_parameter(self, name: str, value: str | None) -> Via:
        """This value with the parameter set; None makes a flag."""
        return replace(self, parameters=replace_parameter(self.parameters, name, value))


def _parse_via(text: str) -> Via:
    if text[:8] == "SIP/2.0/":
        rest = text[8:]
    else:
        pieces = text.split("/", 2)
        if len(pieces) != 3 or pieces[0].strip(SPACE).upper() != "SIP" or pieces[1].strip(SPACE) != "2.0":
            raise ParseError("Malformed Via")
        rest = pieces[2].strip(SPACE)
    transport, _, rest = rest.partition(" ")
    if not is_token(transport):  # white space of another kind behind the transport, or before the first "/"
        words = f"{transport} {rest}".split(None, 1)
        if len(words) != 2 or not is_token(words[0]):
            raise ParseError("Malformed Via")
        transport, rest = words
    at = rest.find(";")
    sent_by, tail = (rest, "") if at < 0 else (rest[:at], rest[at:])
    if " " in sent_by or "\t" in sent_by:
        sent_by = ":".join([part.strip(SPACE) for part in sent_by.strip(SPACE).split(":")])
    host, port = parse_host_port(sent_by)
    parameters = parse_parameters(tail) if tail else ()
    return Via(transport.upper(), host, port, parameters)


@dataclass(frozen=True, slots=True)
class CSeq:
    """`CSeq` (RFC 3261 §20.16)."""

    number: int
    "0 to 2**31 - 1."
    method: str

    @staticmethod
    def parse(text: str) -> CSeq:
        """Read the value."""
        return _read_cseq_cached(text) if len(text) <= _CACHED_LENGTH else _read_cseq(text)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def _read_cseq(text: str) -> CSeq:
    words = text.split()
    if len(words) != 2 or not is_token(words[1]):
        raise ParseError("Malformed CSeq")
    number = parse_number(words[0], MAX_CSEQ + 1)
    if number is None or number > MAX_CSEQ:
        raise ParseError("Malformed CSeq")
    return CSeq(number, words[1])


# Nearly all calls begin at the same number, and each has two or three requests.
_read_cseq_cached = lru_cache(maxsize=512)(_read_cseq)


@dataclass(frozen=True, slots=True)
class MediaType:
    """`Content-Type`, or one range of `Accept` (RFC 3261 §20.15)."""

    type: str
    "Lower case."
    subtype: str
    "Lower case."
    parameters: Parameters = ()

    @staticmethod
    def parse(text: str) -> MediaType:
        """Read exactly one value."""
        return _read_media_type_cached(text) if len(text) <= _CACHED_LENGTH else _read_media_type(text)

    def __str__(self) -> str:
        return f"{self.type}/{self.subtype}{format_parameters(self.parameters)}"

    @property
    def essence(self) -> str:
        """`type/subtype`, lower case, without parameters."""
        return f"{self.type}/{self.subtype}"


def _read_media_type(text: str) -> MediaType:
    head, semicolon, tail = unfold(text).partition(";")
    type_, slash, subtype = head.partition("/")
    type_, subtype = type_.strip(SPACE).lower(), subtype.strip(SPACE).lower()
    if not slash or not is_token(type_) or not is_token(subtype):
        raise ParseError("Malformed Content-Type")
    return MediaType(type_, subtype, parse_parameters(semicolon + tail) if semicolon else ())


_read_media_type_cached = lru_cache(maxsize=64)(_read_media_type)


@dataclass(frozen=True, slots=True)
class Reason:
    """One value of `Reason` (RFC 3326)."""

    protocol: str
    "As written: SIP, Q.850, FreeSWITCH."
    cause: int | None = None
    text: str | None = None
    "Decoded."

    @staticmethod
    def parse(text: str) -> Reason:
        """Read exactly one value."""
        head, semicolon, tail = unfold(text).partition(";")
        protocol = head.strip(SPACE)
        if not is_token(protocol):
            raise ParseError("Malformed Reason")
        parameters = parse_parameters(semicolon + tail) if semicolon else ()
        cause = find_parameter(parameters, "cause")
        words = find_parameter(parameters, "text")
        number = parse_number(unquote(cause), 2**31 - 1) if cause else None
        return Reason(protocol, number, None if words is None else unquote(words))

    def __str__(self) -> str:
        cause = "" if self.cause is None else f";cause={self.cause}"
        words = "" if self.text is None else f";text={quote(self.text)}"
        return f"{self.protocol}{cause}{words}"


_NEVER_QUOTED: Final = frozenset({"algorithm", "nc", "stale", "userhash"})  # RFC 7616 §3.3, §3.4


@dataclass(frozen=True, slots=True)
class AuthValue:
    """A challenge or credentials (RFC 3261 §25.1 with RFC 7616): scheme and unquoted parameters.

    A scheme whose value is no parameter list (`Basic dXNlcg==`) keeps that text under the name "".
    """

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)
    "Lower-case name to value with its quotes undone, in the order of the wire."

    @staticmethod
    def parse(text: str) -> AuthValue:
        """Read exactly one value. ParseError too for a parameter that comes twice: who are you then?"""
        scheme, _, rest = unfold(text).partition(" ")
        if "\t" in scheme:  # LWS of another kind behind it
            scheme, _, rest = unfold(text).partition("\t")
        if scheme != "Digest" and not is_token(scheme):
            raise ParseError("Malformed authorization scheme")
        rest = rest.strip(SPACE)
        parameters = _usual_auth_parameters(rest)
        if parameters is None:
            parameters = {"": rest} if _TOKEN68(rest) else _auth_parameters(rest)
        return AuthValue(scheme, parameters)

    def __str__(self) -> str:
        if "" in self.parameters:
            return f"{self.scheme} {self.parameters['']}"
        pairs = [f"{name}={self._format(name, value)}" for name, value in self.parameters.items()]
        return f"{self.scheme} {', '.join(pairs)}" if pairs else self.scheme

    def _format(self, name: str, value: str) -> str:
        bare = name in _NEVER_QUOTED or (name == "qop" and "response" in self.parameters)
        return value if bare and is_token(value) else quote(value)

    def get(self, name: str) -> str | None:
        """A parameter's value with its quotes undone, None if absent."""
        return self.parameters.get(name.lower())


_USUAL_AUTH_NAMES: Final = frozenset(
    {
        *("username", "realm", "nonce", "uri", "response", "algorithm", "cnonce", "qop", "nc"),
        *("opaque", "stale", "domain"),
    }
)


def _usual_auth_parameters(text: str) -> dict[str, str] | None:
    """What `_auth_parameters` finds, at a third of its cost; None for all but the shape that most stacks write.

    That is: known names, "name=value" joined by comma and space, ASCII, neither escapes nor `", "` in quotes.
    """
    if "\\" in text or not text.isascii():
        return None
    parameters: dict[str, str] = {}
    for piece in text.split(", "):
        name, _, value = piece.partition("=")
        if name not in _USUAL_AUTH_NAMES or name in parameters:
            return None
        if value[:1] == '"':
            # A piece cut out of a quoted string has one quote, or a third.
            if value.count('"') != 2 or value[-1] != '"':
                return None
            value = value[1:-1]
        elif not value.isalnum() and not is_token(value):
            return None
        parameters[name] = value
    return parameters


def _auth_parameters(text: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    position = 0
    while position < len(text):
        comma = text.find(",", position)
        equals = text.find("=", position, comma if comma >= 0 else len(text))
        name = text[position:equals].strip(SPACE).lower() if equals >= 0 else ""
        if not is_token(name):
            raise ParseError("Malformed authorization parameter")
        position, value = _auth_value(text, equals + 1)
        if name in parameters or len(parameters) >= MAX_PARAMETERS:
            raise ParseError("Repeated authorization parameter")
        parameters[name] = value
    return parameters


def _auth_value(text: str, start: int) -> tuple[int, str]:
    """The value that starts at `start`, and the index behind the comma that ends it."""
    while start < len(text) and text[start] in SPACE:
        start += 1
    if start < len(text) and text[start] == '"':
        end = quoted_end(text, start)
        comma = text.find(",", end)
        stop = comma if comma >= 0 else len(text)
        if text[end:stop].strip(SPACE):
            raise ParseError("Malformed authorization parameter")
        return stop + 1, unquote(text[start:end])
    comma = text.find(",", start)
    stop = comma if comma >= 0 else len(text)
    value = text[start:stop].rstrip(SPACE)
    if '"' in value:
        raise ParseError("Unbalanced quotes")
    return stop + 1, decode_text(value)
