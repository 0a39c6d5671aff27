"""Lists of sessions as the RealtimeKit dialect asks for them, with exact totals, also among a million.

A session's id holds the instant of its creation, so that every index knows when what it lists was made. What is asked
besides (a meeting, people, a title, a viewer) gives sets of ids; a page is found in one of two ways: *narrow*, by these
sets, and then sorted; or *wide*, along the index that has the order, looking at each session; the one that looks at
fewer is taken. Live sessions are few, and looked at one by one: their minutes grow, so that no index could sort them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, exists, func, or_, select, tuple_, union
from sqlalchemy.ext.asyncio import AsyncConnection

from ..records import SESSION_COLUMNS, SessionRecord
from ..schema import CHANNEL_NAME, CREATED, SLOT_MS, channel_roles, channels, participants, sessions, tallies
from .named import has_part, rows_with, texts_with

ID_BITS = 20  # of a session's id stand below its milliseconds
FEW = 4000  # sessions whose ids are read at once
Where = list[ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose sessions a list shows: those it made, hosts or took part in, and those of channels it has a role in."""

    owner: str
    user: str | None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions; all that is given must hold."""

    tenant: str
    live: bool | None = None
    created_from: int | None = None
    "ms since the epoch, inclusive; as `created_to`."
    created_to: int | None = None
    channel_id: str | None = None
    peers: tuple[tuple[int, int], ...] | None = None
    "Session and index of stays, any of which, or of `people`, took part."
    people: tuple[str, ...] | None = None
    "Custom ids or ids of users."
    search: str | None = None
    "A part of the title."
    search_session: int | None = None
    "Or this very session."
    search_channel: str | None = None
    "Or a session of this channel."
    viewer: Viewer | None = None
    "None sees everything of the tenant."


@dataclass(frozen=True, slots=True)
class Page:
    """Which part, in which order; sessions that are otherwise equal are ordered by id."""

    offset: int
    limit: int
    by_minutes: bool = False
    descending: bool = True


class _Row(NamedTuple):
    """A session on a list: what it is sorted by, and its id."""

    spent: int
    id: int


async def find_sessions(
    connection: AsyncConnection, wanted: SessionFilter, page: Page, *, now: int
) -> tuple[list[SessionRecord], int]:
    """The sessions of a page, and how many there are in all. `now`: ms since the epoch."""
    if not await _is_ours(connection, wanted):
        return [], 0
    live = []
    if wanted.live is not None or page.by_minutes:
        live = await _live(connection, wanted, now)
    few = None if wanted.live or page.by_minutes else await _few(connection, wanted)
    if wanted.live:
        total = len(live)
        live.sort(key=_place(page), reverse=page.descending)
        ids = [row.id for row in live[page.offset : page.offset + page.limit]]
    elif few is not None:
        going_on = {row.id for row in live}
        ended = sorted((key for key in few if key not in going_on), reverse=page.descending)
        total = len(ended)
        ids = ended[page.offset : page.offset + page.limit]
    else:
        total = await _total(connection, wanted) - (len(live) if wanted.live is False else 0)
        ids = []
        if page.offset < total and page.limit:
            ids = await _page(connection, wanted, page, total, [] if wanted.live is False else live)
    rows = await connection.execute(select(*_RECORD).where(sessions.c.id.in_(ids)))
    found = {record.id: record for record in map(SessionRecord.from_row, rows)}
    return [found[str(key)] for key in ids if str(key) in found], total


async def breakout_sessions(connection: AsyncConnection, tenant: str, parent_id: str) -> list[SessionRecord]:
    """The sessions that `parent_id` was split into, oldest first."""
    query = select(*_RECORD).where(sessions.c.parent_id == parent_id, _hidden(sessions.c.tenant) == tenant)
    return [SessionRecord.from_row(row) for row in await connection.execute(query.order_by(sessions.c.id))]


async def stays_in_breakouts(
    connection: AsyncConnection, tenant: str, parent_id: str
) -> list[tuple[str, int, int | None]]:
    """User, coming and leaving (ms since the epoch) of each stay in the sessions that `parent_id` was split into."""
    table = participants.c
    query = (
        select(table.user_id, table.joined_at, table.left_at)
        .join(sessions, sessions.c.id == table.session_id)
        .where(sessions.c.parent_id == parent_id, _hidden(sessions.c.tenant) == tenant)
    )
    return [(row.user_id, row.joined_at, row.left_at) for row in await connection.execute(query)]


_RECORD = [sessions.c[name] for name in SESSION_COLUMNS]


async def _is_ours(connection: AsyncConnection, wanted: SessionFilter) -> bool:
    """False when all sessions of the channel that is asked for are another tenant's."""
    if wanted.channel_id is None:
        return True
    query = select(sessions.c.tenant).where(sessions.c.channel_id == wanted.channel_id).limit(1)
    return (await connection.execute(query)).scalar_one_or_none() == wanted.tenant


