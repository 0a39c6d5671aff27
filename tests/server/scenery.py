"""Requests for every operation that the server has, against a real session set up for it.

An operation of a new dialect needs nothing here, unless its path has a parameter that PARAMETERS does not know, or its
body has a field whose sample cannot be made from the schema: then give `examples={"body": ...}` to its declaration.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from server.api.examples import example_of
from server.api.openapi import Dialect, Operation
from server.web import DIALECTS
from signalling import Session, peer_of, uuid_of_peer

from .house import ACCOUNT, APP, TENANT, TOKENS, House

HOST, MEMBER, VIEWER = "hanna", "bob", "vera"
MARK = "mark-of-the-session-of-the-tests"
"The name of each session: where it shows, the session has been seen."


@dataclass
class Scene:
    """A live session with a host, a member and a viewer, and what hangs on it."""

    house: House
    session: Session
    made: dict[str, str] = field(default_factory=dict)
    "What was made for parameters of paths: kind -> id."


def scene_in(house: House) -> Scene:
    """A new session with its three participants."""
    session = house.session(HOST, name=MARK)
    session.join(MEMBER)
    session.join(VIEWER, role="viewer")
    return Scene(house, session)


def operations(house: House) -> Iterator[tuple[Dialect, Operation, str]]:
    """Each operation with each of its paths."""
    for dialect in house.client.app[DIALECTS]:
        for bound in dialect.operations:
            for path in bound.operation.paths:
                yield dialect, bound.operation, path


# Parameters of paths.

Value = Callable[[Scene], Awaitable[str]]


async def _session(scene: Scene) -> str:
    return scene.session.id


async def _channel(scene: Scene) -> str:
    return scene.session.channel_id


async def _peer(scene: Scene) -> str:
    peer = uuid_of_peer(scene.session.id, 0)
    assert peer_of(peer) == (scene.session.id, 0)
    return peer


def _always(value: str) -> Value:
    async def give(_scene: Scene) -> str:
        return value

    return give


def _made(
    kind: str, path: str, body: Callable[[int], dict[str, Any]], where: Callable[[Any], str], token: str = "admin"
) -> Value:
    """The id of something that a POST makes, once a scene; `body` makes another one for each number."""

    async def give(scene: Scene) -> str:
        if kind not in scene.made:
            status, answer = await scene.house.post(path, body(next(_fresh)), token=token)
            assert status < 300, (path, status, answer)
            scene.made[kind] = where(answer)
        return scene.made[kind]

    return give


async def _user(scene: Scene) -> str:
    scene.house.registry.people.see(TENANT, MEMBER)
    return MEMBER


async def _key(scene: Scene) -> str:
    return scene.house.book.create(TENANT, "to be looked at")[0].id


def _setting(kind: str, made: Callable[[str], dict[str, Any]]) -> Value:
    """The name of a new extension, trunk, route or number."""

    async def give(scene: Scene) -> str:
        fresh = f"7{next(_fresh):06}"
        status, answer = await scene.house.post(f"/admin/v1/{kind}", made(fresh), token="admin")
        assert status == 201, (kind, status, answer)
        return fresh

    return give


async def _route(scene: Scene) -> str:
    trunk = await _trunk(scene)
    made = _setting("routes", lambda fresh: {"pattern": fresh, "trunks": [{"trunk": trunk}]})
    return await made(scene)


_fresh = itertools.count()
_trunk = _setting("trunks", lambda fresh: {"name": fresh, "hosts": ["sip:127.0.0.1:9"], "options_interval_s": 0})

PARAMETERS: dict[tuple[str, str], Value] = {
    ("/admin/v1/extensions", "name"): _setting("extensions", lambda fresh: {"number": fresh, "password": "a password"}),
    ("/admin/v1/trunks", "name"): _trunk,
    ("/admin/v1/routes", "name"): _route,
    ("/admin/v1/numbers", "name"): _setting("numbers", lambda fresh: {"number": fresh, "to": "600"}),
    ("/admin/v1/users", "id"): _user,
    ("/admin/v1/tokens", "id"): _key,
    ("/api/v1/invitations", "id"): _made(
        "invitation",
        "/api/v1/sessions",
        lambda number: {"inviteEmail": f"guest{number}@example.com"},
        lambda answer: str(answer["data"]["invitationId"]),
        token="bob",
    ),
    ("/webhooks", "id"): _made(
        "webhook",
        "/webhooks",
        lambda number: {"url": f"https://192.0.2.1/{number}"},
        lambda answer: str(answer["id"]),
    ),
    ("", "id"): _session,
    ("", "sessionId"): _session,
    ("", "session_id"): _session,
    ("", "uuid"): _channel,
    ("", "meeting_id"): _channel,
    ("", "participant_id"): _peer,
    ("", "peer_id"): _peer,
    ("", "user"): _always(MEMBER),
    ("", "name"): _always("1001"),
    ("", "account_id"): _always(ACCOUNT),
    ("", "app_id"): _always(APP),
    ("", "file"): _always("chat.csv"),
    ("", "clientId"): _always("client-1"),
    ("", "appSession"): _made(
        "app session",
        "/app_sessions/new/client-1",
        lambda number: {"started": 1_700_000_000_000 + number, "url": "https://example.com/"},
        lambda answer: str(answer["id"]),
        token="bob",
    ),
}
"""Beginning of the path and name of the parameter -> something real; the longest beginning is taken."""


async def filled(scene: Scene, path: str) -> str:
    """`path` with real values for its parameters. KeyError names the one that PARAMETERS lacks."""
    segments = []
    for segment in path.split("/"):
        if segment.startswith("{"):
            name = segment[1:-1]
            known = [start for start, named in PARAMETERS if named == name and path.startswith(start)]
            if not known:
                raise KeyError(f"tests/server/scenery.py: PARAMETERS has no {segment} of {path}")
            segment = await PARAMETERS[max(known, key=len), name](scene)
        segments.append(segment)
    return "/".join(segments)


# Bodies.

BY_NAME: dict[str, Callable[[Scene, str], Any]] = {
    "session": lambda scene, _user: scene.session.id,
    "sessionId": lambda scene, _user: scene.session.id,
    "user": lambda _scene, user: user,
    "host": lambda _scene, user: user,
    "channel": lambda scene, _user: scene.session.channel_id,
    "custom_participant_id": lambda _scene, user: user,
    "custom_participant_ids": lambda _scene, _user: [MEMBER],
}
"What a field of a body of this name must hold, whatever its schema would allow."


def body_for(operation: Operation, scene: Scene, user: str) -> Any:
    """A body that `operation` takes, sent by `user`; None when it takes none."""
    if operation.body is None:
        return None
    schema = operation.body.model_json_schema(mode="validation")
    body = operation.examples.get("body")
    if body is None:
        body = example_of(schema, schema.get("$defs", {}), whole=False)
    if isinstance(body, dict):
        named = BY_NAME.keys() & schema.get("properties", {}).keys()
        body = {**body, **{name: BY_NAME[name](scene, user) for name in named}}
    return body


def user_of(token: str) -> str:
    """For whom a token acts: its own user; an admin's for the host."""
    who = TOKENS.get(token)
    return HOST if who is None or who.user is None else who.user
