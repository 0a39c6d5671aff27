"""`python -m bench.webrtc`: what calls of browsers cost, beside aiortc's RTCPeerConnection with MediaRelay, in turn.

The device has a core to itself; browsers and phones are media legs of ours on another, and speak real ICE, DTLS and
SRTP. aiortc has no plain RTP: there both parties of a call are browsers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from media import MediaEngine

from . import machine
from .machine import DEVICE_NICENESS, Cores
from .table import Table
from .targets import Target, report
from .webrtc_load import Parties, Remote

INSIDE = "RINGWAY_BENCH_INSIDE"
ROOT = Path(__file__).resolve().parent.parent
STOCK, RINGWAY = "aiortc, MediaRelay", "Ringway"
KINDS = {STOCK: "stock", RINGWAY: "ringway"}
CONTROL_PORT = 9_900
ADDRESS = "10.77.0.1"  # aiortc has no candidates of loopback
PACKETS_A_CALL = 100  # a second, both ways

RELAY = "CPU us a packet, PCMU browser <-> phone"
RELAY_CALLS = "calls a core by that"
TRANSCODE = "CPU us a packet, Opus browser <-> PCMU phone"
TRANSCODE_CALLS = "transcoded calls a core by that"
LOST = "loss % of the {} at {} calls of Ringway's, few of aiortc's"
SETUP = "CPU ms to set up a leg"
MEMORY = "KB a leg that talks"
CLICK = "offer to first audio p95, ms"
CLICK_MEDIAN = "offer to first audio p50, ms"
TASKS, DESCRIPTORS = "tasks left after 200 legs", "descriptors left after 200 legs"
GROWTH = "KB grown by the second 100 of 200 legs opened and closed"

TARGETS = (
    Target(RELAY, RINGWAY, 45),
    Target(RELAY_CALLS, RINGWAY, 200, at_least=True),
    Target(TRANSCODE_CALLS, RINGWAY, 100, at_least=True),
    Target(SETUP, RINGWAY, 5),
    Target(MEMORY, RINGWAY, 200),
    Target(CLICK, RINGWAY, 400),
    Target(TASKS, RINGWAY, 0),
    Target(DESCRIPTORS, RINGWAY, 0),
    Target(GROWTH, RINGWAY, 400),
)


@dataclass(frozen=True)
class Effort:
    """How long and how often to measure; loads are calls at once."""

    repeats: int = 3
    seconds: float = 4.0
    relayed: int = 150
    transcoded: int = 60
    clicks: int = 30
    cycles: int = 200


QUICK = Effort(repeats=1, seconds=2.0, relayed=60, transcoded=30, clicks=30, cycles=200)
STOCK_LOAD = {"relayed": 4, "transcoded": 2}  # calls; at more its queues grow without end
BATCH = 10  # legs set up at a time


@asynccontextmanager
async def device(name: str, cores: Cores) -> AsyncIterator[Parties]:
    """A device freshly started, and parties to call it."""
    arguments = [sys.executable, "-m", "bench.webrtc_device", KINDS[name], str(CONTROL_PORT)]
    process = machine.start(arguments, cores.device, DEVICE_NICENESS, cwd=ROOT, output=subprocess.PIPE)
    try:
        remote = await Remote.connect(CONTROL_PORT)
        parties = Parties(remote)
        yield parties
        await parties.close()
        parties.end()
        await remote.close()
        process.wait(10)
    finally:
        machine.stop(process)
        if process.stdout is not None:
            print(process.stdout.read().decode(errors="replace")[-2000:], end="", file=sys.stderr)
            process.stdout.close()


async def load(name: str, cores: Cores, table: Table, effort: Effort, *, transcoded: bool) -> None:
    """CPU a packet that arrives, with many calls at once."""
    figure, calls_figure = (TRANSCODE, TRANSCODE_CALLS) if transcoded else (RELAY, RELAY_CALLS)
    which = "transcoded" if transcoded else "relayed"
    calls = STOCK_LOAD[which] if name == STOCK else getattr(effort, which)
    browser = ("browser", "opus" if transcoded else "PCMU")
    other = ("browser" if name == STOCK else "phone", "PCMU")
    async with device(name, cores) as parties:
        for _ in range(calls):
            await parties.call([browser, other], "pair")
        await parties.talk(1.0)
        before = await parties.remote.usage()
        heard = await parties.talk(effort.seconds)
        used_s = (await parties.remote.usage()).cpu_s - before.cpu_s
    us = 1e6 * used_s / max(1, heard)
    table.add(figure, name, us)
    table.add(calls_figure, name, 1e6 / us / PACKETS_A_CALL)
    wanted = effort.seconds * calls * PACKETS_A_CALL
    table.add(LOST.format(which, getattr(effort, which)), name, max(0.0, 100 * (1 - heard / wanted)))


async def legs(name: str, cores: Cores, table: Table, effort: Effort) -> None:
    """Set-up, memory, time to first audio, and what is left of legs."""
    async with device(name, cores) as parties:
        for _ in range(BATCH):
            await parties.call([("browser", "PCMU")], "echo")
        await parties.talk(0.5)
        before = await parties.remote.usage()
        for _ in range(4 * BATCH):
            await parties.call([("browser", "PCMU")], "echo")
        after = await parties.remote.usage()
        table.add(SETUP, name, 1e3 * (after.cpu_s - before.cpu_s) / (4 * BATCH))
        if name == RINGWAY:
            await parties.talk(0.5)
            after = await parties.remote.usage()
        table.add(MEMORY, name, (after.memory_kb - before.memory_kb) / (4 * BATCH))
        await parties.close()
        waits = sorted([await click(parties) for _ in range(effort.clicks)])
        table.add(CLICK_MEDIAN, name, 1e3 * waits[len(waits) // 2])
        table.add(CLICK, name, 1e3 * waits[int(len(waits) * 0.95)])
        await leaks(name, parties, table, effort)


async def click(parties: Parties) -> float:
    """Seconds from the offer to the first packet of one's echo."""
    began_at = time.perf_counter()
    (leg,) = await parties.call([("browser", "PCMU")], "echo")
    while not await parties.talk(0.02, [leg]):
        if time.perf_counter() - began_at > 5:
            raise RuntimeError("no audio within 5 s")
    waited_s = time.perf_counter() - began_at
    await parties.close()
    return waited_s