# Live sessions.


async def _live(connection: AsyncConnection, wanted: SessionFilter, now: int) -> list[_Row]:
    """The live ones of what is wanted, with what they have spent until now."""
    table = sessions.c
    query = select(table.id, table.participant_ms, table.live_participants, table.updated_at)
    rows = await connection.execute(query.where(*_wide(wanted), table.ended_at.is_(None)))
    return [_Row(spent + present * max(0, now - at), key) for key, spent, present, at in rows]


def _going_on(tenant: str) -> Select[Any]:
    return select(sessions.c.id).where(sessions.c.tenant == tenant, sessions.c.ended_at.is_(None))


def _place(page: Page) -> Any:
    return (lambda row: row) if page.by_minutes else (lambda row: row.id)


async def _few(connection: AsyncConnection, wanted: SessionFilter) -> list[int] | None:
    """All ids of what is wanted, live and ended, if they are FEW: the total and every page follow from them."""
    by_title = wanted.search is not None and not _only_searches(wanted)
    by_others = wanted.people is not None or wanted.peers is not None or wanted.viewer is not None
    if by_others or not (by_title or wanted.channel_id is not None):
        return None  # to make such a set costs as much for a part of it as for the whole, or nothing at all
    query = select(sessions.c.id).where(*_narrow(connection, wanted))
    if wanted.channel_id is None:
        (found,) = _sets(connection, wanted)
        query = select(found.subquery().c[0])
    query = query.limit(FEW + 1)
    ids = list((await connection.execute(query)).scalars())
    return ids if len(ids) <= FEW else None


# Totals, of live and ended sessions together.


async def _total(connection: AsyncConnection, wanted: SessionFilter) -> int:
    sets = _sets(connection, wanted)
    if not sets and wanted.channel_id is None:
        return await _created(connection, wanted)
    if _only_searches(wanted):
        assert wanted.search is not None
        titled = await rows_with(connection, wanted.tenant, CHANNEL_NAME, wanted.search)
        return titled + await _found_by_id_alone(connection, wanted)
    if wanted.channel_id is None and len(sets) == 1:
        query = select(func.count()).select_from(sets[0].subquery())
    else:
        query = select(func.count()).select_from(sessions).where(*_narrow(connection, wanted))
    return int((await connection.execute(query)).scalar_one())


def _only_searches(wanted: SessionFilter) -> bool:
    """Whether nothing else is asked, but whether they are live."""
    return wanted.search is not None and wanted == SessionFilter(
        wanted.tenant,
        live=wanted.live,
        search=wanted.search,
        search_session=wanted.search_session,
        search_channel=wanted.search_channel,
    )


