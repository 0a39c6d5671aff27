"""Session descriptions (RFC 8866): a lossless model with typed views.

`parse` keeps every line as it came, `str` writes them back (ending each by CRLF), and `parse(str(d)) == d`.
What is not understood is kept and not judged; what frames the rest (v=, o=, c=, m=) must be well formed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .errors import SdpError

MAX_SDP = 64 * 1024  # characters; the largest SIP message we take
MAX_MEDIA = 64  # m= lines; browsers in large meetings send about 50, and each costs an answer line
MAX_LINES = 4096  # lines in all; an offer with every codec known has fewer than 300
MAX_FORMATS = 256  # of one m= line; RTP has 128 payload types

DIRECTIONS = ("inactive", "sendonly", "recvonly", "sendrecv")
"Direction attributes (RFC 8866 §6.7); the index has bit 0 set for sending and bit 1 for receiving."

SEND, RECEIVE = 1, 2


@dataclass(frozen=True, slots=True)
class Origin:
    """`o=` (RFC 8866 §5.2)."""

    username: str
    session_id: int
    version: int
    net_type: str
    address_type: str
    address: str

    @classmethod
    def parse(cls, value: str) -> Origin:
        """Parse the text after `o=`. Raises SdpError."""
        parts = _origin_fields(value)
        return cls(parts[0], int(parts[1]), int(parts[2]), parts[3], parts[4], parts[5])

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} {self.net_type} {self.address_type} {self.address}"


@dataclass(frozen=True, slots=True)
class Connection:
    """`c=` (RFC 8866 §5.7)."""

    net_type: str
    address_type: str
    address: str
    "As written; a multicast address may carry `/ttl` and `/count`."

    @classmethod
    def parse(cls, value: str) -> Connection:
        """Parse the text after `c=`. Raises SdpError."""
        parts = value.split()
        if len(parts) != 3:
            raise SdpError("c= needs three fields")
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.net_type} {self.address_type} {self.address}"

    @property
    def host(self) -> str:
        """The address without ttl and count."""
        return self.address.partition("/")[0]


@dataclass(frozen=True, slots=True)
class RtpMap:
    """`a=rtpmap` (RFC 8866 §6.6)."""

    payload_type: int
    encoding: str
    clock_hz: int
    channels: int = 1

    @classmethod
    def parse(cls, value: str) -> RtpMap:
        """Parse the text after `a=rtpmap:`. Raises SdpError."""
        number, _, rest = value.partition(" ")
        parts = rest.strip().split("/")
        if len(parts) not in (2, 3) or not parts[0]:
            raise SdpError("malformed a=rtpmap")
        channels = _number(parts[2], "a=rtpmap") if len(parts) == 3 else 1
        return cls(_payload_type(number), parts[0], _number(parts[1], "a=rtpmap"), channels)

    def __str__(self) -> str:
        tail = f"/{self.channels}" if self.channels != 1 else ""
        return f"{self.payload_type} {self.encoding}/{self.clock_hz}{tail}"


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One `m=` line and the lines after it."""

    lines: tuple[str, ...]
    kind: str = field(compare=False)
    "audio, video, application, image, ..."
    port: int = field(compare=False)
    port_count: int = field(compare=False)
    "1 unless written as port/count."
    protocol: str = field(compare=False)
    formats: tuple[str, ...] = field(compare=False)
    "Payload types as written, or whatever the protocol has in their place."
    attributes: Mapping[str, Sequence[str]] = field(compare=False)
    "Values of each `a=` by name, in order; an empty text for a flag."

    @property
    def connection(self) -> Connection | None:
        """The `c=` of this section alone."""
        return _connection(self.lines)

    @property
    def rtpmaps(self) -> dict[int, RtpMap]:
        """`a=rtpmap` by payload type. Raises SdpError."""
        return parse_rtpmaps(self.attributes.get("rtpmap", ()))

    @property
    def fmtps(self) -> dict[int, str]:
        """`a=fmtp` by payload type, the parameters as written. Raises SdpError."""
        return parse_fmtps(self.attributes.get("fmtp", ()))

    @property
    def ptime_ms(self) -> int | None:
        """`a=ptime`, None if absent or not a whole number of milliseconds."""
        return self._milliseconds("ptime")

    @property
    def maxptime_ms(self) -> int | None:
        """`a=maxptime`, None if absent or not a whole number of milliseconds."""
        return self._milliseconds("maxptime")

    @property
    def direction(self) -> str | None:
        """The direction attribute of this section alone, None if it has none."""
        return _direction(self.attributes)

    @property
    def rtcp(self) -> tuple[int, str | None] | None:
        """`a=rtcp` (RFC 3605): port, and host if written. Raises SdpError."""
        value = self.first("rtcp")
        if value is None:
            return None
        parts = value.split()
        if len(parts) not in (1, 4):
            raise SdpError("malformed a=rtcp")
        return _port(parts[0]), (parts[3] if len(parts) == 4 else None)

    @property
    def crypto(self) -> tuple[str, ...]:
        """`a=crypto` values (RFC 4568) as written."""
        return tuple(self.attributes.get("crypto", ()))

    def first(self, name: str) -> str | None:
        """The first value of an attribute, an empty text for a flag, None if absent."""
        values = self.attributes.get(name)
        return values[0] if values else None

    def _milliseconds(self, name: str) -> int | None:
        value = self.first(name)
        return int(value) if value and value.isascii() and value.isdigit() and len(value) <= 4 else None


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole session description."""

    lines: tuple[str, ...]
    "Those before the first `m=`."
    media: tuple[MediaDescription, ...]
    attributes: Mapping[str, Sequence[str]] = field(compare=False)
    "Session-level `a=` by name."

    def __str__(self) -> str:
        lines = list(self.lines)
        for each in self.media:
            lines += each.lines
        return "\r\n".join(lines) + "\r\n"

    @property
    def origin(self) -> Origin:
        """The `o=` line."""
        return Origin.parse(next(line[2:] for line in self.lines if line.startswith("o=")))

    @property
    def connection(self) -> Connection | None:
        """The session-level `c=`."""
        return _connection(self.lines)

    @property
    def direction(self) -> str | None:
        """The session-level direction, None if there is none."""
        return _direction(self.attributes)


def parse(text: str) -> SessionDescription:
    """Parse a session description; lines may end by CRLF or LF. Raises SdpError with the reason."""
    if len(text) > MAX_SDP:
        raise SdpError("session description too large")
    if "\0" in text:
        raise SdpError("NUL in session description")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > MAX_LINES:
        raise SdpError("too many lines in session description")
    if lines[0] != "v=0":
        raise SdpError("session description does not begin with v=0")
    if "\r" in text and any("\r" in line for line in lines):
        raise SdpError("bare CR in session description")
    starts, sections = _sections(lines)
    head = tuple(lines[: starts[0]] if starts else lines)
    _check_origin(head)
    media = []
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        media.append(_media(tuple(lines[start:end]), sections[number + 1]))
    return SessionDescription(head, tuple(media), sections[0])


def _sections(lines: Sequence[str]) -> tuple[list[int], list[dict[str, list[str]]]]:
    """Where each `m=` stands, and the attributes of the session and of each of them."""
    starts: list[int] = []
    attributes: dict[str, list[str]] = {}
    sections = [attributes]
    for index, line in enumerate(lines):
        kind = line[:2]
        if kind == "a=":
            name, _, value = line[2:].partition(":")
            if name in attributes:
                attributes[name].append(value)
            else:
                attributes[name] = [value]
        elif kind == "m=":
            starts.append(index)
            attributes = {}
            sections.append(attributes)
        elif kind == "c=":
            if len(line.split()) != 3:
                raise SdpError("c= needs three fields")
        elif kind[1:] != "=" or not kind[0].isalpha():
            raise SdpError(f"line {index + 1} of session description is malformed")
    if len(starts) > MAX_MEDIA:
        raise SdpError("too many m= lines")
    return starts, sections


def _check_origin(head: Sequence[str]) -> None:
    origins = [line for line in head if line[0] == "o"]
    if len(origins) != 1:
        raise SdpError("session description needs one o= line")
    _origin_fields(origins[0][2:])


def _origin_fields(value: str) -> list[str]:
    parts = value.split(" ")
    if len(parts) != 6 or not all(parts):
        raise SdpError("o= needs six fields")
    for number in parts[1:3]:
        if not (number.isascii() and number.isdigit() and len(number) <= 20):
            raise SdpError("number expected in o=")
    return parts


def _media(lines: tuple[str, ...], attributes: dict[str, list[str]]) -> MediaDescription:
    parts = lines[0][2:].split()
    if len(parts) < 4:
        raise SdpError("m= needs four fields")
    port, slash, count = parts[1].partition("/")
    ports = _number(count, "port count") if slash else 1
    if ports < 1:
        raise SdpError("port count of m= is zero")
    if len(parts) - 3 > MAX_FORMATS:
        raise SdpError("too many formats in m=")
    return MediaDescription(lines, parts[0], _port(port), ports, parts[2], tuple(parts[3:]), attributes)


def parse_rtpmaps(values: Sequence[str]) -> dict[int, RtpMap]:
    """Values of `a=rtpmap` by payload type. Raises SdpError."""
    if len(values) > MAX_FORMATS:
        raise SdpError("too many a=rtpmap lines")
    maps = (RtpMap.parse(value) for value in values)
    return {each.payload_type: each for each in maps}


def parse_fmtps(values: Sequence[str]) -> dict[int, str]:
    """Values of `a=fmtp` by payload type. Raises SdpError."""
    found = {}
    for value in values:
        number, _, parameters = value.partition(" ")
        if number.isdigit():  # other protocols may name formats by words
            found[_payload_type(number)] = parameters.strip()
    return found


def _connection(lines: Sequence[str]) -> Connection | None:
    for line in lines:
        if line[0] == "c":
            return Connection.parse(line[2:])
    return None


def _direction(attributes: Mapping[str, Sequence[str]]) -> str | None:
    for name in ("sendrecv", "sendonly", "inactive", "recvonly"):  # the likeliest first
        if name in attributes:
            return name
    return None


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise SdpError(f"number expected in {where}")
    return int(text)


def _port(text: str) -> int:
    port = _number(text, "port")
    if port > 65535:
        raise SdpError("port beyond 65535")
    return port


def _payload_type(text: str) -> int:
    number = _number(text, "payload type")
    if number > 127:
        raise SdpError("payload type beyond 127")
    return number
