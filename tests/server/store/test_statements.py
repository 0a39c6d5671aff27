"""The writer's SQL: one text for many rows, parameters in their order, on both databases."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import Dialect, make_url

from server.store.statements import Mode, Run, Statements

SQLITE, POSTGRESQL = (make_url(f"{name}://").get_dialect()() for name in ("sqlite+aiosqlite", "postgresql+asyncpg"))


def prepared(run: Run, dialect: Dialect = SQLITE) -> list[tuple[str, list[tuple[object, ...]]]]:
    return list(Statements(dialect).prepared(run))


def test_parameters_follow_the_text_whatever_the_order_of_the_columns() -> None:
    run = Run("settings", "upsert", ("value", "name"), [("v", "n")])
    assert prepared(run)[0] == (
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [("n", "v")],
    )


@pytest.mark.parametrize(
    ("mode", "columns", "begins", "ends"),
    [
        ("upsert", ("id", "name"), "UPDATE channels SET name=", ""),
        ("delete", ("channel_id",), "DELETE FROM channel_roles WHERE", ""),
        ("insert", ("name", "value"), "INSERT INTO settings", "ON CONFLICT DO NOTHING"),
        ("upsert", ("app_session_id", "user_id"), "INSERT INTO app_session_users", "ON CONFLICT DO NOTHING"),
    ],
)
@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL], ids=["sqlite", "postgresql"])
def test_each_mode_is_one_statement(
    dialect: Dialect, mode: Mode, columns: tuple[str, ...], begins: str, ends: str
) -> None:
    table = begins.split()[1 if begins.startswith("UPDATE") else 2]
    ((text, rows),) = prepared(Run(table, mode, columns, [tuple("xy"[: len(columns)])]), dialect)
    assert text.startswith(begins)
    assert text.endswith(ends)
    assert len(rows) == 1


def test_many_rows_go_into_few_statements_on_sqlite_and_none_is_lost() -> None:
    rows = [(f"n{number}", str(number)) for number in range(127)]
    made = prepared(Run("settings", "upsert", ("name", "value"), rows))
    assert [len(parameters) for _, parameters in made] == [2, 2, 7]
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)")
        for text, parameters in made:
            connection.executemany(text, parameters)
        assert sorted(connection.execute("SELECT * FROM settings")) == sorted(rows)


def test_a_key_that_comes_twice_holds_what_came_last() -> None:
    rows = [("n", str(number)) for number in range(60)]
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)")
        for text, parameters in prepared(Run("settings", "upsert", ("name", "value"), rows)):
            connection.executemany(text, parameters)
        assert connection.execute("SELECT * FROM settings").fetchall() == [("n", "59")]


def test_postgresql_gets_row_by_row() -> None:
    rows = [("n", str(number)) for number in range(60)]
    ((text, parameters),) = prepared(Run("settings", "upsert", ("name", "value"), rows), POSTGRESQL)
    assert parameters == rows
    assert "$2" in text
