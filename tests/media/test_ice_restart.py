"""ICE restart: another path beside the one in use, and the call goes on by it. The browser is a leg of another engine.

(Stock aiortc cannot restart ICE; Chromium does it in tests/browser.)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aioice import stun
from aiortc import RTCSessionDescription

from media import MediaConfig, MediaEngine, MediaError, ice, webrtc_leg
from media.ice import SecureTransport
from media.webrtc_leg import WebRtcLeg

from .test_webrtc_leg import TONE_HZ, browser, engine, level_hz, offered, until

__all__ = ["engine"]

HOSTS = ("127.0.0.1", "::1")


@pytest.fixture(params=HOSTS)
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[tuple[MediaEngine, MediaEngine]]:
    """The server's, and one that plays the browser."""
    pair = tuple(
        MediaEngine(MediaConfig(bind_host=request.param, port_range=(first, first + 19), port_rest_s=0.0))
        for first in (46100, 46200)
    )
    yield pair[0], pair[1]
    for each in pair:
        each.close()
    await until(lambda: all(each.counts()["ports"] == 0 for each in pair))


class Call:
    """A call of the browser that sends a tone and gets its echo."""

    def __init__(self, engines: tuple[MediaEngine, MediaEngine]) -> None:
        self.engines = engines
        server, browser = engines
        one, other = server.create_leg(webrtc=True), browser.create_leg(webrtc=True, codecs=["PCMU"])
        assert isinstance(one, WebRtcLeg)
        assert isinstance(other, WebRtcLeg)
        self.leg, self.browser = one, other

    async def begin(self) -> None:
        exchange(self.browser, self.leg)
        self.engines[0].echo(self.leg, prompt=False)
        self.engines[1].tone(self.browser)
        await until(lambda: self.browser.stats.packets_received > 5)

    async def goes_on(self) -> None:
        before = self.browser.stats.packets_received
        await until(lambda: self.browser.stats.packets_received > before + 10)

    def ports(self) -> int:
        return self.engines[0].counts()["ports"]


def exchange(one: WebRtcLeg, other: WebRtcLeg, change: Callable[[str], str] = lambda sdp: sdp) -> None:
    """An offer of one and the answer of the other."""
    other.receive_offer(change(one.create_offer()))
    one.receive_answer(other.create_answer())


def lines(sdp: str | None, name: str) -> set[str]:
    return {line for line in (sdp or "").split("\r\n") if line.startswith(f"a={name}")}


@pytest.mark.parametrize("who", ["browser", "server"])
async def test_4_a_restart_finds_a_new_path_and_keeps_the_keys(
    engines: tuple[MediaEngine, MediaEngine], who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webrtc_leg, "LINGER_S", 0.05)
    call = Call(engines)
    await call.begin()
    asks, follows = (call.browser, call.leg) if who == "browser" else (call.leg, call.browser)
    before = [(leg.stats.remote, leg._keys, leg.local_sdp) for leg in (asks, follows)]
    asks.restart_ice()
    exchange(asks, follows)
    assert call.ports() == 4, "the old path stays until the new one is ready"
    await until(lambda: call.ports() == 2)
    await call.goes_on()
    for leg, (remote, keys, sdp) in zip((asks, follows), before, strict=True):
        assert leg.stats.remote != remote
        assert leg._keys is keys
        assert not lines(leg.local_sdp, "ice-ufrag") & lines(sdp, "ice-ufrag")
        assert leg.stats.packets_lost <= 1
        assert leg.state == "connected"
    exchange(asks, follows)  # the next offer restarts nothing
    assert call.ports() == 2
    await call.goes_on()


async def test_4_a_restart_that_finds_no_way_leaves_the_old_one_in_use(
    engines: tuple[MediaEngine, MediaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice, "SETUP_S", 0.3)
    call = Call(engines)
    await call.begin()
    remote = call.leg.stats.remote
    call.browser.restart_ice()
    offer = call.browser.create_offer()
    wrong = "\r\n".join(line for line in offer.split("\r\n") if "candidate" not in line)
    call.leg.receive_offer(wrong)
    call.leg.create_answer()
    call.browser.rollback()
    assert call.ports() == 4
    await until(lambda: call.ports() == 2)
    assert (call.leg.state, call.leg.stats.remote) == ("connected", remote)
    await call.goes_on()


async def test_4_restarts_overtake_each_other(
    engines: tuple[MediaEngine, MediaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webrtc_leg, "LINGER_S", 0.05)
    call = Call(engines)
    exchange(call.browser, call.leg)
    for _ in range(3):
        call.browser.restart_ice()
        exchange(call.browser, call.leg)
        await asyncio.sleep(0)
    await until(lambda: call.leg.state == call.browser.state == "connected")
    engines[1].tone(call.browser)
    await until(lambda: call.leg.stats.packets_received > 5)
    await until(lambda: call.ports() == 2)
    host = call.leg.stats.local[0]
    call.leg.close()
    call.browser.close()
    await until(lambda: all(each.counts()["ports"] == 0 for each in engines))
    for each in engines:  # what was given up while its socket was on the way to the loop is closed, too
        first, last = each.config.port_range
        for port in range(first, last + 1):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, port))


