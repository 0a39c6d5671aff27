"""Bad frames on both WebSockets of a server: the right error or close, nothing in its log, nothing left over."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType

from signalling import CLOSE_CODES, ERROR_CODES
from tests.fuzz.mutator import mutations

from .scenes import Outcome, Scenes, needs_namespaces
from .settings import ADMIN_TOKEN, Settings
from .stage import Stage, stage_with_server

pytestmark = [pytest.mark.interop, pytest.mark.netns]
scenes: Scenes[Stage] = Scenes()

DATABASE_FILES = 3  # the write-ahead log and its index open with the first write
SIP_FRAMES, AT_A_TIME = 3_000, 100
CONNECTIONS, FRAMES_EACH = 12, 60  # below the 100 that a client may send at once
COMMANDS = (
    "hello", "join", "resume", "leave", "end", "chat", "hold", "dtmf", "hangup", "ping", "mute", "offer", "answer",
    "candidate", "call", "accept", "reject",
)  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, -1, 0, 2**63, 1e308, "", "x", "0", "9" * 400, "\x00", "\ud800", "v=0\r\n", [], {}, [[]] * 9, {"a": {}},
)  # fmt: skip
FIELDS = (
    "id", "token", "session", "seq", "text", "on", "digits", "sdp", "candidate", "mid", "number", "caller", "call",
    "version", "name", "channel",
)  # fmt: skip
FORBIDDEN = (
    b"\xc1\x80",  # RSV1 without an extension
    b"\x83\x80",  # an opcode that does not exist
    b"\x81\x05hello",  # not masked (RFC 6455 5.1)
    b"\x89\xff" + bytes(7) + b"\xff" + bytes(4),  # a ping of 255 bytes
    b"\x09\x80" + bytes(4),  # a ping in fragments
    b"\x80\x80" + bytes(4),  # a continuation of nothing
    b"\x81\xff" + b"\xff" * 8 + bytes(4),  # a length with its highest bit set
    b"\x81\xff" + b"\x00\x00\x00\xff" + bytes(8),  # a terabyte
    b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # text that is not UTF-8
    b"\x88\x81\x00\x00\x00\x00\x01",  # a close of one byte
    b"\x88\x82\x00\x00\x00\x00\x00\x01",  # a close with code 1
    b"\x81",
    b"",
)
"What RFC 6455 forbids, as octets."


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    needs_namespaces()  # the SIP messages name hosts of other people

    return scenes.play(request, lambda: watched(tmp_path_factory.mktemp("frames")), at_once=1)


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Stage]:
    """A server that must have no more open files at the end than at the beginning."""
    async with stage_with_server(folder, Settings().add_extensions(1001, 2), captures=False) as stage:
        before = descriptors(stage)
        yield stage
        assert descriptors(stage) <= before + DATABASE_FILES


@asynccontextmanager
async def http(stage: Stage) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(
        socket_factory=lambda info: stage.network.socket(socket.AddressFamily(info[0]), info[1], info[2])
    )
    base = f"http://127.0.0.1:{stage.server.http_port}"
    async with aiohttp.ClientSession(base, connector=connector) as client:
        yield client


def descriptors(stage: Stage) -> int:
    """Open files of the server."""
    return len(os.listdir(f"/proc/{stage.server.program.pid}/fd"))


@scenes.add
async def broken_sip_over_websocket(stage: Stage) -> None:
    """As text or binary, on connections that stay open: the next good message is answered on the same one."""
    chance = random.Random(7118)
    frames = list(mutations(7118, SIP_FRAMES))
    async with http(stage) as client:
        for start in range(0, SIP_FRAMES, AT_A_TIME):
            async with client.ws_connect("/sip", protocols=["sip"]) as ws:
                for data in frames[start : start + AT_A_TIME]:
                    if chance.random() < 0.5:
                        await ws.send_bytes(data[:60_000])
                    else:
                        await ws.send_str(data[:60_000].decode("latin-1")[:30_000])
                assert await _answers(ws, stage.server.place), f"silent after messages {start} and on"


async def _answers(ws: aiohttp.ClientWebSocketResponse, place: str) -> bool:
    """Whether an OPTIONS gets an answer, whatever else comes before it."""
    call_id = secrets.token_hex(8)
    lines = [
        f"OPTIONS sip:{place} SIP/2.0",
        f"Via: SIP/2.0/WS x.invalid;branch=z9hG4bK{call_id}",
        "From: <sip:x@x.invalid>;tag=1",
        f"To: <sip:{place}>",
        f"Call-ID: {call_id}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    await ws.send_str("\r\n".join(lines) + "\r\n\r\n")
    async with asyncio.timeout(10):
        async for message in ws:
            text = message.data if message.type is WSMsgType.TEXT else bytes(message.data).decode("latin-1")
            if text.startswith("SIP/2.0 ") and call_id in text:
                return True
    return False


@scenes.add
async def broken_frames_on_the_channel(stage: Stage) -> None:
    """Every one is answered by an error that the document names, or by a close that it names."""
    chance = random.Random(6455)
    answers = 0
    async with http(stage) as client:
        for number in range(CONNECTIONS):
            async with client.ws_connect("/ws", protocols=["ringway.v1"]) as ws:
                if number % 3:
                    await ws.send_json({"type": "hello", "token": ADMIN_TOKEN})
                for _ in range(FRAMES_EACH):
                    await ws.send_str(_frame(chance))
                answers += await _errors(ws)
    assert answers > CONNECTIONS * FRAMES_EACH / 2


def _frame(chance: random.Random) -> str:
    """A frame of a command with fields that are wrong, or no JSON object at all."""
    match chance.randrange(5):
        case 0:
            return chance.choice(
                ("", "{", "[]", "null", '{"type":1}', "[" * 30_000, '{"a":' * 9_000, '{"type":NaN}', "\x00")
            )
        case 1:
            good = json.dumps({"type": chance.choice(COMMANDS), "id": "1", "session": "1", "text": "x"})
            at = chance.randrange(len(good))
            return good[:at] + chance.choice(('"', "{", "\\", "\u2028", "é", "}")) + good[at + chance.randrange(3) :]
        case _:
            fields = {name: chance.choice(VALUES) for name in chance.sample(FIELDS, chance.randrange(6))}
            fields.pop("token", None)
            return json.dumps({"type": chance.choice(COMMANDS), "id": "7", "session": "12345", **fields})


async def _errors(ws: aiohttp.ClientWebSocketResponse) -> int:
    """Errors until the connection closes or is quiet. AssertionError for what the document does not name."""
    count = 0
    while True:
        try:
            message = await ws.receive(1.0)
        except TimeoutError:
            return count
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING):
            assert message.type is not WSMsgType.CLOSE or message.data in CLOSE_CODES, message
            return count
        told = json.loads(message.data)
        if told["type"] == "error":
            assert told["code"] in ERROR_CODES or told["code"].startswith(("UNKNOWN_", "NOT_", "WRONG_", "LIMIT_")), (
                told
            )
            assert told["code"] != "INTERNAL", told
            count += 1


@scenes.add
async def what_the_websocket_protocol_forbids(stage: Stage) -> None:
    """The connection is closed, and is the only one."""
    async with http(stage) as client, client.ws_connect("/sip", protocols=["sip"]) as bystander:
        for path, protocol in (("/sip", "sip"), ("/ws", "ringway.v1")):
            for octets in FORBIDDEN:
                await _break(stage, path, protocol, octets)
        assert await _answers(bystander, stage.server.place)


async def _break(stage: Stage, path: str, protocol: str, octets: bytes) -> None:
    """A handshake, then these octets, then the end; the server is given up on by us only where it must not answer."""
    opened = stage.network.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(5):
            await loop.sock_connect(opened, ("127.0.0.1", stage.server.http_port))
            head = (
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
            )
            await loop.sock_sendall(opened, head.encode())
            assert (await loop.sock_recv(opened, 4096)).startswith(b"HTTP/1.1 101 ")
            await loop.sock_sendall(opened, octets)
            opened.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(opened, 4096):
                pass
    except ConnectionResetError:
        pass  # closed with our octets unread
    finally:
        opened.close()


@scenes.add
async def nothing_is_left_over(stage: Stage) -> None:
    await stage.server.idle()
    stage.server.check_log()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", scenes.names())
def test_18_bad_frames(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
