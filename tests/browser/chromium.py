"""Debian's Chromium under remote control, in the network of a stage: it can reach the server and nothing else.

Its microphone is a file with a tone. What it hears is measured in the page by an AnalyserNode.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from tests.interop import tones
from tests.interop.baresip import Baresip
from tests.interop.network import Network
from tests.interop.program import absent, needs

TONE_HZ = 2300  # what every page of a browser says; no phone's tone
TONE_FILE_S = 10.0  # played again and again; a whole number of periods
ADDRESS = "10.77.0.1"  # browsers have no media candidates of loopback
DESKTOP: ViewportSize = {"width": 1100, "height": 800}
MOBILE: ViewportSize = {"width": 390, "height": 780}
WAIT_MS = 10_000.0

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP phone.test 127.0.0.1",
)

UNPROCESSED = """
const devices = navigator.mediaDevices;
if (devices) {
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = ({audio}) => ask({
    audio: {...audio, echoCancellation: false, noiseSuppression: false, autoGainControl: false},
  });
}
"""
"A tone is what echo cancellers and noise suppressors take away."

LISTEN = """
async ({seconds}) => {
  const stream = document.querySelector('audio').srcObject;
  if (!stream) return [];
  const context = new AudioContext();
  await context.resume();
  const analyser = context.createAnalyser();
  analyser.fftSize = 4096;
  analyser.smoothingTimeConstant = 0;
  const source = context.createMediaStreamSource(stream);
  source.connect(analyser);
  const lines = new Float32Array(analyser.frequencyBinCount);
  const step = context.sampleRate / analyser.fftSize;
  const heard = [];
  const until = performance.now() + seconds * 1000;
  await new Promise((done) => setTimeout(done, 120));
  while (performance.now() < until) {
    analyser.getFloatFrequencyData(lines);
    const peaks = [];
    for (let at = 2; at < lines.length - 2; at++)
      if (lines[at] > -70 && lines[at] >= lines[at - 1] && lines[at] > lines[at + 1] && lines[at] > lines[at - 2]
          && lines[at] > lines[at + 2]) peaks.push([at * step, lines[at]]);
    peaks.sort((one, other) => other[1] - one[1]);
    heard.push(peaks.slice(0, 4));
    await new Promise((done) => setTimeout(done, 60));
  }
  source.disconnect();
  await context.close();
  return heard;
}
"""
"Every 60 ms the loudest lines of the spectrum: [Hz, dB]."
TOLERANCE_HZ = 25.0


@asynccontextmanager
async def chromium(network: Network, folder: Path) -> AsyncIterator[Browser]:
    """A browser in `network`; it ends with the block."""
    needs("chromium", "ip", "setpriv")
    if network.name is None:
        absent("network namespaces (root and iproute2)")
    _add_address(network)
    program, voice = _files(network, folder)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={voice}"],
            timeout=30_000,
        )
        try:
            yield browser
        finally:
            async with asyncio.timeout(15):
                await browser.close()


def _files(network: Network, folder: Path) -> tuple[Path, Path]:
    """The program, as a script that starts it in `network`, and what its microphone says."""
    folder.mkdir(parents=True, exist_ok=True)
    voice = folder / "voice.wav"
    tones.write_tone(voice, TONE_HZ, TONE_FILE_S, rate_hz=48_000)
    program = folder / "chromium"
    program.write_text(f'#!/bin/sh\nexec {" ".join(network.command(["/usr/bin/chromium"]))} "$@"\n')
    program.chmod(0o755)
    return program, voice


def _add_address(network: Network) -> None:
    """An interface that leads nowhere, with an address: what a machine in an office has.

    No IPv6 address of its own comes to it a second later: Chromium takes that for another network, and gives up what it
    was loading (ERR_NETWORK_CHANGED).
    """
    for words in (
        "link add up0 type veth peer name up1",
        "link set up0 addrgenmode none",
        "link set up1 addrgenmode none",
        f"addr add {ADDRESS}/24 dev up0",
        "link set up0 up",
        "link set up1 up",
        "route add default dev up0",
    ):
        subprocess.run(["ip", "-n", str(network.name), *words.split()], check=True, capture_output=True, timeout=10)


class Tab:
    """One tab with a page of the server."""

    def __init__(self, page: Page, errors: list[str]) -> None:
        self.page = page
        self.errors = errors
        "What the browser complained of: exceptions, and what the page's policy forbids."

    @classmethod
    async def open(
        cls,
        browser: Browser,
        base: str,
        path: str,
        *,
        size: ViewportSize = DESKTOP,
        microphone: bool = True,
        dark: bool = False,
        zone: str = "UTC",
    ) -> Self:
        """A new tab with storage of its own, in time zone `zone`. Without `microphone`, the browser refuses it."""
        context = await browser.new_context(viewport=size, color_scheme="dark" if dark else "light", timezone_id=zone)
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()
        await page.add_init_script(UNPROCESSED if microphone else REFUSED)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        await page.goto(f"{base}{path}")
        return cls(page, errors)

    async def press(self, button: str) -> None:
        """Click the button of that name."""
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def listen(self, seconds: float = 1.5) -> list[list[tuple[float, float]]]:
        """Frames of what the other side says: the loudest lines of each as (Hz, dB), the loudest first."""
        frames: list[list[list[float]]] = await self.page.evaluate(LISTEN, {"seconds": seconds})
        return [[(hz, level) for hz, level in frame] for frame in frames]

    async def share(self, hz: float, seconds: float = 1.5) -> float:
        """The share of frames in which `hz` is the loudest."""
        frames = await self.listen(seconds)
        good = [frame for frame in frames if frame and abs(frame[0][0] - hz) < TOLERANCE_HZ]
        return len(good) / len(frames) if frames else 0.0

    async def hears(self, hz: float, *, within_s: float = 8.0, share: float = 0.8) -> None:
        """Wait until the tone is heard nearly all the time."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + within_s
        while (found := await self.share(hz)) < share:
            assert loop.time() < give_up_at, f"{hz} Hz in {found:.0%} of what was heard: {await self.listen(0.5)}"

    async def never_hears(self, hz: float, seconds: float = 1.0) -> None:
        """AssertionError if the tone is among what is heard now."""
        assert await self.share(hz, seconds) < 0.1, f"{hz} Hz is heard"

    async def hears_nine(self, phone: Baresip) -> None:
        """`phone` presses 9: the browser turns RFC 4733 events into the two tones of the key."""
        listening = asyncio.create_task(self.listen(2.0))
        await asyncio.sleep(0.4)
        await phone.press("9")
        frames = await listening
        assert any(_holds(frame, 852) and _holds(frame, 1477) for frame in frames), frames

    async def close(self) -> None:
        """Close the tab, as a person does."""
        await self.page.context.close()


