"""What strangers and broken browsers send to legs towards browsers: refused or dropped, and the call goes on."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from media import MediaConfig, MediaEngine, MediaError, MediaLeg, SdpError
from media.webrtc_leg import WebRtcLeg

from .test_webrtc_leg import browser, connected, level_hz, offered, until

TONE_HZ = 400
LEGS = 20
RATE = 10_000
FORGED, AT_ONCE = 500, 50  # packets; as many as a socket's buffer takes whatever its reader does
FLOOD = Path(__file__).with_name("flood.py")
JUNK = ("", "x", "-1", "99999999999999999999", "0", "a" * 5000, "\x00", "é", " ", "\u202e", ":" * 40, "1 2 3 4 5 6 7 8")


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """What the loop would have logged as an exception of nobody's."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: found.append(str(context)))
    yield found
    loop.set_exception_handler(None)


@pytest.fixture
async def engine(complaints: list[str]) -> AsyncIterator[MediaEngine]:
    tasks, descriptors = len(asyncio.all_tasks()), _descriptors()
    engine = MediaEngine(MediaConfig(bind_host="127.0.0.1", port_range=(47000, 47599), port_rest_s=0.0))
    yield engine
    engine.close()
    await until(lambda: engine.counts()["ports"] == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    gc.collect()
    await until(lambda: _descriptors() <= descriptors)  # a transport closes its socket a turn of the loop later
    assert complaints == []


def _descriptors() -> int:
    """Open ones, but for /dev/null: uvloop keeps one of the flood's process."""
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return len([link for link in links if link.is_symlink() and os.readlink(link) != os.devnull])


async def offer_of_a_browser() -> str:
    peer = browser("opus", "PCMU")
    await peer.setLocalDescription(await peer.createOffer())
    sdp: str = peer.localDescription.sdp
    await peer.close()
    return sdp


def taken(engine: MediaEngine, sdp: str) -> None:
    """A leg is offered this and answers if it can; then it is closed."""
    leg = engine.create_leg(webrtc=True)
    try:
        leg.receive_offer(sdp)
        leg.create_answer()
    finally:
        leg.close()


async def test_18_malformed_sdp_is_refused_and_never_more(engine: MediaEngine) -> None:
    chance = random.Random(18)
    lines = (await offer_of_a_browser()).split("\r\n")
    statuses: list[int] = []
    for turn in range(400):
        broken = list(lines)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(broken))
            name, colon, _value = broken[at].partition(chance.choice(":= "))
            match chance.randrange(5):
                case 0:
                    del broken[at]
                case 1:
                    broken.insert(at, chance.choice(broken))
                case 2:
                    broken[at] = name + colon + chance.choice(JUNK)
                case 3:
                    broken[at] = broken[at][: chance.randrange(len(broken[at]) + 1)]
                case _:
                    broken = broken[: at + 1]
        try:
            taken(engine, "\r\n".join(broken))
        except MediaError as error:
            statuses.append(error.status)
        if turn % 50 == 0:
            await until(lambda: engine.counts()["ports"] == 0)
    assert len(statuses) > 100
    assert set(statuses) == {400, 488}
    assert engine.counts()["legs"] == 0


REASONS = (
    "m-lines", "fingerprint", "sha-1", "ufrag", "password", "mux", "sdes", "holdconn", "candidates", "empty", "zeros"
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda sdp: sdp + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 1000, 400),
        (lambda sdp: _without(sdp, "a=fingerprint"), 400),
        (lambda sdp: sdp.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-1 "), 400),
        (lambda sdp: _without(sdp, "a=ice-ufrag"), 400),
        (lambda sdp: _without(sdp, "a=ice-pwd"), 400),
        (lambda sdp: _without(sdp, "a=rtcp-mux"), 488),
        (lambda sdp: sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVP"), 488),
        (lambda sdp: sdp.replace("a=setup:actpass", "a=setup:holdconn"), 488),
        (lambda sdp: sdp + "a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n" * 1000, 400),
        (lambda sdp: "", 400),
        (lambda sdp: "\x00" * 70_000, 400),
    ],
    ids=REASONS,
)
async def test_18_what_cannot_be_done_is_refused_by_its_reason(engine: MediaEngine, change: Any, status: int) -> None:
    offer = await offer_of_a_browser()
    with pytest.raises(MediaError) as refusal:
        taken(engine, change(offer))
    assert refusal.value.status == status
    assert isinstance(refusal.value, SdpError) == (status == 400)


def _without(sdp: str, start: str) -> str:
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith(start))


@pytest.mark.timeout(90)
async def test_18_twenty_legs_connect_while_garbage_pours_on_their_ports(engine: MediaEngine) -> None:
    asyncio.get_running_loop().set_debug(False)  # it is the server that is to be loaded, not the watch over it
    peers = [browser("PCMU"), *(_listener() for _ in range(LEGS - 1))]
    calls = [(engine.create_leg(webrtc=True), peer) for peer in peers]
    command = [sys.executable, str(FLOOD), "18", "60", str(RATE), *(str(leg.stats.local[1]) for leg, _ in calls)]
    flood = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert flood.stdout is not None
    try:
        assert await flood.stdout.readline() == b"pouring\n"
        await asyncio.gather(*(_connect(leg, peer) for leg, peer in calls))
        engine.echo(calls[0][0], prompt=False)
        assert abs(await level_hz(calls[0][1]) - TONE_HZ) < 20
    finally:
        flood.terminate()
        told = await flood.stdout.read()
        await flood.wait()
    print(f"{told.decode().strip()} datagrams of garbage a second")
    assert float(told) > RATE / 20, "that was no load at all"
    for leg, peer in calls:
        assert isinstance(leg, WebRtcLeg)
        assert leg.state == "connected"
        leg.close()
        await peer.close()


def _listener() -> RTCPeerConnection:
    """A browser that says nothing: one that does costs aiortc as much as a thousand garbage packets."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio", direction="recvonly")
    return peer


async def _connect(leg: MediaLeg, peer: RTCPeerConnection) -> None:
    assert isinstance(leg, WebRtcLeg)
    await peer.setLocalDescription(await peer.createOffer())
    leg.receive_offer(peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(leg.create_answer(), "answer"))
    await until(lambda: leg.state != "new", limit_s=30)
    assert leg.state == "connected", leg.failure


async def test_18_forged_srtp_is_dropped_and_counted(engine: MediaEngine) -> None:
    """From the browser's own address even, as somebody on its network could."""
    peer = browser("PCMU")
    leg = await offered(engine, peer)
    engine.echo(leg, prompt=False)
    failures: list[str] = []
    leg.on_timeout = lambda _leg, why: failures.append(why)
    await connected(leg)
    await until(lambda: leg.stats.packets_received > 5)
    before = leg.stats
    chance = random.Random(4)
    for number in range(1, FORGED + 1):
        head = bytes((0x80, chance.choice((0, 8, 96, 200, 201)))) + number.to_bytes(2, "big")
        await peer.getSenders()[0].transport.transport._send(head + chance.randbytes(chance.randrange(8, 180)))
        if number % AT_ONCE == 0:
            refused = before.packets_refused + number
            await until(lambda refused=refused: leg.stats.packets_refused >= refused)  # type: ignore[misc]  # a loop's lambda
    await until(lambda: leg.stats.packets_received > before.packets_received + 20)
    assert leg.state == "connected"
    assert failures == []
    assert leg.stats.packets_lost == 0
    assert abs(await level_hz(peer) - TONE_HZ) < 20
    leg.close()
    await peer.close()
