"""What the channel dialect asks of the database: sessions of the channels that somebody hosts, and who was there.

Each list has an exact total, also among a million sessions. Totals add up `tallies` and `search_names` where nothing
else is asked. A page is found in one of two ways: *narrow*, by the index of what is asked, and then sorted; or *wide*,
along the index that has the order, looking at each row; the one that looks at fewer rows is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, text, union
from sqlalchemy.ext.asyncio import AsyncConnection

from ..records import SESSION_COLUMNS, SessionRecord
from ..schema import (
    CHANNEL_NAME,
    SLOT_MS,
    STARTED,
    UNKNOWN_SLOT,
    channel_roles,
    channels,
    participants,
    recordings,
    sessions,
    tallies,
    users,
)
from .named import has_part, rows_with, texts_with

Sort = Literal["started", "ended", "name", "presence"]
Where = list[ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Operator:
    """Who must be a host of what is listed: of the channel, or of the session in it."""

    owner: str
    "Principal.owner."
    user: str | None
    channels: tuple[str, ...] = ()
    "Channels that the token itself is a host of."


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions; all that is given must hold."""

    tenant: str
    operator: Operator | None = None
    "None: a host of everything in the tenant."
    channel_id: str | None = None
    search: str | None = None
    "A part of the channel's name."
    after: int | None = None
    "Started later than this: ms since the epoch."
    before: int | None = None
    "Started earlier than this: ms since the epoch."
    had_recording: bool | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Which part, in which order; sessions that are otherwise equal are ordered by id."""

    sort: Sort = "started"
    descending: bool = True
    limit: int = 50
    offset: int = 0


async def find_sessions(
    connection: AsyncConnection, wanted: SessionFilter, page: Page
) -> tuple[int, list[SessionRecord]]:
    """How many sessions match, and those of the page."""
    total = await _total(connection, wanted)
    if page.offset >= total or page.limit == 0:
        return total, []
    if await _is_narrow(connection, wanted, page, total):
        ids = await _narrow_page(connection, wanted, page)
    else:
        ids = await _wide_page(connection, wanted, page, total)
    rows = await connection.execute(select(*_RECORD).where(sessions.c.id.in_(ids)))
    found = {record.id: record for record in map(SessionRecord.from_row, rows)}
    return total, [found[str(key)] for key in ids]


_RECORD = [sessions.c[name] for name in SESSION_COLUMNS]
_RECORDED = text("sessions.had_recording")
_NOT_RECORDED = text("NOT sessions.had_recording")


# Totals.


async def _total(connection: AsyncConnection, wanted: SessionFilter) -> int:
    if wanted.operator is None and wanted.channel_id is None:
        if wanted.search is None:
            return await _tallied(connection, wanted)
        if wanted.after is None and wanted.before is None and wanted.had_recording is None:
            return await rows_with(connection, wanted.tenant, CHANNEL_NAME, wanted.search)
    query = select(func.count()).select_from(sessions).where(*_narrow(connection, wanted))
    return int((await connection.execute(query)).scalar_one())


async def _tallied(connection: AsyncConnection, wanted: SessionFilter) -> int:
    """Whole slots by the tallies, and what began in a part of a slot by the index of the beginnings."""
    if wanted.after is None and wanted.before is None:
        return await _slots(connection, wanted, 0, UNKNOWN_SLOT)
    first = None if wanted.after is None else wanted.after + 1
    last = None if wanted.before is None else wanted.before - 1
    low = 0 if first is None else -(-first // SLOT_MS)
    high = UNKNOWN_SLOT - 1 if last is None else (last + 1) // SLOT_MS - 1
    if high < low:
        return await _began(connection, wanted, first, last)
    total = await _slots(connection, wanted, low, high)
    if first is not None:
        total += await _began(connection, wanted, first, low * SLOT_MS - 1)
    if last is not None:
        total += await _began(connection, wanted, (high + 1) * SLOT_MS, last)
    return total


async def _slots(connection: AsyncConnection, wanted: SessionFilter, low: int, high: int) -> int:
    table = tallies.c
    query = select(func.coalesce(func.sum(table.n), 0)).where(
        table.tenant == wanted.tenant, table.clock == STARTED, table.slot.between(low, high)
    )
    if wanted.had_recording is not None:
        query = query.where(table.recorded.is_(wanted.had_recording))
    return int((await connection.execute(query)).scalar_one())


async def _began(connection: AsyncConnection, wanted: SessionFilter, first: int | None, last: int | None) -> int:
    where: Where = [sessions.c.tenant == wanted.tenant]
    if first is not None:
        where.append(sessions.c.started_at >= first)
    if last is not None:
        where.append(sessions.c.started_at <= last)
    query = select(func.count()).select_from(sessions).where(*where, *_recorded(wanted))
    return int((await connection.execute(query)).scalar_one())


# Pages.


async def _is_narrow(connection: AsyncConnection, wanted: SessionFilter, page: Page, total: int) -> bool:
    """Whether sorting all that match looks at fewer rows than going along the order until the page is full."""
    if wanted.channel_id is not None:
        return True
    if wanted.operator is None and wanted.search is None:
        return False
    everything = await _slots(connection, SessionFilter(wanted.tenant), 0, UNKNOWN_SLOT)
    return total * total <= (page.offset + page.limit) * everything


async def _narrow_page(connection: AsyncConnection, wanted: SessionFilter, page: Page) -> list[int]:
    query = select(sessions.c.id).where(*_narrow(connection, wanted))
    column = _ORDERS[page.sort]
    order: list[ColumnElement[Any]] = []
    if page.sort in _LATER_THAN_ALL:
        order.append(column.is_(None))
    order += [column, *((sessions.c.created_at,) if page.sort == "name" else ()), sessions.c.id]
    query = query.order_by(*(_directed(part, page.descending) for part in order))
    return list((await connection.execute(query.limit(page.limit).offset(page.offset))).scalars())


async def _wide_page(connection: AsyncConnection, wanted: SessionFilter, page: Page, total: int) -> list[int]:
    where = _wide(wanted)
    column = _ORDERS[page.sort]
    order: list[ColumnElement[Any]] = [column, sessions.c.id]
    if page.sort == "name":
        order.insert(1, sessions.c.created_at)
    if page.sort not in _LATER_THAN_ALL:
        return await _slice(connection, where, order, page, total, page.offset, page.limit)
    # Those without a value are one part, those with one the other: an index has the order of each, on any database.
    known = [*where, column.is_not(None)]
    unknown = [*where, column.is_(None)]
    many = 0
    if page.sort == "ended" or (wanted.after is None and wanted.before is None):
        many = await _without(connection, wanted, page.sort, unknown)
    parts: list[tuple[Where, list[ColumnElement[Any]], int]] = [
        (unknown, [sessions.c.id], many),
        (known, order, total - many),
    ]
    ids: list[int] = []
    offset = page.offset
    for part, by, size in parts if page.descending else reversed(parts):
        if offset < size and len(ids) < page.limit:
            ids += await _slice(connection, part, by, page, size, offset, page.limit - len(ids))
        offset = max(0, offset - size)
    return ids


async def _slice(
    connection: AsyncConnection,
    where: Where,
    order: Sequence[ColumnElement[Any]],
    page: Page,
    size: int,
    offset: int,
    limit: int,
) -> list[int]:
    """Ids `offset` to `offset + limit` of the `size` that match, counted from the nearer end."""
    limit = min(limit, size - offset)
    backwards = offset > size // 2
    if backwards:
        offset = size - offset - limit
    descending = page.descending != backwards
    query = select(sessions.c.id).where(*where).order_by(*(_directed(part, descending) for part in order))
    ids = list((await connection.execute(query.limit(limit).offset(offset))).scalars())
    return ids[::-1] if backwards else ids


async def _without(connection: AsyncConnection, wanted: SessionFilter, sort: Sort, where: Where) -> int:
    """How many have no value to be sorted by."""
    if sort == "started" and wanted.operator is None and wanted.search is None:
        return await _slots(connection, wanted, UNKNOWN_SLOT, UNKNOWN_SLOT)
    query = select(func.count()).select_from(sessions).where(*where)
    return int((await connection.execute(query)).scalar_one())


_ORDERS: dict[Sort, ColumnElement[Any]] = {
    "started": sessions.c.started_at,
    "ended": sessions.c.ended_at,
    "name": sessions.c.name,
    "presence": sessions.c.participants_count,
}
_LATER_THAN_ALL: frozenset[Sort] = frozenset({"started", "ended"})
"What has not begun, or not ended, counts as the last to do so (B23)."


def _directed(part: ColumnElement[Any], descending: bool) -> ColumnElement[Any]:
    return part.desc() if descending else part.asc()


# Conditions.


def _narrow(connection: AsyncConnection, wanted: SessionFilter) -> Where:
    """By the indices of what is asked; never along that of an order, since the tenant's name is hidden from it."""
    where: Where = [_hidden(sessions.c.tenant) == wanted.tenant, *_began_between(wanted), *_recorded(wanted)]
    of_tenant = select(sessions.c.id).where(sessions.c.tenant == wanted.tenant)
    if wanted.channel_id is not None:
        where.append(sessions.c.channel_id == wanted.channel_id)
    if wanted.search is not None:
        names = texts_with(connection, wanted.tenant, CHANNEL_NAME, wanted.search)
        where.append(sessions.c.id.in_(of_tenant.where(sessions.c.channel_name.in_(names))))
    if wanted.operator is not None:
        operator = wanted.operator
        ways: list[Select[Any]] = [of_tenant.where(sessions.c.owner == operator.owner)]
        if operator.user is not None:
            ways.append(of_tenant.where(sessions.c.host == operator.user))
        ways += [
            select(sessions.c.id).where(sessions.c.channel_id.in_(those)) for those in _hosted(wanted.tenant, operator)
        ]
        where.append(sessions.c.id.in_(union(*ways)))
    return where


