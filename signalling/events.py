"""What happens in a session, as typed values with a per-session sequence number.

One vocabulary for logs, history and every later listener. `seq` rises by one within a session, so that whoever
listens can tell what it missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog
from pyee.asyncio import AsyncIOEventEmitter

if TYPE_CHECKING:
    from .session import Session

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

    caller: str | None
    "None, as the callee, in a session that no call made."
    callee: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegDialled(SessionEvent):
    """An INVITE went out, or a user's browsers ring."""

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
    user: str | None = None
    "Id of the user who ended it by a command."


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(SessionEvent):
    """A caller-callee pair is over: its call record."""

    call: int
    "Index of the call in its session."
    caller: str
    callee: str
    trunk: str | None
    talking_ms: int
    status: int
    reason: str
    hung_up_by: str
    user_data: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantJoined(SessionEvent):
    """A user takes part."""

    participant: int
    "Index of the stay, from 0."
    user: str
    display_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantLeft(SessionEvent):
    """A user no longer takes part."""

    participant: int
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantMuted(SessionEvent):
    """The others hear a user no more."""

    participant: int
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantUnmuted(SessionEvent):
    """The others hear a user again."""

    participant: int
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPaused(SessionEvent):
    """A user paused the session: media is on hold, and nothing can be said."""

    paused_by: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUnpaused(SessionEvent):
    """A user let the session go on."""

    resumed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSent(SessionEvent):
    """Somebody said something in writing; the fields of a ChatMessage."""

    index: int
    id: str
    user: str
    participant: int | None
    display_name: str | None
    payload_type: str
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationChanged(SessionEvent):
    """Root of what happens to an invitation; its context is nobody's business but the inviter's."""

    invitation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationCreated(InvitationChanged):
    """Somebody is asked to take part."""

    invited_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationSent(InvitationChanged):
    """A message with the invitation was delivered, or the phone rings."""

    by: str
    "email, sms, webhook, ring or link."


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationFailed(InvitationChanged):
    """A message with the invitation could not be delivered."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationAccepted(InvitationChanged):
    """The invited user takes part."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationDeclined(InvitationChanged):
    """The invited user does not want to."""

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationExpired(InvitationChanged):
    """Nobody answered in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSynced(SessionEvent):
    """The chat of an ended session is complete and can be downloaded."""

    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptReady(SessionEvent):
    """The transcript can be downloaded."""

    sentences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryReady(SessionEvent):
    """The summary of the transcript can be downloaded."""


EVENT_KINDS: dict[str, type[SessionEvent]] = {
    "session.started": SessionStarted,
    "session.paused": SessionPaused,
    "session.resumed": SessionUnpaused,
    "session.ended": SessionEnded,
    "session.noted": Noted,
    "call.bridged": Bridged,
    "call.ended": CallEnded,
    "leg.dialled": LegDialled,
    "leg.ringing": LegRinging,
    "leg.answered": LegAnswered,
    "leg.failed": LegFailed,
    "leg.held": LegHeld,
    "leg.resumed": LegResumed,
    "leg.dtmf": Dtmf,
    "participant.joined": ParticipantJoined,
    "participant.left": ParticipantLeft,
    "participant.muted": ParticipantMuted,
    "participant.unmuted": ParticipantUnmuted,
    "chat.sent": ChatSent,
    "chat.synced": ChatSynced,
    "transcript.ready": TranscriptReady,
    "summary.ready": SummaryReady,
    "invitation.created": InvitationCreated,
    "invitation.sent": InvitationSent,
    "invitation.failed": InvitationFailed,
    "invitation.accepted": InvitationAccepted,
    "invitation.declined": InvitationDeclined,
    "invitation.expired": InvitationExpired,
}
"The name of each kind where events leave the process."

_WIRE_KINDS = {kind: name for name, kind in EVENT_KINDS.items()}


def wire_kind(kind: type[SessionEvent]) -> str:
    """The name of a kind, such as `leg.answered`."""
    return _WIRE_KINDS[kind]


Happened = tuple[int, type[SessionEvent], int, float, dict[str, Any]]
"An event as its session keeps it: position, class, seq, seconds since the epoch, fields."


class Happening(NamedTuple):
    """An event before it is made into a value: what followers of the bus get, for most are never looked at."""

    position: int
    "Rises over all sessions and over restarts; below 2**53."
    session: Session
    kind: type[SessionEvent]
    seq: int
    at: float
    "Seconds since the epoch."
    fields: dict[str, Any]


def event_body(happening: Happening) -> dict[str, Any]:
    """The one JSON form of an event, for every way out of the process."""
    session = happening.session
    at_ms = round(happening.at * 1000)  # as it is stored, so that an event reads alike now and later
    return {
        "id": f"evt_{happening.position}",
        "kind": _WIRE_KINDS[happening.kind],
        "session": session.id,
        "channel": session.channel_id,
        "seq": happening.seq,
        "at": f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z",
        "data": happening.fields,
    }


EventT = TypeVar("EventT", bound=SessionEvent)
Follower = Callable[[Happening], None]


class EventBus:
    """A typed face on pyee: listeners by event class, and one for all.

    A listener runs within `emit`, so it must be short; one that raises is logged and does not disturb the call.
    """

    def __init__(self) -> None:
        self.followers: dict[type[SessionEvent], tuple[Follower, ...]] = dict.fromkeys(EVENT_KINDS.values(), ())
        "Who follows each kind of event, in the order of following; see `follow`."
        self._followers: list[tuple[Follower, frozenset[type[SessionEvent]]]] = []
        self._position = 0
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

    def follow(self, follower: Follower, *kinds: type[SessionEvent]) -> None:
        """Call `follower` at once with every event of every session, or of these kinds alone.

        It appends the event somewhere and never raises.
        """
        self._followers.append((follower, frozenset(kinds or EVENT_KINDS.values())))
        self._sort_followers()

    def unfollow(self, follower: Follower) -> None:
        """Call it no more. Harmless when it did not follow."""
        self._followers = [(other, kinds) for other, kinds in self._followers if other != follower]
        self._sort_followers()

    def _sort_followers(self) -> None:
        for kind in self.followers:
            self.followers[kind] = tuple(follower for follower, kinds in self._followers if kind in kinds)

    def next_position(self, at: float) -> int:
        """The place of an event that happens at `at`, seconds since the epoch, after all before it."""
        self._position = max(self._position + 1, int(at * 1_000_000))
        return self._position

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
