"""Header values as frozen objects (RFC 3261 §20), and `Headers`, the lossless ordered collection of them.

Each value type has `parse(text)` and `str()`, and `parse(str(v)) == v`. `parse` raises `ParseError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .errors import ParseError
from .grammar import (
    MAX_PARAMETERS,
    MAX_VALUES,
    SPACE,
    Parameters,
    decode_text,
    find_parameter,
    format_parameters,
    is_token,
    parse_host_port,
    parse_number,
    parse_parameters,
    quote,
    quoted_end,
    replace_parameter,
    split_list,
    unfold,
    unquote,
)
from .uri import Uri

__all__ = [
    "Address",
    "AuthValue",
    "CSeq",
    "Headers",
    "MediaType",
    "Reason",
    "Via",
    "canonical_name",
    "parse_addresses",
]

MAX_CSEQ: Final = 2**31 - 1  # RFC 3261 §8.1.1.5

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
_SPELLINGS: Final = """
Via From To Call-ID CSeq Contact Max-Forwards Content-Length Content-Type Route Record-Route Allow Supported Require
Proxy-Require Unsupported User-Agent Server Expires Min-Expires Authorization Proxy-Authorization WWW-Authenticate
Proxy-Authenticate Authentication-Info Accept Accept-Encoding Accept-Language Alert-Info Allow-Events Call-Info
Content-Disposition Content-Encoding Content-Language Date Error-Info Event In-Reply-To MIME-Version Organization Path
P-Asserted-Identity P-Preferred-Identity Priority Privacy RAck RSeq Reason Refer-To Referred-By Remote-Party-ID Replaces
Reply-To Retry-After Session-Expires Min-SE Subject Subscription-State Timestamp Warning Service-Route Diversion
History-Info Identity Answer-Mode Priv-Answer-Mode
""".split()
_CANONICAL: Final[dict[str, str]] = {}
for _name in _SPELLINGS:
    _lower = _name.lower()
    _CANONICAL[_name] = _CANONICAL[_lower] = _CANONICAL[_name.upper()] = _lower
for _short, _full in _COMPACT.items():
    _CANONICAL[_short] = _CANONICAL[_short.upper()] = _CANONICAL[_full] if _full in _CANONICAL else _full


def canonical_name(name: str) -> str:
    """The name in lower case and in its long form (RFC 3261 §7.3.3): the key under which headers are compared."""
    known = _CANONICAL.get(name)
    if known is not None:
        return known
    name = name.strip(" \t").lower()
    return _CANONICAL.get(name, name)


# ---------------------------------------------------------------------------------------------------------------- values


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
        text = text.strip(SPACE)
        if text[:1] == '"':
            end = quoted_end(text, 0)
            display: str | None = unquote(text[:end])
            opening = text.find("<", end)
            if opening < 0 or text[end:opening].strip(SPACE):
                raise ParseError("Malformed display name")
        else:
            opening = text.find("<")
            if opening < 0:
                return _parse_bare(text)
            display = _parse_plain_display(text[:opening]) if opening else None
        closing = text.find(">", opening)
        if closing < 0:
            raise ParseError("Unbalanced angle brackets")
        uri = Uri.parse(text[opening + 1 : closing])
        tail = text[closing + 1 :]
        return Address(display, uri, parse_parameters(tail) if tail else ())

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
        """This address with the parameter set (None makes a flag); quoted if it is no token and not quoted yet."""
        return replace(self, parameters=replace_parameter(self.parameters, name, _parameter_text(value)))


def _parameter_text(value: str | None) -> str | None:
    if value is None or is_token(value):
        return value
    if value[:1] == '"' and len(value) > 1 and quoted_end(value, 0) == len(value):
        return value
    return quote(value)


def _parse_bare(text: str) -> Address:
    # RFC 3261 §20.10: without <> a semicolon starts header parameters, and neither "," nor "?" may stand in the URI.
    at = text.find(";")
    spec, tail = (text, "") if at < 0 else (text[:at].rstrip(SPACE), text[at:])
    if "?" in spec or "," in spec:
        raise ParseError("A URI with a comma or a question mark needs angle brackets")
    return Address(None, Uri.parse(spec), parse_parameters(tail) if tail else ())


def _parse_plain_display(text: str) -> str | None:
    text = text.strip(SPACE)
    if not text:
        return None
    # `*(token LWS)`; what could hide a second address or a quote is refused (RFC 4475 §3.1.2.15), the rest is harmless.
    if "," in text or '"' in text or ";" in text or ">" in text or "\0" in text:
        raise ParseError("Malformed display name")
    return decode_text(unfold(text))


def parse_addresses(raw_values: Iterable[str]) -> tuple[Address, ...]:
    """All addresses of a header's lines, comma lists taken apart. `Contact: *` is no address: see `Message`."""
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
        if text[:8] == "SIP/2.0/":
            rest = text[8:]
        else:
            pieces = text.split("/", 2)
            if len(pieces) != 3 or pieces[0].strip(SPACE).upper() != "SIP" or pieces[1].strip(SPACE) != "2.0":
                raise ParseError("Malformed Via")
            rest = pieces[2].strip(SPACE)
        transport, _, rest = rest.partition(" ")
        if not is_token(
            transport
        ):  # white space of another kind behind the transport, or before the first "/"
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
        """The number in `rport` (RFC 3581), None if absent, empty or no port; `has("rport")` tells if it was asked."""
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


