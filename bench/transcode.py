"""`python -m bench.transcode`: CPU of a transcoded packet each way between Opus, G.722 and PCMU, sockets included.

Speech of 20 ms packets at their pace; the server has one core, the phones have the other.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from contextlib import ExitStack, suppress

from media.codecs import KNOWN, Codec
from media.player import prompt_frames

from . import machine
from .machine import Cores
from .rtp import Relay
from .rtp_relay import A_PORTS, B_PORTS
from .table import Table
from .targets import Target, report

PAIRS = (("opus", "pcmu"), ("g722", "pcmu"), ("g722", "opus"))
RINGWAY = "Ringway"
WARM_UP_S = 1.0
PTIME_S = 0.02
CALLS_A_CORE = "calls a core, Opus <-> PCMU"
TARGETS = (Target(CALLS_A_CORE, RINGWAY, 100, at_least=True),)


class Phones:
    """One side of all calls."""

    def __init__(self, codec: Codec, ports: list[tuple[int, int]], stack: ExitStack) -> None:
        self._codec = codec
        self._frames = prompt_frames(codec, "echo")
        self._number = 0
        self._sockets = []
        for own, relay in ports:
            opened = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            opened.setblocking(False)
            opened.bind(("127.0.0.1", own))
            opened.connect(("127.0.0.1", relay))
            self._sockets.append(opened)

    def say(self) -> int:
        """20 ms of each; how many packets that was."""
        number = self._number
        timestamp = number * self._codec.clock_hz // 50
        header = bytes((0x80, self._codec.payload_type)) + (number & 0xFFFF).to_bytes(2, "big")
        packet = header + timestamp.to_bytes(4, "big") + b"\0\0\0\7" + self._frames[number % len(self._frames)]
        self._number += 1
        for each in self._sockets:
            with suppress(OSError):
                each.send(packet)
        return len(self._sockets)

    def hear(self) -> int:
        """How many packets came since."""
        heard = 0
        for each in self._sockets:
            with suppress(BlockingIOError):
                while each.recv(2048):
                    heard += 1
        return heard


def cpu_us(relay: Relay, speakers: Phones, hearers: Phones, seconds: float) -> float:
    """CPU of the relay for a packet. Raises RuntimeError if some were not heard."""
    begun = time.monotonic()
    said = heard = used = ticks = 0
    measuring = False
    while (passed := ticks * PTIME_S) < WARM_UP_S + seconds:
        if not measuring and passed >= WARM_UP_S:
            measuring = True
            hearers.hear()
            said = heard = 0
            used = machine.cpu_ns(relay.pids)
        said += speakers.say()
        ticks += 1
        time.sleep(max(0.0, begun + ticks * PTIME_S - time.monotonic()))
        heard += hearers.hear()
    used = machine.cpu_ns(relay.pids) - used
    if heard < 0.95 * said:
        raise RuntimeError(f"only {heard} of {said} packets were heard")
    return used / 1000 / said


def measure(cores: Cores, calls: int, seconds: float) -> Table:
    """Each pair, each way."""
    os.sched_setaffinity(0, {cores.generator})
    table = Table([RINGWAY], RINGWAY)
    for pair in PAIRS:
        with ExitStack() as stack:
            relay = stack.enter_context(Relay("-".join(pair), calls, cores))
            lines = [line.split() for line in relay.map.splitlines()]
            a = Phones(KNOWN[pair[0]], [(A_PORTS + n, int(line[1])) for n, line in enumerate(lines)], stack)
            b = Phones(KNOWN[pair[1]], [(B_PORTS + n, int(line[3])) for n, line in enumerate(lines)], stack)
            there, back = cpu_us(relay, a, b, seconds), cpu_us(relay, b, a, seconds)
        table.add(f"CPU us a packet, {pair[0]} -> {pair[1]}", RINGWAY, there)
        table.add(f"CPU us a packet, {pair[1]} -> {pair[0]}", RINGWAY, back)
        if pair == PAIRS[0]:
            table.add(CALLS_A_CORE, RINGWAY, 1e6 / (50 * (there + back)))
    return table


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.transcode", description="Measure transcoding.")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
    arguments = parser.parse_args()
    table = measure(Cores.of_this_machine(), arguments.calls, arguments.seconds)
    print(table.markdown())
    missed = report(table, TARGETS)
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
