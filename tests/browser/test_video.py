"""Two Chromiums see and hear each other through the server: JsSIP, a camera, ICE restart, video that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.interop.coturn import Coturn
from tests.interop.scenes import Outcome, Scenes
from tests.interop.settings import USER_TOKEN, Settings, password_of
from tests.interop.stage import stage_with_server

from .chromium import ADDRESS, chromium
from .test_phone_page import Studio

pytestmark = pytest.mark.interop

SECRET = "only-for-these-tests"
TURN_PORT = 3478
AT_ONCE = 1  # two encoders and two decoders, on a machine of two cores
WAIT_S = 20.0

TELEPHONE = """
async ({socket, uri, password, iceServers, policy}) => {
  const {UA, WebSocketInterface} = await import("/phone/jssip.js");
  const pcConfig = {iceServers, iceTransportPolicy: policy};
  const calls = [];
  const ua = new UA({sockets: [new WebSocketInterface(socket)], uri, password, session_timers: false});
  const open = (video) => navigator.mediaDevices.getUserMedia({audio: true, video});
  const last = () => calls.at(-1);
  ua.on("newRTCSession", ({session}) => {
    calls.push(session);
    session.on("failed", (end) => { session.failure = end.cause; });
  });
  window.telephone = {
    dial: async (number, video) => ua.call(number, {mediaStream: await open(video), pcConfig}),
    ringing: () => last() !== undefined && last().isInProgress(),
    answer: async (video) => last().answer({mediaStream: await open(video), pcConfig}),
    state: () => last()?.failure ?? (last()?.isEstablished() ? "talking" : "waiting"),
    addCamera: async () => {
      const stream = await navigator.mediaDevices.getUserMedia({video: true});
      last().connection.addTrack(stream.getVideoTracks()[0], stream);
    },
    removeCamera: () => {
      const pc = last().connection;
      const sender = pc.getSenders().find((each) => each.track?.kind === "video");
      sender.track.stop();
      pc.removeTrack(sender);
    },
    stopVideo: () => {
      for (const each of last().connection.getTransceivers())
        if (each.receiver.track.kind === "video") each.stop();
    },
    renegotiate: (rtcOfferConstraints) => new Promise((done, failed) => {
      const session = last();
      session.once("reinvite-failed", () => failed(new Error("refused")));
      if (!session.renegotiate({rtcOfferConstraints}, done)) failed(new Error("not now"));
    }),
    hangUp: () => last().terminate(),
    numbers: async () => {
      const found = {framesDecoded: 0, framesSent: 0, packetsReceived: 0, samples: 0, local: "", kind: "", codec: ""};
      const report = await last().connection.getStats();
      for (const each of report.values()) {
        if (each.type === "inbound-rtp" && each.kind === "video") {
          found.framesDecoded += each.framesDecoded;
          found.codec = report.get(each.codecId)?.mimeType;
        }
        if (each.type === "outbound-rtp" && each.kind === "video") found.framesSent += each.framesSent;
        if (each.type === "inbound-rtp" && each.kind === "audio") found.packetsReceived += each.packetsReceived;
        if (each.type === "transport") {
          const pair = report.get(each.selectedCandidatePairId);
          const local = pair && report.get(pair.localCandidateId);
          found.local = local ? `${local.usernameFragment} ${local.port}` : "";
          found.kind = local?.candidateType;
        }
      }
      return found;
    },
    directions: () => last().connection.getTransceivers().map((each) => each.currentDirection),
  };
  const ready = new Promise((done, failed) => {
    ua.on("registered", done);
    ua.on("registrationFailed", ({cause}) => failed(new Error(cause)));
  });
  ua.start();
  await ready;
}
"""


class Telephone:
    """A page of a browser with a camera, registered as an extension."""

    def __init__(self, page: Page, number: str) -> None:
        self.page = page
        self.number = number

    @classmethod
    async def open(cls, studio: Studio, ice_servers: list[dict[str, Any]] | None = None) -> Telephone:
        """Signed in. With `ice_servers`, media goes through them alone."""
        number = studio.stage.extension()
        page = await (await studio.browser.new_context()).new_page()
        await page.goto(f"{studio.base}/healthz")
        await page.evaluate(
            TELEPHONE,
            {
                "socket": f"{studio.base.replace('http', 'ws')}/sip",
                "uri": f"sip:{number}@127.0.0.1",
                "password": password_of(number),
                "iceServers": ice_servers or [],
                "policy": "relay" if ice_servers else "all",
            },
        )
        return cls(page, number)

    async def ask(self, verb: str, *arguments: object) -> Any:
        """Call a function of the page's telephone."""
        script = "({verb, rest}) => window.telephone[verb](...rest)"
        return await self.page.evaluate(script, {"verb": verb, "rest": list(arguments)})

    async def until(self, verb: str, wanted: object) -> None:
        """Wait until the function answers that."""
        async with asyncio.timeout(WAIT_S):
            while (found := await self.ask(verb)) != wanted:
                assert verb != "state" or found in ("waiting", "talking"), found
                await asyncio.sleep(0.1)

    async def rises(self, name: str, by: int = 15) -> None:
        """Wait until one of the page's numbers has grown."""
        before = (await self.ask("numbers"))[name]
        await self.waits(lambda numbers: numbers[name] >= before + by)

    async def waits(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the page's numbers are so."""
        async with asyncio.timeout(WAIT_S):
            while not condition(await self.ask("numbers")):  # noqa: ASYNC110 -- the page tells nothing by itself
                await asyncio.sleep(0.1)

    async def leaves(self, local: str) -> None:
        """Wait until another local candidate is in use."""
        await self.waits(lambda numbers: numbers["local"] != local)

    async def stands(self, name: str, seconds: float = 1.0) -> None:
        """AssertionError if one of the page's numbers grows, once what is under way has come."""
        await asyncio.sleep(0.5)
        before = (await self.ask("numbers"))[name]
        await asyncio.sleep(seconds)
        assert (await self.ask("numbers"))[name] == before


scenes: Scenes[Studio] = Scenes()


@asynccontextmanager
async def call(studio: Studio, *, video: bool) -> AsyncIterator[tuple[Telephone, Telephone]]:
    """Two telephones that talk."""
    caller, callee = await asyncio.gather(Telephone.open(studio), Telephone.open(studio))
    try:
        await caller.ask("dial", callee.number, video)
        await callee.until("ringing", True)
        await callee.ask("answer", video)
        for each in (caller, callee):
            await each.until("state", "talking")
        yield caller, callee
        await caller.ask("hangUp")
    finally:
        for each in (caller, callee):
            await each.page.context.close()


@scenes.add
async def two_browsers_see_and_hear_each_other(studio: Studio) -> None:
    async with call(studio, video=True) as (caller, callee):
        for each in (caller, callee):
            await each.rises("framesDecoded")
            await each.rises("packetsReceived", 30)
        assert (await caller.ask("numbers"))["codec"] in ("video/VP8", "video/H264")


@scenes.add
async def ice_restarts_in_a_call(studio: Studio) -> None:
    async with call(studio, video=True) as (caller, callee):
        await caller.rises("packetsReceived")
        for who in (caller, callee):
            before = (await who.ask("numbers"))["local"]
            await who.ask("renegotiate", {"iceRestart": True})
            await who.leaves(before)
            for each in (caller, callee):
                await each.rises("packetsReceived", 30)
                await each.rises("framesDecoded")


@scenes.add
async def video_comes_and_goes(studio: Studio) -> None:
    async with call(studio, video=False) as (caller, callee):
        await caller.rises("packetsReceived")
        for each in (caller, callee):
            await each.ask("addCamera")
        await caller.ask("renegotiate", {})
        for each in (caller, callee):
            await each.rises("framesDecoded")
        await callee.ask("removeCamera")
        await callee.ask("renegotiate", {})
        await callee.rises("framesDecoded")
        await caller.stands("framesDecoded")
        await caller.ask("stopVideo")
        await caller.ask("renegotiate", {})
        await callee.stands("framesDecoded")
        await callee.rises("packetsReceived", 30)
        await caller.rises("packetsReceived", 30)
        await caller.ask("addCamera")
        await caller.ask("renegotiate", {})
        await callee.rises("framesDecoded")


@scenes.add
async def it_is_relayed_by_coturn_alone(studio: Studio) -> None:
    """The TURN server and its credentials are those that the server hands out."""
    status, answer = await studio.stage.server.get("/api/ice-servers", USER_TOKEN)
    assert status == 200
    telephone = await Telephone.open(studio, answer["iceServers"])
    await telephone.ask("dial", "600", False)
    await telephone.until("state", "talking")
    await telephone.rises("packetsReceived", 30)
    numbers = await telephone.ask("numbers")
    assert numbers["kind"] == "relay"
    await telephone.ask("hangUp")
    await telephone.page.context.close()


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    settings = Settings().add_extensions(1001, 20)
    settings.webrtc = {"ice_servers": [{"urls": [f"turn:{ADDRESS}:{TURN_PORT}?transport=udp"], "secret": SECRET}]}
    async with (
        stage_with_server(folder, settings) as stage,
        chromium(stage.network, folder / "browser") as browser,
    ):
        coturn = await Coturn.start(stage.network, folder / "coturn", ADDRESS, SECRET, port=TURN_PORT)
        try:
            yield Studio(stage, browser)
        finally:
            await coturn.stop()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return scenes.play(request, lambda: studio(tmp_path_factory.mktemp("video")), at_once=AT_ONCE)


@pytest.mark.parametrize("name", scenes.names())
def test_15_video(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
