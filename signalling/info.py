"""INFO towards one party: one request at a time (RFC 3261 §12.2.2), and digits as bodies.

Phones that know no telephone-event say a digit by INFO. There is no standard for it: `application/dtmf-relay` has
lines Signal= and Duration=, `application/dtmf` has the digit alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sip import Call, CallStateError, Request, RequestReceived, info_to_cross

from .browser_calls import BrowserCall

MAX_WAITING = 64  # requests; as many digits as a leg with telephone-event keeps waiting
DIGITS = "0123456789*#ABCD"
BY_NUMBER = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
"Signals as the events of RFC 4733 are numbered."
SIGNAL = re.compile(rb"^\s*Signal\s*=\s*([0-9A-Da-d*#]{1,2})\s*$", re.MULTILINE | re.IGNORECASE)
DURATION = re.compile(rb"^\s*Duration\s*=\s*([0-9]{1,6})\s*$", re.MULTILINE | re.IGNORECASE)
DEFAULT_MS, SHORTEST_MS, LONGEST_MS = 160, 40, 6_000
RELAY_TYPE, PLAIN_TYPE = "application/dtmf-relay", "application/dtmf"


def digit_of(content_type: str, body: bytes) -> tuple[str, int] | None:
    """The digit that an INFO says and its duration in ms; None if it says something else, such as hook flash."""
    essence = content_type.partition(";")[0].strip().lower()
    if essence not in (RELAY_TYPE, PLAIN_TYPE):
        return None
    signal = SIGNAL.search(body)
    text = (signal[1] if signal else body.strip() if essence == PLAIN_TYPE else b"").decode("latin-1").upper()
    digit = BY_NUMBER.get(text, text)
    if len(digit) != 1 or digit not in DIGITS:
        return None
    duration = DURATION.search(body)
    duration_ms = int(duration[1]) if duration else DEFAULT_MS
    return digit, min(max(duration_ms, SHORTEST_MS), LONGEST_MS)


def said_by(request: Request) -> str | None:
    """The digit that an INFO says, if it says one."""
    content = info_to_cross(request)
    said = None if content is None else digit_of(*content)
    return None if said is None else said[0]


def body_of(digit: str, duration_ms: int) -> bytes:
    """The body that says a digit, as `application/dtmf-relay`."""
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode()


class TooManyWaiting(CallStateError):
    """The party does not answer its INFO requests as fast as they come."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    content_type: str
    body: bytes
    origin: RequestReceived | None
    "Whose INFO it was, None for one of our own."


class InfoQueue:
    """The INFO requests to one party; the first is under way, and the next is sent when it is answered."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []  # nearly always empty: a deque would take 700 bytes a leg

    def send(
        self,
        call: Call | BrowserCall,
        now: float,
        content_type: str,
        body: bytes,
        origin: RequestReceived | None = None,
    ) -> None:
        """Send a body, or keep it; `origin` gets the answer. Raises CallStateError."""
        if len(self._waiting) >= MAX_WAITING:
            raise TooManyWaiting("too many INFO requests wait for their answers")
        if not self._waiting:
            _send(call, now, content_type, body)
        self._waiting.append(_Waiting(content_type, body, origin))

    def answered(self, call: Call | BrowserCall, now: float, status: int) -> None:
        """The request under way has its final answer: pass it back, send the next."""
        if not self._waiting:
            return
        origin = self._waiting.pop(0).origin
        if origin is not None:
            origin.respond(now, status if status not in (401, 407, 408, 503) else 500)
        if self._waiting:
            following = self._waiting[0]
            try:
                _send(call, now, following.content_type, following.body)
            except CallStateError:  # the call has ended, and who waits learns that from its end
                self._waiting.clear()


def _send(call: Call | BrowserCall, now: float, content_type: str, body: bytes) -> None:
    call.send(now, "INFO", [("Content-Type", content_type)] if content_type else (), body)
