"""[io] App sessions: what they wrote last is in memory, and the database follows (conformance B8-B13).

An entry's index must be unique at once, while the writer commits a moment later. So the indices of an app session that
is in use are kept here, each with a digest of what stands there; one that is not in memory is read back when it is
used again. Only one task reads back at a time, so that nobody can write to what another one is reading.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from time import time
from uuid import UUID, uuid4

from signalling import LimitReached, SignallingError, WrongState

from .database import Database
from .queries.app_sessions import AppSessionRow, LogEntry, app_session, log_entries
from .queries.reading import reading
from .writer import Writer

MAX_KEPT = 300_000  # indices and app sessions in memory; each takes about 150 bytes
MAX_LINKS = 1000  # users, channels and sessions, each, that one app session is linked with
MAX_INDEX = 2**63 - 1


class UnknownAppSession(SignallingError):
    """There is no app session of that id."""

    status = 404
    code = "APP_SESSION_NOT_FOUND"


class IndexTaken(WrongState):
    """The app session has another entry of this index."""

    code = "INDEX_CONFLICT"


class LogFull(WrongState):
    """The app session has as many entries, or bytes of them, as it may have."""

    code = "LOG_FULL"


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Of one app session."""

    entries: int = 10_000
    size: int = 4 << 20
    "Bytes of all entries."


@dataclass(slots=True)
class AppSession:
    """One that is in use. Change it through AppSessions, at once after `get`: awaiting may have made it a stranger."""

    id: str
    tenant: str
    client_id: str
    url: str
    started_at: int
    "Milliseconds since the epoch, as `created_at` and the `at` of entries."
    created_at: int
    users: set[str] = field(default_factory=set)
    channels: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    "Decimal ids."
    digests: dict[int, int] = field(default_factory=dict)
    "Index of each entry -> digest of its time and text."
    size: int = 0
    next_index: int = 0

    def row(self) -> AppSessionRow:
        """As the database will have it."""
        users, channels = tuple(sorted(self.users)), tuple(sorted(self.channels))
        sessions = tuple(sorted(self.sessions, key=int))
        return AppSessionRow(
            self.id, self.tenant, self.client_id, self.url, self.started_at, self.created_at, users, channels, sessions
        )

    def note(self, index: int, at: int, data: str) -> None:
        """Count an entry."""
        self.digests[index] = _digest(at, data)
        self.size += len(data.encode())
        self.next_index = max(self.next_index, index + 1)


