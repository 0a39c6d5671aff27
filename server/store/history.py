"""Sessions past and present: from memory while they are there, else from the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable, literal, select, union_all
from sqlalchemy.exc import DBAPIError

from .records import (
    CALL_COLUMNS,
    PARTICIPANT_COLUMNS,
    SESSION_COLUMNS,
    CallRow,
    ParticipantRecord,
    SessionRecord,
    call_rows,
    participant_records,
    session_record,
)
from .schema import calls, channel_roles, channels, participants, sessions
from .writer import StoreUnavailable

if TYPE_CHECKING:
    from signalling import Registry, Role

    from .database import Database
    from .writer import Writer


class History:
    """What the dialects read of one session. Raises StoreUnavailable (503) where only the database could tell."""

    def __init__(self, registry: Registry, database: Database, writer: Writer) -> None:
        self._registry = registry
        self._database = database
        self._writer = writer

    async def session(self, session_id: str) -> SessionRecord | None:
        """The session of that internal (decimal) id, with the roles in it; None when nobody knows it."""
        session = self._registry.get(session_id)
        if session is not None:
            return session_record(session)
        number = int(session_id)
        rows = await self._rows(select(*(sessions.c[name] for name in SESSION_COLUMNS)).where(sessions.c.id == number))
        if not rows:
            return None
        (row,) = rows
        granted = union_all(
            select(channel_roles.c.user_id, channel_roles.c.role).where(channel_roles.c.channel_id == row.channel_id),
            select(channels.c.owner, literal("host")).where(
                channels.c.id == row.channel_id, channels.c.owner.is_not(None)
            ),
        )
        stays = (
            select(participants.c.user_id, participants.c.role)
            .where(participants.c.session_id == number)
            .order_by(participants.c.idx)
        )
        return SessionRecord.from_row(row, _roles(await self._rows(granted), await self._rows(stays)))

    async def participants(self, session_id: str) -> list[ParticipantRecord]:
        """All stays in it, in the order of coming; none for an unknown session."""
        session = self._registry.get(session_id)
        if session is not None:
            return participant_records(session, self._registry.people)
        query = select(*(participants.c[name] for name in PARTICIPANT_COLUMNS))
        query = query.where(participants.c.session_id == int(session_id)).order_by(participants.c.idx)
        return list(map(ParticipantRecord.from_row, await self._rows(query)))

    async def calls(self, session_id: str) -> list[CallRow]:
        """Its calls in their order; none for an unknown session."""
        session = self._registry.get(session_id)
        if session is not None:
            return call_rows(session)
        query = select(*(calls.c[name] for name in CALL_COLUMNS))
        query = query.where(calls.c.session_id == int(session_id)).order_by(calls.c.idx)
        return list(map(CallRow.from_row, await self._rows(query)))

    async def _rows(self, query: Executable) -> Sequence[Any]:
        await self._writer.settled()
        try:
            async with self._database.connect() as connection:
                rows: Sequence[Any] = (await connection.execute(query)).all()
                return rows
        except (DBAPIError, OSError, TimeoutError) as error:
            raise StoreUnavailable("the database is down") from error


def _roles(granted: Sequence[tuple[str, Role]], stays: Sequence[tuple[str, Role]]) -> dict[str, Role]:
    """As Session.role_of decides: the first stay counts, and the channel may give more."""
    roles: dict[str, Role] = {}
    for user, role in stays:
        roles.setdefault(user, role)
    for user, role in granted:
        if role != "viewer" or user not in roles:
            roles[user] = role
    return roles
