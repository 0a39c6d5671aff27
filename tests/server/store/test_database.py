"""The database is opened, migrated, read and written: SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text

from server.errors import StartError
from server.store import migrations
from server.store.database import Database, database_url
from server.store.schema import settings
from tests.server.postgres import Cluster


async def put(database: Database, name: str, value: str = "x") -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(settings).values(name=name, value=value))


async def count(database: Database) -> int:
    async with database.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(settings))).scalar_one()


async def test_what_is_committed_is_there_when_it_is_opened_again(empty_database_url: str) -> None:
    database = await Database.open(empty_database_url)
    await put(database, "colour", "grün")
    await database.close()

    again = await Database.open(empty_database_url)
    async with again.connect() as connection:
        value = (await connection.execute(select(settings.c.value))).scalar_one()
    await again.close()

    assert value == "grün"


async def test_an_exception_rolls_a_transaction_back(database_url: str) -> None:
    database = await Database.open(database_url)

    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(insert(settings).values(name="a", value="b"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(database) == 0
    await database.close()


async def test_writers_take_turns_and_readers_do_not_wait_for_them(database_url: str) -> None:
    database = await Database.open(database_url)
    async with database.transaction() as connection:
        await connection.execute(insert(settings).values(name="first", value="x"))
        second = asyncio.create_task(put(database, "second"))
        assert await asyncio.wait_for(count(database), 5) == 0
        assert not second.done()
    await second
    assert await count(database) == 2
    await database.close()


async def test_a_reader_sees_one_state_throughout(database_url: str) -> None:
    database = await Database.open(database_url)
    query = select(func.count()).select_from(settings)
    async with database.connect() as connection:
        before = (await connection.execute(query)).scalar_one()
        await put(database, "meanwhile")
        after = (await connection.execute(query)).scalar_one()
    assert (before, after) == (0, 0)
    assert await count(database) == 1
    await database.close()


async def test_more_readers_than_connections_wait_for_one(database_url: str) -> None:
    database = await Database.open(database_url)
    assert await asyncio.gather(*(count(database) for _ in range(50))) == [0] * 50
    await database.close()


async def test_a_database_in_memory_is_one_for_all_and_ends_with_it() -> None:
    database = await Database.open("none")
    await put(database, "a")
    assert await asyncio.gather(*(count(database) for _ in range(10))) == [1] * 10
    await database.close()

    other = await Database.open("none")
    assert await count(other) == 0
    await other.close()


async def test_a_new_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "down" / "ringway.db"
    await (await Database.open(f"sqlite:///{file}")).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_sqlite_syncs_what_it_commits(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/ringway.db")
    async with database.connect() as connection:
        pragmas = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    await database.close()
    assert pragmas == ["wal", 2, 1, 5000]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "sqlite:///FILE"),
        ("mysql://host/name", "mysql is none that Ringway knows"),
        ("postgresql+psycopg2://host/name", "psycopg2"),
        ("sqlite:////proc/ringway/x.db", "cannot use the database"),
    ],
)
async def test_a_url_that_cannot_be_used_is_named(url: str, reason: str) -> None:
    with pytest.raises(StartError, match=reason):
        await Database.open(url)


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(StartError, match=r"127\.0\.0\.1") as refused:
        await Database.open("postgresql://user:secret-word@127.0.0.1:1/name")
    assert "secret-word" not in str(refused.value)


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "ringway.db"
    file.write_text("a letter to grandmother, longer than the head of a database " * 9)
    before = file.read_bytes()
    with pytest.raises(StartError, match="not a database"):
        await Database.open(f"sqlite:///{file}")
    assert file.read_bytes() == before


async def test_a_file_that_is_locked_out_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "ringway.db").mkdir()  # root reads what it likes, but no folder
    else:
        (tmp_path / "ringway.db").touch(0o000)
    with pytest.raises(StartError, match="cannot use the database"):
        await Database.open(f"sqlite:///{tmp_path}/ringway.db")


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("none", "sqlite+aiosqlite://"),
        ("sqlite://", "sqlite+aiosqlite://"),
        ("sqlite:///x.db", "sqlite+aiosqlite:///x.db"),
        ("postgres://u@h/n", "postgresql+asyncpg://u@h/n"),
        ("postgresql+asyncpg://u@h/n", "postgresql+asyncpg://u@h/n"),
    ],
)
def test_urls_get_the_driver_that_is_used(text: str, rendered: str) -> None:
    assert str(database_url(text)) == rendered


async def test_a_postgresql_that_was_restarted_costs_no_error(cluster: Cluster) -> None:
    database = await Database.open(cluster.current())
    await put(database, "before")
    cluster.stop()
    cluster.start()
    assert await count(database) == 1
    await database.close()


async def test_the_current_revision_is_told(database_url: str) -> None:
    database = await Database.open(database_url)
    assert await database.revision() == migrations.HEAD
    await database.close()
