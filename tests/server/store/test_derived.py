"""The triggers keep totals and names true, whatever is written in whatever way, on both databases."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from server.store.database import Database
from server.store.derived import mistakes
from server.store.inspection import mend
from server.store.schema import CREATED, SLOT_MS, STARTED, UNKNOWN_SLOT, app_sessions, search_names, sessions, tallies

from .test_migrations import session


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url)
    yield database
    await database.close()


async def wrong(database: Database) -> list[Any]:
    async with database.connect() as connection:
        return [tuple(row) for query in mistakes().values() for row in await connection.exec_driver_sql(query)]


async def counted(database: Database) -> set[tuple[Any, ...]]:
    query = select(tallies.c.clock, tallies.c.slot, tallies.c.ended, tallies.c.recorded, tallies.c.n)
    async with database.connect() as connection:
        return {tuple(row) for row in await connection.execute(query.where(tallies.c.n != 0))}


async def upsert(database: Database, rows: list[dict[str, Any]], *, one_by_one: bool = True) -> None:
    dialect = postgresql if database.kind == "postgresql" else sqlite
    async with database.transaction() as connection:
        for batch in [[row] for row in rows] if one_by_one else [rows]:
            statement = dialect.insert(sessions).values(batch)
            changes = {name: statement.excluded[name] for name in batch[0] if name != "id"}
            await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changes))


async def test_a_session_counts_where_it_began_and_moves_as_it_goes_on(database: Database) -> None:
    at = 1_700_000_000_000
    slot = at // SLOT_MS
    await upsert(database, [session(1, created_at=at)])
    assert await counted(database) == {(CREATED, slot, False, False, 1), (STARTED, UNKNOWN_SLOT, False, False, 1)}
    await upsert(database, [session(1, created_at=at, started_at=at + SLOT_MS)])
    assert await counted(database) == {(CREATED, slot, False, False, 1), (STARTED, slot + 1, False, False, 1)}
    await upsert(database, [session(1, created_at=at, started_at=at + SLOT_MS, ended_at=at, had_recording=True)])
    assert await counted(database) == {(CREATED, slot, True, True, 1), (STARTED, slot + 1, True, True, 1)}
    async with database.transaction() as connection:
        await connection.execute(delete(sessions))
    assert await counted(database) == set()


async def test_a_name_is_there_once_and_goes_with_the_last_that_has_it(database: Database) -> None:
    async def names() -> dict[str, int]:
        async with database.connect() as connection:
            rows = await connection.execute(select(search_names.c.text, search_names.c.n))
            return {row.text: row.n for row in rows}

    await upsert(database, [session(1, channel_name="one"), session(2, channel_name="one")])
    assert await names() == {"one": 2}
    await upsert(database, [session(2, channel_name="two")])
    assert await names() == {"one": 1, "two": 1}
    async with database.transaction() as connection:
        await connection.execute(delete(sessions).where(sessions.c.id == 1))
    assert await names() == {"two": 1}


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_writes_leaves_everything_true(database: Database, seed: int) -> None:
    chance = random.Random(seed)

    def row(number: int) -> dict[str, Any]:
        at = 1_700_000_000_000 + chance.randrange(3) * SLOT_MS
        return session(
            number,
            tenant=chance.choice(("a/b", "c/d")),
            channel_name=chance.choice(("", "Daily", "daily", "Été", "x" * 900)),
            created_at=at,
            started_at=chance.choice((None, at + 5)),
            ended_at=chance.choice((None, at + 9)),
            had_recording=chance.random() < 0.3,
        )

    for _ in range(12):
        numbers = chance.sample(range(1, 12), 4)
        await upsert(database, [row(number) for number in numbers], one_by_one=chance.random() < 0.5)
        async with database.transaction() as connection:
            await connection.execute(delete(sessions).where(sessions.c.id == chance.randrange(1, 12)))
            await connection.execute(update(sessions).where(sessions.c.id < 4).values(channel_name="moved"))
            app = {"tenant": "a/b", "client_id": "c", "url": chance.choice("pq"), "started_at": 1, "created_at": 1}
            await connection.execute(app_sessions.insert().values(id=f"app_{chance.random()}", **app))
        assert await wrong(database) == []


async def test_what_is_rolled_back_is_not_counted(database: Database) -> None:
    await upsert(database, [session(1)])
    before = await counted(database)

    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(sessions.insert().values(session(2)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await counted(database) == before


async def test_what_is_counted_wrongly_is_found_and_mended(database: Database) -> None:
    await upsert(database, [session(1), session(2, channel_name="Daily")])
    async with database.transaction() as connection:
        await connection.execute(update(tallies).values(n=7))
        await connection.execute(update(search_names).where(search_names.c.text == "Daily").values(n=0))
    assert len(await wrong(database)) == 3
    assert await mend(database) == ["tallies", "search_names"]
    assert await wrong(database) == []
    assert await mend(database) == []
