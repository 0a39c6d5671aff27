"""Run in a process of its own: how much is heard of the first call that is transcoded, and of the first mix.

`transcode` after the codecs were loaded, `cold` without; `mix`.

Prints a JSON object. Nothing that codecs take may be imported here.
"""

from __future__ import annotations

import asyncio
import audioop
import json
import sys
import time
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from media import MediaConfig, MediaEngine

from .party import Party
from .tones import tone

FRAMES = 25
LOUD = 1000
HEAVY = ("av", "numpy")
LATENCY_S = 0.3
AFTER_S = 0.2
"For the last ones: a mix plays 40 ms after it hears."


class SlowDisk(PathFinder):
    """Large modules take a while to come, as where they have not been read for long."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As found, but slow to run."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname in HEAVY else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            execute = spec.loader.exec_module

            def slowly(module: ModuleType) -> None:
                time.sleep(LATENCY_S)
                execute(module)

            spec.loader.exec_module = slowly  # type: ignore[method-assign]
        return spec


async def say(party: Party, payload_type: int, payload: bytes) -> None:
    """Half a second, in real time."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(FRAMES):
        await asyncio.sleep(max(0.0, begun + number / 50 - loop.time()))
        party.send(payload_type, payload)
    await asyncio.sleep(AFTER_S)


def heard(party: Party) -> list[bytes]:
    """The packets that came."""
    packets: list[bytes] = []
    while True:
        try:
            packets.append(party.socket.recv(4096))
        except BlockingIOError:
            return packets


async def transcode(engine: MediaEngine) -> int:
    """G.722 to PCMU: packets that the other hears."""
    a, b = Party(0xA), Party(0xB)
    leg_a, leg_b = engine.create_leg(), engine.create_leg()
    leg_a.receive_offer(a.sdp("9"))
    b.aim(leg_b.create_offer(leg_a))
    leg_b.receive_answer(b.sdp("0"))
    a.aim(leg_a.create_answer(leg_b))
    engine.bridge(leg_a, leg_b)
    await say(a, 9, bytes(range(160)))
    return len(heard(b))


async def mix(engine: MediaEngine) -> int:
    """Three in PCMU: packets in which the second hears the first."""
    parties = [Party(ssrc) for ssrc in (0xA, 0xB, 0xC)]
    legs = [engine.create_leg() for _ in parties]
    for party, leg in zip(parties, legs, strict=True):
        leg.receive_offer(party.sdp("0"))
        party.aim(leg.create_answer())
    engine.mix(legs)
    await say(parties[0], 0, audioop.lin2ulaw(tone(400, 160, 8_000), 2))
    return sum(audioop.rms(audioop.ulaw2lin(packet[12:], 2), 2) > LOUD for packet in heard(parties[1]))


async def main(what: str) -> None:
    sys.meta_path.insert(0, SlowDisk)
    engine = MediaEngine(MediaConfig(port_range=(21300, 21399)))
    before = [name for name in HEAVY if name in sys.modules]
    if what == "transcode":
        await engine.load_codecs()
    count = await (mix(engine) if what == "mix" else transcode(engine))
    engine.close()
    after = [name for name in HEAVY if name in sys.modules]
    print(json.dumps({"count": count, "before": before, "after": after}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
