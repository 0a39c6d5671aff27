"""[io] A live session: its participants' legs, its calls, and the one task that owns them.

Everything that happens to a session is posted to its inbox: the events of its legs, and the commands of the APIs.
A *flow* (a coroutine function taking the session) reads the inbox and acts, so that a call reads from top to bottom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any, Literal

import structlog

from .errors import SignallingError, WrongState
from .events import EventBus, Noted, SessionEnded, SessionEvent, SessionStarted
from .legs import Leg

log = structlog.get_logger("signalling.session")

MAX_INBOX = 1000  # posted and not yet read; a call in order has a handful, so more is an attack or a stuck task
MAX_EVENTS = 200  # kept in memory for each session, oldest dropped

By = Literal["caller", "callee", "command", "server"]


class Finished(Exception):
    """Raised inside a flow: the session is over, for this cause."""

    def __init__(self, cause: str, *, by: By, status: int = 200, header: str | None = None) -> None:
        super().__init__(cause)
        self.header = header
        "The Reason header (RFC 3326) that came with it, to carry to the other legs."
        self.cause = cause
        self.by: By = by
        self.status = status


@dataclass(slots=True)
class HangUp:
    """Command: end the session."""

    cause: str
    by: By = "command"


@dataclass(slots=True)
class Hold:
    """Command: stop the media of every leg, or let it go on."""

    on: bool
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class LegEvent:
    """What a leg reports: an event of its call (sip), or of its media."""

    leg: Leg
    event: object


Happened = tuple[type[SessionEvent], int, float, dict[str, Any]]
"An event before it is made: class, seq, seconds since the epoch, fields."

Posted = LegEvent | HangUp | Hold
Flow = Callable[["Session"], Awaitable[None]]


@dataclass(slots=True)
class CallRecord:
    """One caller-callee pair, as the PBX dialect lists it. Times by the monotonic clock, but for `started_at`."""

    caller: str
    callee: str
    caller_display_name: str | None
    started_at: datetime
    clock: Callable[[], float]
    trunk: str | None = None
    user_data: str | None = None
    answered: float | None = None
    ended: float | None = None
    status: int | None = None
    "SIP code of how it ended."
    reason: str | None = None
    hung_up_by: By | None = None

    @property
    def talking_time_s(self) -> int:
        """Whole seconds since the callee answered; 0 before."""
        if self.answered is None:
            return 0
        return int((self.clock() if self.ended is None else self.ended) - self.answered)


class Session:
    """One live session, owned by one task.

    Everyone else posts: `post` for events, `hang_up`, `hold` and `unhold` for commands.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_happened",
        "_inbox",
        "_on_answer",
        "_on_end",
        "_seq",
        "_task",
        "_waiter",
        "bus",
        "call_id",
        "calls",
        "end_cause",
        "ended",
        "host",
        "id",
        "legs",
        "user_data",
    )

    def __init__(
        self,
        session_id: str,
        record: CallRecord,
        *,
        bus: EventBus,
        clock: Callable[[], float],
        host: str | None = None,
        on_answer: Callable[[Session], None],
        on_end: Callable[[Session], None],
    ) -> None:
        self.id = session_id
        self.calls = [record]
        self.call_id: str | None = None
        "Call-ID of the first leg: with the session's id, the key of every log line."
        self.legs: list[Leg] = []
        self.host = host
        "Principal.owner of who started it."
        self.user_data = record.user_data
        self.ended = False
        self.end_cause: str | None = None
        self._happened: list[Happened] = []
        self.bus = bus
        self._clock = clock
        self._inbox: list[Posted] = []
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._seq = 0
        self._on_answer = on_answer
        self._on_end = on_end

    @property
    def call(self) -> CallRecord:
        """The present call."""
        return self.calls[-1]

    def now(self) -> float:
        """Seconds, monotonic."""
        return self._clock()

    def answered(self) -> None:
        """The callee has answered: the talking time begins."""
        self.call.answered = self.now()
        self._on_answer(self)

    # The inbox.

    def post(self, item: Posted) -> None:
        """Hand something to the owning task. Past the inbox's limit, events are dropped and the session ends."""
        if self.ended:
            if isinstance(item, Hold):
                item.done.set_exception(WrongState("the session has ended"))
            return
        if len(self._inbox) >= MAX_INBOX:
            log.warning("session_inbox_full", session=self.id)
            self._inbox = [HangUp("inbox full", by="server")]
        else:
            self._inbox.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def post_leg(self, leg: Leg, event: object) -> None:
        """What a leg calls with its events."""
        self.post(LegEvent(leg, event))

    async def next(self, deadline: float | None = None) -> LegEvent | Hold | None:
        """The next thing posted, or None once `deadline` (loop time) has passed.

        A hang-up command raises Finished, so that every flow obeys it wherever it waits.
        """
        while not self._inbox:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None
            if deadline is not None:
                if loop.time() >= deadline:
                    return None
                timer = loop.call_at(deadline, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        item = self._inbox.pop(0)
        if isinstance(item, HangUp):
            raise Finished(item.cause, by=item.by)
        return item

    # Commands of the APIs.

    async def hang_up(self, cause: str = "ended by command") -> None:
        """End the session and every leg of it; returns once it has ended. WrongState if it had."""
        if self.ended or self._task is None:
            raise WrongState("the session has ended")
        self.post(HangUp(cause))
        await asyncio.shield(self._task)

    async def hold(self) -> None:
        """Put every leg on hold (re-INVITE, RTP stops). WrongState before both have answered."""
        await self._post_hold(True)

    async def unhold(self) -> None:
        """Let the media of every leg go on. WrongState when it was not held."""
        await self._post_hold(False)

    async def _post_hold(self, on: bool) -> None:
        if self.ended:
            raise WrongState("the session has ended")
        done = asyncio.get_running_loop().create_future()
        self.post(Hold(on, done))
        await done

    # The task.

    def start(self, flow: Flow) -> None:
        """Begin: `flow` runs in this session's own task until it returns or raises Finished."""
        call = self.call
        self.emit(SessionStarted, caller=call.caller, callee=call.callee)
        self._task = asyncio.get_running_loop().create_task(self._run(flow))

    async def _run(self, flow: Flow) -> None:
        end = Finished("internal error", by="server", status=500)
        try:
            await flow(self)
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
            self._end(end)

    def _end(self, end: Finished) -> None:
        self.ended = True
        self.end_cause = end.cause
        for leg in self.legs:
            leg.hang_up(end.status, end.cause, header=end.header)
        self.legs = []
        call = self.call
        call.ended = self.now()
        call.status = call.status or end.status
        call.reason = end.cause
        call.hung_up_by = end.by
        for item in self._inbox:
            if isinstance(item, Hold) and not item.done.done():
                item.done.set_exception(WrongState("the session has ended"))
        self._inbox.clear()
        self.emit(SessionEnded, cause=end.cause, status=call.status, by=end.by)
        self._on_end(self)

    async def stopped(self) -> None:
        """Wait until the task has ended; used when the server stops."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # Events.

    def emit(self, kind: type[SessionEvent], **fields: Any) -> None:
        """Record an event of this session with the next number, and tell the listeners."""
        self._seq += 1
        happened = (kind, self._seq, time(), fields)
        log = self._happened
        if len(log) >= MAX_EVENTS:
            del log[0]
        log.append(happened)
        if self.bus.wants(kind):
            self.bus.emit(self._event(happened))

    def _event(self, happened: Happened) -> SessionEvent:
        kind, seq, at, fields = happened
        return kind(session_id=self.id, seq=seq, at=datetime.fromtimestamp(at, UTC), **fields)

    @property
    def events(self) -> list[SessionEvent]:
        """The last MAX_EVENTS of this session, oldest first; made when somebody asks, for most are never read."""
        return [self._event(happened) for happened in self._happened]

    def note(self, text: str) -> None:
        """Record something that explains the call."""
        self.emit(Noted, text=text)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