async def test_4_a_rollback_takes_the_restart_back(engines: tuple[MediaEngine, MediaEngine]) -> None:
    call = Call(engines)
    await call.begin()
    sdp = call.leg.local_sdp
    call.browser.restart_ice()
    call.leg.receive_offer(call.browser.create_offer())
    assert call.ports() == 4
    call.leg.rollback()
    call.browser.rollback()
    assert call.ports() == 2
    exchange(call.browser, call.leg)
    assert lines(call.leg.local_sdp, "ice-ufrag") == lines(sdp, "ice-ufrag")
    await call.goes_on()


async def test_4_a_new_certificate_needs_a_restart(
    engines: tuple[MediaEngine, MediaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Call(engines)
    await call.begin()
    monkeypatch.setattr(ice, "SETUP_S", 0.5)

    def forge(sdp: str) -> str:
        (old,) = lines(sdp, "fingerprint")
        return sdp.replace(old, "a=fingerprint:sha-256 " + ":".join(["AB"] * 32))

    with pytest.raises(MediaError, match="restart"):
        exchange(call.browser, call.leg, forge)
    call.browser.rollback()
    await call.goes_on()
    # With a restart it is another party, whose certificate is then looked at; this one is a lie.
    call.browser.restart_ice()
    keys = call.leg._keys
    exchange(call.browser, call.leg, forge)
    await until(lambda: call.leg._coming is None)
    assert call.leg._keys is keys


async def test_4_a_page_that_was_loaded_anew_goes_on_with_new_keys(engine: MediaEngine) -> None:
    first, second = browser("PCMU"), browser("PCMU")
    leg = await offered(engine, first)
    engine.echo(leg, prompt=False)
    await until(lambda: leg.stats.packets_received > 5)
    keys = leg._keys
    await second.setLocalDescription(await second.createOffer())
    leg.receive_offer(second.localDescription.sdp)
    await second.setRemoteDescription(RTCSessionDescription(leg.create_answer(), "answer"))
    await until(lambda: leg._coming is None)
    assert leg._keys is not keys
    await first.close()
    assert abs(await level_hz(second) - TONE_HZ) < 20
    assert engine.counts()["ports"] == 2
    leg.close()
    await second.close()


async def test_4_an_answer_cannot_restart(engines: tuple[MediaEngine, MediaEngine]) -> None:
    call = Call(engines)
    await call.begin()
    offer = call.leg.create_offer()
    call.browser.receive_offer(offer)
    answer = call.browser.create_answer()
    (ufrag,) = lines(answer, "ice-ufrag")
    with pytest.raises(MediaError, match="restart"):
        call.leg.receive_answer(answer.replace(ufrag, "a=ice-ufrag:other"))
    call.leg.receive_answer(answer)
    await call.goes_on()


async def test_4_a_silent_browser_is_noticed(
    engines: tuple[MediaEngine, MediaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webrtc_leg, "SILENT_S", 0.5)
    call = Call(engines)
    await call.begin()
    reasons: list[str] = []
    call.leg.on_timeout = lambda _leg, reason: reasons.append(reason)
    assert call.browser._secure is not None
    send, _ = call.browser._secure.path.selected()
    send.__self__.transport.abort()  # type: ignore[attr-defined]  # no goodbye: its battery is empty
    await until(lambda: reasons)
    assert "silent" in reasons[0]


class Elsewhere(asyncio.DatagramProtocol):
    """Another address of the browser: it checks, nominates itself, and answers checks."""

    def __init__(self, browser: SecureTransport) -> None:
        self._path = browser.path
        self.media = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def nominate(self, server: tuple[str, int]) -> None:
        path = self._path
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{path.remote_username}:{path.local_username}"
        request.attributes |= {"PRIORITY": 1, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None}
        request.add_message_integrity(str(path.remote_password).encode())
        self._transport.sendto(bytes(request), server)  # type: ignore[attr-defined]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[0] >= 128:
            self.media += 1
            return
        message = stun.parse_message(data)
        if message.message_class == stun.Class.REQUEST:
            answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id)
            answer.attributes["XOR-MAPPED-ADDRESS"] = addr
            answer.add_message_integrity(self._path.local_password.encode())
            self._transport.sendto(bytes(answer), addr)  # type: ignore[attr-defined]


async def test_4_media_follows_the_pair_that_the_browser_nominates(
    engines: tuple[MediaEngine, MediaEngine],
) -> None:
    call = Call(engines)
    await call.begin()
    secure = call.browser._secure
    assert secure is not None
    host, port = call.leg.stats.local
    transport, elsewhere = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Elsewhere(secure), local_addr=(host, 0)
    )
    elsewhere.nominate((host, port))
    await until(lambda: elsewhere.media > 5)
    assert call.leg.stats.remote == transport.get_extra_info("sockname")[:2]
    transport.close()


async def test_2_behind_nat_the_candidate_is_the_advertised_address() -> None:
    engine = MediaEngine(MediaConfig(bind_host="127.0.0.1", advertised_host="203.0.113.7", port_range=(46400, 46403)))
    leg = engine.create_leg(webrtc=True)
    (candidate,) = lines(leg.create_offer(), "candidate")
    _, _, _, _, host, port, _, kind = candidate.split()[:8]
    assert (host, kind) == ("203.0.113.7", "host")
    assert int(port) in range(46400, 46404)
    engine.close()
