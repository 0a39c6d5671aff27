"""SIP.js in a real browser, set up by the very example of docs/jssip.md: it registers, calls, and is called."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, WebSocketRoute
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.interop.network import Network
from tests.interop.program import absent, needs
from tests.interop.scenes import Outcome, Scenes
from tests.interop.settings import Settings, password_of
from tests.interop.stage import Stage, stage_with_server

from .chromium import TONE_HZ, PhonePage, Tab, chromium

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parent.parent.parent
LIBRARY = ROOT / "build" / "sipjs" / "dist" / "sip.js"  # put there by .ci/install-tools
APPLICATION = "http://127.0.0.1:8124"
AT_ONCE = 3  # browsers' tabs with sound, on a machine of two cores
HTML = """<!doctype html>
<title>SIP.js</title>
<link rel="icon" href="data:,">
<audio autoplay></audio>
<script type="module" src="NUMBER.js"></script>
"""
TOLD = """
window.user = user;
window.told = [];
const names = ["onServerConnect", "onServerDisconnect", "onRegistered", "onUnregistered", "onCallCreated",
  "onCallReceived", "onCallAnswered", "onCallHangup", "onCallHold", "onCallDTMFReceived"];
for (const name of names) {
  const own = user.delegate[name];
  user.delegate[name] = (...values) => {
    told.push([name, values[0] instanceof Error ? String(values[0]) : values[0] ?? null]);
    own?.(...values);
  };
}
"""
"Before it connects: what SIP.js tells is kept for the test."


CONNECTION = "user.session.sessionDescriptionHandler.peerConnection"
UFRAG = f"{CONNECTION}.currentRemoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1]"


def example() -> str:
    """The example of docs/jssip.md, up to where it connects, and what follows."""
    page = (ROOT / "docs" / "jssip.md").read_text()
    found = re.search(r"```js\n(import \{ Web \}.*?)```", page, re.DOTALL)
    assert found is not None, "docs/jssip.md has no example of SIP.js"
    return found[1]


class SipJs(Tab):
    """One tab with a page made of the example."""

    number = ""
    "The extension that it registers as."

    async def told(self, name: str, value: object = None, times: int = 1) -> None:
        """Wait until SIP.js has told something, so many times in all."""
        told = f"told.filter(([name, value]) => name === {json.dumps(name)} && value === {json.dumps(value)})"
        try:
            await self.page.wait_for_function(f"window.told && {told}.length >= {times}")
        except PlaywrightTimeout as error:
            seen = await self.page.evaluate("window.told")
            raise AssertionError(f"{name} never came: {seen}, {self.errors}") from error

    async def does(self, script: str) -> None:
        """Run a line of an application."""
        await self.page.evaluate(f"async () => {{ await {script}; }}")

    async def call(self, number: str) -> None:
        """Call; what comes of it is told."""
        await self.does(f"user.call('sip:{number}@127.0.0.1')")


@dataclass
class Studio:
    """A stage with a browser, and the web server of an application."""

    stage: Stage
    browser: Browser
    folder: Path
    "What the application's web server serves."

    @property
    def base(self) -> str:
        """Where Ringway's pages are."""
        return f"http://127.0.0.1:{self.stage.server.http_port}"

    async def enter(self, page: SipJs, *changes: tuple[str, str], password: str = "") -> None:
        """Load the example for an extension of its own. `changes`: what stands there, and what shall."""
        page.number = self.stage.extension()
        script = example()
        for old, new in (
            ("wss://pbx.example.com", self.base.replace("http", "ws")),
            ("pbx.example.com", "127.0.0.1"),
            ("1001", page.number),
            ('"…"', json.dumps(password or password_of(page.number))),
            ("await user.connect();", f"{TOLD}await user.connect();"),
            *changes,
        ):
            assert old in script, f"{old} is not in the example of docs/jssip.md"
            script = script.replace(old, new)
        (self.folder / f"{page.number}.js").write_text(script)
        (self.folder / f"{page.number}.html").write_text(HTML.replace("NUMBER", page.number))
        await page.page.goto(f"{APPLICATION}/{page.number}.html")

    @asynccontextmanager
    async def page(self, *changes: tuple[str, str]) -> AsyncIterator[SipJs]:
        """A page that is registered; nothing may have gone wrong in it."""
        page = await blank(self.browser)
        try:
            await self.enter(page, *changes)
            await page.told("onRegistered")
            yield page
            assert page.errors == []
        finally:
            await page.close()


