"""The SQL that the writer runs: made once by SQLAlchemy for each table, mode and choice of columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import BindParameter, Delete, Dialect, Insert, Table, Update, bindparam, delete, update
from sqlalchemy.dialects import sqlite

from . import schema

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Mode = Literal["upsert", "insert", "delete"]


class Run(NamedTuple):
    """Rows of one table that one statement writes."""

    table: str
    mode: Mode
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


Batch = list[Run]
"What one transaction writes, in this order."


GROUPS = (50, 10)
"""Rows that one INSERT of SQLite takes. For each statement that it runs, sqlite3 gives up the interpreter and waits to
get it back, which takes a while beside a busy loop."""


class _Made(NamedTuple):
    text: str
    in_order: Callable[[tuple[Any, ...]], Any] | None
    "Puts the values of a row into the order of the parameters; None when they are."
    group: str
    "The parameters of one row, as they stand in the text; empty when no more rows can be put beside it."


class Statements:
    """Statements of one dialect for the driver's executemany."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._is_sqlite = dialect.name == "sqlite"
        self._insert: Callable[[Table], sqlite.Insert | postgresql.Insert] = sqlite.insert
        if not self._is_sqlite:
            from sqlalchemy.dialects.postgresql import insert  # a tenth of a second that most starts do without

            self._insert = insert
        self._made: dict[tuple[str, Mode, tuple[str, ...]], _Made] = {}

    def prepared(self, run: Run) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        """Texts and their parameters, in order; together they write the rows."""
        key = run[:3]
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(*key)
        rows = run.rows if made.in_order is None else list(map(made.in_order, run.rows))
        if self._is_sqlite and run.mode != "delete" and made.group:
            at = 0
            for size in GROUPS:
                count = (len(rows) - at) // size
                if count:
                    end = at + count * size
                    joined = [tuple(chain.from_iterable(rows[n : n + size])) for n in range(at, end, size)]
                    yield made.text.replace(made.group, ", ".join([made.group] * size), 1), joined
                    at = end
            rows = rows[at:]
        if rows:
            yield made.text, rows

    def _make(self, name: str, mode: Mode, columns: tuple[str, ...]) -> _Made:
        compiled = self._statement(schema.metadata.tables[name], mode, columns).compile(dialect=self._dialect)
        taken = compiled.positiontup
        assert taken is not None
        places = [columns.index(parameter.removeprefix(_OF)) for parameter in taken]
        text = str(compiled)
        group = f"({', '.join('?' * len(columns))})"
        if places == list(range(len(columns))):
            return _Made(text, None, group if f"VALUES {group}" in text else "")
        in_order = itemgetter(*places) if len(places) > 1 else tuple
        return _Made(text, in_order, group if f"VALUES {group}" in text else "")

    def _statement(self, table: Table, mode: Mode, columns: tuple[str, ...]) -> Delete | Insert | Update:
        if mode == "delete":
            return delete(table).where(*(table.c[column] == _place(column) for column in columns))
        keys = list(table.primary_key.columns.keys())
        others = [column for column in columns if column not in keys]
        if mode == "upsert" and not _is_whole(table, columns):
            changed = update(table).where(*(table.c[key] == _place(key) for key in keys))
            return changed.values({column: _place(column) for column in others})
        statement = self._insert(table).values({column: _place(column) for column in columns})
        if mode == "insert" or not others:
            return statement.on_conflict_do_nothing()
        return statement.on_conflict_do_update(
            index_elements=keys, set_={column: statement.excluded[column] for column in others}
        )


_OF = "of_"
"Begins the name of a parameter: one called like a column would be taken for that column's own."


def _place(column: str) -> BindParameter[Any]:
    return bindparam(_OF + column)


def _is_whole(table: Table, columns: Sequence[str]) -> bool:
    """Whether a row of these columns can be inserted."""
    return all(
        column.name in columns or column.nullable or column.server_default is not None for column in table.columns
    )


def check_columns(table: str, mode: Mode, columns: tuple[str, ...]) -> None:
    """KeyError for an unknown table or column, and for a row that lacks what `mode` needs of it."""
    known = schema.metadata.tables[table]
    for column in columns:
        if column not in known.c:
            raise KeyError(f"{table} has no column {column}")
    if not columns:
        raise KeyError(f"an empty row for {table}")
    if mode == "insert" and not _is_whole(known, columns):
        raise KeyError(f"a new row for {table} without all that it must have")
    keys = set(known.primary_key.columns.keys())
    if mode == "upsert" and not keys <= set(columns):
        raise KeyError(f"a row for {table} without its key")
    if mode == "upsert" and keys == set(columns) and not _is_whole(known, columns):
        raise KeyError(f"a row for {table} with nothing but its key")


def row_values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of a row as the database has them: what is JSON becomes text. TypeError for what no column holds."""
    return tuple(map(_value, row.values()))


_PLAIN = frozenset([str, int, float, bool, type(None)])


def _value(value: object) -> object:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, str):
        return str(value)  # of a class of its own, such as an enumeration
    raise TypeError(f"no column holds a {type(value).__name__}")
