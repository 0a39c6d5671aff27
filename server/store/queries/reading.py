"""How queries read: a database that cannot be read is a refusal of ours, whatever its driver raises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection

from ..writer import StoreUnavailable

if TYPE_CHECKING:
    from ..database import Database

log = structlog.get_logger("server.store.reading")


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection for reading. StoreUnavailable when the database is down, or all its readers stay busy."""
    try:
        async with database.connect() as connection:
            yield connection
    except (DBAPIError, NoConnectionFree, OSError) as error:
        log.warning("database_unreadable", error=str(error))  # the driver's words are the operator's, not the client's
        raise StoreUnavailable("the database cannot be read") from error
