"""Every list that the dialects read from the database, asked as clients would, over `million.fill`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from server.store.database import Database
from server.store.queries import app_sessions, channels, events, invitations, realtimekit

from .million import BUSY_CHANNEL, BUSY_USER, CHANNELS, FROM_MS, SPAN_MS, TENANT, USERS

Ask = Callable[[Database, random.Random], Awaitable[Any]]
DAY_MS = 86_400_000
NOW_MS = FROM_MS + SPAN_MS
WORDS = ("Sales", "standup", "Weekly planning", "téléphone", "review 12", "Daily", "interview 99", "nothing like it")
SORTS: tuple[channels.Sort, ...] = ("started", "ended", "name", "presence")
SHORT_WORDS = ("un", "1", "de")


def _at(chance: random.Random) -> int:
    return FROM_MS + chance.randrange(SPAN_MS)


def _channel(chance: random.Random) -> str:
    number = int(chance.random() ** 3 * CHANNELS)
    return f"{number:08x}-0000-4000-8000-000000000000"


def _user(chance: random.Random) -> str:
    return f"user-{chance.randrange(USERS)}"


def _sessions_of_channels(
    filters: Callable[[random.Random], dict[str, Any]], page: Callable[[random.Random], dict[str, Any]] | None = None
) -> Ask:
    async def ask(database: Database, chance: random.Random) -> Any:
        wanted = channels.SessionFilter(TENANT, **filters(chance))
        async with database.connect() as connection:
            return await channels.find_sessions(
                connection, wanted, replace(channels.Page(), **(page(chance) if page else {}))
            )

    return ask


def _operator(user: str) -> channels.Operator:
    return channels.Operator("token-9", user)


def _sorted_sessions(sort: channels.Sort, descending: bool) -> Ask:
    return _sessions_of_channels(
        lambda _: {}, lambda c: {"sort": sort, "descending": descending, "offset": c.randrange(9) * 50}
    )


B7: dict[str, Ask] = {
    "newest": _sessions_of_channels(lambda _: {}),
    "a page of the first hundred": _sessions_of_channels(lambda _: {}, lambda c: {"offset": c.randrange(100) * 50}),
    "any page": _sessions_of_channels(lambda _: {}, lambda c: {"offset": c.randrange(899_000)}),
    **{
        f"by {sort}, {'desc' if descending else 'asc'}": _sorted_sessions(sort, descending)
        for sort in SORTS
        for descending in (True, False)
    },
    "of a day": _sessions_of_channels(lambda c: {"after": (at := _at(c)), "before": at + DAY_MS}),
    "of months": _sessions_of_channels(lambda c: {"after": (at := _at(c)), "before": at + c.randrange(300) * DAY_MS}),
    "since": _sessions_of_channels(lambda c: {"after": _at(c)}, lambda c: {"offset": c.randrange(9) * 50}),
    "recorded": _sessions_of_channels(lambda c: {"had_recording": c.random() < 0.5}),
    "recorded, of months": _sessions_of_channels(
        lambda c: {"had_recording": True, "after": (at := _at(c)), "before": at + c.randrange(300) * DAY_MS}
    ),
    "of a channel": _sessions_of_channels(lambda c: {"channel_id": _channel(c)}),
    "of the busiest channel": _sessions_of_channels(
        lambda _: {"channel_id": BUSY_CHANNEL}, lambda c: {"offset": c.randrange(400) * 50}
    ),
    "of the busiest channel, by name": _sessions_of_channels(
        lambda _: {"channel_id": BUSY_CHANNEL}, lambda c: {"sort": "name"}
    ),
    "search": _sessions_of_channels(lambda c: {"search": c.choice(WORDS)}),
    "search, of months": _sessions_of_channels(
        lambda c: {"search": c.choice(WORDS), "after": (at := _at(c)), "before": at + c.randrange(300) * DAY_MS}
    ),
    "search for one or two letters": _sessions_of_channels(lambda c: {"search": c.choice(SHORT_WORDS)}),
    "search, recorded": _sessions_of_channels(lambda c: {"search": c.choice(WORDS), "had_recording": True}),
    "as a host": _sessions_of_channels(lambda c: {"operator": _operator(_user(c))}),
    "as a host of many": _sessions_of_channels(lambda _: {"operator": _operator("user-17")}),
    "as the busiest host": _sessions_of_channels(lambda _: {"operator": _operator(BUSY_USER)}),
}


def _meetings(
    filters: Callable[[random.Random], dict[str, Any]], page: Callable[[random.Random], dict[str, Any]] | None = None
) -> Ask:
    async def ask(database: Database, chance: random.Random) -> Any:
        wanted = realtimekit.SessionFilter(TENANT, **filters(chance))
        part = replace(realtimekit.Page(0, 20), **(page(chance) if page else {}))
        async with database.connect() as connection:
            return await realtimekit.find_sessions(connection, wanted, part, now=NOW_MS)

    return ask


def _viewer(user: str) -> realtimekit.Viewer:
    return realtimekit.Viewer("token-9", user)


E1: dict[str, Ask] = {
    "newest": _meetings(lambda _: {}),
    "a page of the first hundred": _meetings(lambda _: {}, lambda c: {"offset": c.randrange(100) * 20}),
    "any page": _meetings(lambda _: {}, lambda c: {"offset": c.randrange(899_000)}),
    "oldest": _meetings(lambda _: {}, lambda c: {"descending": False, "offset": c.randrange(100) * 20}),
    "by minutes": _meetings(lambda _: {}, lambda c: {"by_minutes": True, "descending": c.random() < 0.5}),
    "by minutes, a page of the first hundred": _meetings(
        lambda _: {}, lambda c: {"by_minutes": True, "offset": c.randrange(100) * 20}
    ),
    "live": _meetings(lambda _: {"live": True}),
    "ended": _meetings(lambda _: {"live": False}, lambda c: {"offset": c.randrange(100) * 20}),
    "of a day": _meetings(lambda c: {"created_from": (at := _at(c)), "created_to": at + DAY_MS}),
    "of months": _meetings(lambda c: {"created_from": (at := _at(c)), "created_to": at + c.randrange(300) * DAY_MS}),
    "of months, by minutes": _meetings(
        lambda c: {"created_from": (at := _at(c)), "created_to": at + c.randrange(300) * DAY_MS},
        lambda _: {"by_minutes": True},
    ),
    "of months, ended": _meetings(
        lambda c: {"created_from": (at := _at(c)), "created_to": at + c.randrange(300) * DAY_MS, "live": False}
    ),
    "of a meeting": _meetings(lambda c: {"channel_id": _channel(c)}),
    "of the busiest meeting": _meetings(lambda _: {"channel_id": BUSY_CHANNEL}),
    "of participants": _meetings(lambda c: {"people": (f"cust-{c.randrange(USERS)}", _user(c))}),
    "of the busiest participant": _meetings(lambda _: {"people": (BUSY_USER,)}),
    "search": _meetings(lambda c: {"search": c.choice(WORDS)}),
    "search, live": _meetings(lambda c: {"search": c.choice(WORDS), "live": True}),
    "search, of months": _meetings(
        lambda c: {
            "search": c.choice(WORDS),
            "created_from": (at := _at(c)),
            "created_to": at + c.randrange(300) * DAY_MS,
        }
    ),
    "search for one or two letters": _meetings(lambda c: {"search": c.choice(SHORT_WORDS)}),
    "as a user": _meetings(lambda c: {"viewer": _viewer(_user(c))}),
    "as the busiest user": _meetings(lambda _: {"viewer": _viewer(BUSY_USER)}),
}


def _people(channel: Callable[[random.Random], str], search: str | None = None) -> Ask:
    async def ask(database: Database, chance: random.Random) -> Any:
        async with database.connect() as connection:
            return await channels.users_of_channel(
                connection, TENANT, channel(chance), search, limit=50, offset=chance.randrange(3) * 50
            )

    return ask


B6: dict[str, Ask] = {
    "of a channel": _people(_channel),
    "of a channel, search": _people(_channel, "SER-1"),
    "of the busiest channel": _people(lambda _: BUSY_CHANNEL),
    "of the busiest channel, search": _people(lambda _: BUSY_CHANNEL, "ser-12"),
}


def _apps(filters: Callable[[random.Random], dict[str, Any]], offset: int = 1) -> Ask:
    async def ask(database: Database, chance: random.Random) -> Any:
        wanted = app_sessions.AppSessionFilter(TENANT, **filters(chance))
        async with database.connect() as connection:
            return await app_sessions.find_app_sessions(connection, wanted, limit=50, offset=chance.randrange(offset))

    return ask


B11: dict[str, Ask] = {
    "newest": _apps(lambda _: {}),
    "any page": _apps(lambda _: {}, 180_000),
    "of a user": _apps(lambda c: {"user": _user(c)}),
    "of the busiest user": _apps(lambda _: {"user": BUSY_USER}),
    "of a channel": _apps(lambda c: {"channel_id": _channel(c)}),
    "of the busiest channel": _apps(lambda _: {"channel_id": BUSY_CHANNEL}),
    "by address": _apps(lambda c: {"url": c.choice(("interview", "demo/123", "training/", "/nowhere"))}),
    "by the whole beginning of addresses": _apps(lambda _: {"url": "https://app.example/"}),
    "of months": _apps(lambda c: {"after": (at := _at(c)), "before": at + c.randrange(300) * DAY_MS}),
    "by address, of months": _apps(lambda c: {"url": "demo", "after": (at := _at(c)), "before": at + 90 * DAY_MS}),
    "as a user": _apps(lambda c: {"reader": _operator(_user(c))}),
    "as the busiest user": _apps(lambda _: {"reader": _operator(BUSY_USER)}),
}


def _sittings(user: Callable[[random.Random], str], status: str | None = None, further: bool = False) -> Ask:
    async def ask(database: Database, chance: random.Random) -> Any:
        name = user(chance)
        before = _at(chance) << 20 if further else None
        async with database.connect() as connection:
            ids = await invitations.session_ids(connection, TENANT, name, limit=21, before=before, status=status)
            return await invitations.sittings(connection, ids, name)

    return ask


C6: dict[str, Ask] = {
    "of a user": _sittings(_user),
    "of a user, a state": _sittings(_user, "RESOLVED"),
    "of the busiest user": _sittings(lambda _: BUSY_USER),
    "of the busiest user, by cursor": _sittings(lambda _: BUSY_USER, further=True),
    "of the busiest user, a state": _sittings(lambda _: BUSY_USER, "ABANDONED"),
    "of the busiest user, a state that few have": _sittings(lambda _: BUSY_USER, "ACTIVE"),
    "of the busiest user, a state that none has": _sittings(lambda _: BUSY_USER, "PAUSED"),
}


def _events(filters: Callable[[random.Random], dict[str, Any]]) -> Ask:
    async def ask(database: Database, chance: random.Random) -> Any:
        after = (NOW_MS - chance.randrange(SPAN_MS // 10)) * 1000
        return await events.events_after(database, events.Wanted(TENANT, **filters(chance)), after, limit=100)

    return ask


EVENTS: dict[str, Ask] = {
    "all": _events(lambda _: {}),
    "of a kind": _events(lambda _: {"kinds": frozenset(["session.started"])}),
    "of a kind that never happens": _events(lambda _: {"kinds": frozenset(["chat.sent"])}),
    "of a channel": _events(lambda c: {"channel": _channel(c)}),
    "as a user": _events(lambda c: {"viewer": events.Viewer(_user(c), "token-9")}),
}

LISTS: dict[str, dict[str, Ask]] = {
    "B7 GET /sessions": B7,
    "B6 GET /channels/{uuid}/participants": B6,
    "B11 GET /app_sessions": B11,
    "C6 GET /api/v1/sessions": C6,
    "E1 GET …/realtime/kit/…/sessions": E1,
    "GET /events/history": EVENTS,
}
