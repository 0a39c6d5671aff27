"""Browsers with real media on the signalling channel: a whole server, aiohttp's WebSocket and aiortc as the browser."""

from __future__ import annotations

import asyncio
import audioop
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from aiortc import RTCPeerConnection, RTCSessionDescription

from server.app import Server
from signalling import told
from tests.media.party import Party
from tests.media.test_video import Page as EyesAndEars
from tests.media.test_webrtc_leg import TONE_HZ, browser, level_hz
from tests.media.tones import steady_share, tone
from tests.sim.loopback import Loopback
from tests.sim.phones import SimPhone

from .test_app import settings

LIMIT_S = 15.0
PHONE_HZ = 700
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

    async def hears_the_tone(self, hz: float = TONE_HZ) -> None:
        """By and by: what came before is heard first."""
        assert self.peer is not None
        async with asyncio.timeout(LIMIT_S):
            while abs(await level_hz(self.peer) - hz) >= 20:
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


class Phone:
    """A SIP phone that says a tone of its own, in G.711."""

    def __init__(self, network: Loopback, number: str) -> None:
        self.sip: SimPhone = network.phone(number, "secret")
        self.rtp = Party(int(number))
        self.sip.rtp_port = self.rtp.port
        self.heard = bytearray()
        "16-bit samples at 8 kHz, of the last second."
        self._tasks = [asyncio.create_task(self._speak()), asyncio.create_task(self._listen())]

    async def hears_the_tone(self, hz: float = TONE_HZ) -> None:
        async with asyncio.timeout(LIMIT_S):
            while len(self.heard) < 16_000 or steady_share(bytes(self.heard), hz, 8_000) < 0.3:  # noqa: ASYNC110 -- what is heard has no event
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.rtp.close()

    async def _speak(self) -> None:
        at = 0
        while True:
            await asyncio.sleep(0.02)
            call = self.sip.calls[-1] if self.sip.calls else None
            if call is not None and call.state == "talking" and call.remote_sdp:
                self.rtp.aim(call.remote_sdp)
                self.rtp.send(0, audioop.lin2ulaw(tone(PHONE_HZ, 160, 8_000, at=at), 2))
                at += 160

    async def _listen(self) -> None:
        while True:
            with suppress(TimeoutError):
                packet = await self.rtp.receive()
                if packet.payload_type == 0:
                    self.heard += audioop.ulaw2lin(packet.payload, 2)
                    del self.heard[:-16_000]


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

    async def phone(self, number: str) -> Phone:
        """A registered phone."""
        port = next(listen.port for listen in self.server.sip_addresses if listen.transport == "UDP")
        network = Loopback(port)
        self._stack.callback(network.close)
        phone = Phone(network, number)
        self._stack.push_async_callback(phone.close)
        phone.sip.register()
        async with asyncio.timeout(LIMIT_S):
            while not phone.sip.registered_for_s:  # noqa: ASYNC110 -- the phone has no event for it
                await asyncio.sleep(0.01)
        return phone


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


async def test_f2_two_browsers_call_each_other_with_video(house: House) -> None:
    ann, ben = await house.page("ann"), await house.page("ben")
    ours, theirs = EyesAndEars(), EyesAndEars()
    await ann.result("call", number="1002", sdp=await ours.offer())
    incoming = await ben.frame("incoming")
    await ben.result("accept", call=incoming["call"], sdp=await theirs.answer(incoming["sdp"]))
    await ours.answered((await ann.frame("answer"))["sdp"])
    await ours.sees()
    await theirs.sees()
    await ours.close()
    await theirs.close()


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


async def test_10_who_comes_back_into_a_session_is_offered_the_codec_of_before(house: House) -> None:
    ann, cleo = await house.page("ann"), await house.page("cleo")
    session = (await ann.result("join"))["session"]
    await cleo.result("join", session=session)
    for page in (ann, cleo):
        await page.take_answer((await page.result("offer", sdp=await page.offer()))["sdp"])
    await ann.hears_the_tone()
    await cleo.close()
    again = await house.page("cleo")
    await again.result("resume", session=session, seq=0)
    offer = await again.frame("offer")
    (line,) = (line for line in offer["sdp"].splitlines() if line.startswith("m=audio "))
    assert f"a=rtpmap:{line.split()[3]} opus/48000/2" in offer["sdp"]
    await again.result("answer", session=session, sdp=await again.answer(offer["sdp"]))
    await again.hears_the_tone()
    await ann.hears_the_tone()


async def test_f2_a_browser_with_opus_calls_a_phone_with_g711(house: House) -> None:
    phone, page = await house.phone("1002"), await house.page("ann")
    phone.sip.script.answer_after_s = 0.2
    await page.result("call", number="1002", sdp=await page.offer())
    await page.take_answer((await page.frame("answer"))["sdp"])
    await page.hears_the_tone(PHONE_HZ)
    await phone.hears_the_tone()
    await page.result("dtmf", digits="5")
    phone.sip.call.bye()
    assert (await page.frame("ended"))["status"] == 200


async def test_f2_a_phone_calls_a_browser_and_a_second_one_joins(house: House) -> None:
    phone, ben, cleo = await house.phone("1001"), await house.page("ben"), await house.page("cleo")
    phone.sip.invite("1002")
    incoming = await ben.frame("incoming")
    await ben.result("accept", call=incoming["call"], sdp=await ben.answer(incoming["sdp"]))
    await ben.hears_the_tone(PHONE_HZ)
    await phone.hears_the_tone()
    await cleo.result("join", session=incoming["session"])
    await cleo.take_answer((await cleo.result("offer", sdp=await cleo.offer()))["sdp"])
    await ben.result("mute", on=True)
    await cleo.hears_the_tone(PHONE_HZ)
    await phone.hears_the_tone()
    await ben.result("hangup")
    await cleo.hears_the_tone(PHONE_HZ)
    await cleo.result("leave")
    await ben.until(lambda: "session.ended" in ben.events)
