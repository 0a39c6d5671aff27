"""Call a number with sound from a programme: aiortc as the browser, Ringway's signalling channel (docs/channel.md).

    python examples/place_call.py --token TOKEN 600 --play question.wav --record answer.wav

Plays a file (or silence), records what comes back, and hangs up when the file is over, after --seconds, or when the
other side does. Exit status: 0 when they talked, 1 when not, 2 when the server refused it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole, MediaPlayer, MediaRecorder
from aiortc.mediastreams import AudioStreamTrack


class Refused(Exception):
    """The server did not carry out a command."""


class Channel:
    """Sends commands; `frames` holds what the server says by itself."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = map(str, itertools.count(1))
        self._results: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def read(self) -> None:
        """Until the connection ends; then `frames` ends with an empty one."""
        async for message in self._socket:
            frame = json.loads(message.data)
            if frame["type"] == "ping":
                await self._socket.send_json({"type": "pong"})
            elif frame["type"] in ("result", "error") and frame["id"]:
                self._results.pop(frame["id"]).set_result(frame)
            else:
                self.frames.put_nowait(frame)
        for future in self._results.values():
            future.set_exception(Refused("the connection was closed"))
        self.frames.put_nowait({"type": ""})

    async def send(self, kind: str, **fields: Any) -> dict[str, Any]:
        """One command and its result. Raises Refused."""
        request = next(self._ids)
        self._results[request] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"type": kind, "id": request, **fields})
        frame = await self._results[request]
        if frame["type"] == "error":
            raise Refused(f"{frame['code']}: {frame['message']}")
        result: dict[str, Any] = frame["result"]
        return result


async def converse(channel: Channel, peer: RTCPeerConnection, options: argparse.Namespace) -> bool:
    """Call, talk until the end; whether anybody could be heard."""
    player = MediaPlayer(options.play) if options.play else None
    track = (player and player.audio) or AudioStreamTrack()
    recorder = MediaRecorder(options.record) if options.record else MediaBlackhole()
    peer.addTrack(track)
    peer.on("track", recorder.addTrack)
    peer.on("connectionstatechange", lambda: channel.frames.put_nowait({"type": peer.connectionState}))
    await peer.setLocalDescription(await peer.createOffer())
    await channel.send("call", number=options.number, sdp=peer.localDescription.sdp)
    talked = False

    def hang_up() -> None:
        channel.frames.put_nowait({"type": "ended", "reason": "hung up"})

    while True:
        frame = await channel.frames.get()
        if frame["type"] == "answer":
            await peer.setRemoteDescription(RTCSessionDescription(frame["sdp"], "answer"))
            await recorder.start()
        elif frame["type"] == "connected":
            talked = True
            print("talking", flush=True)
            track.on("ended", hang_up)
            asyncio.get_running_loop().call_later(options.seconds, hang_up)
        elif frame["type"] in ("ended", "failed", ""):
            print(frame.get("reason") or "the connection was lost", flush=True)
            await recorder.stop()
            return talked


async def run(options: argparse.Namespace) -> int:
    """The whole programme; its exit status."""
    hello = {"version": 1, "token": options.token, **({"user": options.user} if options.user else {})}
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        async with (
            aiohttp.ClientSession(options.url) as http,
            http.ws_connect("/ws", protocols=["ringway.v1"]) as socket,
        ):
            channel = Channel(socket)
            reading = asyncio.create_task(channel.read())
            try:
                await channel.send("hello", **hello)
                return 0 if await converse(channel, peer, options) else 1
            except Refused as refused:
                print(refused, file=sys.stderr)
                return 2
            finally:
                reading.cancel()
    except aiohttp.ClientError as error:
        print(f"no answer from the server: {error}", file=sys.stderr)
        return 2
    finally:
        await peer.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Call a number; play a file to it and record what it says.")
    parser.add_argument("number", help="such as 600")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where Ringway is")
    parser.add_argument("--token", default=os.environ.get("RINGWAY_TOKEN", ""), help="or the variable RINGWAY_TOKEN")
    parser.add_argument("--user", help="whom to act for, with an admin's token")
    parser.add_argument("--play", type=Path, help="a sound file")
    parser.add_argument("--record", type=Path, help="a WAV file to write")
    parser.add_argument("--seconds", type=float, default=3600.0, help="hang up after this time of talking")
    return asyncio.run(run(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
