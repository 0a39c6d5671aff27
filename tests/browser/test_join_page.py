"""The page that joins a session, in a real browser: by an invitation's link as a guest, and by a token."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.interop.program import Program
from tests.interop.scenes import Outcome, Scenes
from tests.interop.settings import Settings
from tests.interop.stage import Stage, stage_with_server

from .chromium import MOBILE, TONE_HZ, WAIT_MS, Tab, chromium

pytestmark = pytest.mark.interop
ELSEWHERE = "http://127.0.0.1:8123"
STOPPED = "new Promise(done => { const look = () => stopped.length ? done() : setTimeout(look, 20); look(); })"
"Waits in the page, whose policy forbids the eval that Playwright waits by."
PATIENT = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
const allowed = new Promise((resolve) => { window.allow = resolve; });
window.stopped = [];
const stop = MediaStreamTrack.prototype.stop;
MediaStreamTrack.prototype.stop = function () { stopped.push(this); stop.call(this); };
navigator.mediaDevices.getUserMedia = async (wanted) => { await allowed; return ask(wanted); };
"""
"The browser waits for the person's answer."
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ANN, BEN = "token-of-ann-for-these-tests", "token-of-ben-for-these-tests"


class JoinPage(Tab):
    """One tab with the page."""

    async def joins(self) -> None:
        """Press Join, and wait for sound."""
        await self.press("Join")
        await self.inside()

    async def inside(self) -> None:
        """Wait until it is in the conversation, with sound."""
        await self.page.locator("#join[data-state=in]").wait_for()

    async def sees(self, *people: str) -> None:
        """Wait until exactly these are listed."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + WAIT_MS / 1000
        while sorted(seen := await self.page.locator("#people li").all_inner_texts()) != sorted(people):
            assert loop.time() < give_up_at, f"{seen} are listed"
            await asyncio.sleep(0.05)

    async def notice(self) -> str:
        """Wait for a message; its words."""
        await self.page.locator("#notice").wait_for()
        return await self.page.locator("#notice").inner_text()


@dataclass
class Hall:
    """A stage with a browser."""

    stage: Stage
    browser: Browser

    async def post(self, path: str, token: str = ANN, **body: object) -> dict[str, Any]:
        """As an application does."""
        status, answer = await self.stage.server.post(path, body, token)
        assert status in (200, 201), answer
        data: dict[str, Any] = answer["data"]
        return data

    @property
    def base(self) -> str:
        """Where the server's pages are."""
        return f"http://127.0.0.1:{self.stage.server.http_port}"

    @asynccontextmanager
    async def page(self, path: str, base: str = "", **options: Any) -> AsyncIterator[JoinPage]:
        """A tab; nothing may have gone wrong in it."""
        page = await JoinPage.open(self.browser, base or self.base, path, **options)
        try:
            yield page
            assert page.errors == []
        finally:
            await page.close()


scenes: Scenes[Hall] = Scenes()


@asynccontextmanager
async def hall(folder: Path) -> AsyncIterator[Hall]:
    settings = Settings(server={"websocket_origins": [ELSEWHERE]})
    for name, token in (("ann", ANN), ("ben", BEN)):
        settings.tokens.append({"name": name, "token": token, "role": "member", "user": name})
    async with (
        stage_with_server(folder, settings, captures=False) as stage,
        chromium(stage.network, folder / "browser") as browser,
    ):
        yield Hall(stage, browser)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return scenes.play(request, lambda: hall(tmp_path_factory.mktemp("join")), at_once=1)


@scenes.add
async def a_guest_and_a_user_hear_each_other(hall: Hall) -> None:
    """Mute, a reload in the call, leave; one of the two on a telephone's screen."""
    made = await hall.post("/api/v1/sessions", inviteEmail="pat@example.com", inviteName="Pat")
    session = made["session"]["id"]
    async with (
        hall.page(f"/join/{session}#token={ANN}") as ann,
        hall.page(f"/join/{made['invitationId']}", size=MOBILE) as guest,
    ):
        await ann.joins()
        await guest.page.get_by_label("Your name").fill("Pat")
        await guest.press("Accept")
        await guest.joins()
        await ann.inside()
        await asyncio.gather(ann.hears(TONE_HZ), guest.hears(TONE_HZ))
        await asyncio.gather(ann.sees("ann (you)", "Pat"), guest.sees("ann", "Pat (you)"))
        await guest.press("Mute")
        await ann.sees("ann (you)", "Pat, muted")
        await ann.never_hears(TONE_HZ)
        await guest.page.reload()
        await guest.inside()
        await guest.hears(TONE_HZ)
        await ann.never_hears(TONE_HZ)
        await guest.press("Unmute")
        await ann.hears(TONE_HZ)
        await ann.page.reload()
        await ann.inside()
        await asyncio.gather(ann.hears(TONE_HZ), guest.hears(TONE_HZ))
        await guest.press("Leave")
        await ann.sees("ann (you)")
        assert await guest.page.locator("#state").inner_text() == "You have left the conversation."


