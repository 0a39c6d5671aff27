"""The database of a running server: where it is, what a process leaves to the next, what memory forgets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from server.errors import StartError
from server.sections import Config, Extension
from server.sections import Database as DatabaseSection
from server.settings import Settings
from server.store import store as store_module
from server.store.history import History
from server.store.restore import restore_sessions
from server.store.schema import metadata
from server.store.store import Store
from server.tokens import TokenBook
from server.vault import Vault
from signalling import Session
from tests.server.house import TENANT, simulated


async def count(store: Store, table: str) -> int:
    async with store.database.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(metadata.tables[table]))).scalar_one()


async def test_4_the_database_is_in_the_data_folder_unless_told_otherwise(tmp_path: Path) -> None:
    store = await Store.open(DatabaseSection(data_dir=str(tmp_path / "data")))
    await store.close()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["ringway.db", "spool"]
    assert (tmp_path / "data" / "spool").stat().st_mode & 0o077 == 0, "it is nobody else's business"


async def test_4_a_folder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for section in (
        DatabaseSection(data_dir=str(tmp_path / "file")),
        DatabaseSection(data_dir=str(tmp_path / "file"), url=f"sqlite:///{tmp_path}/r.db"),
    ):
        with pytest.raises(StartError, match="file"):
            await Store.open(section)


async def test_6_a_store_brings_back_what_was_live(tmp_path: Path) -> None:
    section = DatabaseSection(data_dir=str(tmp_path))
    sessions: list[Session] = []
    for start in range(2):
        _, endpoint, _, registry = simulated()
        store = await Store.open(section)
        await store.restore(registry)
        assert store.why_not_ready is None
        assert [session.id for session in registry.sessions()] == [session.id for session in sessions]
        if not start:
            sessions.append(registry.create(tenant=TENANT, made_by="channels", host="alice"))
        await registry.close()
        await store.close()
        await endpoint.close()


async def test_6_until_all_is_back_it_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, endpoint, _, registry = simulated()
    store = await Store.open(DatabaseSection(data_dir=str(tmp_path)))
    monkeypatch.setattr(store_module, "RESTORE_S", 0.01)
    waits = store.writer.caught_up

    async def slow() -> None:
        await waits()
        await asyncio.sleep(60)

    monkeypatch.setattr(store.writer, "caught_up", slow)
    await store.restore(registry)
    assert store.why_not_ready == "the database catches up"
    await store.close()
    await endpoint.close()


async def test_8_keys_and_entries_made_live_are_there_again(tmp_path: Path) -> None:
    section = DatabaseSection(data_dir=str(tmp_path))
    digests: dict[str, bytes] = {}
    for start in range(2):
        store = await Store.open(section)
        book, settings = TokenBook(), Settings(Config(), vault=Vault(tmp_path / "key"))
        await store.restore_access(book, settings)
        assert {key.name: key.digest for key in book.keys(TENANT)} == digests
        if start:
            kept, revoked = book.keys(TENANT)
            assert (kept.user, kept.role, kept.allow, kept.channel_roles) == ("u", "host", ("0.",), {"c": "viewer"})
            assert book.principal(kept.digest) is not None
            assert book.principal(revoked.digest) is None
            assert [entry.name for entry in settings.entries("extension")] == ["1001"]
        else:
            made = book.create(TENANT, "kept", role="host", user="u", allow=["0."], channel_roles={"c": "viewer"})
            gone = book.create(TENANT, "revoked")
            book.revoke(TENANT, gone[0].id)
            digests = {"kept": made[0].digest, "revoked": gone[0].digest}
            for number in ("1001", "1002"):
                extension = Extension.model_validate({"number": number, "password": "secret"})
                settings.create("extension", extension)
            settings.remove("extension", "1002")
        await store.close()


async def test_g9_a_database_in_memory_forgets_the_sessions_that_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ENDED_IN_MEMORY", 3)
    _, endpoint, _, registry = simulated()
    store = await Store.open(DatabaseSection(url="none"))
    await store.restore(registry)
    history = History(registry, store.database, store.writer)
    going_on = registry.create(tenant=TENANT, made_by="channels", host="alice")
    ended = [registry.create(tenant=TENANT, made_by="channels", host="alice") for _ in range(5)]
    for session in ended:
        session.say("alice", "hello")
        await session.end()
        await store.writer.settled()
    registry._ended.clear()

    assert [await history.session(session.id) is not None for session in ended] == [False, False, True, True, True]
    assert await count(store, "sessions") == 4
    assert await count(store, "chat_messages") == 3
    assert await count(store, "participants") == 4
    assert await count(store, "events") == 3 * 5 + 2
    assert await restore_sessions(store.database, registry, before=going_on.created_at + 60) == (1, 0)
    await store.close()
    await endpoint.close()
