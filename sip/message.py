"""Requests and responses (RFC 3261 §7): parse, build, serialise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from .errors import ParseError
from .grammar import MAX_VALUES, decode_text, encode_text, is_token, parse_number, split_list, unfold
from .headers import Address, CSeq, Headers, MediaType, Via, canonical_name, nul_is_escaped, parse_addresses
from .uri import Uri

__all__ = [
    "MAX_HEAD",
    "MAX_MESSAGE",
    "REASON_PHRASES",
    "Message",
    "Request",
    "Response",
    "parse_message",
    "response_to",
]

MAX_HEAD: Final = 16 * 1024  # octets to the blank line; RFC 4475's largest has 3.5 KB; refused cheaply beyond
MAX_MESSAGE: Final = 64 * 1024  # octets in all; a UDP datagram holds no more
MAX_LINES: Final = 256  # header lines; RFC 4475's longest has 50

REASON_PHRASES: Final[dict[int, str]] = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}

_MANDATORY: Final = ("via", "from", "to", "call-id", "cseq")
_SINGLE: Final = frozenset(
    "from to call-id cseq content-length content-type max-forwards expires event refer-to replaces session-expires".split()
)
_ANSWERED: Final = frozenset(_MANDATORY)
_MAX_EXPIRES: Final = 2**32 - 1  # RFC 3261 §20.19
_M = TypeVar("_M", bound="Message")


class Message:
    """What requests and responses share. Views are parsed on demand, cached, and follow changes of `headers`.

    `parse_message` has checked the views of identity and routing (Via, From, To, Call-ID, CSeq, Contact, Route,
    Record-Route, Max-Forwards, Content-Type): on its messages they do not raise. Elsewhere a missing or malformed
    header raises ParseError.
    """

    __slots__ = ("body", "headers")

    headers: Headers
    body: bytes

    def __init__(self, headers: Headers | Iterable[tuple[str, str]] | None, body: bytes) -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers or ())
        self.body = body

    def get(self, name: str) -> str | None:
        """`headers.get`."""
        return self.headers.get(name)

    def _required(self, name: str) -> str:
        value = self.headers.get(name)
        if value is None:
            raise ParseError(f"Missing {name} header")
        return value

    @property
    def via(self) -> Via:
        """The topmost Via."""
        views = self.headers.views
        found = views.get("via")
        if found is None:
            values = split_list(self._required("via"))
            if not values:
                raise ParseError("Malformed Via")
            found = views["via"] = Via.parse(values[0])
        return found  # type: ignore[no-any-return]  # the cache holds a Via under this key

    @property
    def vias(self) -> tuple[Via, ...]:
        """All Vias, topmost first."""
        views = self.headers.views
        found = views.get("vias")
        if found is None:
            found = views["vias"] = tuple([Via.parse(value) for value in self.headers.values("via")])
        return found  # type: ignore[no-any-return]  # the cache holds a tuple of Vias under this key

    @property
    def from_(self) -> Address:
        """From."""
        views = self.headers.views
        found = views.get("from")
        if found is None:
            found = views["from"] = Address.parse(self._required("from"))
        return found  # type: ignore[no-any-return]  # the cache holds an Address under this key

    @property
    def to(self) -> Address:
        """To."""
        views = self.headers.views
        found = views.get("to")
        if found is None:
            found = views["to"] = Address.parse(self._required("to"))
        return found  # type: ignore[no-any-return]  # the cache holds an Address under this key

    @property
    def call_id(self) -> str:
        """Call-ID; compared octet by octet."""
        views = self.headers.views
        found = views.get("call-id")
        if found is None:
            found = self._required("call-id")
            if not found or " " in found or "\t" in found:
                raise ParseError("Malformed Call-ID")
            views["call-id"] = found
        return found  # type: ignore[no-any-return]  # the cache holds a str under this key

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        views = self.headers.views
        found = views.get("cseq")
        if found is None:
            found = views["cseq"] = CSeq.parse(self._required("cseq"))
        return found  # type: ignore[no-any-return]  # the cache holds a CSeq under this key

    @property
    def contacts(self) -> tuple[Address, ...]:
        """All Contacts; empty without any, and for `Contact: *`."""
        views = self.headers.views
        found = views.get("contact")
        if found is None:
            values = self.headers.get_all("contact")
            found = views["contact"] = () if values == ["*"] else parse_addresses(values)
        return found  # type: ignore[no-any-return]  # the cache holds a tuple of Addresses under this key

    @property
    def contact_star(self) -> bool:
        """True for `Contact: *`, which unregisters all (RFC 3261 §10.2.2)."""
        return self.headers.get("contact") == "*"

    @property
    def routes(self) -> tuple[Address, ...]:
        """All Routes, topmost first."""
        return self._addresses("route")

    @property
    def record_routes(self) -> tuple[Address, ...]:
        """All Record-Routes, topmost first."""
        return self._addresses("record-route")

    def _addresses(self, name: str) -> tuple[Address, ...]:
        headers = self.headers
        if name not in headers.names:
            return ()
        found = headers.views.get(name)
        if found is None:
            found = headers.views[name] = parse_addresses(headers.get_all(name))
        return found  # type: ignore[no-any-return]  # the cache holds a tuple of Addresses under this key

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards, 255 if greater, None if absent."""
        value = self.headers.get("max-forwards")
        if value is None:
            return None
        number = parse_number(value, 255)
        if number is None:
            raise ParseError("Malformed Max-Forwards")
        return number

    @property
    def expires(self) -> int | None:
        """Expires in seconds, 2**32 - 1 if greater; None if absent or no number."""
        value = self.headers.get("expires")
        return None if value is None else parse_number(value, _MAX_EXPIRES)

    @property
    def content_type(self) -> MediaType | None:
        """Content-Type, None if absent."""
        value = self.headers.get("content-type")
        if value is None:
            return None
        views = self.headers.views
        found = views.get("content-type")
        if found is None:
            found = views["content-type"] = MediaType.parse(value)
        return found  # type: ignore[no-any-return]  # the cache holds a MediaType under this key

    @property
    def require(self) -> tuple[str, ...]:
        """The option tags of Require."""
        return self._tokens("require")

    @property
    def supported(self) -> tuple[str, ...]:
        """The option tags of Supported."""
        return self._tokens("supported")

    @property
    def allow(self) -> tuple[str, ...]:
        """The methods of Allow."""
        return self._tokens("allow")

    def _tokens(self, name: str) -> tuple[str, ...]:
        headers = self.headers
        if name not in headers.names:
            return ()
        found = headers.views.get(name)
        if found is None:
            values = [
                value.strip() for line in headers.get_all(name) for value in line.split(",", MAX_VALUES)
            ]
            found = headers.views[name] = tuple([value for value in values if is_token(value)])
        return found  # type: ignore[no-any-return]  # the cache holds a tuple of str under this key

    @property
    def text(self) -> str:
        """The body as UTF-8, or as Latin-1 where it is not UTF-8."""
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError:
            return self.body.decode("latin-1")

    def _start_line(self) -> str:
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The message as sent. Lines that nobody changed leave as they came; Content-Length is made right."""
        headers = self.headers
        body = self.body
        size = str(len(body))
        if headers.get("content-length") != size or headers.names.count("content-length") > 1:
            headers.set("Content-Length", size)
        head = "\r\n".join([self._start_line(), *headers.lines, "", ""])
        return head.encode("latin-1") + body

    def _copy_to(self, twin: _M) -> _M:
        twin.headers = self.headers.copy()
        twin.body = self.body
        return twin


class Request(Message):
    """A request. `uri` is the Request-URI as text, `target` the same taken apart."""

    __slots__ = ("_target", "_uri", "method")

    def __init__(
        self,
        method: str,
        uri: str | Uri,
        headers: Headers | Iterable[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        self._target: Uri | None = None
        if isinstance(uri, Uri):
            self._target = uri
            uri = str(uri)
        self._uri = uri

    @property
    def uri(self) -> str:
        """The Request-URI as written."""
        return self._uri

    @uri.setter
    def uri(self, uri: str | Uri) -> None:
        self._target = uri if isinstance(uri, Uri) else None
        self._uri = str(uri)

    @property
    def target(self) -> Uri:
        """The Request-URI taken apart."""
        target = self._target
        if target is None:
            target = self._target = Uri.parse(self._uri)
        return target

    def copy(self) -> Request:
        """An independent copy; the body is shared."""
        twin = Request(self.method, self._uri)
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
    """A response. `reason` is the phrase as people read it."""

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
        return f"<Response {self.status} {self._phrase}>"


# --------------------------------------------------------------------------------------------------------------- parsing


def parse_message(data: bytes, *, stream: bool = False) -> Request | Response:
    """Read one message: a datagram, or with `stream` the exact octets that framing found on a stream.

    In a datagram octets beyond Content-Length are ignored (RFC 3261 §18.3) and CRLFs before the start line too (§7.5).
    ParseError for all that is malformed; its `request`, where not None, can be answered with its `status`.
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
    lines = head.split("\r\n")
    if "\r" in head or "\n" in head:
        _check_line_breaks(lines)
    if "\0" in head:
        _check_nul(lines)
    start = lines.pop(0)
    if "\r\n " in head or "\r\n\t" in head:
        lines = _join_folds(lines)
    if len(lines) > MAX_LINES:
        raise ParseError("Too many header lines", 513)
    message = _parse_start(start)
    headers = message.headers = Headers.from_lines(_names(lines), lines)
    names = headers.names
    for name in _MANDATORY:
        if name not in names:
            raise ParseError(f"Missing {name} header")
    if len(set(names)) != len(names):
        for name in _SINGLE:
            if names.count(name) > 1:
                raise ParseError(f"Repeated {name} header")
    _check_identity(message)
    if isinstance(message, Request) and message.cseq.method != message.method:
        raise ParseError("CSeq method does not match")
    message.body = _body(headers, data, body_start, stream)
    return message


