"""[io] All live sessions, and for a while the ended ones: what the APIs talk to."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from . import gathering, originate
from .commands import CallRecord
from .errors import LimitReached, WrongState
from .events import EventBus
from .originate import DryRun, OriginateRequest
from .people import People
from .rooms import Channel, Role, Rooms
from .routing import Principal
from .session import Origin, Session
from .switch import Switch

log = structlog.get_logger("signalling.registry")

REAP_INTERVAL_S = 60.0  # how often sessions that nobody takes part in are looked for
CLOSE_WAIT_S = 3.0  # at shutdown, for sessions to say BYE


class Registry:
    """Starts, finds and ends sessions within the limits of the server."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.rooms = Rooms(self.get)
        self._in_rooms = 0
        self._reaper: asyncio.TimerHandle | None = None
        self._live: dict[str, Session] = {}
        self._ended: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._answered = 0
        self._closing = False
        self._last_id = 0
        self._doors: dict[str, Any] = {"clock": switch.sip.now, "on_answer": self._on_answer, "on_end": self._on_end}
        "What every session calls: bound once, for each of them would keep three objects of its own."

    @property
    def bus(self) -> EventBus:
        """Where every session's events can be heard."""
        return self.switch.bus

    # What the APIs do.

    @property
    def people(self) -> People:
        """The users."""
        return self.switch.people

    def create(
        self,
        *,
        tenant: str,
        made_by: Origin,
        owner: str | None = None,
        host: str | None = None,
        name: str = "",
        channel: Channel | None = None,
        client_id: str = "",
        meta: dict[str, Any] | None = None,
        role: Role = "member",
    ) -> Session:
        """Start a session without a call; `host` is its first participant. LimitReached.

        WrongState when `channel` has a sitting already (B25).
        """
        limits = self.switch.limits
        if self._closing:
            raise LimitReached("the server stops", retry_after_s=limits.retry_after_s)
        if self._in_rooms >= limits.rooms:
            raise LimitReached(f"{limits.rooms} sessions are the limit", retry_after_s=limits.retry_after_s)
        if channel is not None and self.rooms.active_session(channel.id) is not None:
            raise WrongState("the channel has an active session")
        session = self._session(None, tenant=tenant, made_by=made_by, owner=owner, host=host, name=name)
        session.channel = channel
        session.client_id = client_id or ("" if channel is None else channel.client_id)
        session.meta = meta
        if channel is not None:
            self.rooms.sit(channel, session)
        self._keep_room(session)
        session.open()
        if host is not None:
            user = self.people.get(tenant, host)
            session.join(host, display_name=None if user is None else user.display_name, role=role)
        return session

    def restore(self, session_id: str, **fields: Any) -> Session:
        """Take a session without a call that a former process had: made like by `create`, and nobody is told.

        Whoever restores then sets what else is known of it.
        """
        session = self._session(None, session_id=session_id, **fields)
        if session.channel is not None:
            self.rooms.sit(session.channel, session)
        self._keep_room(session)
        return session

    def _keep_room(self, session: Session) -> None:
        self._live[session.id] = session
        self._in_rooms += 1
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(REAP_INTERVAL_S, self._reap)

    def _reap(self) -> None:
        """End the sessions that nobody has come back to (A14)."""
        self._reaper = None
        before = time.time() - self.switch.limits.idle_s
        for session in list(self._live.values()):
            if session.kind == "room" and not session.has_task and (session.empty_since or before) < before:
                session.abandon("nobody takes part")
        if self._in_rooms:
            self._reaper = asyncio.get_running_loop().call_later(REAP_INTERVAL_S, self._reap)

    async def originate(
        self, request: OriginateRequest, principal: Principal, session: Session | None = None
    ) -> Session:
        """Start a call, in a session of its own or in the one given; returns at once, before anyone rings.

        Where others have media in the session already, both parties join them; a caller who is one of them is not rung.

        Raises SignallingError; WrongState when the given session has ended or has a call already, SessionNotActive
        while it is paused.
        """
        if session is not None and not session.ended:
            session.must_be_active()
        origination = originate.resolve(self.switch, request, principal)
        record = CallRecord(
            request.caller,
            request.callee,
            request.caller_display_name,
            *self.clocks(),
            trunk=request.trunk,
            user_data=request.user_data,
        )

        async def flow(session: Session) -> None:
            await originate.run(session, self.switch, origination)

        if session is not None and session.has_task and not session.ended:
            gathering.summon(session, originate.summons_for(session, self.switch, origination), record)
            for note in origination.notes:
                session.note(note)
        elif session is not None:
            session.add_call(record, flow)
        else:
            session = self.new_session(record, owner=principal.owner, host=principal.user, made_by="pbx")
            session.start(flow)
        log.info(
            "call_originated",
            session=session.id,
            caller=request.caller,
            callee=request.callee,
            by=principal.name,
        )
        return session

    async def dry_run(self, request: OriginateRequest, principal: Principal) -> DryRun:
        """What `originate` would send, and why; nothing is sent. Raises SignallingError."""
        return await originate.rehearse(self.switch, originate.resolve(self.switch, request, principal))

    def sessions(self, tenant: str | None = None) -> list[Session]:
        """The active ones, oldest first; of one tenant, or of all."""
        return [session for session in self._live.values() if tenant is None or session.tenant == tenant]

    def get(self, session_id: str) -> Session | None:
        """A session that is active, or ended and still retained."""
        session = self._live.get(session_id)
        if session is None:
            self._evict()
            kept = self._ended.get(session_id)
            session = kept[1] if kept is not None else None
        return session

    def counts(self) -> dict[str, int]:
        """Live sessions and what hangs on them; all but `retained` are zero when nothing goes on."""
        counts = {
            "sessions": len(self._live),
            "rooms": self._in_rooms,
            "retained": len(self._ended),
            "busy": len(self.switch.busy),
        }
        counts.update({f"stack_{name}": count for name, count in self.switch.sip.stack.counts().items()})
        counts.update({f"calls_{name}": count for name, count in self.switch.calls.counts().items()})
        counts.update({f"media_{name}": count for name, count in self.switch.media.counts().items()})
        return counts

    async def close(self) -> None:
        """End every call (BYE, CANCEL, 503), and wait a bounded time for it. No new sessions from now on.

        Sessions without a call are left as they are, for the next process to go on with.
        """
        self._closing = True
        if self._reaper is not None:
            self._reaper.cancel()
        sessions = [session for session in self.sessions() if session.has_task]
        cause = "the server stops"
        waits = [
            asyncio.ensure_future(session.end(cause=cause) if session.in_call else session.end_media(cause))
            for session in sessions
        ]
        if waits:
            await asyncio.wait(waits, timeout=CLOSE_WAIT_S)

    # What flows do.

    def new_session(
        self, record: CallRecord, *, owner: str | None, made_by: Origin = "sip", host: str | None = None
    ) -> Session:
        """Make a session for a call, not started yet. Raises LimitReached."""
        limits = self.switch.limits
        calls = len(self._live) - self._in_rooms
        if self._closing:
            raise LimitReached("the server stops", retry_after_s=limits.retry_after_s)
        if calls >= limits.sessions:
            raise LimitReached(f"{calls} sessions are the limit", retry_after_s=limits.retry_after_s)
        if self.early >= limits.early:
            raise LimitReached(f"{limits.early} calls ring already", retry_after_s=limits.retry_after_s)
        session = self._session(record, tenant=self.switch.tenant, made_by=made_by, owner=owner, host=host)
        session.name = f"{record.caller} → {record.callee}"
        self._live[session.id] = session
        return session

    def _session(self, record: CallRecord | None, *, session_id: str | None = None, **fields: Any) -> Session:
        return Session(
            session_id or self._new_id(),
            record,
            bus=self.switch.bus,
            **self._doors,
            **fields,
        )

    def forget(self, session: Session) -> None:
        """Drop a session that was never started."""
        self._live.pop(session.id, None)

    @property
    def early(self) -> int:
        """Sessions that nobody has answered yet."""
        return len(self._live) - self._in_rooms - self._answered

    def clocks(self) -> tuple[datetime, Callable[[], float]]:
        """The instant for a record's `started_at`, and the clock of its durations."""
        return datetime.now(UTC), self.switch.sip.now

    def _new_id(self) -> str:
        """Decimal, rising with time, and not to be guessed: milliseconds and 20 random bits."""
        fresh = (int(time.time() * 1000) << 20) | random.getrandbits(20)
        self._last_id = max(fresh, self._last_id + 1)
        return str(self._last_id)

    def _on_answer(self, session: Session) -> None:
        self._answered += 1

    def _on_end(self, session: Session) -> None:
        del self._live[session.id]
        self._ended[session.id] = (self.switch.sip.now(), session)
        self._evict()
        if session.kind == "room":
            self._in_rooms -= 1
            self.rooms.rise(session)
            log.info("session_ended", session=session.id, cause=session.end_cause)
            return
        call = session.call
        if call.answered is not None:
            self._answered -= 1
        log.info(
            "call_ended",
            session=session.id,
            call_id=session.call_id,
            caller=call.caller,
            callee=call.callee,
            trunk=call.trunk,
            cause=session.end_cause,
            status=call.status,
            by=call.hung_up_by,
            talking_s=call.talking_time_s,
        )

    def _evict(self) -> None:
        limits = self.switch.limits
        oldest_kept = self.switch.sip.now() - limits.retained_s
        while self._ended:
            ended_at, _ = next(iter(self._ended.values()))
            if len(self._ended) <= limits.retained and ended_at >= oldest_kept:
                break
            self._ended.popitem(last=False)
