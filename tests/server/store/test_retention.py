"""What is older than the configuration says goes, a little at a time; the rest stays, and the writer hardly waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import Table, insert, select

from server.sections import Retention as Days
from server.store.database import Database
from server.store.derived import mistakes
from server.store.retention import FIRST_BATCH, MAX_BATCH, MIN_BATCH, SLICE_S, Retention, next_batch
from server.store.schema import (
    app_session_channels,
    app_session_logs,
    app_session_sessions,
    app_session_users,
    app_sessions,
    calls,
    chat_messages,
    events,
    invitations,
    metadata,
    outbox,
    participants,
    recordings,
    registrations,
    search_names,
    sessions,
    summaries,
    tallies,
    tokens,
    transcripts,
)

DAY = 86_400_000
NOW = 20_000 * DAY
FOR_EVER = Days(events=0, chat=0, artefacts=0, app_sessions=0, delivered=0, dead=0, tokens=0)
OF_SESSION = (participants, calls, chat_messages, recordings, transcripts, summaries, invitations, events)


class Clock:
    """A wall clock that stands, a timer by which each transaction takes a quarter of what it may, and no sleep."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._timer = 0.0

    def timer(self) -> float:
        self._timer += SLICE_S / 4
        return self._timer

    def now(self) -> float:
        return NOW / 1000

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url)
    yield database
    await database.close()


def retention(database: Database, days: Days, clock: Clock | None = None) -> Retention:
    clock = clock or Clock()
    return Retention(database, days, clock=clock.now, timer=clock.timer, sleep=clock.sleep)


def a_row(table: Table, **values: Any) -> dict[str, Any]:
    """Something for each column that must have a value."""
    row: dict[str, Any] = {}
    for column in table.columns:
        if not column.nullable and column.server_default is None:
            row[column.name] = {str: "", int: 0, bool: False}[column.type.python_type]
    return {**row, **values}


async def put(database: Database, table: Table, *rows: dict[str, Any]) -> None:
    async with database.transaction() as connection:
        for row in rows:
            await connection.execute(insert(table).values(a_row(table, **row)))


async def a_session(database: Database, age_days: float | None, tenant: str = "a/b") -> int:
    """One with everything that hangs on a session, that ended so long ago; None: it goes on. Its id."""
    made = NOW - 300 * DAY if age_days is None else NOW - int(age_days * DAY) - 60_000
    ended = None if age_days is None else NOW - int(age_days * DAY)
    number = (made << 20) + len(str(tenant))
    common = {"tenant": tenant, "session_id": number}
    await put(
        database,
        sessions,
        {"id": number, "tenant": tenant, "channel_name": f"at {made}", "created_at": made, "ended_at": ended},
    )
    await put(database, participants, common)
    await put(database, calls, common)
    await put(database, chat_messages, {**common, "created_at": made + 1})
    await put(database, recordings, {**common, "id": f"rec_{number}", "start_time": made})
    await put(database, transcripts, {"session_id": number}, {"session_id": number, "idx": 1})
    await put(database, summaries, {"session_id": number})
    await put(database, invitations, {**common, "id": f"inv_{number}"})
    await put(database, events, {**common, "position": made * 1000, "at": made})
    return number


async def left(database: Database, table: Table, column: str = "session_id") -> set[Any]:
    async with database.connect() as connection:
        return set(await connection.scalars(select(table.c[column])))


async def test_by_default_sessions_are_kept_for_ever_and_the_rest_for_its_time(database: Database) -> None:
    assert Days().sessions == 0
    old, fresh = await a_session(database, 99), await a_session(database, 1)
    gone = await retention(database, Days()).enforce()
    assert gone == {"events": 1, "chat": 1, "recordings": 1, "transcripts": 1, "summaries": 1}
    assert await left(database, sessions, "id") == {old, fresh}
    for table in (participants, calls, invitations):
        assert await left(database, table) == {old, fresh}
    for table in (chat_messages, recordings, transcripts, summaries, events):
        assert await left(database, table) == {fresh}


