"""[io] All live sessions, and for a while the ended ones: what the APIs talk to."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from . import originate
from .errors import LimitReached
from .events import EventBus
from .originate import DryRun, OriginateRequest
from .routing import Principal
from .session import CallRecord, Session
from .switch import Switch

log = structlog.get_logger("signalling.registry")

CLOSE_WAIT_S = 3.0  # at shutdown, for sessions to say BYE


class Registry:
    """Starts, finds and ends sessions within the limits of the server."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self._live: dict[str, Session] = {}
        self._ended: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._answered = 0
        self._closing = False
        self._last_id = 0

    @property
    def bus(self) -> EventBus:
        """Where every session's events can be heard."""
        return self.switch.bus

    # What the APIs do.

    async def originate(self, request: OriginateRequest, principal: Principal) -> Session:
        """Start a call; returns at once, before anyone rings. Raises SignallingError."""
        origination = originate.resolve(self.switch, request, principal)
        record = CallRecord(
            request.caller,
            request.callee,
            request.caller_display_name,
            *self.clocks(),
            trunk=request.trunk,
            user_data=request.user_data,
        )
        session = self.new_session(record, host=principal.owner)
        log.info(
            "call_originated",
            session=session.id,
            caller=request.caller,
            callee=request.callee,
            by=principal.name,
        )
        session.start(lambda s: originate.run(s, self.switch, origination))
        return session

    async def dry_run(self, request: OriginateRequest, principal: Principal) -> DryRun:
        """What `originate` would send, and why; nothing is sent. Raises SignallingError."""
        return await originate.rehearse(self.switch, originate.resolve(self.switch, request, principal))

    def sessions(self) -> list[Session]:
        """The active ones, oldest first."""
        return list(self._live.values())

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
        counts = {"sessions": len(self._live), "retained": len(self._ended), "busy": len(self.switch.busy)}
        counts.update({f"stack_{name}": count for name, count in self.switch.sip.stack.counts().items()})
        counts.update({f"calls_{name}": count for name, count in self.switch.calls.counts().items()})
        counts.update({f"media_{name}": count for name, count in self.switch.media.counts().items()})
        return counts

    async def close(self) -> None:
        """End every session (BYE, CANCEL, 503), and wait a bounded time for it. No new ones from now on."""
        self._closing = True
        sessions = self.sessions()
        waits = [asyncio.ensure_future(session.hang_up("the server stops")) for session in sessions]
        if waits:
            await asyncio.wait(waits, timeout=CLOSE_WAIT_S)

    # What flows do.

    def new_session(self, record: CallRecord, *, host: str | None) -> Session:
        """Make a session, not started yet. Raises LimitReached."""
        limits = self.switch.limits
        live = len(self._live)
        if self._closing:
            raise LimitReached("the server stops", retry_after_s=limits.retry_after_s)
        if live >= limits.sessions:
            raise LimitReached(f"{live} sessions are the limit", retry_after_s=limits.retry_after_s)
        if self.early >= limits.early:
            raise LimitReached(f"{limits.early} calls ring already", retry_after_s=limits.retry_after_s)
        session = Session(
            self._new_id(),
            record,
            bus=self.switch.bus,
            clock=self.switch.sip.now,
            host=host,
            on_answer=self._on_answer,
            on_end=self._on_end,
        )
        self._live[session.id] = session
        return session

    def forget(self, session: Session) -> None:
        """Drop a session that was never started."""
        self._live.pop(session.id, None)

    @property
    def early(self) -> int:
        """Sessions that nobody has answered yet."""
        return len(self._live) - self._answered

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
        if session.call.answered is not None:
            self._answered -= 1
        self._ended[session.id] = (self.switch.sip.now(), session)
        call = session.call
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
        self._evict()

    def _evict(self) -> None:
        limits = self.switch.limits
        oldest_kept = self.switch.sip.now() - limits.retained_s
        while self._ended:
            ended_at, _ = next(iter(self._ended.values()))
            if len(self._ended) <= limits.retained and ended_at >= oldest_kept:
                break
            self._ended.popitem(last=False)