def _check_line_breaks(lines: list[str]) -> None:
    for line in lines:
        if "\r" in line or "\n" in line:
            raise ParseError("Bare CR or LF")


def _check_nul(lines: list[str]) -> None:
    for line in lines:
        if "\0" in line and not nul_is_escaped(line):
            raise ParseError("NUL in the header section")


def _join_folds(lines: list[str]) -> list[str]:
    groups: list[list[str]] = []
    for line in lines:
        if line[:1] in (" ", "\t"):
            if not groups:
                raise ParseError("Folded start line")
            groups[-1].append(line)
        else:
            groups.append([line])
    return ["\r\n".join(group) for group in groups]


def _names(lines: list[str]) -> list[str]:
    names: list[str] = []
    for line in lines:
        name, colon, _ = line.partition(":")
        if not colon:
            raise ParseError("Header line without a colon")
        key = canonical_name(name)
        if not is_token(key):
            raise ParseError("Malformed header name")
        names.append(key)
    return names


def _parse_start(line: str) -> Request | Response:
    if line[:4].upper() == "SIP/":
        version, _, rest = line.partition(" ")
        code, _, phrase = rest.partition(" ")
        if version.upper() != "SIP/2.0":
            raise ParseError("Version not supported", 505)
        if len(code) != 3 or not (code.isdecimal() and code.isascii()) or not 100 <= int(code) <= 699:
            raise ParseError("Malformed status line")
        response = Response.__new__(Response)
        response.status = int(code)
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
    if not is_token(method):
        raise ParseError("Malformed method")
    request = Request.__new__(Request)
    request.method = method
    request._uri = uri
    request._target = target = Uri.parse(uri)
    if target.headers:
        raise ParseError("Headers in the Request-URI")  # RFC 3261 §19.1.1 allows none there
    return request