@scenes.add
async def times_are_in_the_readers_own_zone(hall: Hall) -> None:
    """Half an hour beside UTC, so that no other zone is taken for it; the instant stays as it is."""
    made = await hall.post("/api/v1/sessions", inviteEmail="asha@example.com")
    async with hall.page(f"/join/{made['invitationId']}", zone="Asia/Kolkata") as page:
        time = page.page.locator("time")
        await time.get_by_text("GMT+5:30").wait_for()
        until = datetime.fromisoformat(await time.get_attribute("datetime") or "")
        shown = await time.inner_text()
        assert shown == f"{until + timedelta(hours=5, minutes=30):%d %B %Y at %H:%M} GMT+5:30"


@scenes.add
async def failures_are_said_in_words(hall: Hall) -> None:
    """No microphone, a wrong token, no such session; a token typed in works."""
    made = await hall.post("/api/v1/sessions", inviteEmail="kim@example.com")
    session = made["session"]["id"]
    async with hall.page(f"/join/{session}#token={ANN}", microphone=False) as page:
        await page.press("Join")
        assert (await page.notice()).startswith("The microphone is not allowed.")
    async with hall.page(f"/join/{session}") as page:
        await page.page.get_by_label("Access token").fill("wrong")
        await page.press("Join")
        await page.page.get_by_text("The access token is wrong, or has expired.").wait_for()
        assert await page.page.evaluate("document.activeElement.id") == "token"
        await page.page.get_by_label("Access token").fill(BEN)
        await page.page.get_by_label("Your name").fill("Ben")
        await page.page.get_by_label("Your name").press("Enter")
        await page.inside()
        await page.sees("Ben (you)", "ann")
        assert await page.page.evaluate("document.activeElement.id") == "leave"
        await page.page.keyboard.press("Enter")
        await page.page.get_by_text("You have left the conversation.").wait_for()
        assert await page.page.evaluate("document.activeElement.textContent.trim()") == "Join"
        page.errors.clear()  # browsers count the 401 of the wrong token among them
    async with hall.page(f"/join/1876946944000000001#token={BEN}") as page:
        await page.press("Join")
        assert (await page.notice()).startswith("There is no such conversation")


@scenes.add
async def who_leaves_while_the_browser_asks_is_out(hall: Hall) -> None:
    """And after the end of the conversation there is no way in."""
    made = await hall.post("/api/v1/sessions", inviteEmail="jo@example.com")
    session = made["session"]["id"]
    async with hall.page(f"/join/{session}#token={ANN}") as page:
        await page.page.add_init_script(PATIENT)
        await page.page.goto(f"{hall.base}/join/{session}?again#token={ANN}")
        await page.press("Join")
        await page.page.get_by_text("Allow the microphone when the browser asks for it.").wait_for()
        await page.press("Leave")
        assert await page.page.locator("#state").inner_text() == "You have left the conversation."
        await page.page.evaluate("allow()")
        async with asyncio.timeout(WAIT_MS / 1000):
            await page.page.evaluate(STOPPED)
        await page.joins()
        await hall.post(f"/api/v1/sessions/{session}/resolve")
        await page.page.get_by_text("The conversation has ended.").wait_for()
        assert await page.page.get_by_role("button").count() == 0


@scenes.add
async def a_second_window_takes_over(hall: Hall) -> None:
    made = await hall.post("/api/v1/sessions", inviteEmail="lou@example.com")
    path = f"/join/{made['session']['id']}#token={ANN}"
    async with hall.page(path) as first, hall.page(path) as second:
        await first.joins()
        await second.joins()
        assert (await first.notice()).startswith("You joined this conversation in another window")


@scenes.add
async def the_example_page_joins_from_elsewhere(hall: Hall) -> None:
    """One makes a session, the other joins it; both are heard; leave."""
    serving = [sys.executable, "-m", "http.server", "8123", "--bind", "127.0.0.1", "--directory", str(EXAMPLES)]
    program = Program(hall.stage.network, serving, hall.stage.place_for("example"))
    try:
        await program.listens(8123)
        async with hall.page("/join.html", ELSEWHERE) as ann, hall.page("/join.html", ELSEWHERE) as ben:
            await _fill(ann, hall.base, ANN, "")
            await ann.page.get_by_role("button", name="Leave").wait_for()
            await _fill(ben, hall.base, BEN, await ann.page.get_by_label("Session").input_value())
            await asyncio.gather(ann.hears(TONE_HZ), ben.hears(TONE_HZ))
            await ben.press("Leave")
            await ann.page.get_by_text("participant.left").wait_for()
            for page in (ann, ben):
                page.errors = [error for error in page.errors if "404" not in error]  # it has no icon
    finally:
        await program.stop()


async def _fill(page: JoinPage, server: str, token: str, session: str) -> None:
    await page.page.get_by_label("Server").fill(server)
    await page.page.get_by_label("Token").fill(token)
    await page.page.get_by_label("Session").fill(session)
    await page.press("Join")


@pytest.mark.parametrize("name", scenes.names())
def test_13_join_page(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
