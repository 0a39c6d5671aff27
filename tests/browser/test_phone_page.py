"""The softphone page in a real browser: it signs in, calls, is called, and says clearly what does not work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, WebSocketRoute

from tests.interop.scenes import Outcome, Scenes
from tests.interop.settings import Settings, password_of
from tests.interop.stage import Stage, stage_with_server

from .chromium import MOBILE, TONE_HZ, PhonePage, Tab, chromium

pytestmark = pytest.mark.interop
MOS_OF = (
    "async (cases) => { const {mos} = await import('/phone/quality.js'); return cases.map((each) => mos(...each)); }"
)
PARTS = """
window.parts = [];
new MutationObserver(() => parts.push(document.getElementById("phone").dataset.part))
    .observe(document.getElementById("phone"), {attributeFilter: ["data-part"]});
"""
"Which parts of the page come to be seen."
PATIENT = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
const allowed = new Promise((resolve) => { window.allow = resolve; });
navigator.mediaDevices.getUserMedia = async (wanted) => { await allowed; return ask(wanted); };
"""
"The browser waits for the person's answer."
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
SCREENS = [(320, 568), (375, 667), (844, 390), (1366, 640)]
OPUS_ALONE = """
const createOffer = RTCPeerConnection.prototype.createOffer;
RTCPeerConnection.prototype.createOffer = function (...options) {
  const codecs = RTCRtpReceiver.getCapabilities("audio").codecs.filter(
      ({mimeType}) => /opus|telephone-event/i.test(mimeType));
  for (const transceiver of this.getTransceivers()) transceiver.setCodecPreferences(codecs);
  return createOffer.apply(this, options);
};
"""
"Other browsers have G.711 too, by RFC 7874; some clients do not."
CARRIER = ("127.0.0.1", 5170)  # baresip sends RTP from there whatever address it is given
CARRIER_NUMBER = "0301234"
AT_ONCE = 3  # browsers' tabs with sound, on a machine of two cores


@dataclass
class Studio:
    """A stage with a browser."""

    stage: Stage
    browser: Browser

    @property
    def base(self) -> str:
        """Where the pages are."""
        return f"http://127.0.0.1:{self.stage.server.http_port}"

    @asynccontextmanager
    async def phone(self, number: str | None = None) -> AsyncIterator[PhonePage]:
        """A page that is signed in as an extension of its own; nothing may have gone wrong in it."""
        number = number or self.stage.extension()
        page = await PhonePage.open(self.browser, self.base)
        try:
            await page.sign_in(number, password_of(number))
            await page.ready(number)
            page.number = number
            yield page
            assert page.errors == []
        finally:
            await page.close()


scenes: Scenes[Studio] = Scenes()


def _settings() -> Settings:
    settings = Settings().add_extensions(1001, 40, allow=["0."])
    settings.trunks.append({"name": "carrier", "hosts": [f"sip:{CARRIER[0]}:{CARRIER[1]}"], "options_interval_s": 0})
    settings.routes.append({"pattern": "0.", "trunks": [{"trunk": "carrier"}]})
    return settings


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    async with (
        stage_with_server(folder, _settings()) as stage,
        chromium(stage.network, folder / "browser") as browser,
    ):
        yield Studio(stage, browser)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return scenes.play(request, lambda: studio(tmp_path_factory.mktemp("browser")), at_once=AT_ONCE)


@scenes.add
async def it_calls_600_and_hears_itself(studio: Studio) -> None:
    async with studio.phone() as page:
        await page.dial("600")
        await page.talks()
        await page.hears(TONE_HZ)
        await page.press("Hang up")
        await page.idle()


@scenes.add
async def a_wrong_password_is_said(studio: Studio) -> None:
    number = studio.stage.extension()
    page = await PhonePage.open(studio.browser, studio.base)
    await page.page.evaluate(PARTS)
    await page.sign_in(number, "wrong")
    assert await page.notice() == f"Extension {number} or its password is wrong."
    assert "dialler" not in await page.page.evaluate("parts"), "the dialler was seen for a moment"
    await page.sign_in(number, password_of(number))
    await page.ready(number)
    await page.close()