async def _created(connection: AsyncConnection, wanted: SessionFilter) -> int:
    """Whole slots by the tallies, and what was made in a part of a slot by the index."""
    since, until = wanted.created_from, wanted.created_to
    low = None if since is None else -(-since // SLOT_MS)
    high = None if until is None else (until + 1) // SLOT_MS - 1
    if low is not None and high is not None and high < low:
        return await _made(connection, wanted.tenant, since, until)
    where: Where = [tallies.c.tenant == wanted.tenant, tallies.c.clock == CREATED]
    if low is not None:
        where.append(tallies.c.slot >= low)
    if high is not None:
        where.append(tallies.c.slot <= high)
    query = select(func.coalesce(func.sum(tallies.c.n), 0)).where(*where)
    total = int((await connection.execute(query)).scalar_one())
    if since is not None and low is not None and since < low * SLOT_MS:
        total += await _made(connection, wanted.tenant, since, low * SLOT_MS - 1)
    if until is not None and high is not None and until >= (high + 1) * SLOT_MS:
        total += await _made(connection, wanted.tenant, (high + 1) * SLOT_MS, until)
    return total


async def _made(connection: AsyncConnection, tenant: str, since: int | None, until: int | None) -> int:
    where: Where = [sessions.c.tenant == tenant]
    if since is not None:
        where.append(sessions.c.created_at >= since)
    if until is not None:
        where.append(sessions.c.created_at <= until)
    return int((await connection.execute(select(func.count()).select_from(sessions).where(*where))).scalar_one())


async def _found_by_id_alone(connection: AsyncConnection, wanted: SessionFilter) -> int:
    """Sessions that a search finds by an id although their titles do not hold its text."""
    ways = _ids_searched(wanted)
    if not ways:
        return 0
    assert wanted.search is not None, "ids are of a search"
    table = sessions.c
    without = ~has_part(_hidden(table.channel_name), wanted.search)
    query = (
        select(func.count()).select_from(sessions).where(or_(*ways), _hidden(table.tenant) == wanted.tenant, without)
    )
    return int((await connection.execute(query)).scalar_one())


# Pages.


async def _page(
    connection: AsyncConnection, wanted: SessionFilter, page: Page, total: int, live: list[_Row]
) -> list[int]:
    """Ids of a page that is not empty, counted from the nearer end. `live`: those that belong to the list."""
    limit = min(page.limit, total - page.offset)
    backwards = page.offset > total // 2
    offset = total - page.offset - limit if backwards else page.offset
    part = replace(page, offset=offset, limit=limit, descending=page.descending != backwards)
    if page.by_minutes:
        ids = await _by_minutes(connection, wanted, part, total, live)
    else:
        ids = [row.id for row in await _ordered(connection, wanted, part, total, ended=wanted.live is False)]
    return ids[::-1] if backwards else ids


async def _by_minutes(
    connection: AsyncConnection, wanted: SessionFilter, page: Page, total: int, live: list[_Row]
) -> list[int]:
    """Ended sessions are in the order of an index. Among them go the live ones, each at most len(live) places on."""
    live = sorted(live, reverse=page.descending)
    first = max(0, page.offset - len(live))
    window = replace(page, offset=first, limit=page.offset + page.limit - first)
    ended = await _ordered(connection, wanted, window, total, ended=True)
    before = 0
    if first and ended:
        before = sum(1 for row in live if (row > ended[0]) == page.descending and row != ended[0])
    both = sorted([*ended, *live[before:]], reverse=page.descending)
    start = page.offset - first - before
    return [row.id for row in both[start : start + page.limit]]


async def _ordered(
    connection: AsyncConnection, wanted: SessionFilter, page: Page, total: int, *, ended: bool
) -> list[_Row]:
    table = sessions.c
    spent: ColumnElement[int] = table.participant_ms if page.by_minutes else table.created_at
    narrow = await _is_narrow(connection, wanted, page, total)
    where = _narrow(connection, wanted) if narrow else _wide(wanted, by_minutes=page.by_minutes)
    if ended:
        where.append(table.id.not_in(_going_on(wanted.tenant)))
    order = [column.desc() if page.descending else column.asc() for column in (spent, table.id)]
    query = select(spent, table.id).where(*where).order_by(*order).limit(page.limit).offset(page.offset)
    return [_Row(*row) for row in await connection.execute(query)]


async def _is_narrow(connection: AsyncConnection, wanted: SessionFilter, page: Page, total: int) -> bool:
    """Whether sorting all that match looks at fewer sessions than going along the order until the page is full."""
    if wanted.channel_id is not None:
        return True
    ordered_by_index = not page.by_minutes or (wanted.created_from is None and wanted.created_to is None)
    if ordered_by_index and not _sets(connection, wanted):
        return False
    everything = await _created(connection, SessionFilter(wanted.tenant))
    return total * total <= (page.offset + page.limit) * everything


# Conditions.


def _narrow(connection: AsyncConnection, wanted: SessionFilter) -> Where:
    """By the sets of what is asked, which are of the tenant; never along the index of an order."""
    table = sessions.c
    sets = _sets(connection, wanted)
    where: Where = [table.id.in_(each) for each in sets]
    if wanted.channel_id is not None:
        where.append(table.channel_id == wanted.channel_id)
        where += _between(table.id, wanted)
    elif not sets:  # by minutes, in a short time
        where += [table.tenant == wanted.tenant, *_made_between(wanted)]
    return where


def _wide(wanted: SessionFilter, *, by_minutes: bool = False) -> Where:
    """Along the index of an order, looking at each session: whatever would lead to another index is hidden."""
    table = sessions.c
    where: Where = [
        table.tenant == wanted.tenant,
        *(_between(table.id, wanted) if by_minutes else _made_between(wanted)),
    ]
    if wanted.channel_id is not None:
        where.append(_hidden(table.channel_id) == wanted.channel_id)
    if wanted.people is not None or wanted.peers is not None:
        named = [_hidden(participants.c[name]).in_(wanted.people or ()) for name in ("custom_id", "user_id")]
        there = exists().where(participants.c.session_id == table.id, or_(*named))
        where.append(or_(there, table.id.in_(_peers(wanted))))
    if wanted.search is not None:
        ways = [has_part(_hidden(table.channel_name), wanted.search)]
        if wanted.search_session is not None:
            ways.append(table.id + 0 == wanted.search_session)
        if wanted.search_channel is not None:
            ways.append(_hidden(table.channel_id) == wanted.search_channel)
        where.append(or_(*ways))
    if wanted.viewer is not None:
        where.append(_seen(wanted.tenant, wanted.viewer))
    return where


def _made_between(wanted: SessionFilter) -> Where:
    where: Where = []
    if wanted.created_from is not None:
        where.append(sessions.c.created_at >= wanted.created_from)
    if wanted.created_to is not None:
        where.append(sessions.c.created_at <= wanted.created_to)
    return where


def _between(session_id: ColumnElement[int], wanted: SessionFilter) -> Where:
    """The same by the ids, which are in every index; they do not lead to that of the ids itself."""
    where: Where = []
    if wanted.created_from is not None:
        where.append(session_id + 0 >= _first_id(wanted.created_from))
    if wanted.created_to is not None:
        where.append(session_id + 0 < _first_id(wanted.created_to + 1))
    return where


def _first_id(at: int) -> int:
    return min(max(0, at), 2**63 - 1 >> ID_BITS) << ID_BITS


def _sets(connection: AsyncConnection, wanted: SessionFilter) -> list[CompoundSelect[Any]]:
    """Ids of sessions of the tenant made in that time, a set for each thing that is asked besides the meeting.

    Who took part in a session goes with it when it is no longer kept, so that the index of participants is enough.
    """
    sets: list[CompoundSelect[Any]] = []
    if wanted.people is not None or wanted.peers is not None:
        there = participants.c
        of_tenant = select(there.session_id).where(there.tenant == wanted.tenant, *_between(there.session_id, wanted))
        people = wanted.people or ()
        named = (of_tenant.where(column.in_(people)) for column in (there.custom_id, there.user_id))
        sets.append(union(*named, _peers(wanted).where(*_between(there.session_id, wanted))))
    if wanted.search is not None:
        table = sessions.c
        titles = texts_with(connection, wanted.tenant, CHANNEL_NAME, wanted.search)
        titled = select(table.id).where(table.tenant == wanted.tenant, table.channel_name.in_(titles))
        by_id = [_of_tenant(wanted.tenant).where(way) for way in _ids_searched(wanted)]
        sets.append(union(*(way.where(*_between(table.id, wanted)) for way in (titled, *by_id))))
    if wanted.viewer is not None:
        sets.append(_visible(wanted, wanted.viewer))
    return sets


def _peers(wanted: SessionFilter) -> Select[Any]:
    table = participants.c
    place = tuple_(table.session_id, table.idx)
    return select(table.session_id).where(place.in_(wanted.peers or ()), _hidden(table.tenant) == wanted.tenant)


def _ids_searched(wanted: SessionFilter) -> Where:
    ways: Where = []
    if wanted.search_session is not None:
        ways.append(sessions.c.id == wanted.search_session)
    if wanted.search_channel is not None:
        ways.append(sessions.c.channel_id == wanted.search_channel)
    return ways


def _visible(wanted: SessionFilter, viewer: Viewer) -> CompoundSelect[Any]:
    """Ids of the sessions that a viewer may see, by the indices of the ways in which it may."""
    tenant, table, there = wanted.tenant, sessions.c, participants.c
    ways: list[Select[Any]] = [select(table.id).where(table.tenant == tenant, table.owner == viewer.owner)]
    if viewer.channels:
        ways.append(_of_tenant(tenant).where(table.channel_id.in_(viewer.channels)))
    if viewer.user is not None:
        ways += [
            select(table.id).where(table.tenant == tenant, table.host == viewer.user),
            *(select(table.id).where(table.channel_id.in_(those)) for those in _rooms(tenant, viewer.user)),
        ]
    ways = [way.where(*_between(table.id, wanted)) for way in ways]
    if viewer.user is not None:
        took_part = select(there.session_id).where(there.tenant == tenant, there.user_id == viewer.user)
        ways.append(took_part.where(*_between(there.session_id, wanted)))
    return union(*ways)


def _seen(tenant: str, viewer: Viewer) -> ColumnElement[bool]:
    """Whether a viewer may see this session."""
    table = sessions.c
    ways: Where = [_hidden(table.owner) == viewer.owner]
    if viewer.channels:
        ways.append(_hidden(table.channel_id).in_(viewer.channels))
    if viewer.user is not None:
        there = and_(participants.c.session_id == table.id, _hidden(participants.c.user_id) == viewer.user)
        ways += [
            _hidden(table.host) == viewer.user,
            *(_hidden(table.channel_id).in_(those) for those in _rooms(tenant, viewer.user)),
            exists().where(there),
        ]
    return or_(*ways)


def _rooms(tenant: str, user: str) -> list[Select[Any]]:
    """The channels that a user owns, and those where it has a role."""
    given = select(channels.c.id).join(channel_roles, channel_roles.c.channel_id == channels.c.id)
    return [
        select(channels.c.id).where(channels.c.tenant == tenant, channels.c.owner == user),
        given.where(channel_roles.c.user_id == user, channels.c.tenant == tenant),
    ]


def _of_tenant(tenant: str) -> Select[Any]:
    """For a condition that has an index of its own, which does not know tenants."""
    return select(sessions.c.id).where(_hidden(sessions.c.tenant) == tenant)


def _hidden(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, of which no index knows."""
    return column.concat("")
