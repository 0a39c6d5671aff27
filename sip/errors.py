"""What can go wrong in `sip`.

    SipError
      ParseError        the peer's text breaks the grammar; carries the status to answer

A fault of the peer is a `ParseError`; one of our own caller (a line break in a header value) a `ValueError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .message import Request

__all__ = ["ParseError", "SipError"]


class SipError(Exception):
    """The root of everything that `sip` raises."""


class ParseError(SipError):
    """A message or a header value is not what RFC 3261 §25 allows.

    `status` is the answer it deserves (400, 413, 505, 513), `reason` a phrase for the status line: printable
    ASCII, nothing taken from the message. `request` holds just the headers that an answer copies, and is None
    when nothing can be answered: a response, an ACK, bytes without a Via.
    """

    def __init__(self, reason: str, status: int = 400, request: Request | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.request = request