@scenes.add
async def failures_are_said_in_words(studio: Studio) -> None:
    """No such number, nobody signed in, busy, declined."""
    async with studio.phone() as page, studio.phone() as other:
        await page.dial("4711")
        assert await page.notice() == "The number 4711 does not exist."
        absent = studio.stage.extension()
        await page.dial(absent)
        await page.page.get_by_text(f"{absent} cannot be reached").wait_for()
        number = other.number
        await other.dial("600")
        await other.talks()
        await page.dial(number)
        await page.page.get_by_text(f"{number} is busy.").wait_for()
        await other.press("Hang up")
        await page.idle()


@scenes.add
async def the_microphone_is_asked_for_in_words(studio: Studio) -> None:
    number = studio.stage.extension()
    page = await PhonePage.open(studio.browser, studio.base, microphone=False)
    await page.sign_in(number, password_of(number))
    await page.ready(number)
    await page.dial("600")
    assert (await page.notice()).startswith("The microphone is not allowed.")
    await page.close()
    page = await PhonePage.open(studio.browser, studio.base.replace("127.0.0.1", "phone.test"))
    assert "only to pages on https:// or on localhost" in await page.notice()
    await page.close()


@scenes.add
async def it_calls_a_phone(studio: Studio) -> None:
    """Tones in both recordings, digits both ways, hold and resume; the browser hangs up."""
    async with studio.stage.cast() as cast, studio.phone() as page:
        (phone,) = await cast.phones(1)
        await page.dial(phone.settings.user)
        await page.page.locator("#call[data-state=ringing]").wait_for()
        await phone.answer()
        await page.talks()
        talk = await phone.talk_begins()
        await page.hears(phone.settings.tone_hz)
        await page.press("Keypad")
        for digit, name in (("5", "5"), ("#", "hash")):
            await page.press(name)
            await phone.event("CALL_DTMF_START", digit)
        await page.hears_nine(phone)
        await page.press("Hold")
        await page.page.locator("#state", has_text="On hold").wait_for()
        await asyncio.sleep(0.5)  # what was on its way is still heard, and faded out
        await page.never_hears(phone.settings.tone_hz)
        await page.press("Resume")
        await page.hears(phone.settings.tone_hz)
        await page.press("Hang up")
        await phone.talk_ends(talk)
        heard = await phone.heard_in_parts(TONE_HZ)
        assert sum(part.tone_s for part in heard) > 3.0, heard
        await page.idle()


@scenes.add
async def with_opus_alone_it_calls_a_phone_with_g711_alone(studio: Studio) -> None:
    """Transcoded: tones in both recordings, digits both ways."""
    async with studio.stage.cast() as cast, studio.phone() as page:
        (phone,) = await cast.phones(1, auto_answer=True)
        await page.page.add_init_script(OPUS_ALONE)
        await page.page.reload()
        await page.ready(page.number)
        await page.dial(phone.settings.user)
        await page.talks()
        talk = await phone.talk_begins()
        await page.hears(phone.settings.tone_hz)
        await page.press("Keypad")
        await page.press("3")
        await phone.event("CALL_DTMF_START", "3")
        await page.hears_nine(phone)
        await page.press("Hang up")
        await phone.talk_ends(talk)
        heard = await phone.heard_in_parts(TONE_HZ)
        assert sum(part.tone_s for part in heard) > 3.0, heard


