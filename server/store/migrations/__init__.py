"""The versions of the database, oldest first; each is a file of Alembic's in `versions`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER = Path(__file__).parent
REVISIONS = ("0001", "0002", "0003")
"All that this version knows; kept here so that a start need not load Alembic to see that nothing is to be done."
HEAD = REVISIONS[-1]
VERSION_TABLE = "alembic_version"


class UnknownRevision(Exception):
    """The database is of a version that this Ringway does not know, or not one of Ringway's."""


def revision_of(connection: Connection) -> str | None:
    """The revision of the database; None when it is empty. UnknownRevision when it is none of ours."""
    from sqlalchemy import inspect

    tables = inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        if "sessions" in tables or "users" in tables:
            raise UnknownRevision(f"it has tables of its own, but no {VERSION_TABLE}: this is no database of Ringway's")
        return None
    found: Iterable[str] = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalars()
    revisions = sorted(found)
    if not revisions:
        return None
    if len(revisions) > 1 or revisions[0] not in REVISIONS:
        raise UnknownRevision(
            f"it is of revision {', '.join(revisions)}, this Ringway knows those up to {HEAD}: "
            "it was made by a newer version, which alone can open it"
        )
    return revisions[0]


def upgrade(connection: Connection) -> None:
    """Bring the database to HEAD within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    from ..schema import metadata

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    command.upgrade(config, "head")


def create(connection: Connection) -> None:
    """Make all tables of HEAD at once, for a database that lives no longer than the process."""
    from ..derived import make
    from ..schema import metadata

    metadata.create_all(connection, checkfirst=False)
    make(connection)