async def blank(browser: Browser) -> SipJs:
    """A tab with nothing in it."""
    return await SipJs.open(browser, "", "about:blank")


scenes: Scenes[Studio] = Scenes()


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    settings = Settings(server={"websocket_origins": [APPLICATION]}).add_extensions(1001, 40)
    async with (
        stage_with_server(folder, settings) as stage,
        chromium(stage.network, folder / "browser") as browser,
        application(stage.network, folder / "application") as site,
    ):
        yield Studio(stage, browser, site)


@asynccontextmanager
async def application(network: Network, folder: Path) -> AsyncIterator[Path]:
    """A web server of its own, with the files of SIP.js; the folder it serves."""
    shutil.copytree(LIBRARY.parent, folder)
    listening = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", int(APPLICATION.rpartition(":")[2])))
    pages = web.Application()
    pages.router.add_static("/", folder)
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield folder
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    if not LIBRARY.is_file():
        needs("npm")
        absent("sip.js (`make tools` fetches it by npm)")
    return scenes.play(request, lambda: studio(tmp_path_factory.mktemp("sipjs")), at_once=AT_ONCE)


@scenes.add
async def it_calls_600_and_hears_itself(studio: Studio) -> None:
    async with studio.page() as page:
        await page.call("600")
        await page.told("onCallAnswered")
        await page.hears(TONE_HZ)
        await page.does("user.hangup()")
        await page.told("onCallHangup")


@scenes.add
async def a_wrong_password_is_refused(studio: Studio) -> None:
    page = await blank(studio.browser)
    await studio.enter(page, password="wrong")
    await page.told("onUnregistered")
    assert "onRegistered" not in await page.page.evaluate("told.map(([name]) => name)")
    await page.close()


@scenes.add
async def it_calls_a_phone(studio: Studio) -> None:
    """Tones in both recordings, digits both ways, hold and resume; the browser hangs up."""
    async with studio.stage.cast() as cast, studio.page() as page:
        (phone,) = await cast.phones(1)
        await page.call(phone.settings.user)
        await phone.answer()
        await page.told("onCallAnswered")
        talk = await phone.talk_begins()
        await page.hears(phone.settings.tone_hz)
        for digit in "5#":
            await page.does(f"user.sendDTMF('{digit}')")
            await phone.event("CALL_DTMF_START", digit)
        await page.hears_nine(phone)
        await page.does("user.hold()")
        await page.told("onCallHold", True)
        await asyncio.sleep(0.5)  # what was on its way is still heard
        await page.never_hears(phone.settings.tone_hz)
        await page.does("user.unhold()")
        await page.told("onCallHold", False)
        await page.hears(phone.settings.tone_hz)
        await page.does("user.hangup()")
        await phone.talk_ends(talk)
        heard = await phone.heard_in_parts(TONE_HZ)
        assert sum(part.tone_s for part in heard) > 3.0, heard
        await page.told("onCallHangup")


@scenes.add
async def digits_by_info_reach_a_phone(studio: Studio) -> None:
    """What SIP.js does unless it is told otherwise."""
    async with studio.stage.cast() as cast, studio.page(("sendDTMFUsingSessionDescriptionHandler: true,", "")) as page:
        (phone,) = await cast.phones(1, auto_answer=True)
        await page.call(phone.settings.user)
        talk = await phone.talk_begins()
        await page.told("onCallAnswered")
        await page.does("user.sendDTMF('7')")
        await phone.event("CALL_DTMF_START", "7")
        await page.does("user.hangup()")
        await phone.talk_ends(talk)


