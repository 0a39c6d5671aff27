"""Searching by a part of a text, through the index of the texts instead of the rows that have them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, Select, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..derived import TRIGRAMS
from ..schema import search_names

MIN_TRIGRAM = 3  # characters; the index of trigrams knows nothing shorter


class _Like(FunctionElement[bool]):
    """LIKE without regard to case: SQLite's own, which costs a third of one that folds both sides first."""

    type = Boolean()
    inherit_cache = True


@compiles(_Like)
def _ilike(element: _Like, compiler: SQLCompiler, **how: Any) -> str:
    column, pattern = element.clauses
    word = "LIKE" if compiler.dialect.name == "sqlite" else "ILIKE"
    return f"({compiler.process(column, **how)} {word} {compiler.process(pattern, **how)} ESCAPE '/')"


def has_part(column: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether `column` has `part` somewhere, whatever the case (SQLite: of ASCII letters)."""
    return _Like(column, literal("%" + part.replace("/", "//").replace("%", "/%").replace("_", "/_") + "%"))


def texts_with(connection: AsyncConnection, tenant: str, kind: str, part: str) -> Select[Any]:
    """The texts of a kind in which `part` is found, to stand in another query."""
    return select(search_names.c.text).where(*_found(connection, tenant, kind, part))


async def rows_with(connection: AsyncConnection, tenant: str, kind: str, part: str) -> int:
    """How many rows have such a text."""
    query = select(func.coalesce(func.sum(search_names.c.n), 0)).where(*_found(connection, tenant, kind, part))
    return int((await connection.execute(query)).scalar_one())


def _found(connection: AsyncConnection, tenant: str, kind: str, part: str) -> list[ColumnElement[bool]]:
    table = search_names.c
    found: list[ColumnElement[bool]] = [table.tenant == tenant, table.kind == kind, has_part(table.text, part)]
    if connection.dialect.name == "sqlite" and len(part) >= MIN_TRIGRAM:
        phrase = '"' + part.replace('"', '""') + '"'
        rows = text(f"SELECT rowid FROM {TRIGRAMS} WHERE {TRIGRAMS} MATCH :phrase").bindparams(phrase=phrase)
        found.append(table.id.in_(rows.columns(search_names.c.id)))
    return found
