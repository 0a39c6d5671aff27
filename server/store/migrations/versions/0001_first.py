"""The tables of the first version.

Follows nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """To this revision."""
    for table in TABLES:
        table()


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", KEY, autoincrement=False, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("channel_name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("participants_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("live_participants", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_participants", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("participant_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("had_recording", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("meta", sa.Text(), nullable=True),
        sa.Column("paused_at", sa.BigInteger(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("end_cause", sa.Text(), nullable=True),
        sa.Column("invitation_id", sa.Text(), nullable=True),
        sa.Column("user_data", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    columns = ["channel_id", "started_at", "id", "tenant", "name", "created_at", "ended_at", "participants_count"]
    op.create_index("ix_sessions_channel", "sessions", [*columns, "had_recording"])
    op.create_index("ix_sessions_channel_name", "sessions", ["tenant", "channel_name", "started_at", "id"])
    op.create_index("ix_sessions_created", "sessions", ["tenant", "created_at", "id"])
    op.create_index("ix_sessions_ended", "sessions", ["tenant", "ended_at", "id"])
    op.create_index("ix_sessions_host", "sessions", ["tenant", "host", "updated_at", "id"])
    op.create_index("ix_sessions_minutes", "sessions", ["tenant", "participant_ms", "id"])
    op.create_index("ix_sessions_name", "sessions", ["tenant", "name", "created_at", "id"])
    op.create_index("ix_sessions_owner", "sessions", ["tenant", "owner", "id"])
    known = sa.text("parent_id IS NOT NULL")
    op.create_index("ix_sessions_parent", "sessions", ["parent_id", "id"], sqlite_where=known)
    op.create_index("ix_sessions_presence", "sessions", ["tenant", "participants_count", "id"])
    op.create_index(
        "ix_sessions_recorded",
        "sessions",
        ["tenant", "had_recording", "started_at", "id", "channel_name"],
        sqlite_where=sa.text("had_recording = 1"),
    )
    op.create_index("ix_sessions_started", "sessions", ["tenant", "started_at", "id"])


def _participants() -> None:
    op.create_table(
        "participants",
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("idx", sa.BigInteger(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("user_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("custom_id", sa.Text(), nullable=True),
        sa.Column("preset", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=False),
        sa.Column("left_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("session_id", "idx", name=op.f("pk_participants")),
    )
    op.create_index(
        "ix_participants_channel", "participants", ["channel_id", "user_id", "joined_at", "tenant", "handle"]
    )
    op.create_index("ix_participants_custom", "participants", ["tenant", "custom_id", "session_id"])
    op.create_index("ix_participants_user", "participants", ["tenant", "user_id", "session_id"])


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("idx", sa.BigInteger(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("callee", sa.Text(), nullable=False),
        sa.Column("caller_display_name", sa.Text(), nullable=True),
        sa.Column("trunk", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("talking_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sip_status", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("hung_up_by", sa.Text(), nullable=True),
        sa.Column("codecs", sa.Text(), nullable=True),
        sa.Column("quality", sa.Text(), nullable=True),
        sa.Column("user_data", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("session_id", "idx", name=op.f("pk_calls")),
    )
    op.create_index("ix_calls_started", "calls", ["tenant", "started_at", "session_id", "idx"])


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("extensions", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_users")),
        sa.UniqueConstraint("tenant", "number", name=op.f("uq_users_tenant_number")),
    )


def _channels() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("service_mode", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
    )
    op.create_index("ix_channels_created", "channels", ["tenant", "created_at", "id"])


def _channel_roles() -> None:
    op.create_table(
        "channel_roles",
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("channel_id", "user_id", name=op.f("pk_channel_roles")),
    )
    op.create_index("ix_channel_roles_user", "channel_roles", ["user_id", "channel_id"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("position", KEY, autoincrement=False, nullable=False),
        sa.Column("session_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_events")),
    )
    op.create_index("ix_events_channel", "events", ["channel_id", "position"])
    op.create_index("ix_events_session", "events", ["session_id", "position"])
    op.create_index("ix_events_tenant", "events", ["tenant", "position"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_created", "outbox", ["tenant", "state", "created_at", "id"])
    op.create_index("ix_outbox_lane", "outbox", ["lane", "created_at", "id"])
    op.create_index("ix_outbox_next", "outbox", ["state", "next_at"])
    op.create_index("ix_outbox_state", "outbox", ["state", "created_at"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=True),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_created", "webhooks", ["tenant", "created_at", "id"])


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("inviter", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("resent_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_sent_at", sa.BigInteger(), nullable=True),
        sa.Column("responded_at", sa.BigInteger(), nullable=True),
        sa.Column("responded_by", sa.Text(), nullable=True),
        sa.Column("decline_reason", sa.Text(), nullable=True),
        sa.Column("context", sa.Text(), nullable=True),
        sa.Column("deliveries", sa.Text(), nullable=True),
        sa.Column("relationship_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
    )
    op.create_index("ix_invitations_email", "invitations", ["tenant", "email", "created_at"])
    op.create_index("ix_invitations_inviter", "invitations", ["tenant", "inviter", "created_at"])
    op.create_index("ix_invitations_person", "invitations", ["tenant", "person_id", "created_at"])
    op.create_index("ix_invitations_phone", "invitations", ["tenant", "phone", "created_at"])
    op.create_index("ix_invitations_relationship", "invitations", ["relationship_id", "created_at"])
    op.create_index("ix_invitations_session", "invitations", ["session_id"])


def _relationships() -> None:
    op.create_table(
        "relationships",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("user_a", sa.Text(), nullable=False),
        sa.Column("user_b", sa.Text(), nullable=True),
        sa.Column("contact", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relationships")),
    )
    op.create_index("ix_relationships_contact", "relationships", ["tenant", "user_a", "contact"])
    op.create_index("ix_relationships_users", "relationships", ["tenant", "user_a", "user_b"])


def _chat_messages() -> None:
    op.create_table(
        "chat_messages",
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("idx", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("participant_idx", sa.BigInteger(), nullable=True),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("payload_type", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("edited", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "idx", name=op.f("pk_chat_messages")),
    )
    op.create_index("ix_chat_messages_created", "chat_messages", ["created_at"])


def _recordings() -> None:
    op.create_table(
        "recordings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("recording_id", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("is_individual", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("relative_path", sa.Text(), nullable=True),
        sa.Column("stream_user_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("group", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
    )
    op.create_index("ix_recordings_session", "recordings", ["session_id", "start_time"])
    op.create_index("ix_recordings_start", "recordings", ["start_time"])


def _transcripts() -> None:
    op.create_table(
        "transcripts",
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("idx", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("participant_idx", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "idx", name=op.f("pk_transcripts")),
    )


def _summaries() -> None:
    op.create_table(
        "summaries",
        sa.Column("session_id", KEY, autoincrement=False, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_summaries")),
    )


def _app_sessions() -> None:
    op.create_table(
        "app_sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_sessions")),
    )
    op.create_index("ix_app_sessions_created", "app_sessions", ["created_at"])
    op.create_index("ix_app_sessions_started", "app_sessions", ["tenant", "started_at", "id"])
    op.create_index("ix_app_sessions_url", "app_sessions", ["tenant", "url", "started_at", "id"])


def _app_session_users() -> None:
    op.create_table(
        "app_session_users",
        sa.Column("app_session_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_session_id", "user_id", name=op.f("pk_app_session_users")),
    )
    op.create_index("ix_app_session_users_user", "app_session_users", ["user_id", "app_session_id"])


def _app_session_channels() -> None:
    op.create_table(
        "app_session_channels",
        sa.Column("app_session_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_session_id", "channel_id", name=op.f("pk_app_session_channels")),
    )
    op.create_index("ix_app_session_channels_channel", "app_session_channels", ["channel_id", "app_session_id"])


def _app_session_sessions() -> None:
    op.create_table(
        "app_session_sessions",
        sa.Column("app_session_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_session_id", "session_id", name=op.f("pk_app_session_sessions")),
    )
    op.create_index("ix_app_session_sessions_session", "app_session_sessions", ["session_id", "app_session_id"])


def _app_session_logs() -> None:
    op.create_table(
        "app_session_logs",
        sa.Column("app_session_id", sa.Text(), nullable=False),
        sa.Column("idx", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_session_id", "idx", name=op.f("pk_app_session_logs")),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("allow", sa.Text(), nullable=True),
        sa.Column("channel_roles", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_tokens_token_sha256")),
    )
    op.create_index("ix_tokens_created", "tokens", ["tenant", "created_at", "id"])


def _registrations() -> None:
    op.create_table(
        "registrations",
        sa.Column("aor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("aor", "key", name=op.f("pk_registrations")),
    )


def _config_entries() -> None:
    op.create_table(
        "config_entries",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_config_entries")),
    )


def _settings() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )


TABLES = (
    _sessions,
    _participants,
    _calls,
    _users,
    _channels,
    _channel_roles,
    _events,
    _outbox,
    _webhooks,
    _invitations,
    _relationships,
    _chat_messages,
    _recordings,
    _transcripts,
    _summaries,
    _app_sessions,
    _app_session_users,
    _app_session_channels,
    _app_session_sessions,
    _app_session_logs,
    _tokens,
    _registrations,
    _config_entries,
    _settings,
)