@scenes.add
async def a_phone_calls_it(studio: Studio) -> None:
    """It answers, both are heard; the phone holds, resumes, and hangs up."""
    async with studio.stage.cast() as cast, studio.page() as page:
        (phone,) = await cast.phones(1)
        await phone.dial(f"sip:{page.number}@127.0.0.1")
        await page.told("onCallReceived")
        talk = await phone.talk_begins()
        await page.told("onCallAnswered")
        await page.hears(phone.settings.tone_hz)
        await phone.command("hold")
        await page.page.wait_for_function(f"{CONNECTION}.currentRemoteDescription.sdp.includes('a=sendonly')")
        await phone.command("resume")
        await page.hears(phone.settings.tone_hz)
        await phone.hang_up()
        await phone.talk_ends(talk)
        await page.told("onCallHangup")
        assert (await phone.heard(TONE_HZ)).tone_s > 1.0


@scenes.add
async def it_and_the_phone_page_call_each_other(studio: Studio) -> None:
    async with studio.page() as page:
        other = await PhonePage.open(studio.browser, studio.base)
        number = studio.stage.extension()
        await other.sign_in(number, password_of(number))
        await other.ready(number)
        await page.call(number)
        await other.press("Answer")
        await asyncio.gather(page.told("onCallAnswered"), other.talks())
        await asyncio.gather(page.hears(TONE_HZ), other.hears(TONE_HZ))
        await other.press("Hang up")
        await page.told("onCallHangup")
        await other.idle()
        await other.dial(page.number)
        await asyncio.gather(page.told("onCallAnswered", times=2), other.talks())
        await asyncio.gather(page.hears(TONE_HZ), other.hears(TONE_HZ))
        await page.does("user.mute()")
        await asyncio.sleep(0.5)  # what was on its way is still heard
        await other.never_hears(TONE_HZ)
        await page.does("user.unmute()")
        await other.hears(TONE_HZ)
        await page.does("user.hangup()")
        await other.idle()
        await other.close()


@scenes.add
async def it_declines_misses_and_cancels_calls(studio: Studio) -> None:
    async with studio.stage.cast() as cast, studio.page(("user.answer()", "{}")) as page:
        (phone,) = await cast.phones(1)
        await phone.dial(f"sip:{page.number}@127.0.0.1")
        await page.told("onCallReceived")
        await page.does("user.decline()")
        assert "480" in (await phone.event("CALL_CLOSED")).param
        await page.told("onCallHangup", times=1)
        await phone.dial(f"sip:{page.number}@127.0.0.1")
        await page.told("onCallReceived", times=2)
        await phone.hang_up()
        await page.told("onCallHangup", times=2)
        await page.call(phone.settings.user)
        await phone.event("CALL_INCOMING")
        await page.does("user.hangup()")
        await phone.event("CALL_CLOSED")
        await page.told("onCallHangup", times=3)
        await page.call("4711")
        await page.told("onCallHangup", times=4)


@scenes.add
async def an_ice_restart_keeps_the_sound(studio: Studio) -> None:
    async with studio.page() as page:
        await page.call("600")
        await page.told("onCallAnswered")
        await page.hears(TONE_HZ)
        before = await page.page.evaluate(UFRAG)
        await page.does("user.session.invite({sessionDescriptionHandlerOptions: {offerOptions: {iceRestart: true}}})")
        await page.page.wait_for_function(f"before => {UFRAG} !== before", arg=before)
        await page.hears(TONE_HZ)
        await page.does("user.hangup()")
        await page.told("onCallHangup")


@scenes.add
async def after_a_lost_connection_it_registers_again(studio: Studio) -> None:
    routes: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        routes.append(route)
        route.connect_to_server()

    page = await blank(studio.browser)
    await page.page.context.route_web_socket("**/sip", through)
    await studio.enter(page)
    await page.told("onRegistered")
    await routes[-1].close(code=1012)
    await page.told("onRegistered", times=2)
    await page.call("600")
    await page.told("onCallAnswered")
    await page.hears(TONE_HZ)
    await page.close()


@pytest.mark.parametrize("name", scenes.names())
def test_sipjs(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
