"""Video relayed between browsers, against stock aiortc as the browsers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCIceTransport, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
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
        self.shutter = asyncio.Event()
        self.shutter.set()
        self.stopped = False
        "True while it is off, and what it saw before is encoded and sent."

    @property
    def frames(self) -> int:
        """How many it has taken."""
        return self._at

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(0.05)
        self.stopped = not self.shutter.is_set()
        await self.shutter.wait()
        self.stopped = False
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
        self._ways: set[RTCIceTransport] = set()
        self.peer.on("track", self._on_track)
        self.peer.addTrack(Tone())
        if camera:
            self.peer.addTrack(Camera())
            wanted = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.name == codec]
            self.peer.getTransceivers()[1].setCodecPreferences(wanted)

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._watch(track)))

    async def _watch(self, track: MediaStreamTrack) -> None:
        while track.readyState == "live":
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, VideoFrame):
                assert (frame.width, frame.height) == SIZE
                self.frames += 1

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        self._ways |= {each.sender.transport.transport for each in self.peer.getTransceivers()}
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

    def last_video(self) -> int | None:
        """The highest sequence number that aiortc's video receiver took; it keeps it to itself."""
        streams = vars(self.peer.getReceivers()[1])["_RTCRtpReceiver__remote_streams"]
        return max((stream.max_seq for stream in streams.values()), default=None)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.peer.close()
        for way in self._ways:  # aiortc forgets those that were not bundled in the end
            await way.stop()


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
        for leg, far in ((one, other), (other, one)):
            told = leg.stats.video
            assert told is not None
            assert told.packets_received > 10
            assert told.packets_lost == 0
            assert told.octets_sent > told.packets_sent
            seen = far.stats.video
            assert seen is not None
            assert seen.packets_sent > 10


