"""From one process to the next: the directory and the rooms, and the sessions that were live when it ended.

Sessions without a call go on as they were. A call cannot: its session is closed as interrupted, at the last instant
that is known of the process that had it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, cast

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from signalling import (
    CallRecord,
    Channel,
    Participant,
    People,
    Registry,
    Role,
    Rooms,
    Session,
    User,
    cut_off_session,
    interrupt,
    past_call,
    recall,
)

from .database import Database
from .records import CALL_COLUMNS, PARTICIPANT_COLUMNS, SESSION_COLUMNS, CallRow, ParticipantRecord, SessionRecord
from .schema import (
    calls,
    channel_roles,
    channels,
    chat_messages,
    events,
    participants,
    registrations,
    sessions,
    settings,
    users,
)
from .statements import Mode
from .writer import ALIVE

log = structlog.get_logger("server.store.restore")


class Rows(Protocol):
    """What it takes to keep something: the writer."""

    def write(self, table: str, row: Mapping[str, Any], mode: Mode = ...) -> None:
        """Take a row for the next flush."""


# The directory and the rooms.


def keep_people(people: People, rows: Rows) -> None:
    """Write every user that is made, changed or removed from now on."""

    def changed(user: User, removed: bool) -> None:
        if removed:
            rows.write("users", {"tenant": user.tenant, "id": user.id}, "delete")
        else:
            rows.write("users", _user_row(user))

    people.on_change = changed


def keep_rooms(rooms: Rooms, rows: Rows) -> None:
    """Write every channel that is made, changed or removed from now on, and the roles in it."""
    kept: dict[str, dict[str, Role]] = {}

    def changed(channel: Channel, removed: bool) -> None:
        if removed:
            kept.pop(channel.id, None)
            rows.write("channels", {"id": channel.id}, "delete")
            rows.write("channel_roles", {"channel_id": channel.id}, "delete")
            return
        rows.write("channels", _channel_row(channel))
        before = kept.get(channel.id, {})
        for user, role in channel.roles.items():
            if before.get(user) != role:
                rows.write("channel_roles", {"channel_id": channel.id, "user_id": user, "role": role})
        for user in before.keys() - channel.roles.keys():
            rows.write("channel_roles", {"channel_id": channel.id, "user_id": user}, "delete")
        kept[channel.id] = dict(channel.roles)

    rooms.on_change = changed
    for channel in rooms.all():
        kept[channel.id] = dict(channel.roles)


async def restore_directory(database: Database, people: People, rooms: Rooms) -> None:
    """Bring the users and the channels back. Who is in the directory already, by the configuration, stays as it is."""
    async with database.connect() as connection:
        for row in await connection.execute(select(users).order_by(users.c.created_at, users.c.id)):
            if people.get(row.tenant, row.id) is None:
                try:
                    people.restore([_user(row)])
                except ValueError as error:  # the configuration gave somebody else its number or address
                    log.warning("user_not_restored", user=row.id, tenant=row.tenant, error=str(error))
        roles: defaultdict[str, dict[str, Role]] = defaultdict(dict)
        for channel_id, user, role in await connection.execute(select(channel_roles)):
            roles[channel_id][user] = role
        rows = await connection.execute(select(channels).order_by(channels.c.created_at, channels.c.id))
        rooms.restore([_channel(row, roles.get(row.id, {})) for row in rows])


def _user_row(user: User) -> dict[str, Any]:
    return {
        "tenant": user.tenant,
        "id": user.id,
        "number": user.number,
        "handle": user.handle,
        "display_name": user.display_name,
        "image_url": user.image_url,
        "email": user.email,
        "phone": user.phone,
        "extensions": list(user.extensions),
        "created_at": round(user.created_at * 1000),
    }


def _user(row: Any) -> User:
    return User(
        row.tenant,
        row.id,
        row.number,
        row.handle,
        row.display_name,
        row.image_url,
        row.email,
        row.phone,
        tuple(json.loads(row.extensions or "[]")),
        row.created_at / 1000,
    )


def _channel_row(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "tenant": channel.tenant,
        "name": channel.name,
        "service_mode": channel.service_mode,
        "client_id": channel.client_id,
        "owner": channel.owner,
        "image_url": channel.image_url,
        "created_at": round(channel.created_at * 1000),
    }


def _channel(row: Any, roles: dict[str, Role]) -> Channel:
    return Channel(
        row.id,
        row.tenant,
        row.name,
        row.service_mode,
        row.client_id or "",
        row.created_at / 1000,
        row.owner,
        row.image_url,
        roles,
    )


# Registrations, which only sip understands.


async def stored_registrations(database: Database, rows: Rows, now: float) -> list[dict[str, Any]]:
    """The bodies of those that hold at `now`, seconds since the epoch; the others are deleted."""
    async with database.connect() as connection:
        found = (await connection.execute(select(registrations))).all()
    for row in found:
        if row.expires_at <= now * 1000:
            rows.write("registrations", {"aor": row.aor, "key": row.key}, "delete")
    return [json.loads(row.body) for row in found if row.expires_at > now * 1000]


# Sessions.


class Restored(NamedTuple):
    """What became of the sessions that had not ended."""

    going_on: int
    interrupted: int


class _Past(NamedTuple):
    """What the database knows of one session."""

    record: SessionRecord
    participants: list[ParticipantRecord]
    calls: list[CallRow]
    seq: int
    chat_count: int


async def restore_sessions(database: Database, registry: Registry, *, before: float) -> Restored:
    """Bring back what had not ended, of the sessions made `before` (seconds since the epoch).

    Must follow `restore_directory`, and events must be written already, for the interrupted ones end now.
    """
    async with database.connect() as connection:
        alive_at = await _alive_at(connection)
        position = (await connection.execute(select(func.max(events.c.position)))).scalar_one_or_none() or 0
        found = await _unfinished(connection, round(before * 1000))
    registry.bus.next_position(position / 1_000_000 + 0.000_002)
    interrupted = 0
    for past in found:
        if past.record.kind == "call" or any(call.ended_at is None for call in past.calls):
            session = cut_off_session(registry, past.record.id, **_made(past.record, registry.rooms))
            _remember(session, past)
            interrupt(session, min(before, max(alive_at, past.record.updated_at) / 1000))
            interrupted += 1
        elif registry.get(past.record.id) is None:
            _remember(registry.restore(past.record.id, **_made(past.record, registry.rooms)), past)
    return Restored(len(found) - interrupted, interrupted)


async def _alive_at(connection: AsyncConnection) -> int:
    found = (await connection.execute(select(settings.c.value).where(settings.c.name == ALIVE))).scalar_one_or_none()
    return int(found or 0)


async def _unfinished(connection: AsyncConnection, before_ms: int) -> list[_Past]:
    found: list[_Past] = []
    columns = [sessions.c[name] for name in SESSION_COLUMNS]
    tenant = ""
    while True:  # tenant by tenant: the index of ended_at begins with it
        next_tenant = select(func.min(sessions.c.tenant)).where(sessions.c.tenant > tenant)
        tenant = (await connection.execute(next_tenant)).scalar_one_or_none()
        if tenant is None:
            return found
        query = select(*columns).where(
            sessions.c.tenant == tenant, sessions.c.ended_at.is_(None), sessions.c.created_at < before_ms
        )
        rows = (await connection.execute(query.order_by(sessions.c.id))).all()
        for at in range(0, len(rows), CHUNK):
            found += await _pasts(connection, rows[at : at + CHUNK])


CHUNK = 500  # sessions asked about at once; SQLite takes so many parameters in every version


async def _pasts(connection: AsyncConnection, rows: Sequence[Any]) -> list[_Past]:
    ids = [row.id for row in rows]
    stays: defaultdict[str, list[ParticipantRecord]] = defaultdict(list)
    query = select(*(participants.c[name] for name in PARTICIPANT_COLUMNS)).where(participants.c.session_id.in_(ids))
    for row in await connection.execute(query.order_by(participants.c.session_id, participants.c.idx)):
        stay = ParticipantRecord.from_row(row)
        stays[stay.session_id].append(stay)
    made: defaultdict[str, list[CallRow]] = defaultdict(list)
    query = select(*(calls.c[name] for name in CALL_COLUMNS)).where(calls.c.session_id.in_(ids))
    for row in await connection.execute(query.order_by(calls.c.session_id, calls.c.idx)):
        call = CallRow.from_row(row)
        made[call.session_id].append(call)
    seqs = await _last(connection, ids, events.c.session_id, events.c.seq)
    chats = await _last(connection, ids, chat_messages.c.session_id, chat_messages.c.idx)
    return [
        _Past(
            SessionRecord.from_row(row),
            stays[str(row.id)],
            made[str(row.id)],
            seqs.get(row.id, 0),
            chats.get(row.id, -1) + 1,
        )
        for row in rows
    ]


async def _last(connection: AsyncConnection, ids: Sequence[int], key: Any, value: Any) -> dict[int, int]:
    query = select(key, func.max(value)).where(key.in_(ids)).group_by(key)
    return {row[0]: row[1] for row in await connection.execute(query)}


def _made(record: SessionRecord, rooms: Rooms) -> dict[str, Any]:
    """How the session was made."""
    channel = rooms.get(record.tenant, record.channel_id)
    return {
        "tenant": record.tenant,
        "made_by": record.made_by,
        "owner": record.owner,
        "host": record.host,
        "name": record.name,
        "channel": channel,
    }


def _remember(session: Session, past: _Past) -> None:
    """What happened in it so far."""
    record = past.record
    session.kind = "call" if record.kind == "call" else "room"
    session.client_id = record.client_id
    session.group_id = record.group_id
    session.parent_id = record.parent_id
    session.meta = None if record.meta is None else dict(record.meta)
    session.max_present = record.max_participants
    session.chat_count = past.chat_count
    session.user_data = record.user_data
    session.invitation_id = record.invitation_id
    session.invited = record.status == "INVITED" and record.kind == "room"
    session.paused_at = _seconds(record.paused_at)
    session.paused_by = record.paused_by
    recall(
        session,
        seq=past.seq,
        updated_at=record.updated_at / 1000,
        participants=_participants(past.participants),
        calls=map(_call, past.calls),
    )


def _participants(stays: Iterable[ParticipantRecord]) -> list[Participant]:
    return [
        Participant(
            stay.idx,
            stay.user_id,
            stay.joined_at / 1000,
            display_name=stay.display_name,
            custom_id=stay.custom_id,
            preset=stay.preset,
            role=stay.role,
            left_at=_seconds(stay.left_at),
        )
        for stay in stays
    ]


def _call(row: CallRow) -> CallRecord:
    record = CallRecord(
        row.caller,
        row.callee,
        row.caller_display_name,
        datetime.fromtimestamp(row.started_at / 1000, UTC),
        clock=float,
        trunk=row.trunk,
        user_data=row.user_data,
        codecs=tuple((row.codecs or "").split(",")) if row.codecs else (),
        status=row.sip_status,
        reason=row.reason,
    )
    record.hung_up_by = cast(Any, row.hung_up_by)
    return past_call(
        record,
        answered_s=None if row.answered_at is None else (row.answered_at - row.started_at) / 1000,
        ended_s=None if row.ended_at is None else (row.ended_at - row.started_at) / 1000,
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
