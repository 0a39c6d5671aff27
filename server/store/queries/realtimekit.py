"""What the RealtimeKit dialect asks of the database: lists of sessions, and the files that hang on one."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, func, not_, or_, select, tuple_, union, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from ..records import SESSION_COLUMNS, SessionRecord
from ..schema import (
    channel_roles,
    channels,
    chat_messages,
    events,
    participants,
    sessions,
    settings,
    summaries,
    transcripts,
)
from .session_totals import FEW_TITLES, Titles, count_created, holds, titles_with

CHAT_PAGE = 500  # messages in memory while a chat is sent
MAX_EVENTS = 1000  # of a session that a peer report looks at, newest first


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
    "Custom ids, or ids of users without one."
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


async def find_sessions(
    connection: AsyncConnection, wanted: SessionFilter, page: Page, *, now: int
) -> tuple[list[SessionRecord], int]:
    """The sessions of a page, and how many there are in all. `now`: ms since the epoch."""
    titles = None if wanted.search is None else await titles_with(connection, wanted.tenant, wanted.search)
    where = _where(wanted, titles)
    total = await _count(connection, wanted, titles, where)
    if page.offset >= total:
        return [], total
    # Far down a long list, counting from its other end is nearer.
    backwards = page.offset > total // 2
    part = page
    if backwards:
        limit = min(page.limit, total - page.offset)
        part = replace(page, offset=total - page.offset - limit, limit=limit, descending=not page.descending)
    ids = [row.id for row in await connection.execute(_ids(where, part, now))]
    if backwards:
        ids.reverse()
    rows = await connection.execute(_rows().where(sessions.c.id.in_(ids)))
    found = {record.id: record for record in map(SessionRecord.from_row, rows)}
    return [found[str(key)] for key in ids if str(key) in found], total


async def breakout_sessions(connection: AsyncConnection, tenant: str, parent_id: str) -> list[SessionRecord]:
    """The sessions that `parent_id` was split into, oldest first."""
    query = _rows().where(sessions.c.parent_id == parent_id, sessions.c.tenant == tenant).order_by(sessions.c.id)
    return [SessionRecord.from_row(row) for row in await connection.execute(query)]


async def stays_in_breakouts(
    connection: AsyncConnection, tenant: str, parent_id: str
) -> list[tuple[str, int, int | None]]:
    """User, coming and leaving (ms since the epoch) of each stay in the sessions that `parent_id` was split into."""
    table = participants.c
    query = (
        select(table.user_id, table.joined_at, table.left_at)
        .join(sessions, sessions.c.id == table.session_id)
        .where(sessions.c.parent_id == parent_id, sessions.c.tenant == tenant)
    )
    return [(row.user_id, row.joined_at, row.left_at) for row in await connection.execute(query)]


async def _count(
    connection: AsyncConnection, wanted: SessionFilter, titles: Titles | None, where: list[ColumnElement[bool]]
) -> int:
    ended = None if wanted.live is None else not wanted.live
    if wanted.live is not True and replace(wanted, live=None) == SessionFilter(
        wanted.tenant, created_from=wanted.created_from, created_to=wanted.created_to
    ):
        return await count_created(
            connection, wanted.tenant, since=wanted.created_from, until=wanted.created_to, ended=ended
        )
    if titles is not None and not titles.few and _only_searches(wanted):
        return titles.sessions + await _found_otherwise(connection, wanted)
    return int((await connection.execute(select(func.count()).select_from(sessions).where(*where))).scalar_one())


def _only_searches(wanted: SessionFilter) -> bool:
    return wanted == SessionFilter(
        wanted.tenant,
        search=wanted.search,
        search_session=wanted.search_session,
        search_channel=wanted.search_channel,
    )


async def _found_otherwise(connection: AsyncConnection, wanted: SessionFilter) -> int:
    """Sessions that a search finds by an id although their titles do not hold its text."""
    ways = _ids_searched(wanted)
    if not ways:
        return 0
    assert wanted.search is not None
    query = select(func.count()).select_from(sessions).where(
        sessions.c.tenant == wanted.tenant, or_(*ways), not_(holds(sessions.c.channel_name, wanted.search))
    )  # fmt: skip
    return int((await connection.execute(query)).scalar_one())


def _rows() -> Select[Any]:
    return select(*(sessions.c[name] for name in SESSION_COLUMNS))


def _ids(where: list[ColumnElement[bool]], page: Page, now: int) -> Select[Any]:
    """Ids alone: an index has them in order, so that a page far down costs no rows."""
    table = sessions.c
    if not page.by_minutes:
        query = select(table.id).where(*where)
        return query.order_by(*_order(page, table.created_at, table.id)).limit(page.limit).offset(page.offset)
    # The minutes of live sessions grow, so that no index has their order; there are few of them.
    ended = select(table.id, table.participant_ms.label("spent")).where(*where, table.ended_at.is_not(None))
    ended = ended.order_by(*_order(page, table.participant_ms, table.id)).limit(page.offset + page.limit)
    spent = table.participant_ms + table.live_participants * (now - table.updated_at)
    live = select(table.id, spent.label("spent")).where(*where, table.ended_at.is_(None))
    both = union_all(select(ended.subquery()), live).subquery()
    return select(both.c.id).order_by(*_order(page, both.c.spent, both.c.id)).limit(page.limit).offset(page.offset)


def _order(page: Page, *columns: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [column.desc() if page.descending else column.asc() for column in columns]


def _where(wanted: SessionFilter, titles: Titles | None) -> list[ColumnElement[bool]]:
    table = sessions.c
    where: list[ColumnElement[bool]] = [table.tenant == wanted.tenant]
    if wanted.live is not None:
        where.append(table.ended_at.is_(None) if wanted.live else table.ended_at.is_not(None))
    if wanted.created_from is not None:
        where.append(table.created_at >= wanted.created_from)
    if wanted.created_to is not None:
        where.append(table.created_at <= wanted.created_to)
    if wanted.channel_id is not None:
        where.append(table.channel_id == wanted.channel_id)
    if wanted.peers is not None or wanted.people is not None:
        where.append(table.id.in_(_named(wanted)))
    if titles is not None:
        where.append(_titled(wanted, titles))
    if wanted.viewer is not None:
        where.append(table.id.in_(_seen(wanted.tenant, wanted.viewer)))
    return where


def _titled(wanted: SessionFilter, titles: Titles) -> ColumnElement[bool]:
    """What a search demands of a session."""
    assert wanted.search is not None
    ways = _ids_searched(wanted)
    if titles.few:
        of_tenant = select(sessions.c.id).where(sessions.c.tenant == wanted.tenant)
        return sessions.c.id.in_(
            union(*(of_tenant.where(way) for way in (sessions.c.channel_name.in_(titles.texts), *ways)))
        )
    # Sessions with such a title are met often on the way along the list; the empty text keeps its index out.
    name = sessions.c.channel_name.concat("")
    by_title = name.in_(titles.texts) if len(titles.texts) <= FEW_TITLES else holds(name, wanted.search)
    return or_(by_title, *ways)


def _ids_searched(wanted: SessionFilter) -> list[ColumnElement[bool]]:
    ways: list[ColumnElement[bool]] = []
    if wanted.search_session is not None:
        ways.append(sessions.c.id == wanted.search_session)
    if wanted.search_channel is not None:
        ways.append(sessions.c.channel_id == wanted.search_channel)
    return ways


def _named(wanted: SessionFilter) -> Any:
    """Ids of the sessions that somebody named took part in."""
    of_tenant = select(participants.c.session_id).where(participants.c.tenant == wanted.tenant)
    people = wanted.people or ()
    return union(
        of_tenant.where(participants.c.custom_id.in_(people)),
        of_tenant.where(participants.c.user_id.in_(people), participants.c.custom_id.is_(None)),
        of_tenant.where(tuple_(participants.c.session_id, participants.c.idx).in_(wanted.peers or ())),
    )


def _seen(tenant: str, viewer: Viewer) -> Any:
    """Ids of the sessions that a viewer may see."""
    of_tenant = select(sessions.c.id).where(sessions.c.tenant == tenant)
    ways = [of_tenant.where(sessions.c.owner == viewer.owner)]
    if viewer.channels:
        ways.append(of_tenant.where(sessions.c.channel_id.in_(viewer.channels)))
    if viewer.user is not None:
        roles = select(channel_roles.c.channel_id).where(channel_roles.c.user_id == viewer.user)
        owned = select(channels.c.id).where(channels.c.tenant == tenant, channels.c.owner == viewer.user)
        ways += [
            of_tenant.where(sessions.c.host == viewer.user),
            of_tenant.where(sessions.c.channel_id.in_(union(roles, owned))),
            select(participants.c.session_id).where(
                participants.c.tenant == tenant, participants.c.user_id == viewer.user
            ),
        ]
    return union(*ways)


# One session.


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of the log."""

    position: int
    kind: str
    at: int
    "ms since the epoch."
    data: dict[str, Any]


