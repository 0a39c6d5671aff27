"""What the channel dialect asks of the database about app sessions and their logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, func, or_, select
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
from .named import has_part, texts_with

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
    where = _where(connection, wanted)
    if len(where) == 1:
        count = select(func.coalesce(func.sum(tallies.c.n), 0)).where(
            tallies.c.tenant == wanted.tenant, tallies.c.clock == APP_STARTED
        )
    else:
        count = select(func.count()).select_from(app_sessions).where(*where)
    total = int((await connection.execute(count)).scalar_one())
    if offset >= total or limit == 0:
        return total, []
    query = select(app_sessions.c.id).where(*where).limit(limit).offset(offset)
    query = query.order_by(app_sessions.c.started_at.desc(), app_sessions.c.id.desc())
    return total, await _rows(connection, list((await connection.execute(query)).scalars()))


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


def _where(connection: AsyncConnection, wanted: AppSessionFilter) -> Where:
    """The first one is of the tenant."""
    table = app_sessions.c
    where: Where = [table.tenant == wanted.tenant]
    if wanted.user is not None:
        where.append(_with(app_session_users, app_session_users.c.user_id == wanted.user))
    if wanted.channel_id is not None:
        where.append(_with(app_session_channels, app_session_channels.c.channel_id == wanted.channel_id))
    if wanted.session_id is not None:
        where.append(_with(app_session_sessions, app_session_sessions.c.session_id == int(wanted.session_id)))
    if wanted.url is not None:
        where.append(table.url.in_(texts_with(connection, wanted.tenant, URL, wanted.url)))
    if wanted.before is not None:
        where.append(table.started_at < wanted.before)
    if wanted.after is not None:
        where.append(table.started_at > wanted.after)
    if wanted.reader is not None:
        where.append(_read_by(wanted.tenant, wanted.reader))
    return where


def _with(links: Table, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return app_sessions.c.id.in_(select(links.c.app_session_id).where(condition))


def _read_by(tenant: str, reader: Operator) -> ColumnElement[bool]:
    """Whether somebody is linked with it, or hosts one of its channels."""
    room = app_session_channels.c.channel_id
    ways: Where = [_with(app_session_channels, room.in_(reader.channels))] if reader.channels else []
    if reader.user is not None:
        role = and_(channel_roles.c.user_id == reader.user, channel_roles.c.role == "host")
        given = select(channels.c.id).join(channel_roles, channel_roles.c.channel_id == channels.c.id)
        owned = select(channels.c.id).where(channels.c.tenant == tenant, channels.c.owner == reader.user)
        ways += [
            _with(app_session_users, app_session_users.c.user_id == reader.user),
            _with(app_session_channels, room.in_(given.where(role, channels.c.tenant == tenant))),
            _with(app_session_channels, room.in_(owned)),
        ]
    return or_(*ways) if ways else app_sessions.c.id.is_(None)
