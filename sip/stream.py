"""Messages out of a byte stream (RFC 3261 §18.3), and the keep-alives between them (RFC 5626 §3.5.1)."""

from __future__ import annotations

import re
from typing import Final

from .errors import ParseError
from .message import Request, Response, parse_message, salvage
from .views import MAX_HEAD, MAX_MESSAGE

__all__ = ["HALF_MESSAGE_S", "MAX_BODY", "MAX_HEAD", "KeepAlive", "MessageStream"]

MAX_BODY: Final = MAX_MESSAGE - MAX_HEAD  # octets: what a stream carries is no larger than what a datagram may
HALF_MESSAGE_S: Final = 16.0  # from a message's first octet to its last; a phone on a bad line needs a few seconds
PING_GAP_S: Final = 1.0  # between the halves of a ping; two CRLFs further apart are two pongs

_BLANK = re.compile(rb"(?:\r\n)++").match
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r\n]+|\r\n[ \t])*)", re.IGNORECASE).findall


class KeepAlive:
    """A double CRLF came: the peer wants a single CRLF back (RFC 5626 §4.4.1)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "KeepAlive()"


StreamEvent = Request | Response | ParseError | KeepAlive

_KEEP_ALIVE: Final = KeepAlive()


class MessageStream:
    """Cuts a stream into messages. A message that is framed but malformed is a ParseError among the events.

    Where the framing itself is lost (no or no single Content-Length, a head or body over the limit, a message
    that never ends) the ParseError is the last event and `failed` is true: send its answer if any, and close.
    """

    __slots__ = ("_buffer", "_events", "_half_ping_at", "_scanned", "_size", "deadline", "failed")

    def __init__(self) -> None:
        self.failed = False
        self.deadline: float | None = None
        "When to call `handle_timeout`; None between messages."
        self._buffer = bytearray()
        self._scanned = 0
        self._size = 0
        self._half_ping_at: float | None = None
        self._events: list[StreamEvent] = []

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what arrived, in whatever pieces. Nothing is taken once `failed`."""
        if self.failed:
            return
        buffer = self._buffer
        buffer += data
        while buffer and not self.failed:
            if not self._size and buffer[0] in b"\r\n":
                if not self._skip_blank(now):
                    break
                continue
            if not self._size and not self._frame():
                break
            if len(buffer) < self._size:
                break
            self._take()
        if not buffer:
            self.deadline = None
        elif self.deadline is None and not self.failed:
            self.deadline = now + HALF_MESSAGE_S

    def events(self) -> list[StreamEvent]:
        """What was found since the last call, in order. Several pings in a row are one."""
        events, self._events = self._events, []
        return events

    def handle_timeout(self, now: float) -> None:
        """A message began and never ended: fail once `deadline` has passed."""
        if self.deadline is not None and now >= self.deadline:
            self._fail(ParseError("Incomplete message", 400, salvage(self._head())))

    def _skip_blank(self, now: float) -> bool:
        """Drop CRLFs between messages, noting pings. False if only half a CRLF is left."""
        buffer = self._buffer
        blank = _BLANK(buffer)
        count = blank.end() // 2 if blank else 0
        if count:
            del buffer[: 2 * count]
            if self._half_ping_at is not None and now <= self._half_ping_at + PING_GAP_S:
                count += 1
            self._half_ping_at = now if count % 2 else None
            if count > 1 and (not self._events or self._events[-1] is not _KEEP_ALIVE):
                self._events.append(_KEEP_ALIVE)
            return True
        if len(buffer) > 1 or buffer[0] == 0x0A:
            self._fail(ParseError("Bare CR or LF"))
        return False

    def _frame(self) -> bool:
        """Find where the message ends. False if its head is not whole yet, or framing is lost."""
        buffer = self._buffer
        self._half_ping_at = None
        end = buffer.find(b"\r\n\r\n", self._scanned, MAX_HEAD)
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            if len(buffer) >= MAX_HEAD:
                self._fail(ParseError("Header section too large", 513, salvage(self._head())))
            return False
        head = bytes(buffer[: end + 4])
        lengths = _LENGTH(head)
        text = lengths[0].strip() if len(lengths) == 1 else b""
        if not text.isdigit():
            self._fail(_framing_error(head))
            return False
        digits = text.lstrip(b"0") or b"0"
        if len(digits) > 9 or int(digits) > MAX_BODY:
            self._fail(ParseError("Body too large", 413, salvage(self._head())))
            return False
        self._size = end + 4 + int(digits)
        return True

    def _take(self) -> None:
        data = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        self._size = self._scanned = 0
        self.deadline = None
        try:
            self._events.append(parse_message(data, stream=True))
        except ParseError as error:
            self._events.append(error)

    def _head(self) -> str:
        return self._buffer[:MAX_HEAD].decode("latin-1").partition("\r\n\r\n")[0]

    def _fail(self, error: ParseError) -> None:
        self._events.append(error)
        self._buffer.clear()
        self.deadline = None
        self.failed = True


def _framing_error(head: bytes) -> ParseError:
    try:
        parse_message(head, stream=True)
    except ParseError as error:
        return error
    return ParseError("Malformed Content-Length")
