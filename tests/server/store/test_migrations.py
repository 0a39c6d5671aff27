"""The files of Alembic lead to the tables that the code works with, from an empty database and from an older one."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, text

from server.errors import StartError
from server.store import migrations
from server.store.database import Database
from server.store.derived import TRIGRAMS
from server.store.queries.events import Wanted, events_after
from server.store.schema import app_sessions, events, metadata, participants, search_names, sessions, tallies

FIRST = migrations.REVISIONS[0]


def session(number: int, **values: Any) -> dict[str, Any]:
    return {
        "id": number,
        "tenant": "a/b",
        "made_by": "pbx",
        "kind": "call",
        "name": "",
        "channel_id": f"c{number}",
        "channel_name": "Weekly",
        "status": "ACTIVE",
        "created_at": 1_700_000_000_000 + number,
        "started_at": None,
        "ended_at": None,
        "had_recording": False,
        "updated_at": 0,
        **values,
    }


def config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config


def to(revision: str) -> Any:
    return lambda connection: command.upgrade(config(connection), revision)


async def made_up_to(url: str, revision: str) -> Database:
    """A database as an older version left it; not opened as this version would."""
    from server.store.database import _postgresql_engine, _sqlite_engine, database_url

    target = database_url(url)
    engine = _postgresql_engine(target) if "postgresql" in url else _sqlite_engine(target)
    database = Database(engine, target)
    async with database.transaction() as connection:
        await connection.run_sync(to(revision))
    return database


def differences(connection: Connection) -> list[Any]:
    def ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
        # The index of trigrams is made by its own statements (server/store/derived.py).
        return not (name or "").startswith(TRIGRAMS)

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": False, "include_object": ours}
    )
    return list(compare_metadata(context, metadata))


async def test_the_migrations_make_exactly_the_tables_of_the_code(empty_database_url: str) -> None:
    database = await Database.open(empty_database_url)
    async with database.connect() as connection:
        found = await connection.run_sync(differences)
    await database.close()
    assert found == []


async def test_a_database_in_memory_has_the_same_tables_indexes_and_triggers_as_a_migrated_one(tmp_path: Any) -> None:
    async def shape(url: str) -> dict[str, str]:
        database = await Database.open(url)
        query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
        async with database.connect() as connection:
            rows = (await connection.execute(query)).all()
        await database.close()
        plain = ((name, re.sub(r'^CREATE TABLE "(\w+)"', r"CREATE TABLE \1", sql)) for name, sql in rows)  # if renamed
        return {name: re.sub(r"\s+", " ", sql).strip() for name, sql in plain}

    assert await shape("none") == await shape(f"sqlite:///{tmp_path}/ringway.db")


async def test_sqlite_plans_by_statistics_that_are_there_from_the_start(tmp_path: Any) -> None:
    for url in ("none", f"sqlite:///{tmp_path}/ringway.db"):
        database = await Database.open(url)
        async with database.connect() as connection:
            indexes = set(await connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'index'")))
            named = set(await connection.scalars(text("SELECT idx FROM sqlite_stat1")))
        await database.close()
        assert len(named) > 40
        assert named <= indexes


def test_the_revisions_in_the_code_are_those_of_the_files() -> None:
    script = ScriptDirectory(str(migrations.FOLDER))
    assert [entry.revision for entry in script.walk_revisions()][::-1] == list(migrations.REVISIONS)
    assert script.get_heads() == [migrations.HEAD]


async def test_a_database_of_the_first_version_is_brought_up_to_date_with_what_it_holds(
    empty_database_url: str,
) -> None:
    old = await made_up_to(empty_database_url, FIRST)
    async with old.transaction() as connection:
        await connection.execute(
            insert(sessions),
            [session(1, ended_at=5, started_at=1_700_000_000_001), session(2), session(3, channel_name="Daily")],
        )
        app = {"tenant": "a/b", "client_id": "x", "url": "https://a.example/", "started_at": 7, "created_at": 8}
        await connection.execute(insert(app_sessions), [{"id": "app_1", **app}])
        stay = {"session_id": 1, "idx": 0, "tenant": "a/b", "channel_id": "c1", "user_id": "alice", "user_number": 7}
        await connection.execute(
            insert(participants), [{**stay, "handle": "alice", "role": "host", "joined_at": 1, "updated_at": 1}]
        )
        event = {"position": 9, "session_id": 1, "tenant": "a/b", "channel_id": "c1", "seq": 1, "kind": "session.noted"}
        await connection.execute(insert(events), [{**event, "at": 3, "data": "{}"}])
    await old.close()

    database = await Database.open(empty_database_url)
    assert await database.revision() == migrations.HEAD
    async with database.connect() as connection:
        counted = (await connection.execute(select(tallies.c.clock, tallies.c.ended, tallies.c.n))).all()
        named = (await connection.execute(select(search_names.c.text, search_names.c.n))).all()
        kept = [(await connection.execute(select(table.c.channel_id))).all() for table in (participants, events)]
    found = await events_after(database, Wanted("a/b", channel="c1"), 0, limit=5)
    await database.close()
    assert kept == [[("c1",)], [("c1",)]]
    assert [(body["id"], body["channel"]) for body in found.bodies] == [("evt_9", "c1")]
    assert sorted(map(tuple, counted)) == [(0, False, 2), (0, True, 1), (1, False, 2), (1, True, 1), (2, False, 1)]
    assert sorted(map(tuple, named)) == [("Daily", 1), ("Weekly", 2), ("https://a.example/", 1)]


async def test_without_leave_to_migrate_an_older_database_is_refused(empty_database_url: str) -> None:
    await (await made_up_to(empty_database_url, FIRST)).close()
    with pytest.raises(StartError, match=f"revision {FIRST}, not {migrations.HEAD}; run `ringway db upgrade`"):
        await Database.open(empty_database_url, migrate=False)


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(database_url: str) -> None:
    database = await Database.open(database_url)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(StartError, match=r"revision 9999.*made by a newer version"):
        await Database.open(database_url)


async def test_somebody_else_s_database_is_refused_and_left_alone(empty_database_url: str) -> None:
    database = await made_up_to(empty_database_url, "base")
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE users (name TEXT)"))
        await connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    await database.close()
    with pytest.raises(StartError, match="no database of Ringway's"):
        await Database.open(empty_database_url)


async def test_a_migration_that_fails_changes_nothing(empty_database_url: str) -> None:
    old = await made_up_to(empty_database_url, FIRST)
    async with old.transaction() as connection:
        await connection.execute(text("CREATE TABLE tallies (mine TEXT)"))  # in the way
    with pytest.raises(StartError, match="tallies"):
        await Database.open(empty_database_url)
    assert await old.revision() == FIRST
    await old.close()


async def test_two_processes_that_open_a_new_database_do_not_collide(empty_database_url: str) -> None:
    one, two = await asyncio.gather(Database.open(empty_database_url), Database.open(empty_database_url))
    assert await one.revision() == await two.revision() == migrations.HEAD
    await one.close()
    await two.close()
