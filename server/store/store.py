"""[io] The database of a running server with its writer, and what they give back at the start."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from signalling import Happening, Registry, SessionEnded

from ..errors import StartError
from ..sections import Database as DatabaseSection
from ..settings import Settings
from ..tokens import TokenBook
from . import access, restore
from .database import MEMORY, Database
from .writer import StoreUnavailable, Write, Writer

log = structlog.get_logger("server.store")

RESTORE_S = 1.5  # that listening waits for what was live; a long spool is brought into the database meanwhile
ENDED_IN_MEMORY = 10_000  # ended sessions of a database in memory, some 5 KB each; a lookup of others finds nothing
OF_A_SESSION = (
    "participants",
    "calls",
    "events",
    "chat_messages",
    "invitations",
    "recordings",
    "transcripts",
    "summaries",
    "app_session_sessions",
)
SPOOL = "spool"
DATABASE_FILE = "ringway.db"


class Bound:
    """Makes a database in memory forget the sessions that ended first (G9): for `Writer.before_commit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ended: deque[int] = deque()

    def __call__(self, happenings: Sequence[Happening]) -> Iterator[Write]:
        """Deletions of all that is too many."""
        self._ended.extend(int(happening.session.id) for happening in happenings if happening.kind is SessionEnded)
        while len(self._ended) > self._limit:
            session_id = self._ended.popleft()
            yield Write("sessions", {"id": session_id}, "delete")
            for table in OF_A_SESSION:
                yield Write(table, {"session_id": session_id}, "delete")


class Store:
    """What outlives the process. `open` it, `follow` a registry, `restore`; `close` it last."""

    def __init__(self, database: Database, writer: Writer, data: Path | None) -> None:
        """Use `open`."""
        self.database = database
        self.writer = writer
        self.data = data
        "The data folder; None when nothing is to be kept."
        self._restoring: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, config: DatabaseSection) -> Store:
        """Open the database and begin to write. StartError when it, or the data folder, cannot be used."""
        data = None if config.url == MEMORY else Path(config.data_dir)
        database = await Database.open(url_of(config))
        try:
            spool = None if data is None else data / SPOOL
            writer = Writer(database, spool=spool, spool_bytes=config.spool_mb * 1024 * 1024)
        except OSError as error:
            await database.close()
            raise StartError(f"cannot spool to {error.filename}: {error.strerror}") from error
        if database.in_memory:
            writer.before_commit.append(Bound(ENDED_IN_MEMORY))
        await writer.start()
        return cls(database, writer, data)

    @property
    def why_not_ready(self) -> str | None:
        """What is still missing of what was there before."""
        restoring = self._restoring
        if restoring is None or (restoring.done() and not restoring.cancelled() and restoring.exception() is None):
            return None
        return "what was there before could not be restored" if restoring.done() else "the database catches up"

    async def restore(self, registry: Registry) -> None:
        """Write what happens in `registry` from now on; bring back what a former process had.

        Waits RESTORE_S for it at most, then it goes on while the server listens (`why_not_ready`).
        """
        began = time.time()
        self.writer.follow(registry.bus, registry.people)
        restore.keep_people(registry.people, self.writer)
        restore.keep_rooms(registry.rooms, self.writer)
        self._restoring = asyncio.get_running_loop().create_task(self._restore(registry, began))
        self._restoring.add_done_callback(_tell)
        await asyncio.wait([self._restoring], timeout=RESTORE_S)
        if self._restoring.done():
            with _as_start_error():
                self._restoring.result()

    async def restore_access(self, book: TokenBook, settings: Settings) -> None:
        """Bring back the keys and the entries of the configuration, and write what changes of them.

        ConfigError names the entries that can no longer be used; StartError when the database is gone.
        """
        with _as_start_error():
            async with self.database.connect() as connection:
                await access.restore_tokens(connection, book)
                await access.restore_settings(connection, settings)
        access.keep_tokens(book, self.writer)
        access.keep_settings(settings, self.writer)

    async def registrations(self) -> list[dict[str, Any]]:
        """The bodies of those that have not expired. StartError when the database is gone."""
        with _as_start_error():
            return await restore.stored_registrations(self.database, self.writer, time.time())

    async def _restore(self, registry: Registry, began: float) -> None:
        await self.writer.caught_up()
        await restore.restore_directory(self.database, registry.people, registry.rooms)
        restore.keep_rooms(registry.rooms, self.writer)
        restored = await restore.restore_sessions(self.database, registry, before=began)
        self.writer.busy = lambda: registry.counts()["sessions"] > 0
        if any(restored):
            with suppress(StoreUnavailable):  # then it is written later
                await self.writer.settled()
            log.info("sessions_restored", going_on=restored.going_on, interrupted=restored.interrupted)

    async def close(self) -> None:
        """Write what is pending and close the database."""
        if self._restoring is not None:
            self._restoring.cancel()
            await asyncio.wait([self._restoring])
        await self.writer.close()
        await self.database.close()


def url_of(config: DatabaseSection) -> str:
    """Where the database is: as the configuration says, else a file in the data folder."""
    return config.url or f"sqlite:///{os.path.abspath(config.data_dir)}/{DATABASE_FILE}"


@contextmanager
def _as_start_error() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, OSError, TimeoutError) as error:
        raise StartError(f"cannot read the database: {error}") from error


def _tell(restoring: asyncio.Task[None]) -> None:
    if not restoring.cancelled() and (error := restoring.exception()) is not None:
        log.error("restore_failed", exc_info=error)
