"""What the channel dialect asks of the database about app sessions and their logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from ..schema import (
    APP_STARTED,
    URL,
    app_session_channels,
    app_session_logs,
    app_session_sessions,
    app_session_users,
    app_sessions,
    channel_roles,
    channels,
    tallies,
)
from .channels import Operator
from .named import has_part, rows_with, texts_with

Where = list[ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class AppSessionRow:
    """An app session and what it is linked with, each in no order; instants in ms since the epoch."""

    id: str
    tenant: str
    client_id: str
    url: str
    started_at: int
    created_at: int
    users: tuple[str, ...]
    channels: tuple[str, ...]
    sessions: tuple[str, ...]
    "Decimal ids."


@dataclass(frozen=True, slots=True)
class AppSessionFilter:
    """Which app sessions; all that is given must hold (B11)."""

    tenant: str
    reader: Operator | None = None
    "Who must be linked with it, or host one of its channels; None sees all of the tenant."
    user: str | None = None
    channel_id: str | None = None
    session_id: str | None = None
    url: str | None = None
    "A part of the URL."
    before: int | None = None
    "Started earlier than this."
    after: int | None = None
    "Started later than this."


async def app_session(connection: AsyncConnection, app_session_id: str) -> AppSessionRow | None:
    """The one of that id."""
    found = await _rows(connection, [app_session_id])
    return found[0] if found else None


async def find_app_sessions(
    connection: AsyncConnection, wanted: AppSessionFilter, *, limit: int, offset: int
) -> tuple[int, list[AppSessionRow]]:
    """How many match, and a part of them: those that started last first, then by id."""
    if _links(wanted):
        return await _linked_page(connection, wanted, limit=limit, offset=offset)
    total = await _total(connection, wanted)
    if offset >= total or limit == 0:
        return total, []
    by_url = wanted.url is not None and total * total <= (offset + limit) * await _tallied(connection, wanted.tenant)
    query = select(app_sessions.c.id).where(*_where(connection, wanted, by_url=by_url)).limit(limit).offset(offset)
    # The index of addresses has both at hand; by a sum, that of the order does not offer itself in its place.
    started = app_sessions.c.started_at + 0 if by_url else app_sessions.c.started_at
    query = query.order_by(started.desc(), app_sessions.c.id.desc())
    return total, await _rows(connection, list((await connection.execute(query)).scalars()))


async def _linked_page(
    connection: AsyncConnection, wanted: AppSessionFilter, *, limit: int, offset: int
) -> tuple[int, list[AppSessionRow]]:
    """Counted and sorted in one pass: an app session is found by its long key, which is what costs."""
    found = select(app_sessions.c.id, func.count().over()).where(*_where(connection, wanted, by_url=False))
    page = found.order_by(app_sessions.c.started_at.desc(), app_sessions.c.id.desc()).limit(limit).offset(offset)
    rows = (await connection.execute(page)).all()
    if not rows:
        return int((await connection.execute(select(func.count()).select_from(found.subquery()))).scalar_one()), []
    return rows[0][1], await _rows(connection, [row[0] for row in rows])


async def _total(connection: AsyncConnection, wanted: AppSessionFilter) -> int:
    if wanted == AppSessionFilter(wanted.tenant):
        return await _tallied(connection, wanted.tenant)
    if wanted.url is not None and wanted == AppSessionFilter(wanted.tenant, url=wanted.url):
        return await rows_with(connection, wanted.tenant, URL, wanted.url)
    where = _where(connection, wanted, by_url=wanted.before is None and wanted.after is None)
    return int((await connection.execute(select(func.count()).select_from(app_sessions).where(*where))).scalar_one())


async def _tallied(connection: AsyncConnection, tenant: str) -> int:
    table = tallies.c
    query = select(func.coalesce(func.sum(table.n), 0)).where(table.tenant == tenant, table.clock == APP_STARTED)
    return int((await connection.execute(query)).scalar_one())


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What an app wrote."""

    idx: int
    time: int
    data: str


