"""[io] A live session: who takes part, their legs, the calls, and the one task that owns them.

Everything that happens to a session is posted to its inbox: the events of its legs, and the commands of the APIs.
A *flow* (a coroutine function taking the session) reads the inbox and acts, so that a call reads from top to bottom; it
may return the flow that goes on, and what it kept itself is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from time import time
from typing import Any, Literal
from uuid import uuid4

import structlog

from .commands import By, CallRecord, Drop, Finished, HangUp, Hold, LegEvent
from .errors import AlreadyThere, LimitReached, NotThere, SessionNotActive, SignallingError, WrongState
from .events import (
    CallEnded,
    ChatSent,
    EventBus,
    Happened,
    Happening,
    Noted,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantMuted,
    ParticipantUnmuted,
    SessionEnded,
    SessionEvent,
    SessionPaused,
    SessionStarted,
    SessionUnpaused,
)
from .ids import uuid_of_channel
from .inbox import Inbox, Posted
from .legs import Leg, MediaError
from .participants import ChatMessage, Participant
from .rooms import Channel, Role

log = structlog.get_logger("signalling.session")

MAX_EVENTS = 200  # kept in memory for each session, oldest dropped
MAX_STAYS = 20_000  # of one session, past and present: each join looks through them
MAX_CHAT = 16_384  # characters of one message

Origin = Literal["sip", "pbx", "callsession", "channels", "invitations", "realtimekit", "channel"]
"Where a session was made: by a phone or trunk, in one of the dialects, or over the signalling channel."
Status = Literal["CREATED", "INVITED", "ACTIVE", "PAUSED", "RESOLVED", "ABANDONED"]

SessionFlow = Callable[["Session"], "Awaitable[SessionFlow | None]"]


class Session:
    """One live session: who takes part, and the calls that connect them.

    What needs no network (joining, leaving, saying something) happens at once. A call is a flow in the session's own
    task; everyone else posts to it: `post` for events, `end`, `leave`, `hold` and `unhold` for commands.
    A session that a call made ends with it; any other goes on until it is ended.
    """

    __slots__ = (
        "__weakref__",
        "_bus",
        "_clock",
        "_ending",
        "_happened",
        "_inbox",
        "_on_answer",
        "_on_end",
        "_task",
        "call_id",
        "calls",
        "channel",
        "chat_count",
        "client_id",
        "empty_since",
        "end_cause",
        "ended",
        "ended_at",
        "ended_by",
        "group_id",
        "held",
        "host",
        "id",
        "invitation_id",
        "invited",
        "kind",
        "last_seq",
        "legs",
        "made_by",
        "max_present",
        "meta",
        "name",
        "outcome",
        "owner",
        "parent_id",
        "participants",
        "paused_at",
        "paused_by",
        "tenant",
        "updated_at",
        "user_data",
    )

    def __init__(
        self,
        session_id: str,
        record: CallRecord | None = None,
        *,
        bus: EventBus,
        clock: Callable[[], float],
        tenant: str,
        made_by: Origin,
        owner: str | None = None,
        host: str | None = None,
        name: str = "",
        channel: Channel | None = None,
        on_answer: Callable[[Session], None],
        on_end: Callable[[Session], None],
    ) -> None:
        self.id = session_id
        self.kind: Literal["call", "room"] = "room" if record is None else "call"
        self.tenant = tenant
        self.made_by: Origin = made_by
        self.owner = owner
        "Principal.owner of who made it."
        self.host = host
        "Id of the user who may end it, whether taking part or not."
        self.name = name
        self.channel = channel
        "The room that it is a sitting of; None when it has one of its own."
        self.client_id = ""
        self.group_id: str | None = None
        self.parent_id: str | None = None
        self.meta: dict[str, Any] | None = None
        self.calls = [] if record is None else [record]
        self.call_id: str | None = None
        "Call-ID of the first leg: with the session's id, the key of every log line."
        self.legs: list[Leg] = []
        self.participants: list[Participant] = []
        "Past and present, in the order of coming."
        self.max_present = 0
        self.chat_count = 0
        self.user_data = None if record is None else record.user_data
        self.invitation_id: str | None = None
        self.invited = False
        "An invitation waits for its answer."
        self.outcome: Literal["RESOLVED", "ABANDONED"] | None = None
        "How it ended, where somebody said so."
        self.paused_at: float | None = None
        self.paused_by: str | None = None
        self.empty_since: float | None = None
        "Since when nobody takes part; None while somebody does."
        self.ended = False
        self.ended_at: float | None = None
        self.ended_by: str | None = None
        "Id of the user who ended it by a command."
        self.end_cause: str | None = None
        self.updated_at = 0.0
        self._bus = bus
        self._clock = clock
        self._on_answer = on_answer
        self._on_end = on_end
        self._begin()

    def _begin(self) -> None:
        self.last_seq = 0
        self._happened: list[Happened] = []
        self._inbox = Inbox()
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self.held = False
        "A command or a pause has stopped the media: who joins is held, too."

    @property
    def call(self) -> CallRecord:
        """The present call; there is none in a session where nobody was rung."""
        return self.calls[-1]

    @property
    def created_at(self) -> float:
        """Seconds since the epoch."""
        return (int(self.id) >> 20) / 1000

    @property
    def started_at(self) -> float | None:
        """When the first participant came; None before."""
        return self.participants[0].joined_at if self.participants else None

    @property
    def channel_id(self) -> str:
        """UUID of its room, or of the channel of its own."""
        return uuid_of_channel(self.id) if self.channel is None else self.channel.id

    @property
    def channel_name(self) -> str:
        """Name of its room; its own when it has none."""
        return self.name if self.channel is None else self.channel.name

    @property
    def in_call(self) -> bool:
        """Whether a call is going on: somebody is rung, or talks by phone."""
        return bool(self.calls) and self.call.ended is None

    @property
    def has_task(self) -> bool:
        """Whether media flows, or is about to: in a call, or of those who joined with theirs."""
        return self._task is not None and not self._task.done()

    @property
    def status(self) -> Status:
        """Where it is in its life (conformance C13)."""
        if self.ended:
            if self.outcome is not None:
                return self.outcome
            met = self.max_present > 1 if self.kind == "call" else bool(self.participants)
            return "RESOLVED" if met and not self.invited else "ABANDONED"
        if self.paused_at is not None:
            return "PAUSED"
        if self.invited or (self.kind == "call" and self.call.answered is None):
            return "INVITED"
        return "ACTIVE" if self.participants else "CREATED"

    def now(self) -> float:
        """Seconds, monotonic."""
        return self._clock()

    def answered(self) -> None:
        """The callee has answered: the talking time begins."""
        self.call.answered = self.now()
        if self.kind == "call":
            self._on_answer(self)

    # Who takes part.

    def present(self) -> list[Participant]:
        """Those who take part now, in the order of coming."""
        return [participant for participant in self.participants if participant.left_at is None]

    def participant(self, user: str) -> Participant | None:
        """The present stay of a user."""
        for participant in reversed(self.participants):
            if participant.user == user and participant.left_at is None:
                return participant
        return None

    def role_of(self, user: str) -> Role | None:
        """What a user may do here: the most that its place in the session or in the channel gives."""
        if user == self.host:
            return "host"
        role = None if self.channel is None else self.channel.role_of(user)
        if role in ("host", "member"):
            return role
        for participant in self.participants:
            if participant.user == user:
                return participant.role if role is None or participant.role != "viewer" else role
        return role

    def join(
        self,
        user: str,
        *,
        display_name: str | None = None,
        custom_id: str | None = None,
        preset: str | None = None,
        role: Role = "member",
    ) -> Participant:
        """Let a user take part. AlreadyThere; WrongState once the session has ended; LimitReached."""
        if self.ended:
            raise WrongState("the session has ended")
        if self.participant(user) is not None:
            raise AlreadyThere(f"{user!r} takes part already")
        if len(self.participants) >= MAX_STAYS:
            raise LimitReached("too many participants came and went")
        index = len(self.participants)
        participant = Participant(
            index, user, time(), display_name=display_name, custom_id=custom_id, preset=preset, role=role
        )
        self.participants.append(participant)
        self.max_present = max(self.max_present, len(self.present()))
        self.empty_since = None
        self.emit(ParticipantJoined, participant=index, user=user, display_name=display_name)
        return participant

    def leave(self, user: str) -> None:
        """End a user's stay, and its legs alone. NotThere; WrongState once the session has ended."""
        if self.ended:
            raise WrongState("the session has ended")
        participant = self.participant(user)
        if participant is None:
            raise NotThere(f"{user!r} does not take part")
        legs = [leg for leg in self.legs if leg.participant is participant]
        self._left(participant, time())
        if legs:
            self.post(Drop(legs))

    def seat(self, leg: Leg, user: str, display_name: str | None = None) -> None:
        """A leg was answered: its user takes part by it."""
        present = self.participant(user)
        leg.came_alone = present is None
        leg.participant = present or self.join(user, display_name=display_name)

    def mute(self, user: str, on: bool) -> None:
        """Let the others hear a user no more, or again. NotThere."""
        participant = self.participant(user)
        if participant is None:
            raise NotThere(f"{user!r} does not take part")
        if participant.muted != on:
            participant.muted = on
            for leg in self.legs:
                if leg.participant is participant:
                    leg.media.mute(on)
            self.emit(ParticipantMuted if on else ParticipantUnmuted, participant=participant.index, user=user)

    def _left(self, participant: Participant, at: float) -> None:
        participant.left_at = at
        self.emit(ParticipantLeft, participant=participant.index, user=participant.user)
        if not self.ended and all(other.left_at is not None for other in self.participants):
            self.empty_since = at

    def say(self, user: str, text: str, *, kind: str = "TEXT_MESSAGE", display_name: str | None = None) -> ChatMessage:
        """Write to everybody here. SessionNotActive while paused and once ended."""
        self.must_be_active()
        participant = self.participant(user)
        if display_name is None and participant is not None:
            display_name = participant.display_name
        message = ChatMessage(
            self.chat_count,
            str(uuid4()),
            user,
            None if participant is None else participant.index,
            display_name,
            kind,
            text[:MAX_CHAT],
            time(),
        )
        self.chat_count += 1
        self.emit(
            ChatSent,
            index=message.index,
            id=message.id,
            user=user,
            participant=message.participant,
            display_name=display_name,
            payload_type=kind,
            payload=message.payload,
        )
        return message

    def press(self, user: str, digits: str) -> None:
        """Send DTMF digits to everybody else's phones. SessionNotActive as `say`; WrongState when none takes them."""
        self.must_be_active()
        why = "there is no call"
        heard = False
        for leg in self.legs:
            if leg.established is not None and (leg.participant is None or leg.participant.user != user):
                try:
                    leg.press(digits)
                    heard = True
                except MediaError as error:
                    why = str(error)
        if not heard:
            raise WrongState(why)

    def must_be_active(self) -> None:
        """SessionNotActive while paused and once ended."""
        if self.ended:
            raise SessionNotActive("the session has ended")
        if self.paused_at is not None:
            raise SessionNotActive("the session is paused")

    # The inbox.

    def post(self, item: Posted) -> None:
        """Hand something to the owning task. Past the inbox's limit, events are dropped and the session ends."""
        if not self.ended:
            self._inbox.post(item)
        elif isinstance(item, Hold):
            item.done.set_exception(WrongState("the session has ended"))

    def post_leg(self, leg: Leg, event: object) -> None:
        """What a leg calls with its events."""
        self.post(LegEvent(leg, event))

    def next(self, deadline: float | None = None) -> Coroutine[Any, Any, LegEvent | Hold | None]:
        """See Inbox.next."""
        return self._inbox.next(deadline)

    # Commands of the APIs.

    async def end(self, *, by: str | None = None, cause: str = "ended by command") -> None:
        """End the session and every leg of it; returns once it has ended. `by` is a user. WrongState if it had."""
        if self.ended:
            raise WrongState("the session has ended")
        self._ending, self.ended_by = True, by
        if self.has_task:
            await self.end_media(cause, "command")
        else:
            self._end(Finished(cause, by="command"), time())

    async def end_media(self, cause: str, by: By = "server") -> None:
        """End what goes on, but the session only when a call made it."""
        self.post(HangUp(cause, by))
        if self._task is not None:
            await asyncio.wait([self._task])

    def abandon(self, cause: str) -> None:
        """End a session without a call for a reason of the server's own."""
        assert not self.has_task
        self._end(Finished(cause, by="server"), time())

    async def hold(self) -> None:
        """Put every leg on hold (re-INVITE, RTP stops). WrongState before both have answered."""
        await self._post_hold(True)

    async def unhold(self) -> None:
        """Let the media of every leg go on. WrongState when it was not held."""
        self.must_be_active()
        await self._post_hold(False)

    async def pause(self, by: str, reason: str | None = None) -> None:
        """Put every leg on hold, and refuse chat, digits and new media until `resume` (conformance C8, C23).

        SessionNotActive unless the session is active.
        """
        if self.status != "ACTIVE":
            raise SessionNotActive(f"the session is {self.status.lower()}")
        self.paused_at, self.paused_by = time(), by
        try:
            await self._hold_for_pause(True)
        except WrongState:
            self.paused_at = self.paused_by = None
            raise
        self.emit(SessionPaused, paused_by=by, reason=reason)

    async def resume(self, by: str) -> None:
        """Undo a pause. WrongState when there is none."""
        if self.ended or self.paused_at is None:
            raise WrongState("the session is not paused")
        await self._hold_for_pause(False)
        self.paused_at = self.paused_by = None
        self.emit(SessionUnpaused, resumed_by=by)

    async def _hold_for_pause(self, on: bool) -> None:
        if self.has_task:
            await self._post_hold(on, again=True)

    async def _post_hold(self, on: bool, *, again: bool = False) -> None:
        if self.ended:
            raise WrongState("the session has ended")
        if not self.has_task:
            raise WrongState("there is no call to hold")
        done = asyncio.get_running_loop().create_future()
        self.post(Hold(on, done, again))
        await done

    # The task.

    def open(self) -> None:
        """Begin a session without a call."""
        self.empty_since = time()
        self.emit(SessionStarted, caller=None, callee=None)

    def start(self, flow: SessionFlow) -> None:
        """Begin a call: `flow` runs in this session's own task until it returns or raises Finished."""
        if self.kind == "call":
            call = self.call
            self.emit(SessionStarted, caller=call.caller, callee=call.callee)
        self._task = asyncio.get_running_loop().create_task(self._run(flow))

    def add_call(self, record: CallRecord, flow: SessionFlow) -> None:
        """Begin another call, in a session that has none now. WrongState."""
        if self.ended or self.has_task:
            raise WrongState("the session has ended" if self.ended else "a call is going on")
        self.calls.append(record)
        self.start(flow)

    def close_call(self, end: Finished, at: float | None = None) -> None:
        """The call is over, now or `at` of its clock, and the flow goes on. Nothing when there is none."""
        if not self.in_call:
            return
        call = self.call
        call.ended = self.now() if at is None else at
        call.status = call.status or end.status
        call.reason = end.cause
        call.hung_up_by = end.by
        self.emit(
            CallEnded,
            call=len(self.calls) - 1,
            caller=call.caller,
            callee=call.callee,
            trunk=call.trunk,
            talking_ms=call.talking_ms,
            status=call.status,
            reason=end.cause,
            hung_up_by=end.by,
            user_data=call.user_data,
        )

    def depart(self, leg: Leg, status: int, cause: str, header: str | None = None) -> None:
        """One leg is over, and with it the stay of who came by it alone."""
        if leg not in self.legs:
            return
        self.legs.remove(leg)
        leg.keep_stats()
        leg.hang_up(status, cause, header=header)
        participant = leg.participant
        if leg.came_alone and participant is not None and participant.left_at is None:
            self._left(participant, time())

    async def _run(self, flow: SessionFlow | None) -> None:
        end = None
        try:
            while flow is not None:
                running, flow = flow(self), None
                flow = await running
            end = Finished("completed", by="server")
        except Finished as finished:
            end = finished
        except SignallingError as error:
            end = Finished(error.message, by="server", status=error.status)
        except asyncio.CancelledError:
            end = Finished("server stops", by="server", status=503)
            raise
        except Exception:  # a fault of ours costs this call and no other; `end` says so
            log.exception("session_failed", session=self.id, call_id=self.call_id)
        finally:
            self._finish(end or Finished("internal error", by="server", status=500))

    def _finish(self, end: Finished) -> None:
        """The flow is over: the call is, and with it a session that it made."""
        if self.legs and self.in_call:
            self.call.codecs = tuple(codec.name for codec in self.legs[0].media.codecs)
        seated = [leg.participant for leg in self.legs if leg.came_alone]
        for leg in self.legs:
            leg.keep_stats()
            leg.hang_up(end.status, end.cause, header=end.header)
        self.legs, self.held = [], False
        for item in self._inbox.clear():
            if isinstance(item, Hold) and not item.done.done():
                item.done.set_exception(WrongState("the call has ended"))
        self.close_call(end)
        if self.kind == "call" or self._ending:
            self._end(end, time())
            return
        at = time()
        for participant in seated:
            if participant is not None and participant.left_at is None:
                self._left(participant, at)

    def _end(self, end: Finished, at: float) -> None:
        self.ended = True
        self.ended_at = at
        self.end_cause = end.cause
        for participant in self.participants:
            if participant.left_at is None:
                self._left(participant, at)
        status = self.call.status if self.calls else end.status
        self.emit(SessionEnded, cause=end.cause, status=status, by=end.by, user=self.ended_by)
        self._on_end(self)

    # Events.

    def emit(self, kind: type[SessionEvent], **fields: Any) -> None:
        """Record an event of this session with the next number, and tell the followers and listeners."""
        self.last_seq += 1
        self.updated_at = at = time()
        bus = self._bus
        happened = (bus.next_position(at), kind, self.last_seq, at, fields)
        log = self._happened
        if len(log) >= MAX_EVENTS:
            del log[0]
        log.append(happened)
        if followers := bus.followers[kind]:
            happening = Happening(happened[0], self, kind, self.last_seq, at, fields)
            for follower in followers:
                follower(happening)
        if bus.wants(kind):
            bus.emit(self._event(happened))

    def _event(self, happened: Happened) -> SessionEvent:
        _, kind, seq, at, fields = happened
        return kind(session_id=self.id, seq=seq, at=datetime.fromtimestamp(at, UTC), **fields)

    @property
    def events(self) -> list[SessionEvent]:
        """The last MAX_EVENTS of this session, oldest first; made when somebody asks, for most are never read."""
        return [self._event(happened) for happened in self._happened]

    def since(self, seq: int) -> list[Happening]:
        """Those of the last MAX_EVENTS that came after number `seq`, oldest first."""
        return [Happening(one[0], self, *one[1:]) for one in self._happened if one[2] > seq]

    def note(self, text: str) -> None:
        """Record something that explains the call."""
        self.emit(Noted, text=text)
