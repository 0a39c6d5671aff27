"""Who may do what, as far as it was decided while the server ran: API keys, and entries of the configuration."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from ..settings import Kind, Settings
from ..tokens import ApiKey, TokenBook
from .schema import config_entries, tokens
from .writer import Writer


def keep_tokens(book: TokenBook, writer: Writer) -> None:
    """Write every key that is made or revoked from now on."""
    book.on_change = lambda key: writer.write("tokens", token_row(key))


async def restore_tokens(connection: AsyncConnection, book: TokenBook) -> None:
    """Take the keys that are stored."""
    for row in await connection.execute(select(tokens).order_by(tokens.c.created_at, tokens.c.id)):
        book.put(token_of(row))


def keep_settings(settings: Settings, writer: Writer) -> None:
    """Write every entry that is made, changed or removed from now on."""

    def stored(kind: Kind, name: str, place: int, body: str | None) -> None:
        if body is None:
            writer.write("config_entries", {"kind": kind, "name": name}, "delete")
        else:
            entry = {"kind": kind, "name": name, "place": place, "body": body, "updated_at": writer.now_ms()}
            writer.write("config_entries", entry)

    settings.stored = stored


async def restore_settings(connection: AsyncConnection, settings: Settings) -> None:
    """Take the entries that are stored. ConfigError names what can no longer be used."""
    columns = (config_entries.c.kind, config_entries.c.name, config_entries.c.place, config_entries.c.body)
    rows = (await connection.execute(select(*columns).order_by(*columns[:2]))).all()
    settings.restore([(row.kind, row.name, row.place, row.body) for row in rows])


def token_row(key: ApiKey) -> dict[str, Any]:
    """A key as the table has it."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "user_id": key.user,
        "token_sha256": key.digest.hex(),
        "role": key.role,
        "scopes": list(key.scopes),
        "allow": list(key.allow),
        "channel_roles": dict(key.channel_roles),
        "created_at": round(key.created_at * 1000),
        "expires_at": None if key.expires_at is None else round(key.expires_at * 1000),
        "revoked_at": None if key.revoked_at is None else round(key.revoked_at * 1000),
    }


def token_of(row: Any) -> ApiKey:
    """A key from its row."""
    return ApiKey(
        row.id,
        row.tenant,
        row.name,
        bytes.fromhex(row.token_sha256),
        row.role,
        row.user_id,
        tuple(json.loads(row.scopes or "[]")),
        tuple(json.loads(row.allow or "[]")),
        json.loads(row.channel_roles or "{}"),
        row.created_at / 1000,
        None if row.expires_at is None else row.expires_at / 1000,
        None if row.revoked_at is None else row.revoked_at / 1000,
    )
