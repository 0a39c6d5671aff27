"""What `ringway db check` looks at: the file itself, rows without the session they belong to, totals that are wrong."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Table, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .derived import mistakes, recount
from .export import count_rows
from .schema import calls, chat_messages, invitations, participants, recordings, sessions, summaries, transcripts

OF_SESSION: tuple[Table, ...] = (participants, calls, chat_messages, recordings, transcripts, summaries, invitations)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    revision: str | None
    rows: dict[str, int]
    "Table -> rows."
    orphans: dict[str, int]
    "Table -> rows of sessions that are not there: retention, or a loss of data, took them."
    faults: list[str]
    "What must not be: damage of the file, totals that are not what they count."


async def inspect(database: Database) -> Report:
    """Read all of the database; on a large one that takes minutes."""
    async with database.connect() as connection:
        faults = await _damage(connection) if database.kind == "sqlite" else []
        if faults:
            return Report(await database.revision_in(connection), {}, {}, faults)  # nothing in it can be trusted
        for table, query in mistakes().items():
            wrong = len((await connection.exec_driver_sql(query)).all())
            if wrong:
                faults.append(f"{table}: {wrong} numbers are not what they count; `ringway db upgrade` counts anew")
        orphans = {table.name: await _orphans(connection, table) for table in OF_SESSION}
        return Report(
            await database.revision_in(connection),
            await count_rows(connection),
            {name: count for name, count in orphans.items() if count},
            faults,
        )


async def _damage(connection: AsyncConnection) -> list[str]:
    found = [row[0] for row in await connection.exec_driver_sql("PRAGMA integrity_check(20)")]
    return [] if found == ["ok"] else found


async def _orphans(connection: AsyncConnection, table: Table) -> int:
    lonely = ~exists().where(sessions.c.id == table.c.session_id)
    return (await connection.execute(select(func.count()).select_from(table).where(lonely))).scalar_one()


async def mend(database: Database) -> list[str]:
    """Count anew what is counted wrongly: the tables that were."""
    async with database.transaction() as connection:
        wrong = [table for table, query in mistakes().items() if (await connection.exec_driver_sql(query)).first()]
        for table in wrong:
            await connection.exec_driver_sql(f"DELETE FROM {table}")
        for table, statement in recount():
            if table in wrong:
                await connection.exec_driver_sql(statement)
    return wrong