async def log_entries(connection: AsyncConnection, app_session_id: str, part: str | None = None) -> list[LogEntry]:
    """The entries of an app session, or those that hold `part`, by their index."""
    table = app_session_logs.c
    query = select(table.idx, table.time, table.data).where(table.app_session_id == app_session_id)
    if part:
        query = query.where(has_part(table.data, part))
    return [LogEntry(*row) for row in await connection.execute(query.order_by(table.idx))]


async def _rows(connection: AsyncConnection, ids: Sequence[str]) -> list[AppSessionRow]:
    table = app_sessions.c
    columns = (table.id, table.tenant, table.client_id, table.url, table.started_at, table.created_at)
    found: Sequence[Any] = (await connection.execute(select(*columns).where(table.id.in_(ids)))).all()
    users = await _linked(connection, app_session_users, "user_id", ids)
    rooms = await _linked(connection, app_session_channels, "channel_id", ids)
    sittings = await _linked(connection, app_session_sessions, "session_id", ids)
    rows = {
        row.id: AppSessionRow(
            row.id, row.tenant, row.client_id, row.url, row.started_at, row.created_at,
            tuple(users[row.id]), tuple(rooms[row.id]), tuple(sittings[row.id]),
        )
        for row in found
    }  # fmt: skip
    return [rows[key] for key in ids if key in rows]


async def _linked(connection: AsyncConnection, table: Table, column: str, ids: Sequence[str]) -> dict[str, list[str]]:
    """App session -> what it is linked with, smallest first."""
    query = select(table.c.app_session_id, table.c[column]).where(table.c.app_session_id.in_(ids))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for app_session_id, linked in await connection.execute(query.order_by(table.c[column])):
        found[app_session_id].append(str(linked))
    return found


def _where(connection: AsyncConnection, wanted: AppSessionFilter, *, by_url: bool) -> Where:
    """`by_url`: through the index of URLs, rather than looking at the URL of each."""
    table = app_sessions.c
    linked = _links(wanted)
    where: Where = [(table.tenant.concat("") if linked else table.tenant) == wanted.tenant]
    where += [table.id.in_(links) for links in linked]
    if wanted.url is not None and by_url and not linked:
        where.append(table.url.in_(texts_with(connection, wanted.tenant, URL, wanted.url)))
    elif wanted.url is not None:
        where.append(has_part(table.url.concat(""), wanted.url))
    if wanted.before is not None:
        where.append(table.started_at < wanted.before)
    if wanted.after is not None:
        where.append(table.started_at > wanted.after)
    return where


def _links(wanted: AppSessionFilter) -> list[Any]:
    """Ids of the app sessions that are linked as is asked, a query each."""
    links: list[Any] = []
    if wanted.user is not None:
        links.append(_with(app_session_users, app_session_users.c.user_id == wanted.user))
    if wanted.channel_id is not None:
        links.append(_with(app_session_channels, app_session_channels.c.channel_id == wanted.channel_id))
    if wanted.session_id is not None:
        links.append(_with(app_session_sessions, app_session_sessions.c.session_id == int(wanted.session_id)))
    if wanted.reader is not None:
        links.append(_read_by(wanted.tenant, wanted.reader))
    return links


def _with(links: Table, condition: ColumnElement[bool]) -> Select[Any]:
    return select(links.c.app_session_id).where(condition)


def _read_by(tenant: str, reader: Operator) -> Any:
    """Those that somebody is linked with, or hosts one of the channels of."""
    room = app_session_channels.c.channel_id
    ways = [_with(app_session_channels, room.in_(reader.channels))]
    if reader.user is not None:
        role = and_(channel_roles.c.user_id == reader.user, channel_roles.c.role == "host")
        given = select(channels.c.id).join(channel_roles, channel_roles.c.channel_id == channels.c.id)
        owned = select(channels.c.id).where(channels.c.tenant == tenant, channels.c.owner == reader.user)
        ways += [
            _with(app_session_users, app_session_users.c.user_id == reader.user),
            _with(app_session_channels, room.in_(given.where(role, channels.c.tenant == tenant))),
            _with(app_session_channels, room.in_(owned)),
        ]
    return union(*ways)
