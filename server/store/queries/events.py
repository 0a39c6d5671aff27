"""What the stream and the history of events read."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, exists, func, or_, select

from signalling import uuid_of_channel

from ..schema import channel_roles, channels, events, participants, sessions
from .own_channel import of_channel
from .reading import reading

if TYPE_CHECKING:
    from ..database import Database

SCAN = 5000  # events looked at by one query, whether they are wanted or not


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose sessions are meant: those of a user, those that a token made, those of some channels."""

    user: str | None
    owner: str
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are meant; None and empty stand for all."""

    tenant: str
    session: str | None = None
    channel: str | None = None
    kinds: Collection[str] = field(default_factory=frozenset)
    prefixes: tuple[str, ...] = ()
    viewer: Viewer | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Events as they leave the process, and how far the reading came."""

    bodies: list[dict[str, Any]]
    upto: int
    "No event up to this position is missing from what was read."
    more: bool
    "Whether there may be events after `upto`."


async def events_after(database: Database, wanted: Wanted, after: int, *, limit: int, upto: int | None = None) -> Page:
    """Up to `limit` wanted events behind position `after`, in order; a page may be short although there are more."""
    place = _place(wanted, after, upto)
    async with reading(database) as connection:
        seen = select(events.c.position).where(*place).order_by(events.c.position).limit(SCAN).subquery()
        count, last = (await connection.execute(select(func.count(), func.max(seen.c.position)))).one()
        if not count:
            return Page([], after if upto is None else max(after, upto), more=False)
        query = (
            select(
                events.c.position,
                events.c.session_id,
                events.c.channel_id,
                events.c.seq,
                events.c.kind,
                events.c.at,
                events.c.data,
            )
            .where(*place, events.c.position <= last, *_which(wanted))
            .order_by(events.c.position)
            .limit(limit)
        )
        rows = (await connection.execute(query)).all()
    bodies = [_body(*row) for row in rows]
    if len(rows) == limit:
        return Page(bodies, rows[-1].position, more=True)
    if count == SCAN:
        return Page(bodies, last, more=True)
    return Page(bodies, last if upto is None else max(last, upto), more=False)


async def events_of(
    database: Database, session_id: str, *, after: int, before: int | None, limit: int
) -> list[dict[str, Any]]:
    """The events of a session with a `seq` between both, in order; no more than `limit`."""
    query = (
        select(
            events.c.position,
            events.c.session_id,
            events.c.channel_id,
            events.c.seq,
            events.c.kind,
            events.c.at,
            events.c.data,
        )
        .where(events.c.session_id == int(session_id), events.c.seq > after)
        .order_by(events.c.position)
        .limit(limit)
    )
    if before is not None:
        query = query.where(events.c.seq < before)
    async with reading(database) as connection:
        return [_body(*row) for row in (await connection.execute(query)).all()]


async def newest_event(database: Database) -> int:
    """Position of the newest event; 0 when there is none."""
    async with reading(database) as connection:
        return (await connection.execute(select(func.max(events.c.position)))).scalar() or 0


def _place(wanted: Wanted, after: int, upto: int | None) -> list[ColumnElement[bool]]:
    """What an index answers."""
    place = [events.c.position > after]
    of_tenant = events.c.tenant.concat("") == wanted.tenant  # which the index of tenants does not know: it is longer
    if upto is not None:
        place.append(events.c.position <= upto)
    if wanted.session is not None:
        place += [events.c.session_id == int(wanted.session), of_tenant]
    elif wanted.channel is not None:
        place += [of_channel(events, wanted.channel), of_tenant]
    else:
        place.append(events.c.tenant == wanted.tenant)
    return place


def _which(wanted: Wanted) -> list[ColumnElement[bool]]:
    """What each event has to be looked at for."""
    which: list[ColumnElement[bool]] = []
    if wanted.session is not None and wanted.channel is not None:
        which.append(of_channel(events, wanted.channel))
    if wanted.kinds or wanted.prefixes:
        kinds = [events.c.kind.in_(sorted(wanted.kinds))] if wanted.kinds else []
        which.append(or_(*kinds, *(events.c.kind.startswith(prefix, autoescape=True) for prefix in wanted.prefixes)))
    if wanted.viewer is not None:
        which.append(_seen_by(wanted.viewer))
    return which


def _seen_by(viewer: Viewer) -> ColumnElement[bool]:
    """As auth.role_in decides for a session in memory."""
    table = sessions.c
    ways: list[ColumnElement[bool]] = [table.owner == viewer.owner]
    if viewer.channels:
        ways.append(table.channel_id.in_(sorted(viewer.channels)))
    if viewer.user is not None:
        ways += [
            table.host == viewer.user,
            exists().where(participants.c.session_id == table.id, participants.c.user_id == viewer.user),
            exists().where(channel_roles.c.channel_id == table.channel_id, channel_roles.c.user_id == viewer.user),
            exists().where(
                channels.c.id == table.channel_id, channels.c.owner == viewer.user, channels.c.tenant == table.tenant
            ),
        ]
    return exists().where(table.id == events.c.session_id, or_(*ways))


def _body(
    position: int, session_id: int, channel_id: str | None, seq: int, kind: str, at: int, data: str | None
) -> dict[str, Any]:
    """The same form as signalling.event_body gives to one that has just happened."""
    instant = datetime.fromtimestamp(at // 1000, UTC)
    return {
        "id": f"evt_{position}",
        "kind": kind,
        "session": str(session_id),
        "channel": channel_id or uuid_of_channel(str(session_id)),
        "seq": seq,
        "at": f"{instant:%Y-%m-%dT%H:%M:%S}.{at % 1000:03d}Z",
        "data": json.loads(data or "{}"),
    }