@dataclass(frozen=True, slots=True)
class CSeq:
    """`CSeq` (RFC 3261 §20.16)."""

    number: int
    "0 to 2**31 - 1."
    method: str

    @staticmethod
    def parse(text: str) -> CSeq:
        """Read the value."""
        words = text.split()
        if len(words) != 2 or not is_token(words[1]):
            raise ParseError("Malformed CSeq")
        number = parse_number(words[0], MAX_CSEQ + 1)
        if number is None or number > MAX_CSEQ:
            raise ParseError("Malformed CSeq")
        return CSeq(number, words[1])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


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
        head, semicolon, tail = text.partition(";")
        type_, slash, subtype = head.partition("/")
        type_, subtype = type_.strip(SPACE).lower(), subtype.strip(SPACE).lower()
        if not slash or not is_token(type_) or not is_token(subtype):
            raise ParseError("Malformed Content-Type")
        return MediaType(type_, subtype, parse_parameters(semicolon + tail) if semicolon else ())

    def __str__(self) -> str:
        return f"{self.type}/{self.subtype}{format_parameters(self.parameters)}"

    @property
    def essence(self) -> str:
        """`type/subtype`, lower case, without parameters."""
        return f"{self.type}/{self.subtype}"


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
        head, semicolon, tail = text.partition(";")
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
        """Read exactly one value. A parameter that comes twice is a ParseError: it would be a matter of taste who you are."""
        scheme, _, rest = text.strip(SPACE).partition(" ")
        if not is_token(scheme):
            raise ParseError("Malformed authorization scheme")
        rest = rest.strip(SPACE)
        parameters: dict[str, str] = {}
        position = 0
        while position < len(rest):
            comma = rest.find(",", position)
            equals = rest.find("=", position, comma if comma >= 0 else len(rest))
            name = rest[position:equals].strip(SPACE) if equals >= 0 else ""
            if not is_token(name):
                if position == 0 and comma < 0 and '"' not in rest and " " not in rest:
                    return AuthValue(scheme, {"": rest})
                raise ParseError("Malformed authorization parameter")
            position, value = _auth_value(rest, equals + 1)
            if not parameters and not value.strip("="):
                return AuthValue(scheme, {"": rest})
            if name.lower() in parameters or len(parameters) >= MAX_PARAMETERS:
                raise ParseError("Repeated authorization parameter")
            parameters[name.lower()] = value
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


# --------------------------------------------------------------------------------------------------------------- headers


