"""`python -m bench`: every figure of every device, peers in turn, as a table."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable

from . import machine, rtp, webrtc
from .devices import Device, RingwayAnchored, RingwayBypass, Sippy, install_sippy
from .machine import Cores
from .measures import (
    QUICK,
    Effort,
    added_latency,
    cpu_ms_a_call,
    memory_kb_a_held_call,
    most_calls_a_second,
)
from .table import Table
from .targets import CALL_TARGETS, CPU, MEMORY, P50, P99, RAMP, RTP_TARGETS, report

INSIDE = "RINGWAY_BENCH_INSIDE"
DEVICES: dict[str, type[Device]] = {"sippy": Sippy, "bypass": RingwayBypass, "anchor": RingwayAnchored}
Measure = Callable[[Device, Cores, Effort, Table], None]


def measure_cpu(device: Device, cores: Cores, effort: Effort, table: Table) -> None:
    table.add(CPU, device.name, cpu_ms_a_call(device, cores, effort))


def measure_ramp(device: Device, cores: Cores, effort: Effort, table: Table) -> None:
    table.add(RAMP, device.name, most_calls_a_second(device, cores, effort))


def measure_latency(device: Device, cores: Cores, effort: Effort, table: Table) -> None:
    latency = added_latency(device, cores, effort)
    table.add(P50, device.name, latency.p50_ms)
    table.add(P99, device.name, latency.p99_ms)


def measure_memory(device: Device, cores: Cores, effort: Effort, table: Table) -> None:
    table.add(MEMORY, device.name, memory_kb_a_held_call(device, cores, effort))


MEASURES: dict[str, Measure] = {
    "cpu": measure_cpu,
    "ramp": measure_ramp,
    "latency": measure_latency,
    "memory": measure_memory,
}


RTP, WEBRTC = "rtp", "webrtc"


def main() -> int:
    arguments = read_arguments()
    measures_calls = any(name in MEASURES for name in arguments.only)
    if measures_calls and shutil.which("sipp") is None:
        print("bench: needs sipp (Debian: apt-get install sip-tester)", file=sys.stderr)
        return 2
    if not os.environ.get(INSIDE):
        if measures_calls and "sippy" in arguments.devices:
            install_sippy()
        os.environ[INSIDE] = "1"
        status = machine.run_in_namespace([sys.executable, "-m", "bench", *sys.argv[1:]])
        if status is not None:
            return status
        print("bench: no private network (needs root and iproute2); using this machine's loopback", file=sys.stderr)
    elif WEBRTC in arguments.only:
        webrtc.add_address()
    machine.raise_file_limit()
    effort = QUICK if arguments.quick else Effort()
    cores = Cores.of_this_machine()
    missed = 0
    if calls := [name for name in arguments.only if name in MEASURES]:
        table = run(cores, arguments.devices, calls, effort)
        print(table.markdown())
        missed += report(table, CALL_TARGETS)
    if RTP in arguments.only:
        if shutil.which("gcc") is None:
            print("bench: no RTP figures without gcc for the load generator", file=sys.stderr)
        else:
            table = rtp.run(cores, [100, 500] if arguments.quick else [100, 500, 800], effort.seconds, effort.repeats)
            print(f"\n{table.markdown()}")
            missed += report(table, RTP_TARGETS)
    if WEBRTC in arguments.only:
        table = webrtc.measure(cores, webrtc.QUICK if arguments.quick else webrtc.Effort())
        print(f"\n{table.markdown()}")
        missed += report(table, webrtc.TARGETS)
    return 1 if missed and arguments.check else 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Ringway beside Sippy B2BUA.")
    parser.add_argument("--quick", action="store_true", help="one short repeat of each figure")
    parser.add_argument("--devices", nargs="+", choices=list(DEVICES), default=list(DEVICES))
    parser.add_argument("--only", nargs="+", choices=[*MEASURES, RTP, WEBRTC], default=[*MEASURES, RTP, WEBRTC])
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target is missed")
    return parser.parse_args()


def run(cores: Cores, devices: list[str], measures: list[str], effort: Effort) -> Table:
    """Each figure, repeat after repeat, the devices in turn, each freshly started."""
    kinds = [DEVICES[name] for name in devices]
    table = Table([kind.name for kind in kinds], Sippy.name)
    for measure in measures:
        for repeat in range(effort.repeats):
            for kind in kinds:
                print(f"  {measure} {repeat + 1}/{effort.repeats}: {kind.name}", file=sys.stderr)
                try:
                    with kind(cores) as device:
                        MEASURES[measure](device, cores, effort, table)
                except RuntimeError as error:
                    if kind is not Sippy:
                        raise  # a failed call of ours is a finding, not noise
                    print(f"    left out: {error}", file=sys.stderr)
    return table


if __name__ == "__main__":
    sys.exit(main())
