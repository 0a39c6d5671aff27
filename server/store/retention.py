"""[io] Retention: what has been kept for as long as the configuration says is deleted, a little at a time.

Every deletion is a transaction of its own that aims at SLICE_S, and the pause after it is longer than it was, so that
the writer finds the database free. A session goes with all that hangs on it; what is live is never touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from sqlalchemy import ColumnElement, Select, Table, delete, exists, or_, select, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .schema import (
    app_session_channels,
    app_session_logs,
    app_session_sessions,
    app_session_users,
    app_sessions,
    calls,
    chat_messages,
    events,
    invitations,
    outbox,
    participants,
    recordings,
    registrations,
    sessions,
    summaries,
    tallies,
    tokens,
    transcripts,
)

log = structlog.get_logger("server.store.retention")

EVERY_S = 3600.0
FIRST_S = 60.0  # after a start, which has other things to do
SLICE_S = 0.02  # that a transaction should take
PAUSE = 4.0  # times as long as the transaction took
FIRST_BATCH, MIN_BATCH, MAX_BATCH = 20, 10, 1000  # rows, or sessions; fewer would not be done in less time
DAY_MS = 86_400_000


class Days(Protocol):
    """For how many days each kind is kept; 0: for ever. The section [retention] of the configuration."""

    @property
    def sessions(self) -> float:
        """After their end."""

    @property
    def events(self) -> float:
        """After they happened."""

    @property
    def chat(self) -> float:
        """After they were written, in sessions that have ended."""

    @property
    def artefacts(self) -> float:
        """Recordings, transcripts and summaries, after the end of the session."""

    @property
    def app_sessions(self) -> float:
        """After they were registered, with their logs."""

    @property
    def delivered(self) -> float:
        """Of the outbox, after delivery."""

    @property
    def dead(self) -> float:
        """Of the outbox, after they were put there and given up."""

    @property
    def tokens(self) -> float:
        """After they expired or were revoked."""


Keys = Sequence[Any]
Choose = Callable[[int], Select[Any]]
"How many at most -> the query for the keys of the next ones to go."
Remove = Callable[[AsyncConnection, Keys], Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of record whose time has come."""

    kind: str
    choose: Choose
    tables: tuple[tuple[Table, str | tuple[str, ...]], ...]
    "Tables that lose rows, and the column or columns that hold the key; the last one is what `choose` looks at."


