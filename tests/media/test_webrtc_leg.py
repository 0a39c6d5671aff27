"""A leg towards a browser, against stock aiortc as the browser: real ICE, DTLS and SRTP over loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpsender import RTCRtpSender
from av import AudioFrame

from media import MediaConfig, MediaEngine, MediaError, SdpError
from media.webrtc_leg import WebRtcLeg

TONE_HZ = 400
RATE_HZ = 8000


class Tone(MediaStreamTrack):
    """A microphone that hears a tone."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(0.02)
        samples = np.arange(self._at, self._at + 160) * 2 * np.pi * TONE_HZ / RATE_HZ
        frame = AudioFrame.from_ndarray((np.sin(samples) * 8000).astype(np.int16).reshape(1, -1), layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, self._at, Fraction(1, RATE_HZ)
        self._at += 160
        return frame


@pytest.fixture
async def engine() -> AsyncIterator[MediaEngine]:
    engine = MediaEngine(MediaConfig(bind_host="127.0.0.1", port_range=(46000, 46099), port_rest_s=0.0))
    yield engine
    engine.close()
    await until(lambda: engine.counts()["ports"] == 0)


def browser(*codecs: str) -> RTCPeerConnection:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(Tone())
    wanted = [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.name.lower() in {n.lower() for n in codecs}]
    if codecs:
        peer.getTransceivers()[0].setCodecPreferences(wanted)
    return peer


async def offered(engine: MediaEngine, peer: RTCPeerConnection) -> WebRtcLeg:
    """The peer calls: it offers, we answer."""
    leg = engine.create_leg(webrtc=True)
    assert isinstance(leg, WebRtcLeg)
    await peer.setLocalDescription(await peer.createOffer())
    leg.receive_offer(peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(leg.create_answer(), "answer"))
    return leg


async def until(condition: Callable[[], object], limit_s: float = 15.0) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 -- what is waited for has no event, and need not have one
            await asyncio.sleep(0.01)


async def connected(leg: WebRtcLeg) -> None:
    await until(lambda: leg.state == "connected")


async def level_hz(peer: RTCPeerConnection) -> float:
    """The loudest frequency of what the peer hears, over half a second."""
    track = peer.getReceivers()[0].track
    heard: list[Any] = []
    rate_hz = 0
    async with asyncio.timeout(10):
        for _ in range(40):
            frame = await track.recv()
            assert isinstance(frame, AudioFrame)
            rate_hz = frame.sample_rate
            samples = frame.to_ndarray().astype(np.float64).reshape(-1)
            heard.append(samples[:: len(frame.layout.channels)])
    sound = np.concatenate(heard[15:])
    spectrum = np.abs(np.fft.rfft(sound))
    return float(np.argmax(spectrum) * rate_hz / len(sound))


async def test_1_a_browser_that_calls_hears_its_echo(engine: MediaEngine) -> None:
    peer = browser("PCMU")
    leg = await offered(engine, peer)
    engine.echo(leg, prompt=False)
    await until(lambda: leg.state == "connected")
    assert abs(await level_hz(peer) - TONE_HZ) < 20
    stats = leg.stats
    assert stats.packets_received > 20
    assert stats.packets_lost == 0
    leg.close()
    await peer.close()


async def test_1_a_browser_that_is_called_hears_its_echo(engine: MediaEngine) -> None:
    peer = browser("PCMA")
    leg = engine.create_leg(webrtc=True)
    await peer.setRemoteDescription(RTCSessionDescription(leg.create_offer(), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    leg.receive_answer(peer.localDescription.sdp)
    engine.echo(leg, prompt=False)
    await until(lambda: isinstance(leg, WebRtcLeg) and leg.state == "connected")
    assert abs(await level_hz(peer) - TONE_HZ) < 20
    leg.close()
    await peer.close()


async def test_3_a_browser_that_sends_its_candidates_later_is_not_on_hold(engine: MediaEngine) -> None:
    """Its description says 0.0.0.0 and port 9 (RFC 8840 4.1.1), the old way to say hold."""
    peer = browser("PCMU")
    leg = engine.create_leg(webrtc=True)
    await peer.setLocalDescription(await peer.createOffer())
    lines = [line for line in peer.localDescription.sdp.splitlines() if "candidate" not in line]
    lines = ["c=IN IP4 0.0.0.0" if line.startswith("c=") else line for line in lines]
    lines = [re.sub("^m=audio [0-9]+ ", "m=audio 9 ", line) for line in lines]
    leg.receive_offer("\r\n".join(lines) + "\r\n")
    assert "a=sendrecv" in leg.create_answer().splitlines()
    assert not leg.on_hold
    leg.close()
    await peer.close()


async def test_2_two_browsers_hear_each_other_in_opus(engine: MediaEngine) -> None:
    one, other = browser("opus"), browser("opus")
    legs = [await offered(engine, peer) for peer in (one, other)]
    engine.bridge(*legs)
    await until(lambda: all(leg.state == "connected" for leg in legs))
    assert abs(await level_hz(one) - TONE_HZ) < 20
    for leg in legs:
        leg.close()
    await asyncio.gather(one.close(), other.close())


async def test_3_what_is_no_webrtc_is_refused(engine: MediaEngine) -> None:
    leg = engine.create_leg(webrtc=True)
    plain = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    with pytest.raises(MediaError):
        leg.receive_offer(plain)
    with pytest.raises(SdpError):
        leg.receive_offer(plain.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF"))
    leg.close()


async def test_3_a_wrong_fingerprint_fails_the_leg(engine: MediaEngine) -> None:
    peer = browser("PCMU")
    leg = engine.create_leg(webrtc=True)
    await peer.setLocalDescription(await peer.createOffer())
    lines = peer.localDescription.sdp.split("\r\n")
    sdp = "\r\n".join("a=fingerprint:sha-256 " + ":".join(["AB"] * 32) if "fingerprint" in x else x for x in lines)
    failures: list[str] = []
    leg.receive_offer(sdp)
    leg.on_timeout = lambda _leg, why: failures.append(why)
    await peer.setRemoteDescription(RTCSessionDescription(leg.create_answer(), "answer"))
    await until(lambda: failures)
    assert "certificate" in failures[0]
    leg.close()
    await peer.close()


async def test_18_what_srtp_cannot_carry_is_lost_and_no_more(engine: MediaEngine) -> None:
    peer = browser("PCMU")
    leg = await offered(engine, peer)
    await connected(leg)
    for packet in (b"", b"\x9f" + bytes(11), b"\x80" + bytes(1500)):
        before = leg.stats.packets_sent
        leg.transmit(packet)
        assert leg.stats.packets_sent == before
    leg.close()
    await peer.close()


async def test_4_hold_and_resume_on_the_same_transport(engine: MediaEngine) -> None:
    peer = browser("PCMU")
    leg = await offered(engine, peer)
    engine.echo(leg, prompt=False)
    await until(lambda: leg.stats.packets_received > 5)
    await peer.setRemoteDescription(RTCSessionDescription(leg.create_offer(None, "sendonly"), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    leg.receive_answer(peer.localDescription.sdp)
    assert leg.direction == "sendonly"
    await peer.setRemoteDescription(RTCSessionDescription(leg.create_offer(None, "sendrecv"), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    leg.receive_answer(peer.localDescription.sdp)
    before = leg.stats.packets_sent
    await until(lambda: leg.stats.packets_sent > before + 10)
    leg.close()
    await peer.close()


async def test_19_nothing_is_left_of_closed_legs(engine: MediaEngine) -> None:
    tasks = len(asyncio.all_tasks())
    for _ in range(3):
        peer = browser("PCMU")
        leg = await offered(engine, peer)
        await connected(leg)
        leg.close()
        await peer.close()
    await until(lambda: engine.counts()["ports"] == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert engine.counts()["legs"] == 0