def _check_identity(message: Message) -> None:
    """Parse what identity and routing rest on; the views stay cached."""
    message.via, message.from_, message.to, message.call_id, message.cseq  # noqa: B018 -- read for their checks
    names = message.headers.names
    if "contact" in names:
        message.contacts  # noqa: B018 -- read for its check
    if "route" in names:
        message.routes  # noqa: B018 -- read for its check
    if "record-route" in names:
        message.record_routes  # noqa: B018 -- read for its check
    if "max-forwards" in names:
        message.max_forwards  # noqa: B018 -- read for its check
    if "content-type" in names:
        message.content_type  # noqa: B018 -- read for its check


def _body(headers: Headers, data: bytes, start: int, stream: bool) -> bytes:
    value = headers.get("content-length")
    if value is None:
        if stream:
            raise ParseError("Missing content-length header")  # RFC 3261 §18.3
        return data[start:]
    size = parse_number(value, MAX_MESSAGE + 1)
    if size is None:
        raise ParseError("Malformed Content-Length")
    available = len(data) - start
    if size > available or (stream and size != available):
        raise ParseError("Content-Length does not match the body")
    return data[start : start + size]


def _error(reason: str, head: str, status: int = 400) -> ParseError:
    return ParseError(reason, status, _salvage(head))


def _salvage(head: str) -> Request | None:
    """What can be answered of a broken request: its method and the headers that every answer copies."""
    lines = head.split("\r\n")
    words = lines[0].split(None, 2)
    if len(words) < 2 or not is_token(words[0]) or words[0] == "ACK":
        return None
    names: list[str] = []
    kept: list[str] = []
    for line in _join_salvaged(lines[1 : MAX_LINES + 1]):
        name = canonical_name(line.partition(":")[0])
        if name not in _ANSWERED or "\r" in line or "\n" in line or "\0" in line:
            continue
        if name == "via" or name not in names:
            names.append(name)
            kept.append(line)
    if "via" not in names:
        return None
    request = Request(words[0], words[1])
    request.headers = Headers.from_lines(names, kept)
    return request


def _join_salvaged(lines: Sequence[str]) -> list[str]:
    groups: list[list[str]] = []
    for line in lines:
        if line[:1] not in (" ", "\t"):
            groups.append([line])
        elif groups:
            groups[-1].append(line)
    return [unfold(" ".join(group)) for group in groups if ":" in group[0]]


# --------------------------------------------------------------------------------------------------------------- answers


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

    `to_tag` is added to a To that has no tag. Record-Route is copied where the answer makes a dialog (§12.1.1): 101 to
    299 of INVITE.
    """
    source = request.headers
    keep_routes = request.method == "INVITE" and 100 < status < 300
    names: list[str] = []
    lines: list[str] = []
    for name, line in zip(source.names, source.lines, strict=True):
        if name not in _ANSWERED and not (keep_routes and name == "record-route"):
            continue
        if name == "to" and to_tag is not None and _lacks_tag(request):
            line = f"{line};tag={to_tag}"
        names.append(name)
        lines.append(line)
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
