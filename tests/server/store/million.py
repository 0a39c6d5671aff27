"""A database with a million sessions of two years, made within a minute by SQLite itself.

The mixture: 45 % telephone calls and 10 % invitations, each in a channel of its own and mostly without a name; 35 % in
5,000 channels, of which the busiest has 20,000; 10 % meetings with a title that nobody else has. Two to six
participants of 20,000 users, three of whom are busy (one has a hundredth of all calls). One in forty was recorded, the
last few hundred go on. 200,000 app sessions, and 500,000 events of the newest sessions. A tenth belongs to another
tenant.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from server.store import derived

TENANT, OTHER = "default/default", "acme/shop"
FROM_MS = 1_700_000_000_000
SPAN_MS = 2 * 365 * 86_400_000
CHANNELS = 5_000
USERS = 20_000
LIVE = 400
BUSY_USER = "user-0"
BUSY_CHANNEL = "00000000-0000-4000-8000-000000000000"

# A number of its own for each (row, purpose), spread as if by chance.
_CHANCE = "((({0} + {1}) * 2654435761 % 4294967296) / 256 * 2246822519 % 4294967296 / 64)"


def _chance(row: str, purpose: int) -> str:
    return _CHANCE.format(row, purpose * 1_000_003)


def _first_words(row: str, purpose: int, words: tuple[str, ...]) -> str:
    cases = " ".join(f"WHEN {at} THEN '{word}'" for at, word in enumerate(words))
    return f"CASE {_chance(row, purpose)} % {len(words)} {cases} END"


_KIND = _first_words("i", 1, ("pbx",) * 9 + ("invitations",) * 2 + ("channels",) * 7 + ("callsession",) * 2)
_AREA = ("Sales", "Support", "Research", "Board", "Weekly", "Daily", "Project", "Customer", "Vertrieb", "Téléphone")
_TOPIC = ("standup", "review", "planning", "call", "1:1", "retrospective", "demo", "training", "interview", "sync")
# Few channels have most of the sessions: the third power of a share.
_SHARE = f"({_chance('i', 2)} % 100000 / 100000.0)"
_CHANNEL = f"CAST({_SHARE} * {_SHARE} * {_SHARE} * {CHANNELS} AS INTEGER)"
_USER = "CASE WHEN {0} % 100 = 0 THEN '" + BUSY_USER + "' ELSE 'user-' || ({0} % " + str(USERS) + ") END"
_IN_CHANNEL = "printf('%08x-0000-4000-8000-000000000000', channel)"
_OWN_CHANNEL = "printf('%08x-0000-8000-8000-%012x', id >> 31, id & 2147483647)"


def fill(file: Path, count: int = 1_000_000) -> None:
    """Fill the migrated, empty database in `file`."""
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in ("synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY", "journal_mode=MEMORY", "threads=2"):
        connection.execute(f"PRAGMA {pragma}")
    # Rows first, then indexes over all of them: a tenth of the time.
    later = connection.execute(
        "SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL AND (type = 'index' OR type = 'trigger') "
        "AND tbl_name <> 'search_names'"
    ).fetchall()
    statistics = connection.execute("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall()  # which go with the indexes
    connection.execute("BEGIN")
    for name, kind, _ in later:
        connection.execute(f"DROP {kind} {name}")
    for statement in _rows(count):
        connection.execute(statement)
    for _, statement in derived.recount():
        connection.execute(statement)
    for _, _, sql in later:
        connection.execute(sql)
    connection.execute("COMMIT")
    connection.execute("DELETE FROM sqlite_stat1")
    connection.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", statistics)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _rows(count: int) -> list[str]:
    return [
        _sessions(count),
        _PARTICIPANTS,
        _CALLS,
        _USERS,
        _CHANNELS,
        _ROLES,
        _INVITATIONS,
        _APPS,
        *_LINKS,
        _events(count),
    ]


def _sessions(count: int) -> str:
    step = SPAN_MS // count
    return f"""
        WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < {count}),
        made AS (SELECT i, {FROM_MS} + i * {step} AS at, ({FROM_MS} + i * {step}) * 1048576 + i % 1048576 AS id,
            {_KIND} AS made_by, {_CHANNEL} AS channel, {_chance("i", 3)} AS chance FROM numbers),
        placed AS (SELECT *, CASE made_by WHEN 'channels' THEN {_IN_CHANNEL} ELSE {_OWN_CHANNEL} END AS channel_id,
            CASE made_by
              WHEN 'channels' THEN {_first_words("channel", 4, _AREA)} || ' ' || {_first_words("channel", 5, _TOPIC)}
                || ' ' || channel
              WHEN 'callsession' THEN {_first_words("i", 6, _AREA)} || ' ' || {_first_words("i", 7, _TOPIC)} || ' ' || i
              ELSE '' END AS title,
            i >= {count - LIVE} AS live, 2 + (chance % 7 = 0) + (chance % 31 = 0) * 3 AS people,
            30000 + chance % 3600000 AS lasted FROM made)
        INSERT INTO sessions (id, tenant, made_by, kind, name, channel_id, channel_name, status, host, owner,
            created_at, started_at, ended_at, updated_at, participants_count, live_participants, max_participants,
            participant_ms, had_recording, client_id, user_data)
        SELECT id, CASE WHEN i % 10 = 3 THEN '{OTHER}' ELSE '{TENANT}' END, made_by,
            CASE made_by WHEN 'pbx' THEN 'call' ELSE 'room' END, title, channel_id, title,
            CASE WHEN live THEN 'ACTIVE' WHEN chance % 9 = 0 THEN 'ABANDONED' ELSE 'RESOLVED' END,
            {_USER.format("chance")}, 'token-' || (chance % 7), at, CASE WHEN chance % 50 THEN at + 900 END,
            CASE WHEN NOT live THEN at + lasted END, CASE WHEN live THEN at ELSE at + lasted END, people,
            CASE WHEN live THEN people ELSE 0 END, people, CASE WHEN live THEN 0 ELSE people * lasted END,
            chance % 40 = 0, 'app-' || (chance % 5), CASE made_by WHEN 'pbx' THEN 'ticket ' || chance END
        FROM placed"""


_ROOM = "CASE made_by WHEN 'channels' THEN channel_id END"
_SMALL = "(created_at % 1000000007)"  # products of larger numbers would no longer be whole
_OTHERS = _USER.format(_chance("(s.created_at % 1000000007 + n.j)", 8))
_PARTICIPANTS = f"""
        INSERT INTO participants (session_id, idx, tenant, channel_id, user_id, user_number, handle, display_name,
            custom_id, role, joined_at, left_at, updated_at)
        SELECT id, j, tenant, {_ROOM}, who, CAST(substr(who, 6) AS INTEGER) + 1, who, 'Person ' || substr(who, 6),
            CASE WHEN id % 3 = 0 THEN 'cust-' || substr(who, 6) END,
            CASE j WHEN 0 THEN 'host' ELSE 'member' END, created_at + j * 500, ended_at, updated_at
        FROM (SELECT s.*, n.j, CASE n.j WHEN 0 THEN s.host ELSE {_OTHERS} END AS who
              FROM sessions s JOIN (SELECT 0 AS j UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3
                  UNION ALL SELECT 4 UNION ALL SELECT 5) n ON n.j < s.participants_count)"""
_CALLS = """
        INSERT INTO calls (session_id, idx, tenant, caller, callee, trunk, started_at, answered_at, ended_at,
            talking_ms, sip_status, user_data)
        SELECT id, 0, tenant, host, '+4930' || (id % 9999999), 'carrier', started_at, started_at + 4000, ended_at,
            participant_ms / 2, 200, user_data FROM sessions WHERE made_by = 'pbx'"""
_USERS = f"""
        WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < {USERS})
        INSERT INTO users (tenant, id, number, handle, created_at)
        SELECT '{TENANT}', 'user-' || i, i + 1, 'user-' || i, {FROM_MS} FROM numbers"""
_CHANNELS = """
        INSERT INTO channels (id, tenant, name, service_mode, owner, created_at)
        SELECT channel_id, min(tenant), min(channel_name), 'conference', min(host), min(created_at)
        FROM sessions WHERE made_by = 'channels' GROUP BY channel_id"""
_ROLES = f"""
        INSERT INTO channel_roles (channel_id, user_id, role)
        SELECT id, 'user-' || (rowid % 500), 'host' FROM channels UNION
        SELECT id, '{BUSY_USER}', 'host' FROM channels WHERE rowid % 20 = 0"""
_INVITATIONS = f"""
        INSERT INTO invitations (id, session_id, tenant, inviter, person_id, email, status, created_at, expires_at,
            relationship_id)
        SELECT 'inv_' || s.id, s.id, s.tenant, s.host, p.user_id, NULL, 'ACCEPTED', s.created_at,
            s.created_at + 604800000, 'rel_' || (s.id % 30000)
        FROM sessions s JOIN participants p ON p.session_id = s.id AND p.idx = 1 WHERE s.made_by = 'invitations'
          AND {_chance("(s.created_at % 1000000007)", 11)} % 2"""
_APPS = f"""
        INSERT INTO app_sessions (id, tenant, client_id, url, started_at, created_at)
        SELECT 'app_' || id, tenant, client_id, 'https://app.example/' || {_first_words(_SMALL, 9, _TOPIC)} || '/'
            || (id / 1048576 % 40000), created_at, created_at FROM sessions WHERE rowid % 5 = 1"""
_LINKS = (
    """INSERT INTO app_session_sessions (app_session_id, session_id)
        SELECT id, CAST(substr(id, 5) AS INTEGER) FROM app_sessions""",
    """INSERT INTO app_session_users (app_session_id, user_id)
        SELECT a.id, s.host FROM app_sessions a JOIN sessions s ON s.id = CAST(substr(a.id, 5) AS INTEGER)""",
    """INSERT INTO app_session_channels (app_session_id, channel_id)
        SELECT a.id, s.channel_id FROM app_sessions a JOIN sessions s ON s.id = CAST(substr(a.id, 5) AS INTEGER)""",
)


def _events(count: int) -> str:
    newest = min(count, 100_000)
    return f"""
        INSERT INTO events (position, session_id, tenant, channel_id, seq, kind, at, data)
        SELECT (s.id / 1048576) * 1000 + n.j * 10 + s.id % 10, s.id, s.tenant, {_ROOM}, n.j,
            CASE n.j WHEN 1 THEN 'session.created' WHEN 2 THEN 'session.started' WHEN 3 THEN 'participant.joined'
              WHEN 4 THEN 'participant.joined' ELSE 'session.ended' END, s.created_at + n.j * 400, '{{}}'
        FROM (SELECT * FROM sessions ORDER BY id DESC LIMIT {newest}) s
          JOIN (SELECT 1 AS j UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5) n"""
