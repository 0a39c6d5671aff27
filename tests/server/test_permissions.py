"""The matrix of permissions: complete, and every operation tried with every kind of token against a real session."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import pytest
from aiohttp import hdrs

from server.api.openapi import Body, Call, Dialect, Operation, operation, operations_of
from server.auth import PERMISSIONS, RANKS, SCOPES, Authenticator, Permission, may_begin, require, role_in
from server.errors import ApiError
from server.tokens import TokenBook
from server.web import make_app
from signalling import DEFAULT_TENANT, Principal, Role

from .house import TENANT, House
from .scenery import HOST, MARK, Scene, body_for, filled, operations, scene_in, user_of

NO_TOKEN = ("none", "expired", "revoked")
IN_THE_SESSION = {"viewer": "viewer", "bob": "member", "host": "host", "admin": "admin"}
"Token -> the highest level that it has in the session of a scene."
STRANGERS = ("stranger", "machine")
ELSEWHERE = ("other", "other-admin")
PUBLIC = {
    "/openapi.json",
    "/docs",
    "/docs/",
    "/",
    "/docs/docs.js",
    "/docs/docs.css",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
}
"What is no operation: pages without data."

OWN_REFUSALS: dict[str, set[int]] = {
    # No phone is registered in the scene.
    "pbx.session.create": {404},
    "pbx.session.call": {404},
    # For users linked with it, and hosts of its channels.
    "channels.app-session.get": {403},
    "channels.app-session.logs": {403},
    # No webhook failed.
    "webhooks.redeliver": {404},
    # Others than a host remove themselves alone.
    "realtimekit.meeting.leave": {403},
    # Nothing of the kind was made there: no transcript, no summary (E22).
    "realtimekit.session.transcript": {404},
    "realtimekit.session.summary": {404},
    "realtimekit.session.summarise": {404},
    # The inviter cannot answer its own invitation (C17); one that is not of the pair may not resend it.
    "invitations.accept": {403, 404},
    "invitations.decline": {403, 404},
    "invitations.resend": {403, 404},
    # Only who takes part in an invitation's pair is a party of its session.
    "invitations.session.get": {403, 404},
    "invitations.session.pause": {403, 404},
    "invitations.session.resume": {403, 404},
}
"401, 403 and 404 that an operation may answer to whom the matrix lets through, with the reason."


async def test_every_route_is_an_operation_of_the_matrix(house: House) -> None:
    known = {(declared.method, path) for _, declared, path in operations(house)}
    for _, declared, _ in operations(house):
        assert declared.permission in PERMISSIONS, declared
    app = house.client.app
    assert app is not None
    for route in app.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if route.method == hdrs.METH_ANY:  # for the methods that the path lacks: refused, whoever asks
            answer = await house.client.request("PROPFIND", re.sub(r"\{[^}]*\}", "1", path))
            assert answer.status == (404 if path == "/{path}" else 405), path
            continue
        method = "GET" if route.method == "HEAD" else route.method
        assert (method, path) in known or (path in PUBLIC and method == "GET"), f"{route.method} {path} has no entry"


async def test_an_operation_without_an_entry_is_refused() -> None:
    class Api:
        @operation("GET", "/stray", summary="Stray", tag="Stray", permission="nobody.knows")
        async def stray(self, call: Call) -> Body:
            """Not in the matrix."""
            return Body()

    stray = Dialect("Stray", "Stray.", operations_of(Api()), lambda *_: Body(), Body)
    with pytest.raises(ValueError, match=r"nobody\.knows"):
        make_app([stray], tokens=Authenticator(TokenBook()), why_not_ready=lambda: None)


def expected(declared: Operation, path: str, token: str) -> tuple[set[int] | None, str]:
    """The statuses that the matrix demands, and why; None: let through, so only the operation's own 4xx."""
    needs = declared.needs
    if needs.level == "open":
        return None, "open"
    if token in NO_TOKEN:
        return {401}, "no valid token"
    if needs.level == "admin":
        if token not in ("admin", "other-admin"):
            return {403}, "no admin"
        if token == "admin":
            return None, "admin"
        if needs.home:
            return {403}, "another account's admin, and the whole server's thing"
        return ({404}, "another tenant's thing") if "{" in path else (None, "its own tenant's")
    if needs.level != "user" and "{" not in path and declared.body is None:
        return None, "a list, which shows what the token may see"
    if token in ELSEWHERE:
        if needs.level != "user":
            return ({403, 404} if "{account_id}" in path else {404}), "another tenant's session"
        return None, "its own tenant's"
    if needs.level == "user":
        return None, "any token"
    level = IN_THE_SESSION.get(token, "user")
    if token in STRANGERS or RANKS[level] < RANKS[needs.level]:  # type: ignore[index]  # a level
        return {403}, f"{level} is below {needs.level}"
    return None, "its role is enough"