async def test_4_a_keyframe_request_passes(engine: MediaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    caller, callee = Page(), Page()
    async with called(engine, caller, callee) as (_, other):
        await asyncio.gather(caller.sees(), callee.sees())
        asked: list[object] = []
        monkeypatch.setattr(caller.peer.getSenders()[1], "_send_keyframe", lambda: asked.append(None))
        assert other._video is not None
        await callee.peer.getReceivers()[1]._send_rtcp_pli(other._video.ssrc)
        await until(lambda: asked)


async def test_4_video_is_refused_where_nobody_can_show_it(engine: MediaEngine) -> None:
    page, phone, plain = Page(), engine.create_leg(codecs=["PCMU"]), new_leg(engine, video=False)
    offer = await page.offer()
    for like in (None, phone, plain):
        leg = new_leg(engine)
        leg.receive_offer(offer)
        assert "m=video" in offer
        if like is not None:
            assert "m=video" not in like.create_offer(leg)
        sdp = leg.create_answer(like)
        assert directions(sdp) == [("audio", True, "sendrecv"), ("video", False, "inactive")]
        assert "a=group:BUNDLE 0\r\n" in sdp
        assert leg.video is None
        leg.close()
    plain.rollback()
    plain.receive_offer(offer)
    assert plain.video is None
    await page.close()


async def test_4_video_is_added_held_and_removed(engine: MediaEngine) -> None:
    caller, callee = Page(camera=False), Page(camera=False)
    async with called(engine, caller, callee) as (one, other):
        assert directions(other.local_sdp) == [("audio", True, "sendrecv")]
        # aiortc must not be asked for more while it connects: it seeks the new m= line in the old description.
        await until(lambda: all(leg.stats.packets_received > 5 for leg in (one, other)))
        cameras = [Camera(), Camera()]
        for page, camera in zip((caller, callee), cameras, strict=True):
            page.peer.addTrack(camera)
        one.receive_offer(await caller.offer())
        other.receive_answer(await callee.answer(other.create_offer(one)))
        await caller.answered(one.create_answer(other))
        await asyncio.gather(caller.sees(), callee.sees())

        for direction, seen in (("sendonly", False), ("sendrecv", True)):
            for page, leg, like in ((caller, one, other), (callee, other, one)):
                offer = leg.create_offer(like, direction)
                assert directions(offer)[1] == ("video", True, direction)
                leg.receive_answer(await page.answer(offer))
            assert all(leg._video is not None and bool(leg._video._peer) == seen for leg in (one, other))
        await asyncio.gather(caller.sees(), callee.sees())

        # A page that stops its video stops its camera first. What came to a callee that shows none any more, aiortc
        # would drop after its SRTP noted it: sent again, it counts as replayed, and is waited for over 512 packets.
        cameras[0].shutter.clear()
        assert other._video is not None
        stream = other._video._out
        await until(lambda: cameras[0].stopped and callee.last_video() == stream.seq)
        gone = without_video(await caller.offer())
        one.receive_offer(gone)
        assert one.video is None
        offer = other.create_offer(one)
        assert directions(offer) == [("audio", True, "sendrecv"), ("video", True, "inactive")]
        other.receive_answer(await callee.answer(offer))
        answer = one.create_answer(other)
        assert directions(answer) == [("audio", True, "sendrecv"), ("video", False, "inactive")]
        await until(lambda: one._video is not None and one._video._peer is None)
        seen_before, sent_before, taken_before = callee.frames, other._video.packets_sent, cameras[0].frames
        cameras[0].shutter.set()
        await until(lambda: cameras[0].frames > taken_before + 10)
        assert (callee.frames, other._video.packets_sent) == (seen_before, sent_before), "what is gone is not relayed"

        again = caller.peer.localDescription.sdp
        one.receive_offer(again)
        other.receive_answer(await callee.answer(other.create_offer(one)))
        await caller.answered(one.create_answer(other))
        await asyncio.gather(caller.sees(), callee.sees())
        assert len(directions(other.local_sdp)) == 2


def without_video(sdp: str) -> str:
    """A browser's offer after its video was stopped: the m= line stays, with port 0."""
    head, _, video = sdp.partition("m=video ")
    first, _, rest = video.partition("\r\n")
    stopped = "m=video 0 " + first.partition(" ")[2] + "\r\n" + rest
    return head.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0") + stopped.replace("a=sendrecv", "a=inactive")


async def test_4_payload_types_of_audio_and_video_stay_apart(engine: MediaEngine) -> None:
    page, leg, other = Page(), new_leg(engine), engine.create_leg(webrtc=True, codecs=["PCMU", "opus"])
    offer = (await page.offer()).replace("97", "96").replace("opus", "other")
    leg.receive_offer(offer)
    description = parse(other.create_offer(leg))
    numbers = [number for media in description.media for number in media.formats]
    assert len(set(numbers)) == len(numbers)
    leg.close()
    other.close()
    await page.close()


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        (lambda sdp: sdp, True),
        (lambda sdp: sdp.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"), False),
        (lambda sdp: sdp.replace("a=mid:1\r\n", ""), False),
        (lambda sdp: sdp.replace("VP8/90000", "VP9/90000"), False),
        (lambda sdp: sdp.replace("m=video 9", "m=video 0"), False),
    ],
)
async def test_4_what_can_be_relayed(engine: MediaEngine, change: Callable[[str], str], accepted: bool) -> None:
    page, leg = Page(), new_leg(engine)
    offer = await page.offer()
    head, _, video = offer.partition("m=video ")
    port = video.partition(" ")[0]
    leg.receive_offer(change(head + "m=video 9" + video.removeprefix(port)))
    assert (leg.video is not None) == accepted
    leg.close()
    await page.close()


async def test_4_h264_profiles_must_match(engine: MediaEngine) -> None:
    page, leg = Page("H264"), new_leg(engine)
    leg.receive_offer(await page.offer())
    other = new_leg(engine)
    offer = other.create_offer(leg)
    assert "packetization-mode=1" in offer
    callee = Page("H264")
    answer = await callee.answer(offer)
    other.receive_answer(answer.replace("packetization-mode=1", "packetization-mode=0"))
    assert other.video is None
    assert directions(leg.create_answer(other))[1] == ("video", False, "inactive")
    again = other.create_offer(leg)
    assert len(directions(again)) == 2, "an m= line never vanishes"
    for each in (leg, other):
        each.close()
    await asyncio.gather(page.close(), callee.close())
