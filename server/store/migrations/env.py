"""What Alembic runs; the connection and the tables come from `upgrade`."""

from __future__ import annotations

from alembic import context

# A failed migration leaves the database as it was: SQLite can roll back tables as PostgreSQL does, if it is let.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
