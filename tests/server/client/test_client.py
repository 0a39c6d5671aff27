"""The Python client against a whole server, and against one that fails."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.client import (
    BadRequest,
    Conflict,
    Event,
    Forbidden,
    NoAnswer,
    NotFound,
    Refused,
    Ringway,
    RingwayError,
    ServerFault,
    TooManyRequests,
    Unauthorized,
    admin,
    app_sessions,
    callsession,
    channels,
    events,
    invitations,
    pbx,
    realtimekit,
    webhooks,
)
from server.client.errors import refusal
from server.client.transport import Transport
from server.web import DIALECTS
from signalling import session_id_of
from tests.server.house import House, open_house

from .generate import BY_HAND, FOLDER, MODULES, generated

HEAVY = ("sqlalchemy", "sip", "media", "signalling", "alembic", "aiortc", "numpy", "server.api", "server.store")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async for house in open_house(tmp_path):
        yield house


@pytest.fixture
def as_(house: House) -> Callable[[str], Ringway]:
    """A client with the token of that name."""
    return lambda token: Ringway(str(house.client.make_url("/")), house.tokens[token])


def test_the_client_needs_nothing_of_the_server() -> None:
    code = "import sys, server.client; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(HEAVY) & set(ran.stdout.split()) == set()


async def test_the_modules_are_what_the_generator_makes(house: House) -> None:
    app = house.client.app
    assert app is not None
    for name, code in (await asyncio.to_thread(generated, app[DIALECTS])).items():
        assert (FOLDER / name).read_text() == code, f"{name}: run `make client`"


async def test_every_operation_for_programs_has_a_method(house: House) -> None:
    app = house.client.app
    assert app is not None
    pages = {"Join page", "Phone page", "SIP over WebSocket", "Signalling channel"}
    assert {dialect.name for dialect in app[DIALECTS]} - set(MODULES) <= pages
    assert set(BY_HAND) == {"GET /events"}


async def test_one_session_through_all_five_dialects(as_: Callable[[str], Ringway]) -> None:
    async with as_("alice") as ringway, as_("bob") as bob, as_("admin") as operator:
        made = await ringway.callsession.create_session(callsession.CreateSession(host="alice", name="Talk"))
        await bob.callsession.join_session(callsession.UserAndSession(user="bob", session=made.session))
        users = await ringway.callsession.get_participants(callsession.OneSession(session=made.session))
        assert [user.user for user in users.root] == ["alice", "bob"]
        item = await ringway.channels.get_session(made.session)
        assert session_id_of(item.id) == made.session
        assert item.ended is None
        page = await operator.channels.list_sessions(channels.SessionsQuery(limit=5))
        assert [one.id for one in page.results] == [item.id]
        found = await ringway.invitations.get_session(made.session)
        assert found.data.status == "ACTIVE"
        live = await ringway.pbx.get_session(made.session)
        assert (live.id, live.calls) == (made.session, [])
        people = await ringway.realtimekit.list_participants(
            made.session, realtimekit.ParticipantQuery(search="bob", include_peer_events=True)
        )
        assert [person.custom_participant_id for person in people.data.participants] == ["bob"]
        await ringway.pbx.destroy_session(made.session)
        assert (await ringway.realtimekit.get_session(made.session)).data.status == "ENDED"
        history = await ringway.events.history(events.HistoryQuery(session=made.session))
        assert history.events[-1].kind == "session.ended"


async def test_the_other_groups(as_: Callable[[str], Ringway]) -> None:
    async with as_("admin") as ringway:
        assert (await ringway.health.healthz()).status == "ok"
        made = await ringway.admin.create_extension(admin.Extension(number="2001", password="a password"))
        assert made.source == "database"
        assert "2001" in {entry.number for entry in (await ringway.admin.list_extensions()).items}
        assert (await ringway.admin.remove_extension("2001")).removed == "2001"
        user = await ringway.admin.add_user(admin.NewUser(id="a/b c", handle="Ann"))
        assert (await ringway.admin.user("a/b c")) == user
        hook = await ringway.webhooks.create(webhooks.NewWebhook(url="https://192.0.2.1/", kinds=["leg.*"]))
        changed = await ringway.webhooks.change(hook.id, webhooks.Change(active=False))
        assert (changed.active, changed.kinds) == (False, ["leg.*"])
        acting = ringway.acting_for("alice")
        register = app_sessions.RegisterApp(started=1_700_000_000_000, url="https://example.com/")
        registered = await acting.app_sessions.register("client-1", register)
        await acting.app_sessions.add_log(str(registered.id), app_sessions.LogBody(time=1, data="it works"))
        assert "it works" in await acting.app_sessions.get_logs(str(registered.id))
        await acting.invitations.create_session(invitations.CreateSession(inviteEmail="bob@example.com"))
        assert len((await acting.invitations.list_sessions()).data.sessions) == 1
        assert (await ringway.acting_for("bob").invitations.list_sessions()).data.sessions == []


async def test_b1_a_parameter_that_may_be_missing(as_: Callable[[str], Ringway]) -> None:
    async with as_("alice") as ringway:
        channel = await ringway.channels.create_channel(channels.CreateChannel(name="Room"))
        await ringway.channels.join_session(channel.id)
        await ringway.channels.end_session(channel.id, "1801439850948198400")
        assert (await ringway.channels.get_channel(channel.id)).session is not None
        await ringway.channels.end_session(channel.id)
        assert (await ringway.channels.get_channel(channel.id)).session is None


async def test_errors_of_each_dialect(as_: Callable[[str], Ringway], house: House) -> None:
    nowhere = "1801439850948198400"
    async with as_("alice") as ringway:
        asks: list[tuple[Awaitable[object], type[Refused], str]] = [
            (ringway.callsession.get_participants(callsession.OneSession(session=nowhere)), NotFound, ""),
            (ringway.channels.get_session(nowhere), NotFound, "SESSION_NOT_FOUND"),
            (ringway.invitations.get_session(nowhere), NotFound, ""),
            (ringway.pbx.get_session(nowhere), NotFound, "UNKNOWN_SESSION"),
            (ringway.realtimekit.get_session(nowhere), NotFound, ""),
            (
                ringway.pbx.create_session(pbx.CreateSession(caller="", callee="1", send_sdp=True)),
                BadRequest,
                "BAD_REQUEST",
            ),
            (ringway.admin.list_extensions(), Forbidden, "FORBIDDEN"),
        ]
        for ask, kind, code in asks:
            with pytest.raises(kind) as caught:
                await ask
            assert caught.value.message
            assert isinstance(caught.value.body, dict)
            assert not code or caught.value.code == code
        session = house.session("alice")
        again = ringway.callsession.join_session(callsession.UserAndSession(user="alice", session=session.id))
        with pytest.raises(Conflict, match=r"^409"):
            await again
    async with Ringway(str(house.client.make_url("/")), "nobody's") as stranger:
        with pytest.raises(Unauthorized, match="401 UNAUTHORIZED: the token is not valid"):
            await stranger.channels.list_sessions()


def test_an_error_that_is_none_of_ours() -> None:
    error = refusal(502, "<html>Bad gateway</html>")
    assert isinstance(error, ServerFault)
    assert str(error) == "502: <html>Bad gateway</html>"
    assert str(refusal(404, None)) == "404: no reason given"
    assert isinstance(refusal(429, {}, 3.0), TooManyRequests)


# A server that fails.


class Failing:
    """Answers with the statuses it was given, then with success; 0 closes the connection, -1 never answers."""

    def __init__(self, *statuses: int, answer: object = None) -> None:
        self.statuses = [*statuses]
        self.answer = {"status": "ok"} if answer is None else answer
        self.seen: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        if status == -1:
            await asyncio.sleep(5)
        if status >= 400:
            headers = {"Retry-After": "7"} if status == 503 else {}
            return web.json_response({"error_code": "NO", "message": "no"}, status=status, headers=headers)
        return web.json_response(self.answer)


@asynccontextmanager
async def client_of(failing: Failing, *, timeout_s: float = 5.0) -> AsyncIterator[tuple[Ringway, list[float]]]:
    """A client, and the seconds that it has waited."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", failing.handle)
    async with TestServer(app) as server, Ringway(str(server.make_url("/")), "t", timeout_s=timeout_s) as ringway:
        transport = ringway.health.transport
        object.__setattr__(transport, "sleep", sleep)
        yield ringway, slept