def _wide(wanted: SessionFilter) -> Where:
    """Along the index of an order, looking at each row: whatever would lead to another index is hidden."""
    where: Where = [sessions.c.tenant == wanted.tenant, *_began_between(wanted), *_recorded(wanted)]
    if wanted.search is not None:
        where.append(has_part(sessions.c.channel_name, wanted.search))
    if wanted.operator is not None:
        operator = wanted.operator
        ways: Where = [_hidden(sessions.c.owner) == operator.owner]
        if operator.user is not None:
            ways.append(_hidden(sessions.c.host) == operator.user)
        ways += [_hidden(sessions.c.channel_id).in_(those) for those in _hosted(wanted.tenant, operator)]
        where.append(or_(*ways))
    return where


def _hosted(tenant: str, operator: Operator) -> list[Any]:
    """The channels that somebody is a host of: as the token says, as owner, by a role."""
    those: list[Any] = [operator.channels] if operator.channels else []
    if operator.user is not None:
        those.append(select(channels.c.id).where(channels.c.tenant == tenant, channels.c.owner == operator.user))
        role = and_(channel_roles.c.user_id == operator.user, channel_roles.c.role == "host")
        given = select(channels.c.id).join(channel_roles, channel_roles.c.channel_id == channels.c.id)
        those.append(given.where(role, channels.c.tenant == tenant))
    return those