def complaint(declared: Operation, path: str, token: str, status: int, text: str) -> str | None:
    """What is wrong with an answer; None when it is as the matrix says."""
    demanded, why = expected(declared, path, token)
    own = OWN_REFUSALS.get(declared.permission, set())
    if demanded is not None:
        wrong = status not in demanded
    elif declared.needs.level == "open":
        wrong = status == 401 or status >= 500
    elif token in ELSEWHERE:
        wrong = status == 401 or status >= 500 or MARK in text
    elif token in STRANGERS:  # lists, and what asks for a role by its body, or for a user that the token has not
        # A stranger may have joined by an id that it knew (A3); a machine cannot have.
        wrong = status == 401 or status >= 500 or (token == "machine" and MARK in text)
    else:
        wrong = (status in {401, 403, 404} and status not in own) or status >= 500
    if demanded is not None and MARK in text:
        wrong = True
    if status == 501:
        wrong = False
    if not wrong:
        return None
    return f"{declared.method} {path} as {token}: {status}, not {demanded or 'let through'} ({why}): {text[:200]}"


@dataclass
class Tried:
    """What came of one request."""

    status: int
    text: str
    scene: Scene


async def attempt(house: House, declared: Operation, path: str, token: str) -> Tried:
    """The operation on a new scene, as the holder of `token`."""
    scene = scene_in(house)
    where = await filled(scene, path)
    body = body_for(declared, scene, user_of(token))
    headers = {"Ringway-User": HOST} if token == "admin" else None
    sent = None if token == "none" else token
    status, answer, _ = await house.call(declared.method, where, token=sent, json=body, headers=headers)
    return Tried(status, "" if answer is None else str(answer), scene)


async def test_every_operation_with_every_kind_of_token(house: House) -> None:
    complaints: list[str] = []
    let_in: dict[str, bool] = {}

    async def attempt_and_judge(declared: Operation, path: str, token: str) -> None:
        tried = await attempt(house, declared, path, token)
        session = tried.scene.session
        fault = complaint(declared, path, token, tried.status, tried.text)
        if fault is not None:
            complaints.append(fault)
        if tried.status in (401, 403, 404) and (session.ended or len(session.present()) != 3):
            complaints.append(f"{declared.method} {path} as {token} was refused, and yet changed the session")
        if not session.ended:
            await session.end()
        let_in[declared.permission] = let_in.get(declared.permission, False) or tried.status < 300

    for _, declared, path in operations(house):
        every = (*NO_TOKEN, *ELSEWHERE, *STRANGERS, *IN_THE_SESSION) if path == declared.path else ("none", "other")
        if not declared.streams:
            await asyncio.gather(*(attempt_and_judge(declared, path, token) for token in every))
    never = {name for name, succeeded in let_in.items() if not succeeded}
    complaints += [f"{name}: nobody ever succeeded, so it was not really tried" for name in sorted(never - UNTRIED)]
    assert not complaints, "\n" + "\n".join(complaints)


UNTRIED: set[str] = {
    # They need phones, artefacts or a second person: their dialects' own tests have them.
    "pbx.session.create",
    "pbx.session.call",
    "pbx.session.directly",
    "pbx.session.hold",
    "pbx.session.unhold",
    "pbx.session.refer",
    "realtimekit.session.transcript",
    "realtimekit.session.summary",
    "realtimekit.session.summarise",
    "realtimekit.download",
    "channels.recording.download",
    "invitations.resend",
    "invitations.session.resume",
    "join.answer",
    "invitations.session.dtmf",
    "realtimekit.meeting.join",
    "webhooks.redeliver",
}
"Permissions of which no operation succeeds on the scene."


