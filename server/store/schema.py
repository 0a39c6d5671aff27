"""The tables of the database, as SQLAlchemy Core sees them, the same for SQLite and PostgreSQL.

Instants are milliseconds since the epoch (`…_at`), spans milliseconds (`…_ms`); ids of sessions are their decimal ids
as integers; a tenant is "account/app". A column made by `_json` holds JSON text as it is written and read, or NULL.
A participant or an event has a channel only where that is a room: a session's own one follows from the session's id.

No table refers to another by a foreign key: rows come from a writer that may spool them for hours, and leave by a
retention that differs from kind to kind, so that a parent may be missing on purpose. `ringway db check` counts those.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


# SQLite takes the key of a table for its row number only if it is called INTEGER; that holds 64 bits as well.
BigKey = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, null: bool = False, key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null, primary_key=key)


def _at(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _number(name: str, *, key: bool = False, default: int | None = 0, null: bool = False) -> Column[int]:
    server_default = None if key or null or default is None else text(str(default))
    return Column(name, BigInteger, nullable=null, primary_key=key, autoincrement=False, server_default=server_default)


def _flag(name: str, *, default: bool = False) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("true" if default else "false"))


def _json(name: str) -> Column[str]:
    return Column(name, Text, nullable=True)


# Sessions and who took part in them.

sessions = Table(
    "sessions",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=False),
    _text("tenant"),
    _text("made_by"),
    _text("kind"),
    _text("name"),
    _text("channel_id"),
    _text("channel_name"),
    _text("status"),
    _text("host", null=True),
    _text("owner", null=True),
    _at("created_at"),
    _at("started_at", null=True),
    _at("ended_at", null=True),
    _at("updated_at"),
    _number("participants_count"),
    _number("live_participants"),
    _number("max_participants"),
    _number("participant_ms"),
    _flag("had_recording"),
    _text("client_id", null=True),
    _text("group_id", null=True),
    _text("parent_id", null=True),
    _text("image_url", null=True),
    _json("meta"),
    _at("paused_at", null=True),
    _text("paused_by", null=True),
    _text("end_cause", null=True),
    _text("invitation_id", null=True),
    _text("user_data", null=True),
    Index("ix_sessions_created", "tenant", "created_at", "id"),
    Index("ix_sessions_started", "tenant", "started_at", "id"),
    Index("ix_sessions_ended", "tenant", "ended_at", "id"),
    Index("ix_sessions_name", "tenant", "name", "created_at", "id"),
    Index("ix_sessions_channel_name", "tenant", "channel_name", "started_at", "id"),
    Index("ix_sessions_presence", "tenant", "participants_count", "id"),
    Index("ix_sessions_minutes", "tenant", "participant_ms", "id"),
    Index(
        "ix_sessions_channel",
        "channel_id",
        "started_at",
        "id",
        "tenant",
        "name",
        "created_at",
        "ended_at",
        "participants_count",
        "had_recording",
    ),
    Index("ix_sessions_host", "tenant", "host", "updated_at", "id"),
    Index("ix_sessions_owner", "tenant", "owner", "id"),
    # In SQLite of these sessions alone; to say so of PostgreSQL would load its dialect at every start.
    Index(
        "ix_sessions_parent",
        "parent_id",
        "id",
        sqlite_where=text("parent_id IS NOT NULL"),
    ),
    Index(
        "ix_sessions_recorded",
        "tenant",
        "had_recording",
        "started_at",
        "id",
        "channel_name",
        sqlite_where=text("had_recording = 1"),
    ),
)

participants = Table(
    "participants",
    metadata,
    _number("session_id", key=True),
    _number("idx", key=True),
    _text("tenant"),
    _text("channel_id", null=True),
    _text("user_id"),
    _number("user_number"),
    _text("handle"),
    _text("display_name", null=True),
    _text("custom_id", null=True),
    _text("preset", null=True),
    _text("role"),
    _at("joined_at"),
    _at("left_at", null=True),
    _at("updated_at"),
    _json("quality"),
    Index("ix_participants_user", "tenant", "user_id", "session_id"),
    Index("ix_participants_custom", "tenant", "custom_id", "session_id"),
    Index(
        "ix_participants_channel",
        "channel_id",
        "user_id",
        "joined_at",
        "tenant",
        "handle",
        sqlite_where=text("channel_id IS NOT NULL"),
    ),
)

calls = Table(
    "calls",
    metadata,
    _number("session_id", key=True),
    _number("idx", key=True),
    _text("tenant"),
    _text("caller"),
    _text("callee"),
    _text("caller_display_name", null=True),
    _text("trunk", null=True),
    _at("started_at", null=True),
    _at("answered_at", null=True),
    _at("ended_at", null=True),
    _number("talking_ms"),
    _number("sip_status", null=True),
    _text("reason", null=True),
    _text("hung_up_by", null=True),
    _text("codecs", null=True),
    _json("quality"),
    _text("user_data", null=True),
    Index("ix_calls_started", "tenant", "started_at", "session_id", "idx"),
)

# People and rooms.

users = Table(
    "users",
    metadata,
    _text("tenant", key=True),
    _text("id", key=True),
    _number("number", default=None),
    _text("handle"),
    _text("display_name", null=True),
    _text("image_url", null=True),
    _text("email", null=True),
    _text("phone", null=True),
    _json("extensions"),
    _at("created_at"),
    UniqueConstraint("tenant", "number"),
)

channels = Table(
    "channels",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("name"),
    _text("service_mode"),
    _text("client_id", null=True),
    _text("owner", null=True),
    _text("image_url", null=True),
    _at("created_at"),
    Index("ix_channels_created", "tenant", "created_at", "id"),
)

channel_roles = Table(
    "channel_roles",
    metadata,
    _text("channel_id", key=True),
    _text("user_id", key=True),
    _text("role"),
    Index("ix_channel_roles_user", "user_id", "channel_id"),
)

# What happened, and what has to reach somebody.

events = Table(
    "events",
    metadata,
    Column("position", BigKey, primary_key=True, autoincrement=False),
    _number("session_id"),
    _text("tenant"),
    _text("channel_id", null=True),
    _number("seq"),
    _text("kind"),
    _at("at"),
    _json("data"),
    Index("ix_events_tenant", "tenant", "position"),
    Index("ix_events_session", "session_id", "position"),
    Index("ix_events_channel", "channel_id", "position", sqlite_where=text("channel_id IS NOT NULL")),
)

outbox = Table(
    "outbox",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("kind"),
    _text("lane"),
    _text("target"),
    _json("payload"),
    _text("state"),
    _number("attempts"),
    _at("next_at", null=True),
    _at("created_at"),
    _at("delivered_at", null=True),
    _text("last_error", null=True),
    Index("ix_outbox_next", "state", "next_at"),
    Index("ix_outbox_lane", "lane", "created_at", "id"),
    Index("ix_outbox_created", "tenant", "state", "created_at", "id"),
    Index("ix_outbox_state", "state", "created_at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("url"),
    _text("secret"),
    _json("kinds"),
    _text("format"),
    _flag("active", default=True),
    _at("created_at"),
    Index("ix_webhooks_created", "tenant", "created_at", "id"),
)

# Invitations.

invitations = Table(
    "invitations",
    metadata,
    _text("id", key=True),
    _number("session_id"),
    _text("tenant"),
    _text("inviter"),
    _text("person_id", null=True),
    _text("email", null=True),
    _text("phone", null=True),
    _text("name", null=True),
    _text("status"),
    _at("created_at"),
    _at("expires_at"),
    _number("resent_count"),
    _at("last_sent_at", null=True),
    _at("responded_at", null=True),
    _text("responded_by", null=True),
    _text("decline_reason", null=True),
    _text("context", null=True),
    _json("deliveries"),
    _text("relationship_id", null=True),
    Index("ix_invitations_session", "session_id"),
    Index("ix_invitations_inviter", "tenant", "inviter", "created_at"),
    Index("ix_invitations_person", "tenant", "person_id", "created_at"),
    Index("ix_invitations_email", "tenant", "email", "created_at"),
    Index("ix_invitations_phone", "tenant", "phone", "created_at"),
    Index("ix_invitations_relationship", "relationship_id", "created_at"),
)

relationships = Table(
    "relationships",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("user_a"),
    _text("user_b", null=True),
    _text("contact", null=True),
    _at("created_at"),
    Index("ix_relationships_users", "tenant", "user_a", "user_b"),
    Index("ix_relationships_contact", "tenant", "user_a", "contact"),
)

# What a session leaves behind.

chat_messages = Table(
    "chat_messages",
    metadata,
    _number("session_id", key=True),
    _number("idx", key=True),
    _text("id"),
    _text("tenant"),
    _text("user_id"),
    _number("participant_idx", null=True),
    _text("display_name", null=True),
    _text("payload_type"),
    _text("payload"),
    _flag("pinned"),
    _flag("edited"),
    _at("created_at"),
    Index("ix_chat_messages_created", "created_at"),
)

recordings = Table(
    "recordings",
    metadata,
    _text("id", key=True),
    _number("session_id"),
    _text("tenant"),
    _text("recording_id"),
    _text("format"),
    _text("state"),
    _text("label"),
    _text("kind"),
    _flag("is_individual"),
    _at("start_time"),
    _at("end_time", null=True),
    _number("size", null=True),
    _text("url", null=True),
    _text("relative_path", null=True),
    _number("stream_user_id", null=True),
    _number("user_id", null=True),
    _text("group", null=True),
    Index("ix_recordings_session", "session_id", "start_time"),
    Index("ix_recordings_start", "start_time"),
)

transcripts = Table(
    "transcripts",
    metadata,
    _number("session_id", key=True),
    _number("idx", key=True),
    _number("start_ms", default=None),
    _number("end_ms", default=None),
    _number("participant_idx", null=True),
    _text("text"),
)

summaries = Table(
    "summaries",
    metadata,
    Column("session_id", BigKey, primary_key=True, autoincrement=False),
    _text("job_id"),
    _text("status"),
    _text("text", null=True),
    _at("created_at"),
    _at("updated_at"),
)

# Programs at the other end, as the channel dialect registers them.

app_sessions = Table(
    "app_sessions",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("client_id"),
    _text("url"),
    _at("started_at"),
    _at("created_at"),
    Index("ix_app_sessions_started", "tenant", "started_at", "id"),
    Index("ix_app_sessions_url", "tenant", "url", "started_at", "id"),
    Index("ix_app_sessions_created", "created_at"),
)

app_session_users = Table(
    "app_session_users",
    metadata,
    _text("app_session_id", key=True),
    _text("user_id", key=True),
    Index("ix_app_session_users_user", "user_id", "app_session_id"),
)

app_session_channels = Table(
    "app_session_channels",
    metadata,
    _text("app_session_id", key=True),
    _text("channel_id", key=True),
    Index("ix_app_session_channels_channel", "channel_id", "app_session_id"),
)

app_session_sessions = Table(
    "app_session_sessions",
    metadata,
    _text("app_session_id", key=True),
    _number("session_id", key=True),
    Index("ix_app_session_sessions_session", "session_id", "app_session_id"),
)

app_session_logs = Table(
    "app_session_logs",
    metadata,
    _text("app_session_id", key=True),
    _number("idx", key=True),
    _at("time"),
    _text("data"),
)

# Configuration that is changed while the server runs.

tokens = Table(
    "tokens",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("name"),
    _text("user_id", null=True),
    _text("token_sha256"),
    _text("role"),
    _json("scopes"),
    _json("allow"),
    _json("channel_roles"),
    _at("created_at"),
    _at("expires_at", null=True),
    _at("revoked_at", null=True),
    UniqueConstraint("token_sha256"),
    Index("ix_tokens_created", "tenant", "created_at", "id"),
)

registrations = Table(
    "registrations",
    metadata,
    _text("aor", key=True),
    _text("key", key=True),
    _json("body"),
    _at("expires_at"),
)

config_entries = Table(
    "config_entries",
    metadata,
    _text("kind", key=True),
    _text("name", key=True),
    _number("place"),
    _json("body"),
    _at("updated_at"),
)

settings = Table("settings", metadata, _text("name", key=True), _text("value"))

# What lists need to answer fast; kept by triggers (`.derived`), so that whoever writes need not know of it.

tallies = Table(
    "tallies",
    metadata,
    _text("tenant", key=True),
    _number("clock", key=True),
    _number("slot", key=True),
    Column("ended", Boolean, primary_key=True),
    Column("recorded", Boolean, primary_key=True),
    _number("n"),
)
"""How many sessions, or app sessions, began in each span of SLOT_MS: a total adds these up instead of the sessions."""

search_names = Table(
    "search_names",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    _text("tenant"),
    _text("kind"),
    _text("text"),
    _number("n"),
    UniqueConstraint("tenant", "kind", "text"),
)
"""Each text that a list can be searched for, once, and how many rows have it; beside it lies an index of trigrams."""

CREATED, STARTED, APP_STARTED = 0, 1, 2
"Values of `tallies.clock`: by `sessions.created_at`, `sessions.started_at`, `app_sessions.started_at`."
SLOT_MS = 21_600_000
"A quarter of a day: 1,461 slots a year, and a day of 100,000 sessions has 25,000 to count at either end of a span."
UNKNOWN_SLOT = 4_000_000_000
"Of sessions that have not started: they count as later than all others."
CHANNEL_NAME, URL = "channel", "url"
"Values of `search_names.kind`: `sessions.channel_name`, `app_sessions.url`."