async def events_of(connection: AsyncConnection, session_id: str) -> list[StoredEvent]:
    """What happened in a session, oldest first; of very many the last MAX_EVENTS."""
    table = events.c
    query = (
        select(table.position, table.kind, table.at, table.data)
        .where(table.session_id == int(session_id))
        .order_by(table.position.desc())
        .limit(MAX_EVENTS)
    )
    rows = (await connection.execute(query)).all()
    return [StoredEvent(row.position, row.kind, row.at, json.loads(row.data or "{}")) for row in reversed(rows)]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of the chat."""

    idx: int
    id: str
    user_id: str
    participant_idx: int | None
    display_name: str | None
    pinned: bool
    edited: bool
    payload_type: str
    payload: str
    created_at: int


async def chat_page(connection: AsyncConnection, session_id: str, after: int) -> list[StoredMessage]:
    """The next CHAT_PAGE messages after index `after` (-1: the first ones)."""
    table = chat_messages.c
    query = (
        select(*(table[field.name] for field in fields(StoredMessage)))
        .where(table.session_id == int(session_id), table.idx > after)
        .order_by(table.idx)
        .limit(CHAT_PAGE)
    )
    return [StoredMessage(**row) for row in (await connection.execute(query)).mappings()]


@dataclass(frozen=True, slots=True)
class StoredSentence:
    """A sentence of a transcript; times in ms since the session began."""

    idx: int
    start_ms: int
    end_ms: int
    participant_idx: int | None
    text: str


async def sentences_of(connection: AsyncConnection, session_id: str) -> list[StoredSentence]:
    """The whole transcript in the order of time; empty when there is none."""
    table = transcripts.c
    query = (
        select(table.idx, table.start_ms, table.end_ms, table.participant_idx, table.text)
        .where(table.session_id == int(session_id))
        .order_by(table.start_ms, table.idx)
    )
    return [StoredSentence(*row) for row in await connection.execute(query)]


async def sentence_count(connection: AsyncConnection, session_id: str) -> int:
    """How many sentences the transcript has."""
    query = select(func.count()).select_from(transcripts).where(transcripts.c.session_id == int(session_id))
    return (await connection.execute(query)).scalar_one()


@dataclass(frozen=True, slots=True)
class StoredSummary:
    """A summary, or the state of its making."""

    job_id: str
    status: str
    text: str | None


async def summary_of(connection: AsyncConnection, session_id: str) -> StoredSummary | None:
    """The summary of a session, whatever became of it."""
    table = summaries.c
    query = select(table.job_id, table.status, table.text).where(table.session_id == int(session_id))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else StoredSummary(*row)


async def last_seq(connection: AsyncConnection, session_id: str) -> int:
    """Number of the last event of a session; 0 when its log is gone."""
    query = select(func.coalesce(func.max(events.c.seq), 0)).where(events.c.session_id == int(session_id))
    return int((await connection.execute(query)).scalar_one())


async def setting(connection: AsyncConnection, name: str) -> str | None:
    """A value that the server keeps for itself."""
    query = select(settings.c.value).where(settings.c.name == name)
    return (await connection.execute(query)).scalar_one_or_none()


__all__ = [
    "CHAT_PAGE",
    "Page",
    "SessionFilter",
    "StoredEvent",
    "StoredMessage",
    "StoredSentence",
    "StoredSummary",
    "Viewer",
    "breakout_sessions",
    "chat_page",
    "events_of",
    "find_sessions",
    "last_seq",
    "sentence_count",
    "sentences_of",
    "setting",
    "stays_in_breakouts",
    "summary_of",
]
