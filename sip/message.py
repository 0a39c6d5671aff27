"""Requests and responses (RFC 3261 §7): parse, build, serialise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import methodcaller
from typing import Any, Final

from .errors import ParseError
from .grammar import decode_text, encode_text, is_token, parse_number
from .headers import Address, CSeq, Headers, MediaType, Via, line_value, nul_is_escaped
from .names import CANONICAL_NAMES, canonical_name
from .reasons import REASON_PHRASES
from .uri import Uri
from .views import MAX_HEAD, MAX_MESSAGE, Message, check_call_id

__all__ = [
    "MAX_HEAD",
    "MAX_MESSAGE",
    "REASON_PHRASES",
    "Message",
    "Request",
    "Response",
    "parse_message",
    "response_to",
    "salvage",
]

MAX_LINES: Final = 256  # lines of a head, folded ones counted; RFC 4475's longest has 50

_SINGLE: Final = (
    "from",
    "to",
    "call-id",
    "cseq",
    "content-length",
    "content-type",
    "max-forwards",
    "expires",
)
_STATUS: Final = {str(status): status for status in range(100, 700)}
_stripped: Final = methodcaller("strip", " \t")
_known_name: Final = CANONICAL_NAMES.__getitem__
_USUAL_METHODS: Final = frozenset({"INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS"})
_LONG_NAMES: Final = {"via": "Via", "from": "From", "to": "To", "call-id": "Call-ID", "cseq": "CSeq"}
_ANSWERED: Final = frozenset(_LONG_NAMES)
_ANSWERED_IN_DIALOG: Final = _ANSWERED | {"record-route"}
_BREAKS_LINE: Final = re.compile("[\\x00-\\x20\\x7f]").search


class Request(Message):
    """A request (RFC 3261 §7.1). `uri` is the Request-URI as text, `target` the same taken apart."""

    __slots__ = ("_target", "_uri", "method")

    def __init__(
        self,
        method: str,
        uri: str | Uri,
        headers: Headers | Iterable[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        if not is_token(method):
            raise ValueError("a method is a token")
        self.method = method
        self.uri = uri

    @property
    def uri(self) -> str:
        """The Request-URI as written. Setting it to what would break the request line is a ValueError."""
        return self._uri

    @uri.setter
    def uri(self, uri: str | Uri) -> None:
        text = str(uri)
        if _BREAKS_LINE(text):
            raise ValueError("white space or a control character in a Request-URI")
        self._target: Uri | None = uri if isinstance(uri, Uri) else None
        self._uri = text

    @property
    def target(self) -> Uri:
        """The Request-URI taken apart."""
        target = self._target
        if target is None:
            target = self._target = Uri.parse(self._uri)
        return target

    def copy(self) -> Request:
        """An independent copy; the body is shared."""
        twin = Request.__new__(Request)
        twin.method = self.method
        twin._uri = self._uri
        twin._target = self._target
        return self._copy_to(twin)

    def _start_line(self) -> str:
        return f"{self.method} {self._uri} SIP/2.0"

    def __eq__(self, other: object) -> bool:
        """Equal if they would be sent as the same octets."""
        return self.to_bytes() == other.to_bytes() if isinstance(other, Request) else NotImplemented

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<Request {self.method} {self._uri}>"


class Response(Message):
    """A response (RFC 3261 §7.2). `reason` is the phrase as people read it."""

    __slots__ = ("_phrase", "status")

    def __init__(
        self,
        status: int,
        reason: str | None = "",
        headers: Headers | Iterable[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        if not reason:
            self._phrase = REASON_PHRASES.get(status, "Unknown")
        elif "\r" in reason or "\n" in reason or "\0" in reason:
            raise ValueError("line break or NUL in a reason phrase")
        else:
            self._phrase = encode_text(reason)

    @property
    def reason(self) -> str:
        """The reason phrase, decoded."""
        return decode_text(self._phrase)

    def copy(self) -> Response:
        """An independent copy; the body is shared."""
        twin = Response(self.status)
        twin._phrase = self._phrase
        return self._copy_to(twin)

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self._phrase}"

    def __eq__(self, other: object) -> bool:
        """Equal if they would be sent as the same octets."""
        return self.to_bytes() == other.to_bytes() if isinstance(other, Response) else NotImplemented

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


# ----------------------------------------------------------------------------------------------- parsing


def parse_message(data: bytes, *, stream: bool = False) -> Request | Response:
    """Read one message: a datagram, or with `stream` the exact octets that framing found on a stream.

    In a datagram octets beyond Content-Length are ignored (RFC 3261 §18.3), and CRLFs before the start line
    too (§7.5). ParseError if malformed; its `request`, where not None, can be answered with its `status`.
    """
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end < 0:
        head = data[:MAX_HEAD].decode("latin-1")
        if len(data) > MAX_HEAD:
            raise _error("Header section too large", head, 513)
        raise _error("Header section not terminated", head)
    head = data[:end].decode("latin-1")
    if len(data) > MAX_MESSAGE:
        raise _error("Message too large", head, 513)
    try:
        return _parse_head(head, data, end + 4, stream)
    except ParseError as error:
        raise _error(error.reason, head, error.status) from None


def _parse_head(head: str, data: bytes, body_start: int, stream: bool) -> Request | Response:
    lines = head.split("\r\n", MAX_LINES)
    if len(lines) > MAX_LINES:
        raise ParseError("Too many header lines", 513)
    breaks = len(lines) - 1
    if head.count("\r") != breaks or head.count("\n") != breaks or "\0" in head:
        _check_octets(lines)
    message = _parse_start(lines.pop(0))
    if not lines:
        raise ParseError("Missing via header")
    written, _, texts = zip(*[line.partition(":") for line in lines], strict=True)
    values = list(map(_stripped, texts))
    try:
        names = list(map(_known_name, written))
    except KeyError:
        names = []
    if not names or "" in values:  # a fold, white space before the colon, a rare name, no value, or a fault
        lines = _join_folds(lines)
        names = [_name(line) for line in lines]
        values = [line_value(line) for line in lines]
    first = dict(zip(reversed(names), reversed(values), strict=True))
    if len(names) != len(first):
        _check_repetitions(names)
    headers = message.headers = Headers.from_lines(names, lines)
    _check_identity(message, headers.views, first)
    message.body = _body(first.get("content-length"), data, body_start, stream)
    return message


def _check_octets(lines: list[str]) -> None:
    for line in lines:
        if "\r" in line or "\n" in line:
            raise ParseError("Bare CR or LF")
    folded = "\r\n".join(lines)
    if "\0" in folded and not all(nul_is_escaped(line) for line in _join_folds(lines)):
        raise ParseError("NUL in the header section")


def _join_folds(lines: list[str]) -> list[str]:
    groups: list[list[str]] = []
    for line in lines:
        if line[:1] not in (" ", "\t"):
            groups.append([line])
        elif groups:
            groups[-1].append(line)
        else:
            raise ParseError("Folded start line")
    return ["\r\n".join(group) for group in groups]


def _name(line: str) -> str:
    written, colon, _ = line.partition(":")
    if not colon:
        raise ParseError("Header line without a colon")
    name = canonical_name(written)
    if not is_token(name):
        raise ParseError("Malformed header name")
    return name


def _check_repetitions(names: list[str]) -> None:
    for name in _SINGLE:
        if names.count(name) > 1:
            raise ParseError(f"Repeated {name} header")


def _parse_start(line: str) -> Request | Response:
    if line[:4].upper() == "SIP/":
        version, _, rest = line.partition(" ")
        code, _, phrase = rest.partition(" ")
        if version.upper() != "SIP/2.0":
            raise ParseError("Version not supported", 505)
        status = _STATUS.get(code)
        if status is None:
            raise ParseError("Malformed status line")
        response = Response.__new__(Response)
        response.status = status
        response._phrase = phrase
        return response
    words = line.split(" ")
    if len(words) != 3:
        raise ParseError("Malformed request line")
    method, uri, version = words
    if version != "SIP/2.0":
        version = version.upper()
        if version[:4] != "SIP/" or not version[4:].replace(".", "", 1).isdecimal():
            raise ParseError("Malformed request line")
        if version != "SIP/2.0":
            raise ParseError("Version not supported", 505)
    if method not in _USUAL_METHODS and not is_token(method):
        raise ParseError("Malformed method")
    request = Request.__new__(Request)
    request.method = method
    request._uri = uri
    request._target = target = Uri.parse(uri)
    if target.headers:
        raise ParseError("Headers in the Request-URI")  # RFC 3261 §19.1.1 allows none there
    return request


def _check_identity(message: Request | Response, views: dict[str, Any], first: dict[str, str]) -> None:
    """Parse what identity and routing rest on, from the first value of each name; the views stay cached."""
    names = message.headers.names
    try:
        via = first["via"]
        if "," in via or names.count("via") > 1:
            message.vias  # noqa: B018 -- read for its check
        else:
            views["via"] = Via.parse(via)
        views["from"] = Address.parse(first["from"])
        views["to"] = Address.parse(first["to"])
        views["call-id"] = check_call_id(first["call-id"])
        cseq = views["cseq"] = CSeq.parse(first["cseq"])
    except KeyError as missing:
        raise ParseError(f"Missing {missing.args[0]} header") from None
    if isinstance(message, Request) and cseq.method != message.method:
        raise ParseError("CSeq method does not match")
    hops = first.get("max-forwards")
    if hops is not None and parse_number(hops, 255) is None:
        raise ParseError("Malformed Max-Forwards")
    kind = first.get("content-type")
    if kind is not None:
        views["content-type"] = MediaType.parse(kind)
    contact = first.get("contact")
    if contact is not None:
        if "," in contact or contact == "*" or names.count("contact") > 1:
            message.contacts  # noqa: B018 -- read for its check
        else:
            views["contact"] = (Address.parse(contact),) if contact else ()
    if "route" in first:
        message.routes  # noqa: B018 -- read for its check
    if "record-route" in first:
        message.record_routes  # noqa: B018 -- read for its check


def _body(length: str | None, data: bytes, start: int, stream: bool) -> bytes:
    if length is None:
        if stream:
            raise ParseError("Missing content-length header")  # RFC 3261 §18.3
        return data[start:]
    size = parse_number(length, MAX_MESSAGE + 1)
    if size is None:
        raise ParseError("Malformed Content-Length")
    available = len(data) - start
    if size > available or (stream and size != available):
        raise ParseError("Content-Length does not match the body")
    return data[start : start + size]


def _error(reason: str, head: str, status: int = 400) -> ParseError:
    return ParseError(reason, status, salvage(head))


def salvage(head: str) -> Request | None:
    """What can be answered of a broken request: its method and the headers that every answer copies.

    None for a response, an ACK, a head without a Via, and what is no SIP at all.
    """
    lines = head.split("\r\n", MAX_LINES)
    words = lines[0].split(None, 2)
    if len(words) < 2 or not is_token(words[0]) or words[0] == "ACK":
        return None
    names: list[str] = []
    kept: list[str] = []
    for line in _join_folds(["", *lines[1:MAX_LINES]])[1:]:
        written, colon, value = line.partition(":")
        name = canonical_name(written)
        if not colon or name not in _ANSWERED or (name != "via" and name in names):
            continue
        value = " ".join([part.strip(" \t") for part in value.split("\r\n")]).strip()
        if "\r" not in value and "\n" not in value and "\0" not in value:
            names.append(name)
            kept.append(f"{_LONG_NAMES[name]}: {value}")
    if "via" not in names:
        return None
    request = Request(words[0], "sip:unreadable.invalid")
    request.headers = Headers.from_lines(names, kept)
    return request


# ----------------------------------------------------------------------------------------------- answers


def response_to(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> Response:
    """The answer to a request (RFC 3261 §8.2.6): its Vias, From, To, Call-ID and CSeq exactly as they came.

    `to_tag` is added to a To that has no tag. Record-Route is copied where the answer makes a dialog
    (§12.1.1): 101 to 299 of INVITE.
    """
    source = request.headers
    copied = _ANSWERED_IN_DIALOG if request.method == "INVITE" and 100 < status < 300 else _ANSWERED
    pairs = [pair for pair in zip(source.names, source.lines, strict=True) if pair[0] in copied]
    names = [name for name, _ in pairs]
    lines = [line for _, line in pairs]
    if to_tag is not None and "to" in names and _lacks_tag(request):
        lines[names.index("to")] += f";tag={to_tag}"
    answer = Response(status, reason, Headers.from_lines(names, lines), body)
    for name, value in headers:
        answer.headers.add(name, value)
    if content_type is not None:
        answer.headers.add("Content-Type", content_type)
    return answer


def _lacks_tag(request: Request) -> bool:
    try:
        return request.to.tag is None
    except ParseError:
        return False  # a To that nobody can read is copied as it came