class Headers:
    """The header fields of a message: ordered, lossless, found by name whatever its case or form.

    A line that was parsed stays as it came, folds and all, until it is set or removed. `views` caches typed values by
    canonical name; changing a header drops its views.
    """

    __slots__ = ("lines", "names", "views")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.names: list[str] = []
        "Canonical name of each line. For `sip.message` alone."
        self.lines: list[str] = []
        "Each line as wire text without its final CRLF. For `sip.message` alone."
        self.views: dict[str, Any] = {}
        "Typed values. For `sip.message` alone."
        for name, value in items:
            self.add(name, value)

    @classmethod
    def from_lines(cls, names: list[str], lines: list[str]) -> Headers:
        """Take over lines as parsed, with their canonical names."""
        headers = cls.__new__(cls)
        headers.names = names
        headers.lines = lines
        headers.views = {}
        return headers

    def _changed(self, name: str) -> None:
        if self.views:
            self.views.pop(name, None)
            if name == "via":
                self.views.pop("vias", None)

    def add(self, name: str, value: str) -> None:
        """Append a line. ValueError if the name is no token or the value holds CR, LF or a bare NUL."""
        line = _make_line(name, value)
        key = canonical_name(name)
        self.names.append(key)
        self.lines.append(line)
        self._changed(key)

    def insert(self, name: str, value: str, index: int = 0) -> None:
        """Put a line before the line at `index` (0: on top). ValueError as for `add`."""
        line = _make_line(name, value)
        key = canonical_name(name)
        self.names.insert(index, key)
        self.lines.insert(index, line)
        self._changed(key)

    def get(self, name: str) -> str | None:
        """The first value under that name, unfolded and stripped; None if absent."""
        key = canonical_name(name)
        names = self.names
        if key not in names:
            return None
        return _value(self.lines[names.index(key)])

    def get_all(self, name: str) -> list[str]:
        """The values under that name, one a line."""
        key = canonical_name(name)
        names = self.names
        if key not in names:
            return []
        return [_value(line) for known, line in zip(names, self.lines, strict=True) if known == key]

    def values(self, name: str) -> list[str]:
        """The values under that name, comma lists taken apart. ParseError for unbalanced quotes or brackets."""
        return [value for line in self.get_all(name) for value in split_list(line)]

    def set(self, name: str, value: str) -> None:
        """Replace the first line of that name and remove its others; append if there is none. ValueError as for `add`."""
        line = _make_line(name, value)
        key = canonical_name(name)
        if key not in self.names:
            self.names.append(key)
            self.lines.append(line)
        else:
            first = self.names.index(key)
            self.lines[first] = line
            if self.names.count(key) > 1:
                self._keep(lambda index, known: known != key or index == first)
        self._changed(key)

    def replace_first(self, name: str, value: str) -> None:
        """Replace the first line of that name, leaving its others. KeyError if there is none."""
        key = canonical_name(name)
        if key not in self.names:
            raise KeyError(name)
        self.lines[self.names.index(key)] = _make_line(name, value)
        self._changed(key)

    def remove(self, name: str) -> None:
        """Remove all lines of that name, if any."""
        key = canonical_name(name)
        if key in self.names:
            self._keep(lambda _, known: known != key)
            self._changed(key)

    def _keep(self, wanted: Any) -> None:
        kept = [index for index, known in enumerate(self.names) if wanted(index, known)]
        self.names = [self.names[index] for index in kept]
        self.lines = [self.lines[index] for index in kept]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and canonical_name(name) in self.names

    def items(self) -> Iterator[tuple[str, str]]:
        """Each line's name as written and value, unfolded and stripped: fit for `add`."""
        for line in self.lines:
            name, _, value = line.partition(":")
            yield name.rstrip(" \t"), unfold(value)

    def raw_lines(self) -> list[str]:
        """Each line exactly as on the wire, folds included, without its final CRLF."""
        return list(self.lines)

    def copy(self) -> Headers:
        """An independent copy; lines and views are immutable and shared."""
        twin = Headers.from_lines(self.names.copy(), self.lines.copy())
        twin.views = self.views.copy()
        return twin

    def __len__(self) -> int:
        return len(self.lines)

    def __eq__(self, other: object) -> bool:
        """Equal if they would be sent as the same octets."""
        return self.lines == other.lines if isinstance(other, Headers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({list(self.items())!r})"


def _value(line: str) -> str:
    value = line[line.index(":") + 1 :]
    return unfold(value) if "\n" in value else value.strip(" \t")


def _make_line(name: str, value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError(f"line break in the value of {name}")
    if "\0" in value and not nul_is_escaped(value):
        raise ValueError(f"NUL in the value of {name}")
    if name not in _CANONICAL and not is_token(name):
        raise ValueError("a header name is a token")
    if not value.isascii() and max(value) > "\xff":
        value = value.encode("utf-8", "replace").decode("latin-1")
    return f"{name}: {value}"


def nul_is_escaped(text: str) -> bool:
    """True if every NUL stands in a quoted string behind a backslash: the one place RFC 3261 §25.1 allows it."""
    position = 0
    while (nul := text.find("\0", position)) >= 0:
        opening = text.find('"', position)
        if opening < 0 or opening > nul:
            return False
        try:
            end = quoted_end(text, opening)
        except ParseError:
            return False
        quoted = text[opening + 1 : end - 1]
        if quoted.replace("\\\\", "").count("\0") != quoted.replace("\\\\", "").count("\\\0"):
            return False
        position = end
    return True
