"""What the WebRTC bench measures: `python -m bench.webrtc_device KIND PORT`; a JSON line a request on that TCP port.

`{"legs": [[name of what it is, SDP offer], ...], "join": "pair" or "echo"}` answers with their SDP answers,
`{"close": true}` ends all legs, and `{"usage": true}` answers with what the process uses.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, Protocol

import uvloop

from media import MediaConfig, MediaEngine, MediaLeg

PORTS = (10_000, 17_999)


class Device(Protocol):
    """Something that bridges browsers."""

    async def add(self, legs: list[tuple[str, str]], join: str) -> list[str]:
        """Answer offers and join the legs."""

    async def close(self) -> None:
        """End all legs."""


class Ringway:
    """A media engine as the server has it."""

    def __init__(self) -> None:
        MediaEngine.preload()
        self._engine = MediaEngine(MediaConfig(port_range=PORTS, port_rest_s=0.0))
        self._legs: list[MediaLeg] = []

    async def add(self, legs: list[tuple[str, str]], join: str) -> list[str]:
        """As signalling does it."""
        made, answers = [], []
        for kind, offer in legs:
            leg = self._engine.create_leg(webrtc=kind == "browser")
            leg.receive_offer(offer)
            answers.append(leg.create_answer())
            made.append(leg)
        if join == "pair":
            self._engine.bridge(*made)
        else:
            for leg in made:
                self._engine.echo(leg, prompt=False)
        self._legs += made
        return answers

    async def close(self) -> None:
        """End all legs, and wait until their ports are free."""
        for leg in self._legs:
            leg.close()
        self._legs.clear()
        while self._engine.counts()["ports"]:  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.01)


class Stock:
    """aiortc's RTCPeerConnection with its MediaRelay, the way its documentation shows."""

    def __init__(self) -> None:
        self._peers: list[Any] = []

    async def add(self, legs: list[tuple[str, str]], join: str) -> list[str]:
        """A peer connection each; the track of one goes to the other through a relay."""
        from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
        from aiortc.contrib.media import MediaRelay

        peers, tracks, relay = [], [], MediaRelay()
        for _, offer in legs:
            peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            peers.append(peer)
            tracks.append(peer.getReceivers()[0].track)
        answers = []
        for peer, track in zip(peers, reversed(tracks) if join == "pair" else tracks, strict=True):
            peer.addTrack(relay.subscribe(track))
            await peer.setLocalDescription(await peer.createAnswer())
            answers.append(peer.localDescription.sdp)
        self._peers += peers
        return answers

    async def close(self) -> None:
        """Close all peer connections."""
        await asyncio.gather(*(peer.close() for peer in self._peers))
        self._peers.clear()


def usage() -> dict[str, float]:
    """What the process uses now, besides the connection of the request."""
    used = resource.getrusage(resource.RUSAGE_SELF)  # before what follows
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_kb": pages * resource.getpagesize() / 1024,
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


async def main() -> None:
    """Serve one client until it goes."""
    kind, port = sys.argv[1], int(sys.argv[2])
    device: Device = Stock() if kind == "stock" else Ringway()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line)
            answers: list[str] = []
            if "legs" in request:
                answers = await device.add([(kind, sdp) for kind, sdp in request["legs"]], request["join"])
            if request.get("close"):
                await device.close()
            writer.write(json.dumps({"answers": answers, **(usage() if request.get("usage") else {})}).encode() + b"\n")
        writer.close()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 20)
    gc.freeze()
    await over.wait()
    await device.close()
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
