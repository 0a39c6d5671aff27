"""What was said on the wire: PCMU packets to some ports of a network's `lo`, as sound and as counts.

For the parts of a call that baresip does not record: after a hold its recording stands still.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from . import tones
from .capture import PACKET_OUTGOING, open_raw
from .network import Network

PCMU = 0
RTP_HEADER = 12  # bytes, without CSRCs and extensions, which no phone here sends


@dataclass(frozen=True)
class Packet:
    """One RTP packet: when it came (monotonic seconds), to which port, and its sound."""

    at: float
    port: int
    payload_type: int
    payload: bytes


class RtpTap:
    """Collects RTP packets to the ports, from construction to `close()`."""

    def __init__(self, network: Network, ports: Iterable[int]) -> None:
        self._ports = set(ports)
        self.packets: list[Packet] = []
        self._socket = open_raw(network, sorted(self._ports))
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="rtp tap", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        self._thread.join(3)
        self._socket.close()

    def between(self, start: float, end: float, ports: Iterable[int]) -> list[Packet]:
        """Packets that came in the time to any of the ports."""
        wanted = set(ports)
        return [one for one in list(self.packets) if start <= one.at < end and one.port in wanted]

    def tone_s(self, start: float, end: float, ports: Iterable[int], hz: float) -> float:
        """For how long the tone was sent to the ports in the time, in seconds."""
        packets = [one for one in self.between(start, end, ports) if one.payload_type == PCMU]
        sound = _linear(b"".join(one.payload for one in packets))
        return tones.measure(sound, tones.SAMPLE_RATE_HZ, hz).tone_s

    def _run(self) -> None:
        while not self._closing:
            try:
                packet, address = self._socket.recvfrom(0x1_0000)
            except TimeoutError:
                continue
            if address[2] == PACKET_OUTGOING:
                continue
            header = (packet[0] & 0x0F) * 4
            port = struct.unpack_from("!H", packet, header + 2)[0]
            data = packet[header + 8 :]
            if port in self._ports and len(data) > RTP_HEADER and data[0] == 0x80:
                rtp = Packet(time.monotonic(), port, data[1] & 0x7F, data[RTP_HEADER:])
                self.packets.append(rtp)


def _linear(data: bytes) -> tones.Samples:
    """µ-law (ITU-T G.711) as samples in -1..1."""
    code = ~np.frombuffer(data, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84 << ((code >> 4) & 0x07).astype(np.int32)) - 0x84
    linear: tones.Samples = np.where(code & 0x80, -magnitude, magnitude) / 32_768
    return linear