async def test_streams_and_downloads_ask_for_tokens_too(house: House) -> None:
    for _, declared, path in operations(house):
        if declared.streams and declared.needs.level != "open":
            for token in NO_TOKEN:
                assert (await attempt(house, declared, path, token)).status == 401


async def test_a_scope_that_the_token_lacks_is_403(house: House) -> None:
    for scope in SCOPES:
        _, token = house.book.create(TENANT, f"only {scope}", role="admin", scopes=[scope])
        for _, declared, path in operations(house):
            wanted = declared.needs.scope not in ("", scope) and path == declared.path
            if not wanted or declared.needs.level == "open":
                continue
            scene = scene_in(house)
            where = await filled(scene, path)
            status, _, _ = await house.call(declared.method, where, token=token, json=body_for(declared, scene, HOST))
            assert status == 403, f"{declared.method} {path} with the scope {scope}: {status}"
            await scene.session.end()


async def test_a_revoked_token_opens_nothing_at_once(house: House) -> None:
    key, token = house.book.create(TENANT, "short-lived", role="admin")
    assert (await house.get("/api/sessions", token=token))[0] == 200
    house.book.revoke(TENANT, key.id)
    assert (await house.get("/api/sessions", token=token))[0] == 401


# The rules themselves.


@dataclass
class Room:
    """Anything that has roles."""

    tenant: str = DEFAULT_TENANT
    channel_id: str = "c1"
    host: str | None = "hanna"
    owner: str | None = None
    roles: dict[str, Role] | None = None

    def role_of(self, user: str) -> Role | None:
        return (self.roles or {}).get(user)


def somebody(user: str | None = "alice", **more: object) -> Principal:
    return Principal("somebody", "token", user=user, **more)  # type: ignore[arg-type]  # fields of a Principal


@pytest.mark.parametrize(
    ("principal", "room", "role"),
    [
        (somebody(), Room(), None),
        (somebody("hanna"), Room(), "host"),
        (somebody(), Room(roles={"alice": "viewer"}), "viewer"),
        (somebody(roles={"*": "member"}), Room(roles={"alice": "viewer"}), "member"),
        (somebody(roles={"c1": "host"}), Room(), "host"),
        (somebody(roles={"c2": "host"}), Room(), None),
        (somebody(None), Room(owner="token:somebody"), "host"),
        (somebody(None), Room(host=None), None),
        (somebody(tenant="other/app", roles={"*": "host"}), Room(), None),
        (Principal("boss", "admin"), Room(), "host"),
        (Principal("boss", "admin", tenant="other/app"), Room(), None),
    ],
)
def test_the_highest_role_counts_and_only_in_the_own_tenant(
    principal: Principal, room: Room, role: Role | None
) -> None:
    assert role_in(principal, room) == role


def test_what_does_not_exist_and_what_is_another_tenants_are_the_same_404() -> None:
    told = []
    for subject in (None, Room(tenant="other/app")):
        with pytest.raises(ApiError) as refused:
            require(Principal("boss", "admin"), Permission("viewer"), subject)
        told.append((refused.value.status, refused.value.code, refused.value.message))
    assert told[0] == told[1]
    assert told[0][0] == 404


def test_a_role_that_the_caller_knows_of_counts_too() -> None:
    assert require(somebody(), Permission("member"), Room(), "member") == "member"
    with pytest.raises(ApiError) as refused:
        require(somebody(), Permission("host"), Room(), "member")
    assert refused.value.status == 403


def test_the_whole_servers_things_are_for_the_account_that_runs_it() -> None:
    may_begin(Principal("boss", "admin"), Permission("admin", "admin", home=True), DEFAULT_TENANT)
    with pytest.raises(ApiError):
        may_begin(
            Principal("boss", "admin", tenant="other/app"), Permission("admin", "admin", home=True), DEFAULT_TENANT
        )
