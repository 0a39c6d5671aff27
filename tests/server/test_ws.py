"""The signalling channel over real WebSockets: `GET /ws`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType

from server.api.sockets import MAX_FRAME
from server.auth import PERMISSIONS
from server.sections import Config
from signalling import (
    ANSWERS,
    CLOSE_CODES,
    COMMANDS,
    ERROR_CODES,
    EVENT_KINDS,
    NOTICES,
    ChannelDesk,
    SessionEnded,
    told,
)
from tests.media.pauses import Pauses

from .house import OTHER_TENANT, TENANT, House, open_house

LIMIT_S = 5.0


class Browser:
    """One connection; frames that nobody has asked for yet wait in `events`."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self.ws = ws
        self.events: list[dict[str, Any]] = []
        self.notices: list[dict[str, Any]] = []
        self._ids = 0

    async def frame(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            message = await self.ws.receive()
        assert message.type is WSMsgType.TEXT, message
        told.validate_json(message.data)
        frame: dict[str, Any] = json.loads(message.data)
        if frame["type"] == "event":
            self.events.append(frame["event"])
        elif frame["type"] == "notice":
            self.notices.append(frame)
        return frame

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The result or error of a command."""
        self._ids += 1
        request = str(self._ids)
        await self.ws.send_str(json.dumps({"type": kind, "id": request, **fields}))
        while (frame := await self.frame()).get("id") != request:
            pass
        return frame

    async def result(self, kind: str, **fields: Any) -> dict[str, Any]:
        frame = await self.ask(kind, **fields)
        assert frame["type"] == "result", frame
        result: dict[str, Any] = frame["result"]
        return result

    async def refusal(self, kind: str, **fields: Any) -> str:
        frame = await self.ask(kind, **fields)
        assert frame["type"] == "error", frame
        return str(frame["code"])

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind that has not been looked for."""
        while True:
            for place, event in enumerate(self.events):
                if event["kind"] == kind:
                    del self.events[: place + 1]
                    return event
            await self.frame()

    async def closed(self) -> int:
        """With which code the server closes."""
        async with asyncio.timeout(LIMIT_S + 2):
            while True:
                message = await self.ws.receive()
                if message.type is WSMsgType.CLOSE:
                    return int(message.data)
                assert message.type is WSMsgType.TEXT, message


@asynccontextmanager
async def browser(house: House, token: str | None = "alice", **connect: Any) -> AsyncIterator[Browser]:
    """A connection; with `token`, one that said hello."""
    async with house.client.ws_connect("/ws", **connect) as ws:
        client = Browser(ws)
        if token is not None:
            await client.result("hello", version=1, token=house.tokens[token])
        yield client


async def test_f1_the_token_in_the_first_message(house: House) -> None:
    async with browser(house, None) as alice:
        welcome = await alice.result("hello", version=1, token=house.tokens["alice"])
        assert welcome["user"] == "alice"


async def test_f1_the_token_as_a_subprotocol_which_is_not_echoed(house: House) -> None:
    protocols = ["ringway.v1", f"token.{house.tokens['alice']}"]
    async with browser(house, None, protocols=protocols) as alice:
        assert alice.ws.protocol == "ringway.v1"
        assert (await alice.result("hello", version=1))["user"] == "alice"


async def test_f1_the_token_in_the_query_or_a_header(house: House) -> None:
    async with house.client.ws_connect(f"/ws?token={house.tokens['alice']}") as ws:
        assert (await Browser(ws).result("hello", version=1))["user"] == "alice"
    async with browser(house, None, headers={"Authorization": f"Bearer {house.tokens['bob']}"}) as bob:
        assert (await bob.result("hello", version=1))["user"] == "bob"


@pytest.mark.parametrize("token", ["expired", "revoked", "machine", "nonsense", ""])
async def test_f1_a_token_that_is_not_valid_is_refused(house: House, token: str) -> None:
    async with browser(house, None) as client:
        frame = await client.ask("hello", version=1, token=house.tokens.get(token, token))
        assert frame["code"] == ("FORBIDDEN" if token == "machine" else "UNAUTHORIZED")
        assert await client.closed() == 4401


async def test_f2_join_chat_leave_and_end(house: House) -> None:
    async with browser(house) as alice, browser(house, "bob") as bob:
        session = (await alice.result("join", title="Stand-up", name="Alice"))["session"]
        assert [who["user"] for who in (await bob.result("join", session=session))["participants"]] == ["alice", "bob"]
        assert (await alice.event("participant.joined"))["data"]["user"] == "alice"
        assert (await alice.event("participant.joined"))["data"]["user"] == "bob"
        await bob.result("chat", text="hello")
        assert (await alice.event("chat.sent"))["data"]["payload"] == "hello"
        assert await bob.refusal("end") == "FORBIDDEN"
        await bob.result("leave")
        await alice.event("participant.left")
        await alice.result("end")
        assert (await alice.event("session.ended"))["session"] == session
    status, answer = await house.post("/api/CallSession/_getParticipants", {"session": session})
    assert (status, answer) == (200, [])


async def test_f2_what_the_api_does_is_told_on_the_channel(house: House) -> None:
    session = house.session("hanna")
    async with browser(house) as alice:
        await alice.result("join", session=session.id)
        body = {"user": "bob", "session": session.id}
        assert (await house.post("/api/CallSession/joinSession", body, token="bob"))[0] == 200
        await alice.event("participant.joined")
        assert (await alice.event("participant.joined"))["data"]["user"] == "bob"


async def test_f3_seq_rises_by_one_and_resume_replays_what_was_missed(house: House) -> None:
    session = house.session("hanna")
    async with browser(house) as alice:
        seen = (await alice.result("join", session=session.id))["seq"]
    for number in range(300):  # more than is kept in memory
        session.say("hanna", f"message {number}")
    async with browser(house) as alice:
        await alice.result("resume", session=session.id, seq=seen)
        while not alice.events or alice.events[-1]["seq"] < session.last_seq:
            await alice.frame()
        assert [event["seq"] for event in alice.events] == list(range(seen + 1, session.last_seq + 1))
        assert [event["data"]["payload"] for event in alice.events] == [f"message {n}" for n in range(300)]
        assert alice.notices == []
        session.say("hanna", "and on")
        assert (await alice.frame())["event"]["seq"] == session.last_seq


async def test_f3_many_sessions_resumed_at_once_do_not_cut_a_client_that_reads(house: House) -> None:
    sessions = [house.session("alice") for _ in range(8)]
    for session in sessions:
        for _ in range(250):
            session.note("so it goes")
    async with browser(house) as alice:
        for session in sessions:
            await alice.ws.send_str(json.dumps({"type": "resume", "session": session.id, "seq": 2}))
        while len(alice.events) < 8 * 250:
            await alice.frame()
        for session in sessions:
            own = [event["seq"] for event in alice.events if event["session"] == session.id]
            assert own == list(range(3, 253))


async def test_f4_a_ping_is_answered(house: House) -> None:
    async with browser(house) as alice:
        assert await alice.result("ping") == {}


async def test_f5_errors_have_a_code_and_the_request_id(house: House) -> None:
    async with browser(house) as alice:
        assert await alice.refusal("join", session="1") == "UNKNOWN_SESSION"
        assert await alice.refusal("sing") == "UNKNOWN_COMMAND"
        assert await alice.refusal("chat", text="x") == "NOT_PARTICIPANT"
        await alice.result("join")
        assert await alice.refusal("offer", sdp="v=0") == "MEDIA_REFUSED"
        await alice.ws.send_str("{")
        assert (await alice.frame())["code"] == "BAD_REQUEST"


async def test_f6_a_reader_that_stops_is_cut_and_delays_nobody(house: House) -> None:
    session = house.session("hanna")
    async with browser(house, "bob") as slow, browser(house) as quick:
        await slow.result("join", session=session.id)
        await quick.result("join", session=session.id)
        transport = slow.ws._response.connection.transport  # type: ignore[union-attr]  # a client that does not read
        assert transport is not None
        transport.pause_reading()
        loop, spans = asyncio.get_running_loop(), []
        async with Pauses() as pauses:
            for number in range(2000):
                began = loop.time()
                session.say("hanna", f"{number} " + "x" * 10_000)
                await quick.event("chat.sent")
                spans.append((began, loop.time()))
                if session.participant("bob") is None or house_stays(house) == 1:
                    break
            else:
                raise AssertionError("the slow reader was never cut")
        assert max(end - start - pauses.between(start, end) for start, end in spans) < 1.0


def house_stays(house: House) -> int:
    """How many take part by a connection that is there."""
    owners = [getattr(follower, "__self__", None) for follower in house.registry.bus.followers[SessionEnded]]
    (desk,) = [owner for owner in owners if isinstance(owner, ChannelDesk)]
    counts = desk.counts()
    return counts["stays"] - counts["stays_lost"]


async def test_f7_a_frame_too_large_closes(house: House) -> None:
    async with browser(house) as alice:
        await alice.ws.send_str("x" * (MAX_FRAME + 1))
        assert await alice.closed() == WSCloseCode.MESSAGE_TOO_BIG


async def test_f7_a_binary_frame_closes(house: House) -> None:
    async with browser(house) as alice:
        await alice.ws.send_bytes(b"x")
        assert await alice.closed() == WSCloseCode.UNSUPPORTED_DATA


async def test_f7_a_flood_closes(house: House) -> None:
    async with browser(house) as alice:
        for _ in range(300):
            await alice.ws.send_str('{"type":"ping"}')
        assert await alice.closed() == 4429


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 101),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://crm.example"}, 101),
        ({"Sec-WebSocket-Protocol": "ringway.v2"}, 400),
    ],
)
async def test_f9_only_our_own_and_listed_pages_connect(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    config = Config.model_validate({"server": {"websocket_origins": ["https://crm.example"]}})
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async for house in open_house(tmp_path, config=config):
        async with house.client.get("/ws", headers={**upgrade, **headers}) as response:
            assert response.status == status
            assert "Sec-WebSocket-Extensions" not in response.headers


async def test_11_a_revoked_token_closes_within_five_seconds(house: House) -> None:
    key, token = house.book.create(TENANT, "short-lived", role="member", user="carol")
    async with browser(house, None) as carol:
        await carol.result("hello", version=1, token=token)
        began = time.monotonic()
        house.book.revoke(TENANT, key.id)
        assert await carol.closed() == 4401
        assert time.monotonic() - began < 5


async def test_11_a_token_that_expires_closes_within_five_seconds(house: House) -> None:
    _, token = house.book.create(TENANT, "brief", role="member", user="carol", expires_at=time.time() + 3600)
    async with browser(house, None) as carol:
        await carol.result("hello", version=1, token=token)
        began = time.monotonic()
        house.now[0] += 3601
        assert await carol.closed() == 4401
        assert time.monotonic() - began < 5


async def test_11_compression_is_off_even_when_it_is_offered(house: House) -> None:
    async with browser(house, compress=15) as alice:
        assert not alice.ws.compress


# The matrix.


def test_the_matrix_has_every_command_and_no_other() -> None:
    commands = {name.removeprefix("ws.") for name in PERMISSIONS if name.startswith("ws.")}
    assert commands == COMMANDS.keys() | {"connect", "describe"}


FRAMES: dict[str, dict[str, Any]] = {
    "chat": {"text": "x"},
    "hold": {"on": True},
    "dtmf": {"digits": "1"},
    "hangup": {},
    "mute": {"on": False},
    "offer": {"sdp": "v=0"},
    "answer": {"sdp": "v=0"},
    "candidate": {"candidate": None},
    "call": {"number": "600"},
    "end": {},
}
REFUSED = {"viewer": FRAMES.keys(), "bob": {"end"}, "host": set[str]()}


@pytest.mark.parametrize("token", REFUSED)
async def test_every_command_with_every_role(house: House, token: str) -> None:
    async with browser(house, token) as client:
        for name, fields in FRAMES.items():
            session = house.session("alice")
            await client.result("join", session=session.id)
            frame = await client.ask(name, session=session.id, **fields)
            assert (frame.get("code") == "FORBIDDEN") == (name in REFUSED[token]), (name, frame)
            if not session.ended:
                await client.result("leave", session=session.id)


async def test_another_tenants_session_does_not_exist(house: House) -> None:
    session = house.session("alice")
    async with browser(house, "other") as oscar:
        for name, fields in {**FRAMES, "join": {}, "leave": {}, "resume": {"seq": 0}}.items():
            assert await oscar.refusal(name, session=session.id, **fields) == "UNKNOWN_SESSION"
        own = await oscar.result("join")
        made = house.registry.get(own["session"])
        assert made is not None
        assert made.tenant == OTHER_TENANT


async def test_a_scope_that_the_token_lacks_is_refused(house: House) -> None:
    _, token = house.book.create(TENANT, "reader", role="member", user="rita", scopes=["sessions:read"])
    async with browser(house, None) as rita:
        await rita.result("hello", version=1, token=token)
        assert await rita.refusal("join") == "FORBIDDEN"


# The description.


async def test_the_description_has_every_message_and_only_references_that_lead_somewhere(house: House) -> None:
    status, described = await house.get("/asyncapi.json", token=None)
    assert status == 200
    assert described["asyncapi"] == "3.0.0"
    messages = described["components"]["messages"]
    assert {name.removeprefix("command.") for name in messages if name.startswith("command.")} == set(COMMANDS)
    assert {name.removeprefix("event.") for name in messages if name.startswith("event.")} == set(EVENT_KINDS)
    assert {name for name in messages if name.startswith("server.")} == {f"server.{name}" for name in ANSWERS} - {
        "server.event"
    }

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for each in node.values() for found in references(each)]
        return [found for each in node for found in references(each)] if isinstance(node, list) else []

    found = references(described)
    assert found
    for reference in found:
        node = described
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_the_whole_call_of_the_page_has_frames_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "channel.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith(('C {"type":"', 'S {"type":"'))]
    assert len(lines) > 20
    for line in lines:
        kind = line.split('"')[3]
        assert kind in (COMMANDS if line.startswith("C") else ANSWERS), line


def test_the_page_of_the_protocol_has_every_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "channel.md").read_text()
    for name in ANSWERS:
        assert f"| `{name}` |" in page, name
    for name in (*COMMANDS, *ERROR_CODES, *NOTICES, *map(str, CLOSE_CODES)):
        assert f"`{name}`" in page, name
