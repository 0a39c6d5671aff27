"""[io] The database: SQLite in a file, or PostgreSQL, read by many connections and written by one at a time.

Committed rows survive the end of the process at any instant, and of the machine (SQLite: WAL, synchronous=FULL).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, StaticPool

from ..errors import StartError
from . import migrations

log = structlog.get_logger("server.store.database")

MEMORY = "none"
"The URL of a database that lives in memory and ends with the process."
READERS = 4  # connections that read at the same time; a fifth reader waits
READER_WAIT_S = 10.0  # for a connection to become free
BUSY_MS = 5000  # SQLite: how long to wait for another process, such as `ringway db export`
CACHE_KB = 16 * 1024  # SQLite: pages kept by each connection
MMAP_BYTES = 0x7FFF0000  # SQLite: of the file, read without copying; the most that it is built for
CONNECT_S = 5.0  # PostgreSQL
COMMAND_S = 30.0  # PostgreSQL: a statement that takes longer has lost its server

_WRITES = "ringway_writes"

Statement = tuple[str, Sequence[tuple[Any, ...]]]
"Text for the driver, and the parameters of each row."


class Database:
    """An open database of the current revision."""

    def __init__(self, engine: AsyncEngine, url: URL) -> None:
        """Use `open`."""
        self.engine = engine
        self.kind: Literal["sqlite", "postgresql"] = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql"
        self.in_memory = self.kind == "sqlite" and url.database is None
        self.name = url.render_as_string(hide_password=True)
        "The URL without its password, for people."
        self._one_writer = asyncio.Lock()
        self._file_writer = None if self.kind == "postgresql" or self.in_memory else FileWriter(url)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All that makes connections, for who wants to follow their events."""
        writers = () if self._file_writer is None else (self._file_writer.engine,)
        return (self.engine.sync_engine, *writers)

    @classmethod
    async def open(cls, url: str = MEMORY, *, migrate: bool = True) -> Database:
        """Open the database at `url`, make it if it is new, and bring it to the current revision.

        `url`: "none", "sqlite:///relative.db", "sqlite:////absolute.db" or "postgresql://user:password@host/name".
        StartError says why it cannot be used: unreachable, made by a newer version, or, without `migrate`, not current.
        """
        target = database_url(url)
        name = target.render_as_string(hide_password=True)
        if target.get_backend_name() == "sqlite":
            if target.database is not None:
                _be_there(Path(target.database), name, make=migrate)
            engine = _sqlite_engine(target)
        else:
            engine = _postgresql_engine(target)
        database = cls(engine, target)
        try:
            await database._prepare(migrate)
        except (DBAPIError, OSError, TimeoutError, migrations.UnknownRevision, StartError) as error:
            await engine.dispose()
            raise StartError(f"cannot use the database {name}: {_reason(error)}") from error
        except BaseException:
            await engine.dispose()
            raise
        return database

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; all its queries see the same state. Never open a second one within."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(**self._reading)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection for writing, one at a time: committed at the end, rolled back by an exception."""
        async with self._one_writer, self.engine.connect() as connection:
            await connection.execution_options(**self._writing)
            async with connection.begin():
                yield connection

    async def write(self, statements: Callable[[], Iterable[Statement]]) -> None:
        """Run the driver's statements in one transaction, as if in `transaction`; for a file, all of it in a thread."""
        if self._file_writer is not None:
            async with self._one_writer:
                await self._file_writer.write(statements)
            return
        async with self.transaction() as connection:
            for text, rows in statements():
                await connection.exec_driver_sql(text, rows)

    async def revision(self) -> str | None:
        """The revision that the database is of; None when it is empty."""
        async with self.engine.connect() as connection:
            return await self.revision_in(connection)

    @staticmethod
    async def revision_in(connection: AsyncConnection) -> str | None:
        """The same within a connection that is open already."""
        return await connection.run_sync(migrations.revision_of)

    async def close(self) -> None:
        """Close all connections."""
        if self._file_writer is not None:
            await self._file_writer.close()
        await self.engine.dispose()

    @property
    def _reading(self) -> dict[str, Any]:
        if self.kind == "sqlite":
            return {}
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    @property
    def _writing(self) -> dict[str, Any]:
        return {_WRITES: True} if self.kind == "sqlite" else {}

    async def _prepare(self, migrate: bool) -> None:
        if self.in_memory:
            async with self.transaction() as connection:
                await connection.run_sync(migrations.create)
            return
        found = await self.revision()
        if found == migrations.HEAD:
            return
        if not migrate:
            raise StartError(f"it is of revision {found}, not {migrations.HEAD}; run `ringway db upgrade`")
        if found is not None:  # a large one takes its time, and calls wait for it
            log.warning("database_upgrade", database=self.name, revision=found, to=migrations.HEAD)
        async with self.transaction() as connection:
            await connection.run_sync(self._upgrade)

    def _upgrade(self, connection: Connection) -> None:
        """As the only process that does; another one may have been faster."""
        if self.kind == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7464966929)")
        if migrations.revision_of(connection) != migrations.HEAD:
            migrations.upgrade(connection)


