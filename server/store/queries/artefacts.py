"""What hangs on one session: its log, chat, transcript and summary; and the server's own settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ..schema import chat_messages, events, settings, summaries, transcripts

CHAT_PAGE = 500  # messages in memory while a chat is sent
MAX_EVENTS = 1000  # of a session that a peer report looks at, newest first


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