class Retention:
    """Deletes what is old: `start` does so every hour."""

    def __init__(
        self,
        database: Database,
        days: Days,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`clock`: seconds since the epoch; `timer` and `sleep`: what the length of transactions is kept with."""
        self._database = database
        self._days = days
        self._clock = clock
        self._timer = timer
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, a minute from now."""
        self._task = asyncio.create_task(self._run(), name="retention")

    async def close(self) -> None:
        """Stop, after the transaction under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def enforce(self) -> dict[str, int]:
        """Delete all that is due now: kind -> number of records, without what hangs on them."""
        now = int(self._clock() * 1000)
        gone: dict[str, int] = {}
        async for rule in self._rules(now):
            count = await self._apply(rule)
            if count:
                gone[rule.kind] = gone.get(rule.kind, 0) + count
        if "sessions" in gone or "app_sessions" in gone:
            await self._write(delete(tallies).where(tallies.c.n == 0))
        return gone

    async def _run(self) -> None:
        await self._sleep(FIRST_S)
        while True:
            try:
                gone = await self.enforce()
            except (DBAPIError, OSError) as error:
                # The next hour may find the database up again; nothing depends on this one.
                log.warning("retention_failed", error=str(error))
            else:
                if gone:
                    log.info("retention", **gone)
            await self._sleep(EVERY_S)

    async def _rules(self, now: int) -> AsyncIterator[Rule]:
        days = self._days
        tenants = await self._tenants()
        # What has a shorter life first: less is then left to go with the sessions.
        if days.events:
            yield _old_events(_before(now, days.events))
        if days.chat:
            yield _old_chat(_before(now, days.chat))
        if days.artefacts:
            for table in (recordings, transcripts, summaries):
                yield _old_artefacts(table, _before(now, days.artefacts))
        if days.sessions:
            for tenant in tenants:
                yield _old_sessions(tenant, _before(now, days.sessions))
        if days.app_sessions:
            yield _old_app_sessions(_before(now, days.app_sessions))
        if days.delivered:
            yield _done("delivered", outbox.c.delivered_at, _before(now, days.delivered))
        if days.dead:
            yield _done("dead", outbox.c.created_at, _before(now, days.dead))
        if days.tokens:
            yield _dead_tokens(_before(now, days.tokens))
        yield _lapsed_registrations(now - DAY_MS)

    async def _tenants(self) -> list[str]:
        async with self._database.connect() as connection:
            return list(await connection.scalars(select(tallies.c.tenant).distinct().order_by(tallies.c.tenant)))

    async def _apply(self, rule: Rule) -> int:
        count, batch = 0, FIRST_BATCH
        while True:
            async with self._database.connect() as connection:
                keys = [tuple(row) if len(row) > 1 else row[0] for row in await connection.execute(rule.choose(batch))]
            if not keys:
                return count
            took = await self._write(
                *(delete(table).where(_key(table, columns).in_(keys)) for table, columns in rule.tables)
            )
            count += len(keys)
            batch = next_batch(batch, took)

    async def _write(self, *statements: Any) -> float:
        async with self._database.transaction() as connection:
            began = self._timer()
            for statement in statements:
                await connection.execute(statement)
        took = self._timer() - began
        await self._sleep(took * PAUSE)
        return took


def next_batch(batch: int, took: float) -> int:
    """How many to delete next, when `batch` of them took `took` seconds: at most twice as many."""
    fitting = batch * SLICE_S / took if took > 0 else MAX_BATCH
    return max(MIN_BATCH, min(MAX_BATCH, 2 * batch, int(fitting)))


def _before(now: int, days: float) -> int:
    return now - int(days * DAY_MS)


def _key(table: Table, columns: str | tuple[str, ...]) -> ColumnElement[Any]:
    return table.c[columns] if isinstance(columns, str) else tuple_(*(table.c[name] for name in columns))


# The kinds.


def _old_events(before: int) -> Rule:
    # Positions are microseconds since the epoch, and may run a little ahead of `at`.
    query = select(events.c.position).where(events.c.position < before * 1000, events.c.at < before)
    return Rule("events", query.order_by(events.c.position).limit, ((events, "position"),))


def _old_chat(before: int) -> Rule:
    live = exists().where(sessions.c.id == chat_messages.c.session_id, sessions.c.ended_at.is_(None))
    query = select(chat_messages.c.session_id, chat_messages.c.idx).where(chat_messages.c.created_at < before, ~live)
    return Rule("chat", query.order_by(chat_messages.c.created_at).limit, ((chat_messages, ("session_id", "idx")),))


def _old_artefacts(table: Table, before: int) -> Rule:
    """By session: what is left of one without a row of its own goes as well."""
    younger = exists().where(
        sessions.c.id == table.c.session_id, or_(sessions.c.ended_at.is_(None), sessions.c.ended_at >= before)
    )
    # The id of a session begins with the time it was made.
    query = select(table.c.session_id).distinct().where(table.c.session_id < before << 20, ~younger)
    return Rule(table.name, query.order_by(table.c.session_id).limit, ((table, "session_id"),))


def _old_sessions(tenant: str, before: int) -> Rule:
    query = select(sessions.c.id).where(sessions.c.tenant == tenant, sessions.c.ended_at < before)
    parts = (participants, calls, chat_messages, recordings, transcripts, summaries, invitations, events)
    tables = (*parts, app_session_sessions)
    return Rule(
        "sessions",
        query.order_by(sessions.c.ended_at).limit,
        (*((table, "session_id") for table in tables), (sessions, "id")),
    )


def _old_app_sessions(before: int) -> Rule:
    query = select(app_sessions.c.id).where(app_sessions.c.created_at < before)
    parts = (app_session_logs, app_session_users, app_session_channels, app_session_sessions)
    return Rule(
        "app_sessions",
        query.order_by(app_sessions.c.created_at).limit,
        (*((table, "app_session_id") for table in parts), (app_sessions, "id")),
    )


def _done(state: str, at: ColumnElement[Any], before: int) -> Rule:
    # Said twice for `delivered_at`, which has no index: what was delivered was put there before.
    query = select(outbox.c.id).where(outbox.c.state == state, outbox.c.created_at < before, at < before)
    return Rule(state, query.order_by(outbox.c.created_at).limit, ((outbox, "id"),))


def _dead_tokens(before: int) -> Rule:
    query = select(tokens.c.id).where(or_(tokens.c.revoked_at < before, tokens.c.expires_at < before))
    return Rule("tokens", query.limit, ((tokens, "id"),))


def _lapsed_registrations(before: int) -> Rule:
    query = select(registrations.c.aor, registrations.c.key).where(registrations.c.expires_at < before)
    return Rule("registrations", query.limit, ((registrations, ("aor", "key")),))
