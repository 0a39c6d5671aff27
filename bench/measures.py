"""What is measured of one device: CPU a call, the limit in calls a second, set-up latency, memory a held call."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import load, machine
from .devices import Device
from .machine import Cores

FAILED_LIMIT = 0.001
RETRANSMITTED_LIMIT = 0.01
P99_LIMIT_MS = 100.0
RAMP_STEP = 1.25
MAX_RATE = 5_000.0
SETTLED_S = 3.0
WARM_UP_CALLS = 20


@dataclass(frozen=True)
class Effort:
    """How long and how often to measure."""

    repeats: int = 3
    seconds: float = 6.0
    "Length of one load."
    rate: float = 50.0
    "Calls a second where the rate is fixed."
    held_calls: int = 1_000
    probes: int = 200
    ramp_fine_steps: int = 2


QUICK = Effort(repeats=1, seconds=3.0, held_calls=500, probes=60, ramp_fine_steps=1)


@dataclass(frozen=True)
class Latency:
    """Added set-up time, INVITE to 200, in milliseconds."""

    p50_ms: float
    p99_ms: float


def cpu_ms_a_call(device: Device, cores: Cores, effort: Effort) -> float:
    """CPU milliseconds a call at a fixed rate, after a warm-up."""
    with load.callee(cores):
        load.place_calls(cores, effort.rate, int(effort.rate * 2))
        before = device.cpu_ns()
        calls = load.place_calls(cores, effort.rate, int(effort.rate * effort.seconds))
        used = device.cpu_ns() - before
    if calls.failed_share > FAILED_LIMIT:
        raise RuntimeError(f"{device.name}: {calls.failed} of {calls.total} calls failed at {effort.rate:g}/s")
    return used / 1e6 / calls.successful


def most_calls_a_second(device: Device, cores: Cores, effort: Effort) -> float:
    """The highest rate that it carries: up by quarters to the first failure, then halving the gap."""
    with load.callee(cores):
        load.place_calls(cores, effort.rate, int(effort.rate * 2))
        good, rate = 0.0, device.ramp_from
        while rate < MAX_RATE and _carries(device, cores, rate, effort.seconds):
            good, rate = rate, rate * RAMP_STEP
        bad = rate
        if good == 0.0:
            good = effort.rate
        for _ in range(effort.ramp_fine_steps):
            time.sleep(SETTLED_S)
            rate = (good + bad) / 2
            if _carries(device, cores, rate, effort.seconds):
                good = rate
            else:
                bad = rate
    return good


def _carries(device: Device, cores: Cores, rate: float, seconds: float) -> bool:
    """Whether the rate is carried, at the second attempt if need be: a virtual machine stalls now and then."""
    if _passes(device, cores, rate, seconds):
        return True
    time.sleep(SETTLED_S)
    return _passes(device, cores, rate, seconds)


def _passes(device: Device, cores: Cores, rate: float, seconds: float) -> bool:
    calls = load.place_calls(cores, rate, int(rate * seconds))
    p99_ms = load.quantile(calls.answered_ms, 0.99)
    passed = (
        calls.failed_share < FAILED_LIMIT and calls.retransmitted_share < RETRANSMITTED_LIMIT and p99_ms < P99_LIMIT_MS
    )
    text = f"{calls.failed} failed, {calls.retransmissions} retransmitted, p99 {p99_ms:.0f} ms"
    print(f"    {device.name} at {rate:.0f}/s: {text}{'' if passed else ' (too much)'}", file=sys.stderr)
    return passed


def added_latency(device: Device, cores: Cores, effort: Effort) -> Latency:
    """Set-up time through the device less that of a direct call, with calls at the fixed rate behind."""
    seconds = effort.probes * 0.04 + 10
    with load.callee(cores), tempfile.TemporaryDirectory(prefix="bench-background-") as folder:
        background = load.callers(
            cores, Path(folder), effort.rate, int(effort.rate * seconds * 2), 100, load.BACKGROUND_PORT
        )
        with background:
            time.sleep(2)
            direct, through = probe_in_own_process(effort.probes, cores)
    return Latency(
        load.quantile(through, 0.5) - load.quantile(direct, 0.5),
        load.quantile(through, 0.99) - load.quantile(direct, 0.99),
    )


def probe_in_own_process(probes: int, cores: Cores) -> tuple[list[float], list[float]]:
    """Sorted milliseconds of direct calls and of calls through the device."""
    with tempfile.TemporaryFile() as output:
        arguments = [sys.executable, "-m", "bench.probe", str(probes)]
        root = Path(__file__).parent.parent
        process = machine.start(arguments, cores.generator, machine.DEVICE_NICENESS, cwd=root, output=output)
        try:
            status = process.wait(60 + probes * 0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        output.seek(0)
        text = output.read().decode()
    if status != 0:
        raise RuntimeError(f"the probe failed: {text[-500:]}")
    direct, through = (sorted(float(value) for value in line.split()) for line in text.splitlines()[-2:])
    return direct, through


def memory_kb_a_held_call(device: Device, cores: Cores, effort: Effort) -> float:
    """Growth of the device's memory while calls are up, in KB a call.

    The warm-up is small, so that hardly any memory of ended calls is there to be used again.
    """
    rate, calls = device.hold_rate, effort.held_calls
    with load.callee(cores), tempfile.TemporaryDirectory(prefix="bench-held-") as folder:
        load.place_calls(cores, rate, WARM_UP_CALLS)
        time.sleep(SETTLED_S)
        before = device.memory_kb()
        set_up_s = calls / rate
        with load.callers(cores, Path(folder), rate, calls, int((set_up_s + 8) * 1000)) as process:
            time.sleep(set_up_s + 4)
            held = device.memory_kb()
            process.wait(set_up_s * 2 + 30)
        done = load.read_calls(Path(folder), calls)
    if done.failed_share > FAILED_LIMIT:
        raise RuntimeError(f"{device.name}: {done.failed} of {calls} held calls failed")
    return (held - before) / calls