@scenes.add
async def a_phone_calls_it(studio: Studio) -> None:
    """The page rings, answers, both are heard; the phone hangs up."""
    async with studio.stage.cast() as cast, studio.phone() as page:
        (phone,) = await cast.phones(1)
        await phone.dial(f"sip:{page.number}@127.0.0.1")
        await page.page.locator("#state", has_text=f"{phone.settings.user} is calling").wait_for()
        await page.press("Answer")
        await page.talks()
        talk = await phone.talk_begins()
        await page.hears(phone.settings.tone_hz)
        await phone.command("hold")
        await page.page.locator("#state", has_text="They put you on hold").wait_for()
        await phone.command("resume")
        await page.hears(phone.settings.tone_hz)
        await phone.hang_up()
        await phone.talk_ends(talk)
        await page.idle()
        assert (await phone.heard(TONE_HZ)).tone_s > 1.0


@scenes.add
async def it_rejects_and_misses_calls(studio: Studio) -> None:
    async with studio.stage.cast() as cast, studio.phone() as page:
        (phone,) = await cast.phones(1)
        await phone.dial(f"sip:{page.number}@127.0.0.1")
        await page.press("Reject")
        assert "486" in (await phone.event("CALL_CLOSED")).param
        await page.idle()
        await phone.dial(f"sip:{page.number}@127.0.0.1")
        await page.page.locator("#answer").wait_for()
        await phone.hang_up()
        assert (await page.notice()).startswith("You missed a call from ")


@scenes.add
async def browsers_call_each_other(studio: Studio) -> None:
    async with studio.phone() as page, studio.phone() as other:
        await page.dial(other.number)
        await other.press("Answer")
        await asyncio.gather(page.talks(), other.talks())
        await asyncio.gather(page.hears(TONE_HZ), other.hears(TONE_HZ))
        await page.press("Mute")
        await asyncio.sleep(0.5)
        await other.never_hears(TONE_HZ)
        await page.press("Unmute")
        await other.hears(TONE_HZ)
        await other.press("Hang up")
        await asyncio.gather(page.idle(), other.idle())


@scenes.add
async def it_calls_out_through_a_trunk(studio: Studio) -> None:
    async with studio.stage.cast() as cast, studio.phone() as page:
        carrier = await cast.trunk_phone(CARRIER_NUMBER, *CARRIER)
        await page.dial(CARRIER_NUMBER)
        await page.talks()
        talk = await carrier.talk_begins()
        await page.hears(carrier.settings.tone_hz)
        await carrier.hang_up()
        await carrier.talk_ends(talk)
        await page.idle()
        assert (await carrier.heard(TONE_HZ)).tone_s > 1.0


@scenes.add
async def a_reload_leaves_no_call_behind(studio: Studio) -> None:
    async with studio.stage.cast() as cast, studio.phone() as page:
        (phone,) = await cast.phones(1, auto_answer=True)
        await page.dial(phone.settings.user)
        talk = await phone.talk_begins()
        await page.page.reload()
        await phone.talk_ends(talk)
        await page.ready(page.number)  # the tab remembers who it was
        await page.dial("600")
        await page.talks()
        await page.hears(TONE_HZ)
        await page.press("Hang up")


@scenes.add
async def a_lost_connection_is_said_and_made_again(studio: Studio) -> None:
    routes: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        routes.append(route)
        route.connect_to_server()

    number = studio.stage.extension()
    page = await PhonePage.open(studio.browser, studio.base)
    await page.page.route_web_socket("**/sip", through)
    await page.page.reload()
    await page.sign_in(number, password_of(number))
    await page.ready(number)
    await page.dial("600")
    await page.talks()
    await routes[-1].close()
    assert (await page.notice()).startswith("The connection to the server was lost, and the call with it.")
    await page.ready(number)
    await page.dial("600")
    await page.talks()
    await page.hears(TONE_HZ)
    await page.close()


@scenes.add
async def keys_do_what_buttons_do(studio: Studio) -> None:
    """Dial by typing, end by Escape; the number is typed wherever the focus is."""
    async with studio.phone() as page:
        await page.page.get_by_role("button", name="Sign out").focus()
        await page.page.keyboard.type("600")
        await page.page.get_by_label("Number to call").press("Enter")
        await page.talks()
        await page.page.keyboard.press("7")
        await page.press("Keypad")
        assert await page.page.locator("#keyed").inner_text() == "7"
        await page.page.keyboard.press("Escape")
        await page.idle()


