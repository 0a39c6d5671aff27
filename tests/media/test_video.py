"""Video relayed between browsers, against stock aiortc as the browsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpsender import RTCRtpSender
from av import VideoFrame

from media import MediaEngine
from media.sdp import parse
from media.webrtc_leg import WebRtcLeg

from .test_webrtc_leg import Tone, engine, until

__all__ = ["engine"]

SIZE = (64, 48)


class Camera(MediaStreamTrack):
    """Sees a colour that changes."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(0.05)
        self._at += 1
        frame = VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), self._at * 7 % 256, np.uint8), format="rgb24")
        frame.pts, frame.time_base = self._at * 4500, Fraction(1, 90000)
        return frame


class Page:
    """A browser's page with microphone and camera, that keeps what it sees."""

    def __init__(self, codec: str = "VP8", *, camera: bool = True) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.frames = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.peer.on("track", self._on_track)
        self.peer.addTrack(Tone())
        if camera:
            self.peer.addTrack(Camera())
            wanted = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.name == codec]
            self.peer.getTransceivers()[1].setCodecPreferences(wanted)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._watch(track)))

    async def _watch(self, track: MediaStreamTrack) -> None:
        while True:
            frame = await track.recv()
            if isinstance(frame, VideoFrame):
                assert (frame.width, frame.height) == SIZE
                self.frames += 1

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def answer(self, offer: str) -> str:
        await self.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return str(self.peer.localDescription.sdp)

    async def answered(self, answer: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def sees(self, more: int = 10) -> None:
        before = self.frames
        await until(lambda: self.frames >= before + more)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.peer.close()


def new_leg(engine: MediaEngine, *, video: bool = True) -> WebRtcLeg:
    leg = engine.create_leg(webrtc=True, video=video)
    assert isinstance(leg, WebRtcLeg)
    return leg


@asynccontextmanager
async def called(engine: MediaEngine, caller: Page, callee: Page) -> AsyncIterator[tuple[WebRtcLeg, WebRtcLeg]]:
    """As signalling does it: the offer crosses, the answer comes back."""
    one, other = new_leg(engine), new_leg(engine)
    one.receive_offer(await caller.offer())
    other.receive_answer(await callee.answer(other.create_offer(one)))
    await caller.answered(one.create_answer(other))
    engine.bridge(one, other)
    yield one, other
    for leg in (one, other):
        leg.close()
    await asyncio.gather(caller.close(), callee.close())


def directions(sdp: str | None) -> list[tuple[str, bool, str | None]]:
    """Kind, whether it is enabled, direction, of each m= line."""
    return [(media.kind, media.port != 0, media.direction) for media in parse(sdp or "").media]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_4_two_browsers_see_each_other(engine: MediaEngine, codec: str) -> None:
    caller, callee = Page(codec), Page(codec)
    async with called(engine, caller, callee) as (one, other):
        await asyncio.gather(caller.sees(), callee.sees())
        for leg in (one, other):
            assert leg.video is not None
            assert {each.name for each in leg.video.formats} == {codec}
            assert directions(leg.local_sdp) == [("audio", True, "sendrecv"), ("video", True, "sendrecv")]
            assert leg.stats.packets_refused == 0
        await until(lambda: one.stats.packets_received > 10)