async def test_zero_keeps_a_kind_for_ever(database: Database) -> None:
    old = await a_session(database, 10_000)
    assert await retention(database, FOR_EVER).enforce() == {}
    for table in OF_SESSION:
        assert await left(database, table) == {old}


async def test_a_session_goes_with_all_that_hangs_on_it_in_every_tenant(database: Database) -> None:
    await a_session(database, 31)
    await a_session(database, 32, tenant="other/one")
    fresh = await a_session(database, 29)
    await put(database, app_session_sessions, {"app_session_id": "x", "session_id": fresh})
    gone = await retention(database, FOR_EVER.model_copy(update={"sessions": 30.0})).enforce()
    assert gone == {"sessions": 2}
    assert await left(database, sessions, "id") == {fresh}
    for table in OF_SESSION:
        assert await left(database, table) == {fresh}
    assert await left(database, app_session_sessions) == {fresh}


async def test_what_is_counted_of_sessions_stays_true(database: Database) -> None:
    await a_session(database, 31)
    await a_session(database, 29)
    await retention(database, FOR_EVER.model_copy(update={"sessions": 30.0})).enforce()
    async with database.connect() as connection:
        for query in mistakes().values():
            assert (await connection.exec_driver_sql(query)).all() == []
        assert len((await connection.execute(select(search_names.c.text))).all()) == 1
        assert set(await connection.scalars(select(tallies.c.n))) == {1}


async def test_a_session_that_goes_on_is_not_touched_however_old(database: Database) -> None:
    live = await a_session(database, None)
    days = Days(sessions=1, chat=1, artefacts=1, events=0)
    assert await retention(database, days).enforce() == {}
    for table in OF_SESSION:
        assert await left(database, table) == {live}


async def test_what_is_left_of_a_session_without_a_row_of_its_own_goes_too(database: Database) -> None:
    await put(database, transcripts, {"session_id": (NOW - 9 * DAY) << 20})
    await put(database, chat_messages, {"session_id": 1, "created_at": NOW - 91 * DAY})
    await retention(database, Days()).enforce()
    assert await left(database, transcripts) == await left(database, chat_messages) == set()


async def test_app_sessions_go_with_their_logs_and_links(database: Database) -> None:
    for name, age in (("old", 91), ("new", 89)):
        await put(database, app_sessions, {"id": name, "tenant": "a/b", "created_at": NOW - age * DAY})
        for table in (app_session_logs, app_session_users, app_session_channels, app_session_sessions):
            await put(database, table, {"app_session_id": name})
    assert await retention(database, Days()).enforce() == {"app_sessions": 1}
    assert await left(database, app_sessions, "id") == {"new"}
    for table in (app_session_logs, app_session_users, app_session_channels, app_session_sessions):
        assert await left(database, table, "app_session_id") == {"new"}


async def test_deliveries_go_after_a_week_and_dead_ones_after_a_month(database: Database) -> None:
    at = {days: NOW - days * DAY for days in (1, 8, 29, 31)}
    await put(
        database,
        outbox,
        {"id": "delivered long ago", "state": "delivered", "created_at": at[29], "delivered_at": at[8]},
        {"id": "delivered late", "state": "delivered", "created_at": at[29], "delivered_at": at[1]},
        {"id": "dead for long", "state": "dead", "created_at": at[31]},
        {"id": "dead", "state": "dead", "created_at": at[29]},
        {"id": "pending", "state": "pending", "created_at": at[31]},
    )
    assert await retention(database, Days()).enforce() == {"delivered": 1, "dead": 1}
    assert await left(database, outbox, "id") == {"delivered late", "dead", "pending"}