@pytest.mark.parametrize("failures", [(0, 0), (503, 502), (0, 504)])
async def test_what_does_no_harm_twice_is_tried_again(failures: tuple[int, ...]) -> None:
    failing = Failing(*failures)
    async with client_of(failing) as (ringway, slept):
        assert (await ringway.health.healthz()).status == "ok"
        assert len(failing.seen) == 3
        assert 1 <= len(slept) <= 2  # aiohttp itself repeats a GET when a kept connection turns out to be closed
        assert slept[0] == 7.0 if 503 in failures else slept[0] < 0.3


@pytest.mark.parametrize("failure", [0, 503])
async def test_a_post_is_not_repeated_without_an_idempotency_key(failure: int) -> None:
    body = pbx.CreateSession(caller="1", callee="2", send_sdp=True)
    failing = Failing(failure, answer={"id": "7"})
    async with client_of(failing) as (ringway, slept):
        with pytest.raises(NoAnswer if failure == 0 else ServerFault):
            await ringway.pbx.create_session(body)
        assert (len(failing.seen), slept) == (1, [])
    failing = Failing(failure, answer={"id": "7"})
    async with client_of(failing) as (ringway, _):
        assert await ringway.pbx.create_session(body, idempotency_key="k") == pbx.SessionId(id="7")
        assert [request.headers["Idempotency-Key"] for request in failing.seen] == ["k", "k"]


