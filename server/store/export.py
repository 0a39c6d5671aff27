"""The whole database, or some tables of it, as JSON Lines: one object a line, read row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ..errors import StartError
from .database import Database
from .schema import metadata, search_names, tallies

ROWS = 500  # in memory at a time
JSON_COLUMNS = frozenset({
    ("sessions", "meta"), ("participants", "quality"), ("calls", "quality"), ("users", "extensions"),
    ("events", "data"), ("outbox", "payload"), ("webhooks", "kinds"), ("invitations", "deliveries"),
    ("tokens", "scopes"), ("tokens", "allow"), ("tokens", "channel_roles"), ("registrations", "body"),
    ("config_entries", "body"),
})  # fmt: skip
"Text in the database, a value in the export."
DERIVED = frozenset({tallies.name, search_names.name})
"Made from the others, hence not exported."


def tables_named(names: Iterable[str]) -> list[Table]:
    """The tables, in their order in the schema; without names all of them. StartError for an unknown one."""
    known = {name: table for name, table in metadata.tables.items() if name not in DERIVED}
    wanted = set(names)
    if unknown := wanted - set(known):
        raise StartError(f"there is no table {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [table for name, table in known.items() if not wanted or name in wanted]


async def export(database: Database, names: Collection[str], write: Callable[[str], object]) -> int:
    """Give `write` a line for the whole and one for each row, all of the same instant; how many rows there were.

    The first line is {"ringway": "export", "revision": …}, every other one {"table": …, "row": {…}}.
    """
    tables = tables_named(names)
    count = 0
    async with database.connect() as connection:
        write(_line({"ringway": "export", "revision": await database.revision_in(connection)}))
        for table in tables:
            count += await _export_table(connection, table, write)
    return count


async def _export_table(connection: AsyncConnection, table: Table, write: Callable[[str], object]) -> int:
    count = 0
    values = [column.name for column in table.columns if (table.name, column.name) in JSON_COLUMNS]
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=ROWS)
    async with connection.stream(query) as rows:
        async for row in rows.mappings():
            record = dict(row)
            for name in values:
                if record[name] is not None:
                    record[name] = json.loads(record[name])
            write(_line({"table": table.name, "row": record}))
            count += 1
    return count


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


async def count_rows(connection: AsyncConnection) -> dict[str, int]:
    """Table -> number of rows."""
    return {
        name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        for name, table in metadata.tables.items()
    }
