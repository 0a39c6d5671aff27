"""What happens in a session, as typed values with a per-session sequence number.

One vocabulary for logs, history and every later listener. `seq` rises by one within a session, so that whoever
listens can tell what it missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog
from pyee.asyncio import AsyncIOEventEmitter

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """Root of the events: which session, which place in its order, and when."""

    session_id: str
    seq: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(SessionEvent):
    """The session exists; nothing has been sent yet, or an INVITE has come in."""

    caller: str
    callee: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegDialled(SessionEvent):
    """An INVITE went out."""

    leg: str
    call_id: str
    target: str
    trunk: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegRinging(SessionEvent):
    """A party rings (18x)."""

    leg: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LegAnswered(SessionEvent):
    """A party answered (2xx)."""

    leg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegFailed(SessionEvent):
    """An attempt to reach a party ended without an answer; another one may follow."""

    leg: str
    status: int
    reason: str
    trunk: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridged(SessionEvent):
    """Caller and callee hear each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegHeld(SessionEvent):
    """A party's media stopped: `by` says whether its phone or a command asked for it."""

    leg: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegResumed(SessionEvent):
    """A party's media goes on."""

    leg: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtmf(SessionEvent):
    """A digit was pressed on a leg."""

    leg: str
    digit: str
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted(SessionEvent):
    """Something that explains the call and changes nothing, such as a field that was ignored."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(SessionEvent):
    """The session is over; `status` is the SIP code that fits the cause."""

    cause: str
    status: int
    by: str


EventT = TypeVar("EventT", bound=SessionEvent)


class EventBus:
    """A typed face on pyee: listeners by event class, and one for all.

    A listener runs within `emit`, so it must be short; one that raises is logged and does not disturb the call.
    """

    def __init__(self) -> None:
        self._emitter = AsyncIOEventEmitter()
        self._listened: set[str] = set()
        self._emitter.on("error", self._on_error)

    def on(self, kind: type[EventT], listener: Callable[[EventT], Any]) -> None:
        """Call `listener` with each event of exactly this class; `SessionEvent` stands for all of them."""
        self._emitter.on(kind.__name__, listener)
        self._listened.add(kind.__name__)

    def off(self, kind: type[EventT], listener: Callable[[EventT], Any]) -> None:
        """Stop calling `listener`; KeyError when it was not listening."""
        self._emitter.remove_listener(kind.__name__, listener)

    def wants(self, kind: type[SessionEvent]) -> bool:
        """Whether anybody listens to this class."""
        return kind.__name__ in self._listened or SessionEvent.__name__ in self._listened

    def emit(self, event: SessionEvent) -> None:
        """Tell those who listen to this class, then those who listen to all."""
        for name in (type(event).__name__, SessionEvent.__name__):
            if name in self._listened:
                self._emitter.emit(name, event)

    def _on_error(self, error: BaseException) -> None:
        log.error("event_listener_failed", error=repr(error))