def _began_between(wanted: SessionFilter) -> Where:
    where: Where = []
    if wanted.after is not None:
        where.append(sessions.c.started_at > wanted.after)
    if wanted.before is not None:
        where.append(sessions.c.started_at < wanted.before)
    return where


def _recorded(wanted: SessionFilter) -> list[Any]:
    if wanted.had_recording is None:
        return []
    return [_RECORDED if wanted.had_recording else _NOT_RECORDED]  # word for word as in the partial index


def _hidden(column: ColumnElement[str]) -> ColumnElement[str]:
    """The same value, of which no index knows."""
    return column.concat("")


# Who was there.


@dataclass(frozen=True, slots=True)
class UserOfChannel:
    """Somebody who took part."""

    id: str
    number: int
    handle: str


async def users_of_channel(
    connection: AsyncConnection, tenant: str, channel_id: str, search: str | None, *, limit: int, offset: int
) -> tuple[int, list[UserOfChannel]]:
    """How many users took part in sessions of a channel, and a part of them, who was there last first."""
    handle = func.coalesce(users.c.handle, participants.c.handle)
    known = and_(users.c.tenant == participants.c.tenant, users.c.id == participants.c.user_id)
    there = sessions.join(participants, participants.c.session_id == sessions.c.id).outerjoin(users, known)
    where: Where = [sessions.c.channel_id == channel_id, _hidden(sessions.c.tenant) == tenant]
    if search:
        where.append(has_part(handle, search))
    count = select(func.count(participants.c.user_id.distinct())).select_from(there).where(*where)
    total = int((await connection.execute(count)).scalar_one())
    if offset >= total or limit == 0:
        return total, []
    query = (
        select(participants.c.user_id, func.max(participants.c.user_number), func.max(handle))
        .select_from(there)
        .where(*where)
        .group_by(participants.c.user_id)
        .order_by(
            func.max(sessions.c.id).desc(),
            func.max(participants.c.joined_at).desc(),
            func.max(participants.c.idx).desc(),
            participants.c.user_id,
        )
    )
    rows = await connection.execute(query.limit(limit).offset(offset))
    return total, [UserOfChannel(*row) for row in rows]


# What was recorded.


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of a recording (B5); instants in ms since the epoch, `size` in bytes."""

    id: str
    recording_id: str
    format: str
    state: str
    kind: str
    label: str
    is_individual: bool
    start_time: int
    end_time: int | None
    size: int | None
    url: str | None
    relative_path: str | None
    stream_user_id: int | None
    user_id: int | None
    group: str | None


async def recordings_of(connection: AsyncConnection, session_id: str) -> list[Recording]:
    """The files of a session's recordings, by the time they begin."""
    table = recordings.c
    query = (
        select(
            table.id, table.recording_id, table.format, table.state, table.kind, table.label, table.is_individual,
            table.start_time, table.end_time, table.size, table.url, table.relative_path, table.stream_user_id,
            table.user_id, table.group,
        )
        .where(table.session_id == int(session_id))
        .order_by(table.start_time, table.id)
    )  # fmt: skip
    rows: Sequence[Any] = (await connection.execute(query)).all()
    return [Recording(*row) for row in rows]
