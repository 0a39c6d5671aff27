"""How many sessions there are, and which titles hold a text, without walking through a million of them.

Both read what the triggers of `..derived` keep: sessions counted by spans of time, and each title once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from ..derived import TRIGRAMS
from ..schema import CHANNEL_NAME, CREATED, SLOT_MS, search_names, sessions, tallies

TRIGRAM = 3  # characters; the index of SQLite knows no shorter texts
FEW_TITLES = 300  # that a query names one by one
FEW_SESSIONS = 5000  # that a query sorts


async def count_created(
    connection: AsyncConnection,
    tenant: str,
    *,
    since: int | None = None,
    until: int | None = None,
    ended: bool | None = None,
) -> int:
    """Sessions of a tenant made from `since` to `until`, both inclusive, in ms since the epoch."""
    first = None if since is None else -(-since // SLOT_MS)
    last = None if until is None else (until + 1) // SLOT_MS - 1
    if first is not None and last is not None and first > last:
        return await _count_rows(connection, tenant, since, until, ended)
    where: list[ColumnElement[bool]] = [tallies.c.tenant == tenant, tallies.c.clock == CREATED]
    if first is not None:
        where.append(tallies.c.slot >= first)
    if last is not None:
        where.append(tallies.c.slot <= last)
    if ended is not None:
        where.append(tallies.c.ended == ended)
    total = int((await connection.execute(select(func.coalesce(func.sum(tallies.c.n), 0)).where(*where))).scalar_one())
    if since is not None and first is not None and since < first * SLOT_MS:
        total += await _count_rows(connection, tenant, since, first * SLOT_MS - 1, ended)
    if until is not None and last is not None and until >= (last + 1) * SLOT_MS:
        total += await _count_rows(connection, tenant, (last + 1) * SLOT_MS, until, ended)
    return total


async def _count_rows(
    connection: AsyncConnection, tenant: str, since: int | None, until: int | None, ended: bool | None
) -> int:
    where: list[ColumnElement[bool]] = [sessions.c.tenant == tenant]
    if since is not None:
        where.append(sessions.c.created_at >= since)
    if until is not None:
        where.append(sessions.c.created_at <= until)
    if ended is not None:
        where.append(sessions.c.ended_at.is_not(None) if ended else sessions.c.ended_at.is_(None))
    return int((await connection.execute(select(func.count()).select_from(sessions).where(*where))).scalar_one())


@dataclass(frozen=True, slots=True)
class Titles:
    """The titles that hold a text."""

    texts: tuple[str, ...]
    "At most FEW_TITLES + 1 of them."
    sessions: int
    "How many sessions have one of all those titles, whether named in `texts` or not."

    @property
    def few(self) -> bool:
        """Whether to look the sessions up by title, rather than the titles up by session."""
        return len(self.texts) <= FEW_TITLES and self.sessions <= FEW_SESSIONS


async def titles_with(connection: AsyncConnection, tenant: str, text: str) -> Titles:
    """Titles of a tenant that hold `text`, whatever the case of its letters."""
    where: list[ColumnElement[bool]] = [
        search_names.c.tenant == tenant,
        search_names.c.kind == CHANNEL_NAME,
        holds(search_names.c.text, text),
    ]
    if connection.dialect.name == "sqlite" and len(text) >= TRIGRAM:
        quoted = '"' + text.replace('"', '""') + '"'
        found: Select[Any] = select(literal_column("rowid")).select_from(table(TRIGRAMS))
        where.append(search_names.c.id.in_(found.where(literal_column(TRIGRAMS).op("MATCH")(quoted))))
    total = select(func.coalesce(func.sum(search_names.c.n), 0)).where(*where)
    texts = select(search_names.c.text).where(*where).limit(FEW_TITLES + 1)
    count = int((await connection.execute(total)).scalar_one())
    return Titles(tuple((await connection.execute(texts)).scalars()) if count else (), count)


def holds(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Whether `column` holds `text`, whatever the case of its letters; SQLite knows those of ASCII alone."""
    return column.icontains(text, autoescape=True)
