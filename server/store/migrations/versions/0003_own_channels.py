"""Participants and events of a session in a channel of its own do not name the channel.

Follows 0002. Rows that are there keep what they have.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INDEXES = {
    "participants": ["channel_id", "user_id", "joined_at", "tenant", "handle"],
    "events": ["channel_id", "position"],
}


def upgrade() -> None:
    """To this revision. SQLite writes both tables anew, which takes 10 s for a million rows."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for table in INDEXES:
            op.alter_column(table, "channel_id", existing_type=sa.Text(), nullable=True)
        return
    query = sa.text("SELECT tbl, idx, stat FROM sqlite_stat1 WHERE tbl IN ('participants', 'events')")
    statistics = [row._asdict() for row in connection.execute(query)]  # which go with the tables
    for table, columns in INDEXES.items():
        name = f"ix_{table}_channel"
        op.drop_index(name, table)
        with op.batch_alter_table(table, recreate="always") as batch:
            batch.alter_column("channel_id", existing_type=sa.Text(), nullable=True)
        op.create_index(name, table, columns, sqlite_where=sa.text("channel_id IS NOT NULL"))
    connection.execute(sa.text("DELETE FROM sqlite_stat1 WHERE tbl IN ('participants', 'events')"))
    connection.execute(sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"), statistics)
    connection.exec_driver_sql("ANALYZE sqlite_master")  # reads it
