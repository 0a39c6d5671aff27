"""Browsers with real media on the signalling channel: a whole server, aiohttp's WebSocket and aiortc as the browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from aiortc import RTCPeerConnection, RTCSessionDescription

from server.app import Server
from signalling import told
from tests.media.test_webrtc_leg import TONE_HZ, browser, level_hz

from .test_app import settings

LIMIT_S = 15.0
USERS = {"ann": "1001", "ben": "1002", "cleo": None}


def token_of(user: str) -> str:
    return f"token-of-{user}-for-these-tests"


class Page:
    """A page with a microphone that hears a tone: its socket, and one RTCPeerConnection at a time."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, *codecs: str) -> None:
        self.ws = ws
        self.codecs = codecs or ("opus",)
        self.peer: RTCPeerConnection | None = None
        self.events: list[str] = []
        self.frames: list[dict[str, Any]] = []
        self._results: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._ids = 0
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def result(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Of a command that must succeed."""
        self._ids += 1
        request = str(self._ids)
        self._results[request] = asyncio.get_running_loop().create_future()
        await self.ws.send_str(json.dumps({"type": kind, "id": request, **fields}))
        async with asyncio.timeout(LIMIT_S):
            frame = await self._results[request]
        assert frame["type"] == "result", frame
        result: dict[str, Any] = frame["result"]
        return result

    async def frame(self, kind: str) -> dict[str, Any]:
        """The next frame of a type, once."""
        await self.until(lambda: any(frame["type"] == kind for frame in self.frames))
        frame = next(frame for frame in self.frames if frame["type"] == kind)
        self.frames.remove(frame)
        return frame

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what the frames bring."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def offer(self) -> str:
        """Of a new connection."""
        self.peer = browser(*self.codecs)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def take_answer(self, sdp: str) -> None:
        assert self.peer is not None
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def answer(self, sdp: str) -> str:
        """To an offer for a new connection."""
        self.peer = browser(*self.codecs)
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return str(self.peer.localDescription.sdp)

    async def hears_the_tone(self) -> None:
        """By and by: what came before is heard first."""
        assert self.peer is not None
        async with asyncio.timeout(LIMIT_S):
            while abs(await level_hz(self.peer) - TONE_HZ) >= 20:
                pass

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self.ws.close()
        if self.peer is not None:
            await self.peer.close()

    async def _read(self) -> None:
        async for message in self.ws:
            assert message.type is WSMsgType.TEXT
            told.validate_json(message.data)
            frame = json.loads(message.data)
            if frame["type"] in ("result", "error"):
                self._results[frame["id"]].set_result(frame)
            elif frame["type"] == "event":
                self.events.append(frame["event"]["kind"])
            else:
                self.frames.append(frame)
            self._news.set()


class House:
    """A server and its pages."""

    def __init__(self, server: Server, stack: AsyncExitStack, client: aiohttp.ClientSession) -> None:
        self.server = server
        self._stack = stack
        self._client = client

    async def page(self, user: str, *codecs: str) -> Page:
        """A page that said hello."""
        ws = await self._client.ws_connect(f"http://127.0.0.1:{self.server.http_ports[0]}/ws", protocols=["ringway.v1"])
        page = Page(ws, *codecs)
        self._stack.push_async_callback(page.close)
        await page.result("hello", version=1, token=token_of(user))
        return page


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Ann and Ben have extensions."""
    server = Server(
        settings(
            extensions=[{"number": number, "password": "secret"} for number in ("1001", "1002")],
            users={
                "people": [{"id": user, "extensions": [number] if number else []} for user, number in USERS.items()]
            },
            tokens=[{"name": user, "token": token_of(user), "role": "member", "user": user} for user in USERS],
        )
    )
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield House(server, stack, client)


async def test_f2_two_who_join_with_an_offer_hear_each_other(house: House) -> None:
    ann, cleo = await house.page("ann"), await house.page("cleo")
    session = (await ann.result("join"))["session"]
    await cleo.result("join", session=session)
    for page in (ann, cleo):
        await page.take_answer((await page.result("offer", sdp=await page.offer()))["sdp"])
        await page.result("candidate", candidate=None)
    await ann.hears_the_tone()
    await cleo.hears_the_tone()
    await cleo.result("leave")
    await ann.until(lambda: "participant.left" in ann.events)


async def test_f2_a_browser_calls_the_echo_test_and_hears_itself(house: House) -> None:
    page = await house.page("cleo", "PCMU")
    await page.result("call", number="600", sdp=await page.offer())
    await page.take_answer((await page.frame("answer"))["sdp"])
    await page.hears_the_tone()  # after the spoken prompt
    await page.result("hangup")
    await page.until(lambda: "session.ended" in page.events)


async def test_f2_a_browser_calls_another_by_its_extension(house: House) -> None:
    ann, ben = await house.page("ann"), await house.page("ben")
    await ann.result("call", number="1002", sdp=await ann.offer())
    incoming = await ben.frame("incoming")
    assert incoming["from"] == "1001"
    await ben.result("accept", call=incoming["call"], sdp=await ben.answer(incoming["sdp"]))
    await ann.take_answer((await ann.frame("answer"))["sdp"])
    await ann.hears_the_tone()
    await ben.hears_the_tone()
    await ben.result("hangup")
    assert (await ann.frame("ended"))["status"] == 200


async def test_10_a_reload_in_a_call_and_the_call_goes_on(house: House) -> None:
    ann, ben = await house.page("ann"), await house.page("ben")
    session = (await ann.result("call", number="1002", sdp=await ann.offer()))["session"]
    incoming = await ben.frame("incoming")
    await ben.result("accept", call=incoming["call"], sdp=await ben.answer(incoming["sdp"]))
    await ann.take_answer((await ann.frame("answer"))["sdp"])
    await ann.hears_the_tone()
    await ben.close()
    again = await house.page("ben")
    await again.result("resume", session=session, seq=0)
    offer = await again.frame("offer")
    assert offer["fresh"]
    await again.result("answer", session=session, sdp=await again.answer(offer["sdp"]))
    await again.hears_the_tone()
    await ann.hears_the_tone()
    await ann.result("hangup")
    assert (await again.frame("ended"))["session"] == session