class AppSessions:
    """All app sessions: those in use in memory, all in the database."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        *,
        limits: LogLimits = LogLimits(),
        kept: int = MAX_KEPT,
        clock: Callable[[], float] = time,
    ) -> None:
        """`kept`: how many indices and app sessions stay in memory. `clock`: seconds since the epoch."""
        self._database = database
        self._writer = writer
        self._clock = clock
        self._limits = limits
        self._max_kept = kept
        self._in_use: OrderedDict[str, AppSession] = OrderedDict()
        self._kept = 0
        self._reading_back = asyncio.Lock()
        self._forgotten = 0
        "How many were in memory and are not any more; what the last ones wrote may still be on its way."
        self._arrived = 0
        "Of how many of them the database has everything."

    def __len__(self) -> int:
        return len(self._in_use)

    def register(self, tenant: str, client_id: str, url: str, started_at: int) -> AppSession:
        """A new one; its id cannot be guessed."""
        app = AppSession(str(uuid4()), tenant, client_id, url, started_at, int(self._clock() * 1000))
        self._writer.write(
            "app_sessions",
            {
                "id": app.id,
                "tenant": tenant,
                "client_id": client_id,
                "url": url,
                "started_at": started_at,
                "created_at": app.created_at,
            },
            "insert",
        )
        self._keep(app)
        return app

    async def get(self, tenant: str, app_session_id: str) -> AppSession:
        """The one of that id, to be changed at once. UnknownAppSession; StoreUnavailable when it is not in memory."""
        key = _canonical(app_session_id)
        app = self._in_use.get(key)
        if app is None:
            if await self._stored(key) is None:
                raise _unknown()  # without waiting for others: ids that are made up must not hold up the real ones
            async with self._reading_back:
                app = self._in_use.get(key) or await self._read_back(key)
        if app.tenant != tenant:
            raise _unknown()
        self._in_use.move_to_end(key)
        return app

    async def row(self, tenant: str, app_session_id: str) -> AppSessionRow:
        """The one of that id, to be shown. UnknownAppSession, StoreUnavailable."""
        key = _canonical(app_session_id)
        app = self._in_use.get(key)
        row = await self._stored(key) if app is None else app.row()
        if row is None or row.tenant != tenant:
            raise _unknown()
        return row

    async def log(self, app_session_id: str, part: str | None = None) -> list[LogEntry]:
        """The entries, or those that hold `part`, by their index. StoreUnavailable."""
        await self._writer.settled()
        async with reading(self._database) as connection:
            return await log_entries(connection, _canonical(app_session_id), part)

    def append(self, app: AppSession, at: int, data: str, index: int | None = None) -> None:
        """Add an entry; without an index it gets the next one. What is there already is left as it is (B13).

        IndexTaken when something else has that index; LogFull.
        """
        if index is None:
            index = app.next_index
        elif (there := app.digests.get(index)) is not None:
            if there == _digest(at, data):
                return
            raise IndexTaken(f"the app session has another entry of index {index}")
        if len(app.digests) >= self._limits.entries:
            raise LogFull(f"{self._limits.entries} entries are the limit of an app session")
        if app.size + len(data.encode()) > self._limits.size:
            raise LogFull(f"{self._limits.size} bytes are the limit of an app session")
        if index > MAX_INDEX:
            raise LogFull("there is no index after the last one")
        self._writer.write(
            "app_session_logs", {"app_session_id": app.id, "idx": index, "time": at, "data": data}, "insert"
        )
        app.note(index, at, data)
        self._kept += 1
        self._make_room()

    def link_user(self, app: AppSession, user: str) -> None:
        """`user` uses it. LimitReached."""
        self._link(app, app.users, "users", "user_id", user, user)

    def link_channel(self, app: AppSession, channel_id: str) -> None:
        """It has to do with a channel. LimitReached."""
        self._link(app, app.channels, "channels", "channel_id", channel_id, channel_id)

    def link_session(self, app: AppSession, session_id: str) -> None:
        """It has to do with a session. LimitReached."""
        self._link(app, app.sessions, "sessions", "session_id", session_id, int(session_id))

    def _link(self, app: AppSession, links: set[str], table: str, column: str, key: str, value: str | int) -> None:
        if key in links:
            return
        if len(links) >= MAX_LINKS:
            raise LimitReached(f"{MAX_LINKS} {table} are the limit of an app session")
        links.add(key)
        self._writer.write(f"app_session_{table}", {"app_session_id": app.id, column: value}, "insert")

    # Memory.

    async def _stored(self, key: str) -> AppSessionRow | None:
        """What the database has of one that is not in memory."""
        await self._let_arrive()
        async with reading(self._database) as connection:
            return await app_session(connection, key)

    async def _let_arrive(self) -> None:
        """Wait until the database has all that was written by those that are not in memory any more."""
        forgotten = self._forgotten
        if self._arrived < forgotten:
            await self._writer.settled()
            self._arrived = max(self._arrived, forgotten)

    async def _read_back(self, key: str) -> AppSession:
        await self._let_arrive()
        async with reading(self._database) as connection:
            row = await app_session(connection, key)
            entries = [] if row is None else await log_entries(connection, key)
        if row is None:
            raise _unknown()
        app = AppSession(
            row.id, row.tenant, row.client_id, row.url, row.started_at, row.created_at,
            set(row.users), set(row.channels), set(row.sessions),
        )  # fmt: skip
        for entry in entries:
            app.note(entry.idx, entry.time, entry.data)
        self._keep(app)
        return app

    def _keep(self, app: AppSession) -> None:
        self._in_use[app.id] = app
        self._kept += 1 + len(app.digests)
        self._make_room()

    def _make_room(self) -> None:
        """Forget those that were not used for the longest time; the last one stays."""
        while self._kept > self._max_kept and len(self._in_use) > 1:
            _, app = self._in_use.popitem(last=False)
            self._kept -= 1 + len(app.digests)
            self._forgotten += 1


def _canonical(app_session_id: str) -> str:
    """The id as we write it. UnknownAppSession when it is none of ours."""
    if len(app_session_id) != 36:
        raise _unknown()
    try:
        return str(UUID(app_session_id))
    except ValueError as error:
        raise _unknown() from error


def _unknown() -> UnknownAppSession:
    return UnknownAppSession("there is no app session of that id")


def _digest(at: int, data: str) -> int:
    return int.from_bytes(blake2b(f"{at} {data}".encode(), digest_size=8).digest(), "big")