async def leaks(name: str, parties: Parties, table: Table, effort: Effort) -> None:
    """What 200 legs leave behind, once they are closed."""
    first = await parties.remote.usage()
    middle = first
    for number in range(effort.cycles // BATCH):
        if number == effort.cycles // BATCH // 2:
            middle = await parties.remote.usage()
        for _ in range(BATCH):
            await parties.call([("browser", "PCMU")], "echo")
        await parties.close()
    last = await parties.remote.usage()
    table.add(TASKS, name, last.tasks - first.tasks)
    table.add(DESCRIPTORS, name, last.descriptors - first.descriptors)
    table.add(GROWTH, name, last.memory_kb - middle.memory_kb)


async def run(cores: Cores, effort: Effort, names: Sequence[str]) -> Table:
    """Every figure, repeat after repeat, the devices in turn, each freshly started."""
    table = Table([STOCK, RINGWAY], STOCK)
    for repeat in range(effort.repeats):
        for name in names:
            print(f"  webrtc {repeat + 1}/{effort.repeats}: {name}", file=sys.stderr)
            await load(name, cores, table, effort, transcoded=False)
            await load(name, cores, table, effort, transcoded=True)
            await legs(name, cores, table, effort)
    return table


def measure(cores: Cores, effort: Effort, names: Sequence[str] = tuple(KINDS)) -> Table:
    """As `run`, from the generator's core; this process stays on it."""
    os.sched_setaffinity(0, {cores.generator})
    MediaEngine.preload()
    return uvloop.run(run(cores, effort, names))


def add_address() -> None:
    """An interface that leads nowhere, in the namespace that we are in."""
    for words in ("link add up0 type veth peer name up1", f"addr add {ADDRESS}/24 dev up0", "link set up0 up",
                  "link set up1 up"):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True, capture_output=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.webrtc", description="Measure calls of browsers.")
    parser.add_argument("--quick", action="store_true", help="one short repeat of each figure")
    parser.add_argument("--devices", nargs="+", choices=list(KINDS.values()), default=list(KINDS.values()))
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
    arguments = parser.parse_args()
    if not os.environ.get(INSIDE):
        os.environ[INSIDE] = "1"
        status = machine.run_in_namespace([sys.executable, "-m", "bench.webrtc", *sys.argv[1:]])
        if status is not None:
            return status
        print("bench: no private network (needs root and iproute2); using this machine's own", file=sys.stderr)
    else:
        add_address()
    machine.raise_file_limit()
    names = [name for name, kind in KINDS.items() if kind in arguments.devices]
    table = measure(Cores.of_this_machine(), QUICK if arguments.quick else Effort(), names)
    print(table.markdown())
    missed = report(table, TARGETS)
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
