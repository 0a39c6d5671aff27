"""`python -m bench.rtp`: Ringway's RTP relay beside a bare relay on uvloop, in turn in one run.

Needs gcc for the load generator. Figures are of one core: the relay has it to itself, the generator has another.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .machine import DEVICE_NICENESS, GENERATOR_NICENESS, Cores
from .table import Table

INSIDE = "RINGWAY_BENCH_INSIDE"
ROOT = Path(__file__).resolve().parent.parent
DEVICES = ("bare", "ringway")
NAMES = {"bare": "bare uvloop", "ringway": "Ringway"}
WARM_UP_S = 1.5
READY_S = 60.0


@dataclass(frozen=True)
class Load:
    """What one load of the relay measured."""

    sent: int
    received: int
    p50_us: int
    p99_us: int
    p999_us: int
    cpu_us_a_packet: float

    @property
    def lost_percent(self) -> float:
        """Of what was sent."""
        return 100 * (self.sent - self.received) / self.sent


class Relay:
    """A relay in a process of its own, pinned to the device's core."""

    def __init__(self, kind: str, calls: int, cores: Cores) -> None:
        arguments = [sys.executable, "-m", "bench.rtp_relay", kind, str(calls)]
        self._process = machine.start(arguments, cores.device, DEVICE_NICENESS, cwd=ROOT, output=subprocess.PIPE)
        self._cores = cores
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            if line == b"ready\n":
                break
            lines.append(line)
        else:
            raise RuntimeError(f"the relay ended at once: {b''.join(lines[-3:])!r}")
        self.map = b"".join(lines)
        self.calls = len(lines)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        machine.stop(self._process)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def pids(self) -> list[int]:
        """The process, whatever it was started through."""
        return machine.children_of(self._process.pid)

    def load(self, generator: Path, seconds: float) -> Load:
        """Run all calls for some seconds."""
        calls = generator.with_name("map")
        calls.write_bytes(self.map)
        process = machine.start(
            [str(generator), str(WARM_UP_S), str(seconds), str(calls)],
            self._cores.generator,
            GENERATOR_NICENESS,
            cwd=ROOT,
            output=subprocess.PIPE,
        )
        assert process.stdout is not None
        used = 0
        for line in process.stdout:
            if line == b"begin\n":
                used -= machine.cpu_ns(self.pids)
            elif line == b"end\n":
                used += machine.cpu_ns(self.pids)
            else:
                break
        process.stdout.close()
        if process.wait(10) != 0:
            raise RuntimeError("the load generator failed")
        result = {name: int(value) for name, _, value in (each.partition("=") for each in line.decode().split())}
        return Load(**result, cpu_us_a_packet=used / 1000 / max(1, result["received"]))


def build(folder: Path) -> Path:
    """Compile the load generator."""
    program = folder / "rtp_load"
    source = Path(__file__).with_name("rtp_load.c")
    subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)
    return program


def run(cores: Cores, calls: list[int], seconds: float, repeats: int) -> Table:
    """Every load, repeat after repeat, the relays in turn, each freshly started."""
    table = Table([NAMES[kind] for kind in DEVICES], NAMES["bare"])
    with tempfile.TemporaryDirectory() as folder:
        generator = build(Path(folder))
        for count in calls:
            for repeat in range(repeats):
                for kind in DEVICES:
                    print(f"  rtp {count} calls {repeat + 1}/{repeats}: {NAMES[kind]}", file=sys.stderr)
                    with Relay(kind, count, cores) as relay:
                        note(table, count, NAMES[kind], relay.load(generator, seconds))
    return table


def note(table: Table, calls: int, name: str, load: Load) -> None:
    """Add the figures of one load."""
    where = f"at {calls} calls ({100 * calls:,} packets/s)"
    table.add(f"RTP CPU us a packet {where}", name, load.cpu_us_a_packet)
    table.add(f"RTP loss % {where}", name, load.lost_percent)
    table.add(f"RTP added latency p50 us {where}", name, load.p50_us)
    table.add(f"RTP added latency p99 us {where}", name, load.p99_us)


def memory_kb_a_call(cores: Cores, calls: int) -> float:
    """Growth of the process by one bridged call, all its ports open."""
    sizes = []
    for count in (calls, 2 * calls):
        with Relay("ringway", count, cores) as relay:
            sizes.append(machine.memory_kb(relay.pids))
    return (sizes[1] - sizes[0]) / calls


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.rtp", description="Measure the RTP relay.")
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 500, 800])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if shutil.which("gcc") is None:
        print("bench.rtp: needs gcc for its load generator", file=sys.stderr)
        return 2
    if not os.environ.get(INSIDE):
        os.environ[INSIDE] = "1"
        status = machine.run_in_namespace([sys.executable, "-m", "bench.rtp", *sys.argv[1:]])
        if status is not None:
            return status
    machine.raise_file_limit()
    cores = Cores.of_this_machine()
    table = run(cores, arguments.calls, arguments.seconds, arguments.repeats)
    table.add("RTP memory KB a bridged call", NAMES["ringway"], memory_kb_a_call(cores, 500))
    print(table.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