def _holds(frame: list[tuple[float, float]], tone_hz: float) -> bool:
    return any(abs(hz - tone_hz) < TOLERANCE_HZ for hz, _ in frame)


class PhonePage(Tab):
    """One tab with the softphone."""

    number = ""
    "The extension that it is signed in as."

    @classmethod
    async def open(cls, browser: Browser, base: str, path: str = "/phone", **options: Any) -> Self:
        """As Tab.open."""
        return await super().open(browser, base, path, **options)

    async def sign_in(self, extension: str, password: str) -> None:
        """Fill in the form; what comes of it is seen in the page."""
        await self.page.get_by_label("Extension").fill(extension)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in", exact=True).click()

    async def ready(self, extension: str) -> None:
        """Wait until the page is signed in."""
        await self.page.get_by_text(f"{extension} · Ready").wait_for()

    async def dial(self, number: str) -> None:
        """Type a number and call it."""
        await self.page.get_by_label("Number to call").fill(number)
        await self.page.get_by_role("button", name="Call", exact=True).click()

    async def talks(self) -> None:
        """Wait until a call is up."""
        await self.page.locator("#call[data-state=talking]").wait_for()

    async def idle(self) -> None:
        """Wait until there is no call."""
        await self.page.locator("#dialler").wait_for()

    async def notice(self) -> str:
        """Wait for a message; its words."""
        await self.page.locator("#notice").wait_for()
        return await self.page.locator("#notice-text").inner_text()


REFUSED = """
if (navigator.mediaDevices)
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("Permission denied", "NotAllowedError"); };
"""
