"""A leg towards a browser can be closed at any moment: nothing is raised, and its ports come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from aiortc import RTCCertificate

from media import MediaConfig, MediaEngine, MediaError, ice, webrtc_leg
from media.webrtc_leg import WebRtcLeg

from .test_ice_restart import Call, exchange
from .test_webrtc_leg import until

Engines = tuple[MediaEngine, MediaEngine]


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    """The server's, and one that plays the browser; whatever the loop complains of fails the test."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    pair = make_engines()
    yield pair
    await all_closed(pair)
    assert complaints == []


def make_engines() -> Engines:
    one, other = (MediaEngine(MediaConfig(port_range=(first, first + 19), port_rest_s=0.0)) for first in (46300, 46400))
    return one, other


async def all_closed(engines: Engines) -> None:
    for each in engines:
        each.close()
    await until(lambda: all(each.counts()["ports"] == each.counts()["legs"] == 0 for each in engines))


def handshakes(leg: WebRtcLeg) -> bool:
    """Whether its first DTLS handshake is under way."""
    coming = leg._coming
    return coming is not None and coming.session is not None and coming.session._dtls.state == "connecting"


async def test_4_closed_before_anything_was_said(engines: Engines) -> None:
    leg = Call(engines).leg
    leg.close()
    leg.close()
    assert leg.state == "closed"
    await until(lambda: engines[0].counts()["ports"] == 0)


@pytest.mark.parametrize("step", ["offered", "asked"])
async def test_4_closed_half_way_of_an_offer_and_its_answer(engines: Engines, step: str) -> None:
    call = Call(engines)
    if step == "offered":
        call.leg.create_offer()
    else:
        call.leg.receive_offer(call.browser.create_offer())
    call.leg.close()
    call.leg.rollback()
    await until(lambda: engines[0].counts()["ports"] == 0)


@pytest.mark.parametrize("turns", range(12))
async def test_4_closed_while_the_path_is_looked_for(engines: Engines, turns: int) -> None:
    """After so many turns of the loop since both have agreed."""
    call = Call(engines)
    exchange(call.browser, call.leg)
    for _ in range(turns):
        await asyncio.sleep(0)
    call.leg.add_candidate("candidate:1 1 udp 1 127.0.0.1 9 typ host")
    call.leg.close()
    call.leg.add_candidate(None)
    await until(lambda: engines[0].counts()["ports"] == 0)


async def test_4_closed_in_the_handshake(engines: Engines) -> None:
    call = Call(engines)
    exchange(call.browser, call.leg)
    async with asyncio.timeout(10):
        while not handshakes(call.leg):  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0)
    call.leg.close()
    assert engines[0].counts()["legs"] == 0


async def test_4_closed_as_the_keys_are_agreed(engines: Engines) -> None:
    """By who was told of it."""
    call = Call(engines)
    call.leg.on_state = lambda leg, state: leg.close()
    engines[0].echo(call.leg, prompt=False)
    exchange(call.browser, call.leg)
    await until(lambda: call.leg.state == "closed" and engines[0].counts()["ports"] == 0)


@pytest.mark.parametrize("attached", ["nothing", "echo", "bridge", "mix", "tone"])
async def test_4_closed_while_media_flows(engines: Engines, attached: str) -> None:
    call = Call(engines)
    await call.begin()
    others = [engines[0].create_leg(webrtc=True) for _ in range(2)]
    if attached == "nothing":
        assert call.leg.attachment is not None
        call.leg.attachment.close()
    elif attached == "bridge":
        engines[0].bridge(call.leg, others[0])
    elif attached == "mix":
        engines[0].mix([call.leg, *others])
    elif attached == "tone":
        engines[0].tone(call.leg)
    await asyncio.sleep(0.1)
    call.leg.mute(True)
    call.leg.close()
    call.leg.close()
    call.leg.mute(False)
    for other in others:
        other.close()
    await until(lambda: engines[0].counts()["ports"] == 0)


async def closed_after_its_path(engines: Engines, who: str) -> None:
    """aioice closes a path by itself, when the browser no longer answers its checks; a socket may break."""
    call = Call(engines)
    await call.begin()
    secure = call.leg._secure
    assert secure is not None
    if who == "ice":
        await secure.path.close()
    else:
        secure.path._protocols[0].transport.abort()
    assert call.leg._send_to is not None
    with pytest.raises(OSError, match="closed"):
        call.leg.send(b"\x80" + bytes(20))
    if who == "socket at once":
        call.leg.close()
    await asyncio.sleep(0.1)
    call.leg.close()
    await until(lambda: engines[0].counts()["ports"] == 0)


WAYS = ["ice", "socket", "socket at once"]


@pytest.mark.parametrize("who", WAYS)
async def test_4_closed_when_its_path_is_gone(engines: Engines, who: str) -> None:
    await closed_after_its_path(engines, who)


@pytest.mark.parametrize("scenario", [closed_after_its_path])
@pytest.mark.parametrize("who", WAYS)
def test_4_on_uvloop(scenario: Callable[[Engines, str], Awaitable[None]], who: str) -> None:
    async def run() -> None:
        engines = make_engines()
        await scenario(engines, who)
        await all_closed(engines)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def test_4_closed_after_it_failed(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "SETUP_S", 0.05)
    call = Call(engines)
    call.leg.on_timeout = lambda leg, reason: leg.close()
    call.browser.receive_offer(call.leg.create_offer())
    answer = call.browser.create_answer()
    call.browser.close()
    call.leg.receive_answer(answer)
    await until(lambda: call.leg.state == "closed" and engines[0].counts()["ports"] == 0)


@pytest.mark.parametrize("moment", ["offered", "agreed", "under way", "lingering", "again"])
async def test_4_closed_while_ice_restarts(engines: Engines, moment: str) -> None:
    call = Call(engines)
    await call.begin()
    call.browser.restart_ice()
    call.leg.receive_offer(call.browser.create_offer())
    if moment != "offered":
        call.browser.receive_answer(call.leg.create_answer())
    if moment == "under way":
        await asyncio.sleep(0.02)
    elif moment == "lingering":
        await until(lambda: call.leg._coming is None)
        assert call.ports() == 4
    elif moment == "again":
        call.browser.restart_ice()
        exchange(call.browser, call.leg)
    call.leg.close()
    call.browser.close()
    await until(lambda: call.ports() == 0)


async def test_4_closed_while_a_page_that_was_loaded_anew_connects(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New keys and a new path beside the old ones."""
    call = Call(engines)
    await call.begin()
    fresh = RTCCertificate.generateCertificate()
    mark = next(each.value for each in fresh.getFingerprints() if each.algorithm == "sha-256")
    monkeypatch.setattr(ice, "certificate", lambda: fresh)
    monkeypatch.setattr(webrtc_leg, "fingerprint", lambda: mark)
    page = engines[1].create_leg(webrtc=True, codecs=["PCMU"])
    assert isinstance(page, WebRtcLeg)
    exchange(page, call.leg)
    await asyncio.sleep(0.02)
    call.leg.close()
    page.close()
    await until(lambda: call.ports() == 0)


async def test_4_a_closed_leg_takes_no_ports_any_more(engines: Engines) -> None:
    call = Call(engines)
    await call.begin()
    call.leg.restart_ice()
    call.leg.close()
    with pytest.raises(MediaError):
        call.leg.create_offer()
    call.browser.restart_ice()
    with pytest.raises(MediaError):
        call.leg.receive_offer(call.browser.create_offer())
    call.leg.rollback()
    await until(lambda: call.ports() == 0)