def database_url(text: str) -> URL:
    """`text` with the driver that we use. StartError when it is no URL of a database that we know."""
    if text == MEMORY:
        return URL.create("sqlite+aiosqlite")
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise StartError('database: give "none", "sqlite:///FILE" or "postgresql://USER:PASSWORD@HOST/NAME"') from error
    if url.get_backend_name() == "sqlite" and url.drivername in ("sqlite", "sqlite+aiosqlite"):
        if not url.database or url.database == ":memory:":
            return URL.create("sqlite+aiosqlite")
        return url.set(drivername="sqlite+aiosqlite")
    if url.drivername in ("postgres", "postgresql", "postgresql+asyncpg"):
        return url.set(drivername="postgresql+asyncpg")
    raise StartError(f"database: {url.drivername} is none that Ringway knows; use sqlite or postgresql")


def _reason(error: BaseException) -> str:
    if isinstance(error, DBAPIError):
        return str(error.orig)
    return str(error) or type(error).__name__


# SQLite.


def _sqlite_engine(url: URL) -> AsyncEngine:
    _adapt_what_is_plain()
    # A database in memory belongs to its connection, hence there is one, that everybody waits for.
    readers = 1 if url.database is None else READERS + 1
    engine = create_async_engine(
        url, poolclass=AsyncAdaptedQueuePool, pool_size=readers, max_overflow=0, pool_timeout=READER_WAIT_S
    )
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _adapt_what_is_plain() -> None:
    """Tell sqlite3 what None and truth values are: it knows numbers and texts, and searches two classes for the rest.

    A third of the values of a session's rows are one of these, and that search takes longer than all else with them.
    """
    import sqlite3

    none_of_none: Any = {}.get  # a function of ours would be a call in Python
    sqlite3.register_adapter(type(None), none_of_none)
    sqlite3.register_adapter(bool, int)


class FileWriter:
    """Writes batches into a file of SQLite in a thread of its own: two changes of threads a batch, not two a step."""

    def __init__(self, url: URL) -> None:
        self.engine: Engine = create_engine(
            url.set(drivername="sqlite"), poolclass=StaticPool, connect_args={"check_same_thread": False}
        ).execution_options(**{_WRITES: True})
        event.listen(self.engine, "connect", _set_up_sqlite)
        event.listen(self.engine, "begin", _begin_sqlite)
        self._thread = ThreadPoolExecutor(1, "ringway-writer")

    async def write(self, statements: Callable[[], Iterable[Statement]]) -> None:
        """Commit these in one transaction. When the waiting is cancelled, they are committed all the same."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, statements)

    def _write(self, statements: Callable[[], Iterable[Statement]]) -> None:
        with self.engine.begin() as connection:
            for text, rows in statements():
                connection.exec_driver_sql(text, list(rows))

    async def close(self) -> None:
        """Close the connection, after what is under way."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.engine.dispose)
        self._thread.shutdown()


def _be_there(file: Path, name: str, *, make: bool) -> None:
    """What the file holds concerns its owner alone: who called whom, and digests of tokens."""
    try:
        if make:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | (os.O_CREAT if make else 0), 0o600))
    except OSError as error:
        raise StartError(f"cannot use the database {name}: {error.strerror or error}") from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin as _begin_sqlite says
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        f"cache_size=-{CACHE_KB}",
        f"mmap_size={MMAP_BYTES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that writes takes the lock at once: one that read first could not wait for it any more.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


# PostgreSQL.


def _postgresql_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=READERS + 1,
        max_overflow=0,
        pool_timeout=READER_WAIT_S,
        pool_pre_ping=True,  # a restarted server costs nobody an error
        connect_args={
            "timeout": CONNECT_S,
            "command_timeout": COMMAND_S,
            # Compiling costs more than our short queries take.
            "server_settings": {"application_name": "ringway", "jit": "off"},
        },
    )
