"""The triggers that keep `tallies` and `search_names` true, and the index of trigrams, for both databases.

They fire for INSERT, INSERT … ON CONFLICT and UPDATE and DELETE; SQLite's INSERT OR REPLACE goes past them.
On SQLite each row counts itself. On PostgreSQL a statement counts all its rows together, since each change of a row
leaves a dead one behind.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from .schema import APP_STARTED, CHANNEL_NAME, CREATED, SLOT_MS, STARTED, UNKNOWN_SLOT, URL

TRIGRAMS = "search_names_trigrams"
"SQLite: the FTS5 table over `search_names`; PostgreSQL: the index of its texts, if the extension pg_trgm can be had."


def statements(dialect: str) -> list[str]:
    """What makes them, in order, on "sqlite" or "postgresql"."""
    return list(_sqlite() if dialect == "sqlite" else _postgresql())


def make(connection: Connection) -> None:
    """Make them; the tables must be there."""
    for statement in statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


# Which rows of `tallies` and `search_names` a row of ours counts in. {0} is where its columns come from.

_FLAGS = "{0}.ended_at IS NOT NULL, {0}.had_recording"
_SESSION_TALLIES = (
    f"{{0}}.tenant, {CREATED}, {{0}}.created_at / {SLOT_MS}, {_FLAGS}",
    f"{{0}}.tenant, {STARTED}, COALESCE({{0}}.started_at / {SLOT_MS}, {UNKNOWN_SLOT}), {_FLAGS}",
)
_APP_TALLIES = (f"{{0}}.tenant, {APP_STARTED}, {{0}}.started_at / {SLOT_MS}, false, false",)
_SESSION_NAMES = (f"{{0}}.tenant, '{CHANNEL_NAME}', {{0}}.channel_name",)
_APP_NAMES = (f"{{0}}.tenant, '{URL}', {{0}}.url",)

_COUNTED = (
    ("sessions", _SESSION_TALLIES, ("tenant", "created_at", "started_at", "ended_at", "had_recording")),
    ("app_sessions", _APP_TALLIES, ("tenant", "started_at")),
)
_NAMED = (("sessions", _SESSION_NAMES, ("tenant", "channel_name")), ("app_sessions", _APP_NAMES, ("tenant", "url")))
_TALLY_KEY = "tenant, clock, slot, ended, recorded"
_NAME_KEY = "tenant, kind, text"


# SQLite.


def _sqlite() -> Iterator[str]:
    yield (
        f"CREATE VIRTUAL TABLE {TRIGRAMS} "
        "USING fts5(text, content='search_names', content_rowid='id', tokenize='trigram')"
    )
    yield (
        "CREATE TRIGGER search_names_added AFTER INSERT ON search_names BEGIN "
        f"INSERT INTO {TRIGRAMS} (rowid, text) VALUES (new.id, new.text); END"
    )
    yield (
        "CREATE TRIGGER search_names_removed AFTER DELETE ON search_names BEGIN "
        f"INSERT INTO {TRIGRAMS} ({TRIGRAMS}, rowid, text) VALUES ('delete', old.id, old.text); END"
    )
    for table, keys, columns in _COUNTED:
        add = [_upsert("tallies", _TALLY_KEY, key.format("new"), 1) for key in keys]
        take = [_upsert("tallies", _TALLY_KEY, key.format("old"), -1) for key in keys]
        yield from _triggers(table, "counted", columns, add, take)
    for table, keys, columns in _NAMED:
        add = [_upsert("search_names", _NAME_KEY, key.format("new"), 1) for key in keys]
        take = []
        for key in keys:
            this = f"WHERE ({_NAME_KEY}) = ({key.format('old')})"
            take += [f"UPDATE search_names SET n = n - 1 {this}", f"DELETE FROM search_names {this} AND n <= 0"]
        yield from _triggers(table, "named", columns, add, take)


def _upsert(table: str, key: str, values: str, step: int) -> str:
    # "WHERE true" keeps SQLite from reading ON as that of a join.
    insert = f"INSERT INTO {table} ({key}, n) SELECT {values}, {step} WHERE true"
    return f"{insert} ON CONFLICT ({key}) DO UPDATE SET n = n + {step}"


def _triggers(table: str, name: str, columns: tuple[str, ...], add: list[str], take: list[str]) -> Iterator[str]:
    changed = " OR ".join(f"old.{column} IS NOT new.{column}" for column in columns)
    for what, head, body in (
        ("inserted", f"AFTER INSERT ON {table}", add),
        ("updated", f"AFTER UPDATE OF {', '.join(columns)} ON {table} WHEN {changed}", [*take, *add]),
        ("deleted", f"AFTER DELETE ON {table}", take),
    ):
        yield f"CREATE TRIGGER {table}_{name}_{what} {head} BEGIN {'; '.join(body)}; END"


# PostgreSQL.


def _postgresql() -> Iterator[str]:
    # Anybody who may create in the database may add it, where the server has it; searches are slower without.
    yield (
        "DO $$ BEGIN CREATE EXTENSION IF NOT EXISTS pg_trgm; "
        "EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN NULL; END $$"
    )
    yield (
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN "
        f"CREATE INDEX {TRIGRAMS} ON search_names USING gin (text gin_trgm_ops); END IF; END $$"
    )
    for table, keys, _ in _COUNTED:
        yield from _functions(table, "counted", "tallies", _TALLY_KEY, keys, "")
    for table, keys, _ in _NAMED:
        clean = f"DELETE FROM search_names WHERE n <= 0 AND ({_NAME_KEY}) IN ({_rows(keys, 'gone')});"
        yield from _functions(table, "named", "search_names", _NAME_KEY, keys, clean)


def _functions(table: str, name: str, target: str, key: str, keys: tuple[str, ...], clean: str) -> Iterator[str]:
    came, gone = _rows(keys, "came", ", 1 AS n"), _rows(keys, "gone", ", -1 AS n")
    for what, when, source, tables, after in (
        ("inserted", "INSERT", came, "NEW TABLE AS came", ""),
        ("updated", "UPDATE", f"{came} UNION ALL {gone}", "NEW TABLE AS came OLD TABLE AS gone", clean),
        ("deleted", "DELETE", gone, "OLD TABLE AS gone", clean),
    ):
        function = f"{table}_{name}_{what}"
        yield (
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO {target} ({key}, n) SELECT {key}, sum(n) FROM ({source}) AS change ({key}, n) "
            f"GROUP BY {key} HAVING sum(n) <> 0 ORDER BY {key} "
            f"ON CONFLICT ({key}) DO UPDATE SET n = {target}.n + excluded.n; {after} RETURN NULL; END $$"
        )
        yield (
            f"CREATE TRIGGER {function} AFTER {when} ON {table} REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def _rows(keys: tuple[str, ...], source: str, more: str = "") -> str:
    return " UNION ALL ".join(f"SELECT {key.format(source)}{more} FROM {source}" for key in keys)