async def test_tokens_go_a_month_after_they_ended_and_registrations_a_day(database: Database) -> None:
    await put(
        database,
        tokens,
        {"id": "revoked", "token_sha256": "1", "revoked_at": NOW - 31 * DAY},
        {"id": "expired", "token_sha256": "2", "expires_at": NOW - 31 * DAY},
        {"id": "revoked lately", "token_sha256": "3", "revoked_at": NOW - 29 * DAY},
        {"id": "without end", "token_sha256": "4"},
    )
    await put(
        database,
        registrations,
        {"aor": "1001", "key": "old", "expires_at": NOW - 2 * DAY},
        {"aor": "1001", "key": "lapsed", "expires_at": NOW - 1000},
    )
    assert await retention(database, Days()).enforce() == {"tokens": 2, "registrations": 1}
    assert await left(database, tokens, "id") == {"revoked lately", "without end"}
    assert await left(database, registrations, "key") == {"lapsed"}


async def test_many_records_go_in_batches_with_pauses_in_which_others_write(database: Database) -> None:
    rows = [a_row(events, position=n, at=n, tenant="a/b") for n in range(600)]
    async with database.transaction() as connection:
        await connection.execute(insert(events), rows)
    clock = Clock()
    tidy = retention(database, Days(), clock)
    work = asyncio.create_task(tidy.enforce())
    written = 0
    while not work.done():
        await put(database, events, {"position": NOW * 1000 + written, "at": NOW})
        written += 1
    assert await work == {"events": 600}
    assert len(clock.pauses) == 5, "20, 40, 80, 160 and the remaining 300"
    assert clock.pauses == [pytest.approx(SLICE_S)] * 5
    assert written >= 5
    assert len(await left(database, events, "position")) == written


def test_the_next_batch_is_as_large_as_fits_the_time_that_a_transaction_may_take() -> None:
    assert next_batch(100, SLICE_S) == 100
    assert next_batch(100, SLICE_S * 2) == 50
    assert next_batch(100, SLICE_S / 1.5) == 150
    assert next_batch(100, SLICE_S / 9) == 200, "at most doubled: the next rows may be larger"
    assert next_batch(12, 1.0) == MIN_BATCH
    assert next_batch(MAX_BATCH, 0.001) == MAX_BATCH
    assert next_batch(FIRST_BATCH, 0.0) == 2 * FIRST_BATCH


async def test_it_is_enforced_a_minute_after_the_start_and_then_every_hour(database: Database) -> None:
    clock, slept = Clock(), asyncio.Semaphore(0)
    waits: list[float] = []
    go = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        if seconds < 1:
            return
        waits.append(seconds)
        slept.release()
        await go.acquire()

    tidy = Retention(database, Days(), clock=clock.now, sleep=sleep)
    await tidy.start()
    for position in (1, 2):
        await slept.acquire()
        await put(database, events, {"position": position, "at": 1})
        go.release()
    await slept.acquire()
    assert await left(database, events, "position") == set()
    assert waits == [60, 3600, 3600]
    await tidy.close()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged, of any level."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("debug"))
    with structlog.testing.capture_logs() as lines:
        yield lines
    structlog.configure(**before)


async def test_a_database_that_is_down_is_tried_again_an_hour_later(database: Database, lines: list[Any]) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE events RENAME TO gone")
    done = asyncio.Event()
    hours = 0

    async def sleep(seconds: float) -> None:
        nonlocal hours
        hours += 1
        if hours == 3:
            done.set()
            await asyncio.Event().wait()

    tidy = Retention(database, Days(), clock=Clock().now, sleep=sleep)
    await tidy.start()
    await done.wait()
    await tidy.close()
    assert [line["event"] for line in lines] == ["retention_failed"] * 2


async def test_each_kind_that_grows_has_a_rule() -> None:
    """Whoever adds a table says here what bounds it."""
    configuration = {"users", "channels", "channel_roles", "relationships", "webhooks", "config_entries", "settings"}
    bounded_by_time = {table.name for table in OF_SESSION} | {
        "sessions", "app_sessions", "app_session_users", "app_session_channels", "app_session_sessions",
        "app_session_logs", "outbox", "tokens", "registrations",
    }  # fmt: skip
    derived = {"tallies", "search_names"}
    assert set(metadata.tables) - configuration - bounded_by_time - derived == set()
