"""A writer between live sessions and a database, for tests that make the database fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from server.store.database import Database
from server.store.history import History
from server.store.records import SESSION_COLUMNS
from server.store.restore import Restored, keep_people, keep_rooms, restore_directory, restore_sessions
from server.store.schema import events, metadata, sessions
from server.store.writer import Writer
from signalling import Registry, Session
from tests.server.house import TENANT, simulated

WAIT_S = 20.0  # for what takes milliseconds on a machine that does nothing else


@dataclass
class Desk:
    """What one process has open."""

    database: Database
    writer: Writer
    registry: Registry
    history: History
    spool: Path
    dead: bool = False

    def session(self, host: str = "alice", **fields: Any) -> Session:
        """A live session without a call."""
        return self.registry.create(tenant=TENANT, made_by="callsession", host=host, **fields)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """All of a table that is committed, in the order of its key."""
        chosen = metadata.tables[table]
        async with self.database.connect() as connection:
            found = await connection.execute(select(chosen).order_by(*chosen.primary_key.columns))
            return [dict(row) for row in found.mappings()]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for `condition`; AssertionError when it does not come true."""
        give_up_at = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < give_up_at, "still waiting"
            await asyncio.sleep(0.005)

    async def all_written(self) -> None:
        """Wait until every row taken so far is in the database."""
        await asyncio.wait_for(self.writer.caught_up(), WAIT_S)
        await self.writer.settled()

    async def check(self, *live: Session) -> None:
        """Every event of these sessions is in the database once, in order, and each session as it is now."""
        async with self.database.connect() as connection:
            for session in live:
                number = int(session.id)
                query = select(events.c.seq, events.c.kind).where(events.c.session_id == number)
                stored = (await connection.execute(query.order_by(events.c.position))).all()
                assert [row.seq for row in stored] == list(range(1, session.last_seq + 1))
                (row,) = await connection.execute(
                    select(*(sessions.c[name] for name in SESSION_COLUMNS)).where(sessions.c.id == number)
                )
                assert row.status == session.status
                assert row.updated_at == round(session.updated_at * 1000)
                assert row.live_participants == len(session.present())

    async def die(self) -> None:
        """As if killed: nothing more is written."""
        self.writer._pending.happenings.clear()
        self.writer._pending.rows.take()
        self.dead = True

    async def restore(self) -> Restored:
        """As a server does when it starts."""
        await self.writer.caught_up()
        await restore_directory(self.database, self.registry.people, self.registry.rooms)
        restored = await restore_sessions(self.database, self.registry, before=time.time())
        self.writer.busy = lambda: self.registry.counts()["sessions"] > 0
        return restored


@asynccontextmanager
async def open_desk(url: str, folder: Path) -> AsyncIterator[Desk]:
    """A desk over the database at `url`; closed as a server that is told to stop, unless it died."""
    database = await Database.open(url)
    _, endpoint, _, registry = simulated()
    writer = Writer(database, spool=folder / "spool")
    writer.follow(registry.bus, registry.people)
    keep_people(registry.people, writer)
    keep_rooms(registry.rooms, writer)
    await writer.start()
    desk = Desk(database, writer, registry, History(registry, database, writer), folder / "spool")
    try:
        yield desk
    finally:
        if not desk.dead:
            await registry.close()
        await writer.close()
        await database.close()
        await endpoint.close()


def set_pragma(desk: Desk, pragma: str) -> Callable[[], None]:
    """Have every SQLite connection begin with `pragma`, from now on; the function returned ends that."""

    def on_checkout(connection: Any, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    for engine in desk.database.engines:
        event.listen(engine, "checkout", on_checkout)

    def end() -> None:
        for engine in desk.database.engines:
            event.remove(engine, "checkout", on_checkout)

    return end
