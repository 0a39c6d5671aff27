"""A remote party of a media test: a UDP socket that speaks RTP, and its SDP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from media.rtp import HEADER, MARKER

WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Packet:
    """An RTP packet as received."""

    payload_type: int
    marker: bool
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes


def offer(
    host: str = "127.0.0.1",
    port: int = 30000,
    formats: str = "0 8 101",
    *lines: str,
    direction: str = "sendrecv",
    version: int = 1,
) -> str:
    """A session description of one audio stream; dynamic payload types are 96 opus, 101 telephone-event."""
    address = f"IN {'IP6' if ':' in host else 'IP4'} {host}"
    text = ["v=0", f"o=party 7 {version} {address}", "s=-", f"c={address}", "t=0 0"]
    text.append(f"m=audio {port} RTP/AVP {formats}")
    for number in formats.split():
        if number == "96":
            text.append("a=rtpmap:96 opus/48000/2")
        elif number == "101":
            text += ["a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"]
    return "\r\n".join([*text, *lines, f"a={direction}"]) + "\r\n"


def port_of(sdp: str) -> int:
    """The port of the first m= line."""
    return int(next(line for line in sdp.splitlines() if line.startswith("m=")).split()[1])


def host_of(sdp: str) -> str:
    """The address of the first c= line."""
    return next(line for line in sdp.splitlines() if line.startswith("c=")).split()[2]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event, and need not have one
            await asyncio.sleep(0)


class Party:
    """A socket and the state of its own stream."""

    def __init__(self, ssrc: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.host: str = host
        self.port: int = self.socket.getsockname()[1]
        self.ssrc = ssrc
        self.seq = 1000
        self.timestamp = 5000
        self.target: tuple[str, int] | None = None

    def sdp(self, formats: str = "0 8 101", *lines: str, direction: str = "sendrecv", version: int = 1) -> str:
        """Its session description."""
        return offer(self.host, self.port, formats, *lines, direction=direction, version=version)

    def aim(self, sdp: str) -> None:
        """Send to where this description says."""
        self.target = (host_of(sdp), port_of(sdp))

    def send(self, payload_type: int = 0, payload: bytes = b"\xd5" * 160, *, marker: bool = False) -> None:
        """Send the next 20 ms of its stream."""
        self.seq = (self.seq + 1) & 0xFFFF
        self.timestamp = (self.timestamp + 160) & 0xFFFFFFFF
        self.send_raw(self.packet(payload_type, payload, marker=marker))

    def packet(self, payload_type: int, payload: bytes, *, marker: bool = False) -> bytes:
        """A packet with the numbers of now."""
        kind = payload_type | (MARKER if marker else 0)
        return HEADER.pack(0x80, kind, self.seq, self.timestamp, self.ssrc) + payload

    def send_raw(self, data: bytes) -> None:
        """Send any octets to where we aim."""
        assert self.target is not None
        self.socket.sendto(data, self.target)

    async def receive(self) -> Packet:
        """The next packet that comes in."""
        data = await self.receive_raw()
        _, kind, seq, timestamp, ssrc = HEADER.unpack_from(data)
        return Packet(kind & 0x7F, bool(kind & MARKER), seq, timestamp, ssrc, data[12:])

    async def receive_raw(self) -> bytes:
        """The next datagram that comes in."""
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.socket, 4096), WAIT_S)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
