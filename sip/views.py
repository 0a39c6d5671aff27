"""`Message`: the typed views of a message's header fields (RFC 3261 §20), cached, and its octets (§7.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from .errors import ParseError
from .grammar import MAX_VALUES, is_token, parse_number, split_list
from .headers import Address, CSeq, Headers, MediaType, Via, parse_addresses

__all__ = ["MAX_HEAD", "MAX_MESSAGE", "Message", "check_call_id"]

MAX_HEAD: Final = 16 * 1024  # octets to the blank line; RFC 4475's largest has 3.5 KB; refused cheaply beyond
MAX_MESSAGE: Final = 64 * 1024  # octets in all; a UDP datagram holds no more

_MAX_EXPIRES: Final = 2**32 - 1  # RFC 3261 §20.19
_M = TypeVar("_M", bound="Message")


class Message:
    """What requests and responses share. Views are parsed on demand, cached, and follow changes of `headers`.

    `parse_message` has checked what identity and routing rest on (Via, From, To, Call-ID, CSeq,
    Contact, Route, Record-Route, Max-Forwards, Content-Type): on its messages these views never raise.
    Elsewhere a view of a missing or malformed header raises ParseError.
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
            found = views["via"] = _top_via(self._required("via"))
        return found

    @property
    def vias(self) -> tuple[Via, ...]:
        """All Vias, topmost first."""
        views = self.headers.views
        found = views.get("vias")
        if found is None:
            found = views["vias"] = _all_vias(self.headers.get_all("via"))
        return found

    @property
    def from_(self) -> Address:
        """From."""
        views = self.headers.views
        found = views.get("from")
        if found is None:
            found = views["from"] = Address.parse(self._required("from"))
        return found

    @property
    def to(self) -> Address:
        """To."""
        views = self.headers.views
        found = views.get("to")
        if found is None:
            found = views["to"] = Address.parse(self._required("to"))
        return found

    @property
    def call_id(self) -> str:
        """Call-ID; compared octet by octet."""
        views = self.headers.views
        found = views.get("call-id")
        if found is None:
            found = views["call-id"] = check_call_id(self._required("call-id"))
        return found

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        views = self.headers.views
        found = views.get("cseq")
        if found is None:
            found = views["cseq"] = CSeq.parse(self._required("cseq"))
        return found

    @property
    def contacts(self) -> tuple[Address, ...]:
        """All Contacts; empty without any, and for `Contact: *`."""
        views = self.headers.views
        found = views.get("contact")
        if found is None:
            values = self.headers.get_all("contact")
            found = views["contact"] = () if values == ["*"] else parse_addresses(values)
        return found

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
        return found

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
        return found

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
            values = [value.strip() for line in headers.get_all(name) for value in line.split(",", MAX_VALUES)]
            found = headers.views[name] = tuple([value for value in values if is_token(value)])
        return found

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
        size = len(body)
        if "content-length" not in headers.names:
            head = "\r\n".join([self._start_line(), *headers.lines, f"Content-Length: {size}", "", ""])
            return head.encode("latin-1") + body
        length = headers.get("content-length")
        if parse_number(length or "", MAX_MESSAGE) != size or headers.names.count("content-length") > 1:
            headers.set("Content-Length", str(size))
        head = "\r\n".join([self._start_line(), *headers.lines, "", ""])
        return head.encode("latin-1") + body

    def _copy_to(self, twin: _M) -> _M:
        twin.headers = self.headers.copy()
        twin.body = self.body
        return twin


def _all_vias(lines: list[str]) -> tuple[Via, ...]:
    found: list[Via] = []
    for line in lines:
        values = split_list(line)
        if not values:
            raise ParseError("Malformed Via")
        found.extend([Via.parse(value) for value in values])
        if len(found) > MAX_VALUES:
            raise ParseError("Too many values in a header")
    return tuple(found)


def _top_via(value: str) -> Via:
    if "," in value:
        values = split_list(value)
        if not values:
            raise ParseError("Malformed Via")
        value = values[0]
    return Via.parse(value)


def check_call_id(value: str) -> str:
    """The value itself. ParseError if it is empty or holds white space."""
    if not value or " " in value or "\t" in value:
        raise ParseError("Malformed Call-ID")
    return value
