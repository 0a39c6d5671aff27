"""The webhooks of all tenants, as they are read when the server starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from ..schema import webhooks
from .reading import reading

if TYPE_CHECKING:
    from ..database import Database


async def all_webhooks(database: Database) -> list[dict[str, Any]]:
    """The columns of each, oldest first."""
    async with reading(database) as connection:
        rows = await connection.execute(select(webhooks).order_by(webhooks.c.created_at, webhooks.c.id))
        return [dict(row) for row in rows.mappings()]
