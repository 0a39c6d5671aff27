"""The triggers that keep `tallies` and `search_names` true, and the index of trigrams, for both databases.

They fire for INSERT, INSERT … ON CONFLICT and UPDATE and DELETE; SQLite's INSERT OR REPLACE goes past them.
On SQLite each row counts itself. On PostgreSQL a statement counts all its rows together, since each change of a row
leaves a dead one behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection

from .schema import APP_STARTED, CHANNEL_NAME, CREATED, SLOT_MS, STARTED, UNKNOWN_SLOT, URL

TRIGRAMS = "search_names_trigrams"
"SQLite: the FTS5 table over `search_names`; PostgreSQL: the index of its texts, if the extension pg_trgm can be had."


class Kept(NamedTuple):
    """How the rows of a table are counted elsewhere."""

    table: str
    keys: tuple[tuple[str, ...], ...]
    "For each place where a row counts: the values of the place's key."
    columns: tuple[str, ...]
    "What the keys are made of."


def statements(dialect: str) -> list[str]:
    """What makes them, in order, on "sqlite" or "postgresql"."""
    return list(_sqlite() if dialect == "sqlite" else _postgresql())


def make(connection: Connection) -> None:
    """Make them; the tables must be there."""
    for statement in statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


# Which rows of `tallies` and `search_names` a row of ours counts in. {0} is where its columns come from.

_FLAGS = ("{0}.ended_at IS NOT NULL", "{0}.had_recording")
_STARTED_SLOT = f"COALESCE({{0}}.started_at / {SLOT_MS}, {UNKNOWN_SLOT})"
_COUNTED: tuple[Kept, ...] = (
    Kept(
        "sessions",
        (
            ("{0}.tenant", str(CREATED), f"{{0}}.created_at / {SLOT_MS}", *_FLAGS),
            ("{0}.tenant", str(STARTED), _STARTED_SLOT, *_FLAGS),
        ),
        ("tenant", "created_at", "started_at", "ended_at", "had_recording"),
    ),
    Kept(
        "app_sessions",
        (("{0}.tenant", str(APP_STARTED), f"{{0}}.started_at / {SLOT_MS}", "false", "false"),),
        ("tenant", "started_at"),
    ),
)
_NAMED: tuple[Kept, ...] = (
    Kept("sessions", (("{0}.tenant", f"'{CHANNEL_NAME}'", "{0}.channel_name"),), ("tenant", "channel_name")),
    Kept("app_sessions", (("{0}.tenant", f"'{URL}'", "{0}.url"),), ("tenant", "url")),
)
_TALLY_KEY = "tenant, clock, slot, ended, recorded"
_NAME_KEY = "tenant, kind, text"


def recount() -> list[tuple[str, str]]:
    """Table, and a statement that fills a part of it from what is stored already; before the first it is empty."""
    parts = [("tallies", _TALLY_KEY, table, key) for table, keys, _ in _COUNTED for key in keys]
    parts += [("search_names", _NAME_KEY, table, key) for table, keys, _ in _NAMED for key in keys]
    return [
        (target, f"INSERT INTO {target} ({key}, n) {_counted(table, key, values)}")
        for target, key, table, values in parts
    ]


def mistakes() -> dict[str, str]:
    """Table -> a query for the keys that it has a wrong number for, with the right one and its own."""
    found = {}
    for target, key, kinds in (("tallies", _TALLY_KEY, _COUNTED), ("search_names", _NAME_KEY, _NAMED)):
        true = " UNION ALL ".join(_counted(table, key, values) for table, keys, _ in kinds for values in keys)
        found[target] = (
            f"SELECT {key}, sum(a) AS a, sum(b) AS b FROM (SELECT {key}, n AS a, 0 AS b FROM ({true}) AS true_counts "
            f"UNION ALL SELECT {key}, 0, n FROM {target}) AS both_counts GROUP BY {key} HAVING sum(a) <> sum(b)"
        )
    return found


def _counted(table: str, key: str, values: tuple[str, ...]) -> str:
    names = key.split(", ")
    columns = ", ".join(f"{value.format(table)} AS {name}" for value, name in zip(values, names, strict=True))
    return f"SELECT {columns}, count(*) AS n FROM {table} GROUP BY {', '.join(str(at + 1) for at in range(len(names)))}"


# SQLite.

_STATISTICS = (
    ("app_session_channels", "ix_app_session_channels_channel", "200000 2 1"),
    ("app_session_channels", "sqlite_autoindex_app_session_channels_1", "200000 1 1"),
    ("app_session_sessions", "ix_app_session_sessions_session", "200000 1 1"),
    ("app_session_sessions", "sqlite_autoindex_app_session_sessions_1", "200000 1 1"),
    ("app_session_users", "ix_app_session_users_user", "200000 11 1"),
    ("app_session_users", "sqlite_autoindex_app_session_users_1", "200000 1 1"),
    ("app_sessions", "ix_app_sessions_created", "200000 1"),
    ("app_sessions", "ix_app_sessions_started", "200000 200000 1 1"),
    ("app_sessions", "ix_app_sessions_url", "200000 200000 80 1 1"),
    ("app_sessions", "sqlite_autoindex_app_sessions_1", "200000 1"),
    ("calls", "ix_calls_started", "450000 225000 1 1 1"),
    ("calls", "sqlite_autoindex_calls_1", "450000 1 1"),
    ("channel_roles", "ix_channel_roles_user", "5000 11 1"),
    ("channel_roles", "sqlite_autoindex_channel_roles_1", "5000 1 1"),
    ("channels", "ix_channels_created", "5000 2500 1 1"),
    ("channels", "sqlite_autoindex_channels_1", "5000 1"),
    ("events", "ix_events_channel", "5000000 8 1"),
    ("events", "ix_events_session", "5000000 5 1"),
    ("events", "ix_events_tenant", "5000000 2500000 1"),
    ("invitations", "ix_invitations_email", "50000 25000 3 1"),
    ("invitations", "ix_invitations_inviter", "50000 25000 3 1"),
    ("invitations", "ix_invitations_person", "50000 25000 3 1"),
    ("invitations", "ix_invitations_phone", "50000 25000 3 1"),
    ("invitations", "ix_invitations_relationship", "50000 3 1"),
    ("invitations", "ix_invitations_session", "50000 1"),
    ("invitations", "sqlite_autoindex_invitations_1", "50000 1"),
    ("participants", "ix_participants_channel", "2200000 4 2 1 1 1"),
    ("participants", "ix_participants_custom", "2200000 1100000 57 2"),
    ("participants", "ix_participants_user", "2200000 1100000 57 1"),
    ("participants", "sqlite_autoindex_participants_1", "2200000 3 1"),
    ("search_names", "sqlite_autoindex_search_names_1", "110000 55000 37000 1"),
    ("sessions", "ix_sessions_channel", "1000000 2 1 1 1 1 1 1 1 1"),
    ("sessions", "ix_sessions_channel_name", "1000000 500000 10 1 1"),
    ("sessions", "ix_sessions_created", "1000000 500000 1 1"),
    ("sessions", "ix_sessions_ended", "1000000 500000 1 1"),
    ("sessions", "ix_sessions_host", "1000000 500000 26 1 1"),
    ("sessions", "ix_sessions_minutes", "1000000 500000 2 1"),
    ("sessions", "ix_sessions_name", "1000000 500000 10 1 1"),
    ("sessions", "ix_sessions_owner", "1000000 500000 71000 1"),
    ("sessions", "ix_sessions_presence", "1000000 500000 125000 1"),
    ("sessions", "ix_sessions_recorded", "25000 12500 12500 2 1 1"),
    ("sessions", "ix_sessions_started", "1000000 500000 1 1"),
    ("tallies", "sqlite_autoindex_tallies_1", "23000 11500 4600 2 2 1"),
    ("users", "sqlite_autoindex_users_1", "20000 20000 1"),
    ("users", "sqlite_autoindex_users_2", "20000 20000 1"),
)
"""What SQLite's ANALYZE said of a million sessions: it plans queries of a small database in the way that suits a large
one. Nothing renews it, so that no plan changes while the server runs."""


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
        add = [_upsert("tallies", _TALLY_KEY, _of("new", key), 1) for key in keys]
        take = [_upsert("tallies", _TALLY_KEY, _of("old", key), -1) for key in keys]
        yield from _triggers(table, "counted", columns, add, take)
    for table, keys, columns in _NAMED:
        add = [_upsert("search_names", _NAME_KEY, _of("new", key), 1) for key in keys]
        take = []
        for key in keys:
            this = f"WHERE ({_NAME_KEY}) = ({_of('old', key)})"
            take += [f"UPDATE search_names SET n = n - 1 {this}", f"DELETE FROM search_names {this} AND n <= 0"]
        yield from _triggers(table, "named", columns, add, take)
    yield "ANALYZE sqlite_master"  # makes the table of statistics
    rows = ", ".join(f"('{table}', '{index}', '{statistic}')" for table, index, statistic in _STATISTICS)
    yield f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES {rows}"
    yield "ANALYZE sqlite_master"  # reads it


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


def _functions(
    table: str, name: str, target: str, key: str, keys: tuple[tuple[str, ...], ...], clean: str
) -> Iterator[str]:
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


def _rows(keys: tuple[tuple[str, ...], ...], source: str, more: str = "") -> str:
    return " UNION ALL ".join(f"SELECT {_of(source, key)}{more} FROM {source}" for key in keys)


def _of(source: str, key: tuple[str, ...]) -> str:
    return ", ".join(value.format(source) for value in key)