@scenes.add
async def a_number_that_failed_can_be_corrected(studio: Studio) -> None:
    """It stays, and is replaced by what is typed next; after a press of the pad, Enter calls."""
    async with studio.phone() as page:
        number = page.page.get_by_label("Number to call")
        await page.dial("4711")
        assert await page.notice() == "The number 4711 does not exist."
        assert await number.input_value() == "4711"
        for key in ("6", "0", "0"):
            await page.press(key)
        assert await number.input_value() == "600"
        await page.page.get_by_role("button", name="Sign out").focus()
        await page.page.keyboard.type("+5")
        await page.page.keyboard.press("Backspace")
        await page.page.keyboard.press("Backspace")
        assert await number.input_value() == "600"
        await page.press("1")
        await number.press("Backspace")
        await page.page.keyboard.press("Enter")
        await page.talks()
        await page.press("Hang up")
        await page.idle()
        assert await number.input_value() == ""


@scenes.add
async def it_is_said_that_the_browser_asks(studio: Studio) -> None:
    async with studio.phone() as page:
        await page.page.add_init_script(PATIENT)
        await page.page.reload()
        await page.ready(page.number)
        await page.dial("600")
        assert (await page.notice()).startswith("The browser asks whether this page may use the microphone.")
        await page.page.evaluate("allow()")
        await page.talks()
        assert await page.page.locator("#notice").is_hidden()


@scenes.add
async def it_fits_small_screens(studio: Studio) -> None:
    """Nothing is cut off at the side; one can always hang up without scrolling."""
    async with studio.phone() as page:
        for in_call in (False, True):
            if in_call:
                await page.dial("600")
                await page.talks()
                await page.page.locator("#quality").wait_for()
            for width, height in SCREENS:
                await page.page.set_viewport_size({"width": width, "height": height})
                assert await page.page.evaluate(OVERFLOW) <= 0, (width, height, in_call)
                if in_call:
                    await page.press("Keypad")
                    assert await page.page.evaluate(OVERFLOW) <= 0, (width, height, "keypad")
                    box = await page.page.locator("#hang-up").bounding_box()
                    assert box is not None
                    assert box["y"] + box["height"] <= height, (width, height)
                    await page.press("Keypad")


@scenes.add
async def the_api_pages_fit_a_small_dark_screen(studio: Studio) -> None:
    page = await Tab.open(studio.browser, studio.base, "/docs", size=MOBILE, dark=True)
    await page.page.get_by_role("button", name="Expand operation").first.wait_for()
    assert await page.page.locator("html.dark-mode").count() == 1
    assert await page.page.evaluate(OVERFLOW) <= 0
    await page.page.get_by_role("heading", name="PBX call sessions").click()
    await page.page.get_by_text("/api/sessions", exact=True).first.click()
    await page.page.get_by_role("button", name="Try it out").wait_for()
    assert await page.page.evaluate(OVERFLOW) <= 0
    assert page.errors == []
    await page.close()


@scenes.add
async def it_shows_how_good_the_call_is(studio: Studio) -> None:
    async with studio.phone() as page:
        await page.dial("600")
        await page.talks()
        await page.page.locator("#quality").wait_for()
        assert 3.5 < float((await page.page.locator("#mos").inner_text()).split()[0]) <= 4.4
        assert (await page.page.locator("#loss").inner_text()) == "0.0 %"
        await page.page.locator("#round-trip", has_text="ms").wait_for()
        measured = await page.page.evaluate(MOS_OF, [[0, 40, 5], [1, 80, 10], [5, 150, 20], [10, 300, 40]])
        assert [round(value, 2) for value in measured] == [4.39, 4.28, 3.8, 2.76]
        await page.press("Hang up")


@pytest.mark.parametrize("name", scenes.names())
def test_15_phone_page(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
