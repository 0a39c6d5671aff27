"""The softphone page in a real browser: it signs in, calls, is called, and says clearly what does not work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.interop.scenes import Outcome, Scenes
from tests.interop.settings import Settings, password_of
from tests.interop.stage import Stage, stage_with_server

from .chromium import TONE_HZ, PhonePage, chromium

pytestmark = pytest.mark.interop
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
            yield page
            assert page.errors == []
        finally:
            await page.close()


scenes: Scenes[Studio] = Scenes()


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[Studio]:
    async with (
        stage_with_server(folder, Settings().add_extensions(1001, 40)) as stage,
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
    await page.sign_in(number, "wrong")
    assert await page.notice() == f"Extension {number} or its password is wrong."
    await page.sign_in(number, password_of(number))
    await page.ready(number)
    await page.close()


@pytest.mark.parametrize("name", scenes.names())
def test_15_phone_page(name: str, outcomes: dict[str, Outcome]) -> None:
    outcomes[name].check()
