"""Set-up latency, one call at a time, by turns straight to the callee and through the device.

The end of a measurement is the kernel's receive stamp of the 200 (SO_TIMESTAMPNS), so that a late
wake-up of this process is not counted. Prints two lines of milliseconds: direct, through the device.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import time
from collections.abc import Callable

from .load import CALLEE, CALLEE_PORT, CALLER, DEVICE_PORT, NUMBER

SO_TIMESTAMPNS = 35
GAP_S = 0.005
WARM_UP = 10
REPLY_LIMIT_S = 2.0

SDP = (
    "v=0\r\no=p 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


class Caller:
    """A UDP socket that makes one call at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((CALLER, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.settimeout(REPLY_LIMIT_S)
        self._port = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def call(self, address: str, port: int) -> float:
        """Milliseconds from sending the INVITE to the arrival of its 200; the call is ended again."""
        call_id = f"{random.getrandbits(64):x}"
        uri = f"sip:{NUMBER}@{address}:{port}"

        def request(method: str, number: int, to: str, target: str, body: str = "") -> bytes:
            content = "Content-Type: application/sdp\r\n" if body else ""
            return (
                f"{method} {target} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {CALLER}:{self._port};branch=z9hG4bK{random.getrandbits(60):x}\r\n"
                f"From: <sip:probe@{CALLER}:{self._port}>;tag={call_id[:8]}\r\nTo: {to}\r\n"
                f"Call-ID: {call_id}\r\nCSeq: {number} {method}\r\n"
                f"Contact: <sip:probe@{CALLER}:{self._port}>\r\nMax-Forwards: 70\r\n"
                f"{content}Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()

        started_ns = time.time_ns()
        self._socket.sendto(request("INVITE", 1, f"<{uri}>", uri, SDP), (address, port))
        reply, arrived_ns = self._final(call_id, "INVITE")
        to, contact = _header(reply, "to"), _header(reply, "contact")
        target = contact.partition("<")[2].partition(">")[0] or contact
        self._socket.sendto(request("ACK", 1, to, target), (address, port))
        time.sleep(GAP_S / 2)
        self._socket.sendto(request("BYE", 2, to, target), (address, port))
        self._final(call_id, "BYE")
        return (arrived_ns - started_ns) / 1e6

    def _final(self, call_id: str, method: str) -> tuple[str, int]:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(8192, 256)
            text = data.decode("latin-1")
            if call_id not in text or not text.startswith("SIP/2.0 ") or text[8] == "1":
                continue
            if not _header(text, "cseq").endswith(method):
                continue
            if not text.startswith("SIP/2.0 200"):
                raise RuntimeError(text.partition("\r\n")[0])
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    seconds, nanoseconds = struct.unpack("qq", value[:16])
                    return text, seconds * 1_000_000_000 + nanoseconds
            raise RuntimeError("no receive stamp from the kernel")


def _header(message: str, name: str) -> str:
    for line in message.split("\r\n"):
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    raise RuntimeError(f"no {name} in {message!r}")


def main() -> None:
    count = int(sys.argv[1])
    caller = Caller()
    direct: list[float] = []
    through: list[float] = []

    def measure(into: list[float], call: Callable[[], float], keep: bool) -> None:
        value = call()
        if keep:
            into.append(value)
        time.sleep(GAP_S)

    for number in range(count + WARM_UP):
        keep = number >= WARM_UP
        measure(direct, lambda: caller.call(CALLEE, CALLEE_PORT), keep)
        measure(through, lambda: caller.call(CALLER, DEVICE_PORT), keep)
    caller.close()
    for values in (direct, through):
        print(" ".join(f"{value:.4f}" for value in values))


if __name__ == "__main__":
    main()
