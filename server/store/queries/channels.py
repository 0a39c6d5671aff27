"""What the channel dialect asks of the database: sessions of the channels that somebody hosts, and who was there.

Each list has an exact total, also among a million sessions. Totals add up `tallies` and `search_names` where nothing
else is asked. A page is found in one of two ways: *narrow*, by the index of what is asked, and then sorted; or *wide*,
along the index that has the order, looking at each row; the one that looks at fewer rows is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, false, func, or_, select, true, union
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
from .own_channel import of_channel

FEW = 25_000  # sessions that a search looks at one by one

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
    if wanted.channel_id is not None and not await _is_of(connection, wanted.tenant, wanted.channel_id):
        return 0, []
    few = await _are_few(connection, wanted)
    total = await _total(connection, wanted, few)
    if page.offset >= total or page.limit == 0:
        return total, []
    if wanted.channel_id is not None and page.sort == "started":
        ids = await _ordered_page(connection, wanted, _narrow(connection, wanted), page, total)
    elif not few and await _is_narrow(connection, wanted, page, total):
        ids = await _narrow_page(connection, wanted, page)
    else:
        ids = await _ordered_page(connection, wanted, _wide(wanted), page, total)
    rows = await connection.execute(select(*_RECORD).where(sessions.c.id.in_(ids)))
    found = {record.id: record for record in map(SessionRecord.from_row, rows) if record.tenant == wanted.tenant}
    return total, [found[str(key)] for key in ids if str(key) in found]


async def _is_of(connection: AsyncConnection, tenant: str, channel_id: str) -> bool:
    """Whether a channel has sessions in a tenant; in another one it has none then."""
    query = select(sessions.c.id).where(sessions.c.channel_id == channel_id, _hidden(sessions.c.tenant) == tenant)
    return (await connection.execute(query.limit(1))).first() is not None


async def _are_few(connection: AsyncConnection, wanted: SessionFilter) -> bool:
    """Whether a search looks at the sessions of a time, or those that were recorded, one by one."""
    if wanted.search is None or wanted.operator is not None or wanted.channel_id is not None:
        return False
    if wanted.had_recording is not True and (wanted.after is None or wanted.before is None):
        return False
    return await _tallied(connection, wanted) <= FEW


_RECORD = [sessions.c[name] for name in SESSION_COLUMNS]


# Totals.


async def _total(connection: AsyncConnection, wanted: SessionFilter, few: bool) -> int:
    plain = wanted.after is None and wanted.before is None and wanted.had_recording is None
    if wanted.channel_id is None and wanted.operator is None:
        if wanted.search is None:
            return await _tallied(connection, wanted)
        if plain:
            return await rows_with(connection, wanted.tenant, CHANNEL_NAME, wanted.search)
    query = select(func.count()).select_from(sessions)
    query = query.where(*(_wide(wanted) if few else _narrow(connection, wanted)))
    if plain and wanted.channel_id is None and wanted.search is None and wanted.operator is not None:
        query = select(func.count()).select_from(_operated(wanted.tenant, wanted.operator).subquery())
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


async def _ordered_page(
    connection: AsyncConnection, wanted: SessionFilter, where: Where, page: Page, total: int
) -> list[int]:
    """Along the index that has the order."""
    column = _ORDERS[page.sort]
    order: list[ColumnElement[Any]] = [column, sessions.c.id]
    if page.sort == "name":
        order.insert(1, sessions.c.created_at)
    if page.sort not in _LATER_THAN_ALL:
        return await _slice(connection, _Part(where, order, total), page, page.offset, page.limit)
    # Those without a value are one part, those with one the other: an index has the order of each, on any database.
    known = _Part([*where, column.is_not(None)], order, total)
    unknown = _Part([*where, column.is_(None)], [sessions.c.id], 0)
    if page.sort == "started" and (wanted.after is not None or wanted.before is not None):
        return await _slice(connection, known, page, page.offset, page.limit)
    if page.sort == "started" and wanted.channel_id is None and (wanted.operator or wanted.search):
        first, second = (unknown, known) if page.descending else (known, unknown)
        return await _after_each_other(connection, first, second, page)
    unknown.size = await _unknown(connection, wanted, page.sort, unknown.where)
    known.size = total - unknown.size
    ids: list[int] = []
    offset = page.offset
    for part in (unknown, known) if page.descending else (known, unknown):
        if offset < part.size and len(ids) < page.limit:
            ids += await _slice(connection, part, page, offset, page.limit - len(ids))
        offset = max(0, offset - part.size)
    return ids


@dataclass(slots=True)
class _Part:
    """Sessions in the order of one index."""

    where: Where
    order: list[ColumnElement[Any]]
    size: int
    "How many there are."


async def _after_each_other(connection: AsyncConnection, first: _Part, second: _Part, page: Page) -> list[int]:
    """As of one list, where counting the first part costs more than going through it as far as the page reaches."""
    ids = await _ids(connection, first, page.descending, page.offset + page.limit, 0)
    shown = ids[page.offset :]
    if len(shown) < page.limit:
        offset = max(0, page.offset - len(ids))
        shown += await _ids(connection, second, page.descending, page.limit - len(shown), offset)
    return shown


async def _slice(connection: AsyncConnection, part: _Part, page: Page, offset: int, limit: int) -> list[int]:
    """Ids `offset` to `offset + limit` of a part, counted from its nearer end."""
    limit = min(limit, part.size - offset)
    if offset <= part.size // 2:
        return await _ids(connection, part, page.descending, limit, offset)
    return (await _ids(connection, part, not page.descending, limit, part.size - offset - limit))[::-1]


async def _ids(connection: AsyncConnection, part: _Part, descending: bool, limit: int, offset: int) -> list[int]:
    query = select(sessions.c.id).where(*part.where).order_by(*(_directed(by, descending) for by in part.order))
    return list((await connection.execute(query.limit(limit).offset(offset))).scalars())


async def _unknown(connection: AsyncConnection, wanted: SessionFilter, sort: Sort, where: Where) -> int:
    """How many have no value to be sorted by."""
    if sort == "started" and wanted.channel_id is None:
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
    """By the index of what is asked; the others, such as those of an order, do not know their columns again."""
    where: Where = [*_began_between(wanted, hidden=wanted.channel_id is None), *_recorded(wanted)]
    if wanted.channel_id is not None:
        where.append(sessions.c.channel_id == wanted.channel_id)
    if wanted.operator is not None:
        if wanted.channel_id is None:
            where.append(sessions.c.id.in_(_operated(wanted.tenant, wanted.operator)))
        else:
            where.append(_is_operated(wanted.tenant, wanted.operator))
    if wanted.search is not None and wanted.channel_id is None and wanted.operator is None:
        names = texts_with(connection, wanted.tenant, CHANNEL_NAME, wanted.search)
        where += [sessions.c.tenant == wanted.tenant, sessions.c.channel_name.in_(names)]
    elif wanted.search is not None:
        where.append(has_part(_hidden(sessions.c.channel_name), wanted.search))
    return where


def _wide(wanted: SessionFilter) -> Where:
    """Along the index of an order, looking at each row: whatever would lead to another index is hidden."""
    where: Where = [sessions.c.tenant == wanted.tenant, *_began_between(wanted), *_recorded(wanted)]
    if wanted.search is not None:
        where.append(has_part(_hidden(sessions.c.channel_name), wanted.search))
    if wanted.operator is not None:
        where.append(_is_operated(wanted.tenant, wanted.operator))
    return where


def _operated(tenant: str, operator: Operator) -> Any:
    """Ids of the sessions that somebody hosts, or is a host of the channel of."""
    of_tenant = select(sessions.c.id).where(sessions.c.tenant == tenant)
    ways = [of_tenant.where(sessions.c.owner == operator.owner)]
    if operator.user is not None:
        ways.append(of_tenant.where(sessions.c.host == operator.user))
    in_channel = select(sessions.c.id).where(_hidden(sessions.c.tenant) == tenant)
    return union(*ways, *(in_channel.where(sessions.c.channel_id.in_(those)) for those in _hosted(tenant, operator)))


def _is_operated(tenant: str, operator: Operator) -> ColumnElement[bool]:
    """The same of a row at hand."""
    ways: Where = [_hidden(sessions.c.owner) == operator.owner]
    if operator.user is not None:
        ways.append(_hidden(sessions.c.host) == operator.user)
    return or_(*ways, *(_hidden(sessions.c.channel_id).in_(those) for those in _hosted(tenant, operator)))


def _hosted(tenant: str, operator: Operator) -> list[Any]:
    """The channels that somebody is a host of: as the token says, as owner, by a role."""
    those: list[Any] = [operator.channels] if operator.channels else []
    if operator.user is not None:
        those.append(select(channels.c.id).where(channels.c.tenant == tenant, channels.c.owner == operator.user))
        role = and_(channel_roles.c.user_id == operator.user, channel_roles.c.role == "host")
        given = select(channels.c.id).join(channel_roles, channel_roles.c.channel_id == channels.c.id)
        those.append(given.where(role, channels.c.tenant == tenant))
    return those


def _began_between(wanted: SessionFilter, *, hidden: bool = False) -> Where:
    began: ColumnElement[Any] = sessions.c.started_at + 0 if hidden else sessions.c.started_at
    where: Where = []
    if wanted.after is not None:
        where.append(began > wanted.after)
    if wanted.before is not None:
        where.append(began < wanted.before)
    return where


def _recorded(wanted: SessionFilter) -> Where:
    if wanted.had_recording is None:
        return []
    return [sessions.c.had_recording == (true() if wanted.had_recording else false())]  # as in the partial index


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


STAYS_A_USER = 4  # read at first, to find so many users


async def users_of_channel(
    connection: AsyncConnection, tenant: str, channel_id: str, search: str | None, *, limit: int, offset: int
) -> tuple[int, list[UserOfChannel]]:
    """How many users took part in sessions of a channel, and a part of them, who was there last first.

    The channel must be of `tenant`. `search` finds users by the handle that they have, or had when they were there.
    """
    table = participants.c
    where: Where = [of_channel(participants, channel_id)]
    if search:
        named = select(users.c.id).where(users.c.tenant == tenant, has_part(users.c.handle, search))
        where.append(or_(has_part(table.handle, search), table.user_id.in_(named)))
    if search:  # what finds users by their handles of now reads all of them: once is enough
        there = select(table.user_id, func.count().over()).where(*where).group_by(table.user_id)
        page = there.order_by(func.max(table.joined_at).desc(), table.user_id).limit(limit).offset(offset)
        rows = (await connection.execute(page)).all()
        if not rows:
            return int((await connection.execute(select(func.count()).select_from(there.subquery()))).scalar_one()), []
        total, ids = int(rows[0][1]), [row[0] for row in rows]
    else:
        count = select(func.count(table.user_id.distinct())).where(*where)
        total = int((await connection.execute(count)).scalar_one())
        ids = (await _last_there(connection, where, min(total, offset + limit)))[offset:]
    known = select(table.user_id, func.max(table.user_number), func.max(table.handle))
    known = known.where(of_channel(participants, channel_id), table.user_id.in_(ids)).group_by(table.user_id)
    found = {row[0]: UserOfChannel(*row) for row in await connection.execute(known)}
    return total, [found[user] for user in ids]


async def _last_there(connection: AsyncConnection, where: Where, wanted: int) -> list[str]:
    """The `wanted` users who came last, of at least as many.

    Their stays are read from the last one on, as many as it takes: to put all users in order takes three times as long.
    """
    table = participants.c
    stays = select(table.user_id).where(*where).order_by(table.joined_at.desc(), table.user_id)
    read = wanted * STAYS_A_USER
    while True:
        came = (await connection.execute(stays.limit(read))).scalars()
        users = list(dict.fromkeys(came))
        if len(users) >= wanted:
            return users[:wanted]
        read *= 8


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