async def test_what_was_refused_is_not_tried_again() -> None:
    failing = Failing(404)
    async with client_of(failing) as (ringway, _):
        with pytest.raises(NotFound, match="404 NO: no"):
            await ringway.health.healthz()
        assert len(failing.seen) == 1


async def test_time_runs_out() -> None:
    async with client_of(Failing(-1, -1, -1), timeout_s=0.05) as (ringway, _):
        with pytest.raises(NoAnswer, match="GET http"):
            await ringway.health.healthz()


async def test_an_answer_that_is_not_as_described() -> None:
    async with client_of(Failing(answer=["?"])) as (ringway, _):
        with pytest.raises(RingwayError, match="not as described"):
            await ringway.health.healthz()


async def test_a_quiet_error_of_the_call_session_dialect_is_raised() -> None:
    async with client_of(Failing(answer={"error": "gone"})) as (ringway, _):
        with pytest.raises(Refused, match="gone"):
            await ringway.callsession.get_participants(callsession.OneSession(session="1"))


# Events.


async def some(listening: AsyncIterator[Event], count: int) -> list[Event]:
    """The next events."""
    async with asyncio.timeout(5):
        return [await anext(listening) for _ in range(count)]


async def test_events_as_they_happen(as_: Callable[[str], Ringway], house: House) -> None:
    session = house.session("alice")
    async with (
        as_("alice") as ringway,
        aclosing(ringway.listen(session=session.id, kinds=["participant.*"], after="evt_0")) as listening,
    ):
        (first,) = await some(listening, 1)
        assert (first.kind, first.data["user"]) == ("participant.joined", "alice")
        session.join("bob")
        (second,) = await some(listening, 1)
        assert second.data["user"] == "bob"


async def test_listening_to_what_one_may_not_see_is_refused(as_: Callable[[str], Ringway], house: House) -> None:
    session = house.session("alice")
    async with as_("other") as ringway:
        with pytest.raises(NotFound):
            await anext(ringway.listen(session=session.id))


async def test_a_lost_stream_goes_on_where_it_ended() -> None:
    seen: list[str | None] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Last-Event-ID"))
        if len(seen) == 2:
            return web.json_response({"error_code": "UNAVAILABLE", "message": "later"}, status=503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 5\n\n: still here\n\n")
        number = len(seen)
        body = '{"id": "evt_%d", "kind": "chat.sent", "session": "1", "channel": "c", "seq": 1, "at": "", "data": {}}'
        await response.write(f"id: evt_{number}\r\nevent: chat.sent\r\ndata: {body % number}\r\n\r\n".encode())
        await response.write(b'id: evt_99\ndata: {"half": ')  # never comes to its end
        return response

    app = web.Application()
    app.router.add_get("/events", stream)
    async with (
        TestServer(app) as server,
        Ringway(str(server.make_url("/")), "t") as ringway,
        aclosing(ringway.listen(kinds=["chat.sent"])) as listening,
    ):
        got = await some(listening, 2)
    assert [event.id for event in got] == ["evt_1", "evt_3"]
    assert seen == [None, "evt_1", "evt_1"]


def test_a_token_is_not_shown_by_repr() -> None:
    assert "secret" not in repr(Transport("http://x", "secret", "a", "b", 1.0, 1, http=None))  # type: ignore[arg-type]  # no request is made
