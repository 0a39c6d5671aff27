"""The other side of the WebRTC bench: browsers and phones made of media legs, which say a tone and count packets."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from media import MediaConfig, MediaEngine, MediaLeg
from media.player import tone_frames
from media.rtp import HEADER, MASK16, MASK32, VERSION_2
from media.voice_leg import VoiceLeg

PORTS = (20_000, 31_999)
TONE_HZ = 440
SLICES = 20  # of 20 ms: sends are spread evenly
CONNECT_S = 20.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What the device uses."""

    cpu_s: float
    memory_kb: float
    tasks: float
    descriptors: float


class Remote:
    """The device, by its control connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int, patience_s: float = 30.0) -> Remote:
        """Connect once it listens."""
        async with asyncio.timeout(patience_s):
            while True:
                try:
                    return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)

    async def ask(self, **request: object) -> dict[str, Any]:
        """One request and its answer."""
        self._writer.write(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._reader.readline())
        return answer

    async def usage(self) -> Usage:
        """What it uses now."""
        answer = await self.ask(usage=True)
        return Usage(*(answer[name] for name in ("cpu_s", "memory_kb", "tasks", "descriptors")))

    async def close(self) -> None:
        """Let it end."""
        self._writer.close()
        await self._writer.wait_closed()


class Talker:
    """One leg that says a tone."""

    def __init__(self, leg: VoiceLeg) -> None:
        codec = leg.codecs[0]
        self._leg = leg
        self._frames = tone_frames(codec, TONE_HZ)
        self._kind = codec.payload_type
        self._step = codec.clock_hz // 50
        self._seq, self._timestamp, self._ssrc = (random.getrandbits(bits) for bits in (16, 32, 32))
        self._at = 0

    def say(self) -> None:
        """The next 20 ms."""
        self._seq = (self._seq + 1) & MASK16
        self._timestamp = (self._timestamp + self._step) & MASK32
        self._at = (self._at + 1) % len(self._frames)
        header = HEADER.pack(VERSION_2, self._kind, self._seq, self._timestamp, self._ssrc)
        self._leg.transmit(header + self._frames[self._at])


class Parties:
    """Everybody who calls the device."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._engine = MediaEngine(MediaConfig(port_range=PORTS, port_rest_s=0.0))
        self.legs: list[VoiceLeg] = []
        self._talkers: dict[VoiceLeg, Talker] = {}

    async def call(self, kinds: Sequence[tuple[str, str]], join: str) -> list[VoiceLeg]:
        """One call of legs, each a kind (browser or phone) and a codec; returns when all can talk."""
        legs = [self._engine.create_leg(webrtc=kind == "browser", codecs=[codec]) for kind, codec in kinds]
        offers = [(kind, leg.create_offer()) for (kind, _), leg in zip(kinds, legs, strict=True)]
        answers = (await self.remote.ask(legs=offers, join=join))["answers"]
        for leg, answer in zip(legs, answers, strict=True):
            leg.receive_answer(answer)
        async with asyncio.timeout(CONNECT_S):
            while not all(leg.sends for leg in legs):  # noqa: ASYNC110 -- nothing tells of it on a plain leg
                await asyncio.sleep(0.001)
        self.legs += legs
        self._talkers.update((leg, Talker(leg)) for leg in legs)
        return legs

    async def talk(self, seconds: float, legs: Sequence[VoiceLeg] | None = None) -> int:
        """All say a tone for some seconds; how many packets they heard."""
        talking = self.legs if legs is None else legs
        talkers = [self._talkers[leg] for leg in talking]
        slices = [talkers[number::SLICES] for number in range(SLICES)]
        loop = asyncio.get_running_loop()
        before = self.heard(talking)
        began_at = loop.time()
        for number in range(int(seconds * 1000)):
            wait_s = began_at + number / 1000 - loop.time()
            if wait_s > 0 or not number % SLICES:
                await asyncio.sleep(max(0.0, wait_s))
            for talker in slices[number % SLICES]:
                talker.say()
        return self.heard(talking) - before

    @staticmethod
    def heard(legs: Sequence[MediaLeg]) -> int:
        """Packets that these have received."""
        return sum(leg.stats.packets_received for leg in legs)

    async def close(self) -> None:
        """End all calls on both sides."""
        await self.remote.ask(close=True)
        for leg in self.legs:
            leg.close()
        self.legs.clear()
        self._talkers.clear()
        while self._engine.counts()["ports"]:  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.01)

    def end(self) -> None:
        """Close the engine."""
        self._engine.close()
