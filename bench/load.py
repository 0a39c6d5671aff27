"""SIPp as caller and callee around the device under test, and what its files say of the calls."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .machine import Cores

SCENARIOS = Path(__file__).parent / "scenarios"
CALLER, CALLEE = "127.0.0.1", "127.0.0.2"
CALLER_PORT, CALLEE_PORT, DEVICE_PORT = 45_080, 45_070, 45_060
BACKGROUND_PORT = 45_081
NUMBER = "33123456789"
BUFFER = "4000000"  # bytes of socket buffer, so that a burst is not SIPp's own loss
ANSWER_LIMIT_MS = 10_000


@dataclass(frozen=True)
class Calls:
    """What became of one load."""

    successful: int
    failed: int
    retransmissions: int
    answered_ms: tuple[float, ...]
    "INVITE to 200, a value a call, sorted; SIPp's clock moves in steps of up to 4 ms."

    @property
    def total(self) -> int:
        return self.successful + self.failed

    @property
    def failed_share(self) -> float:
        return self.failed / max(1, self.total)

    @property
    def retransmitted_share(self) -> float:
        return self.retransmissions / max(1, self.total)


def quantile(values: tuple[float, ...] | list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie; NaN for none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


@contextmanager
def callee(cores: Cores) -> Iterator[None]:
    """A SIPp that answers every call, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="bench-callee-") as folder:
        arguments = ["sipp", "-sf", str(SCENARIOS / "callee.xml"), "-i", CALLEE, "-p", str(CALLEE_PORT)]
        arguments += ["-nostdin", "-buff_size", BUFFER, "-l", "100000"]
        process = machine.start(arguments, cores.generator, machine.GENERATOR_NICENESS, cwd=Path(folder))
        try:
            machine.wait_for_port(process, CALLEE_PORT)
            yield
        finally:
            _kill(process)


@contextmanager
def callers(
    cores: Cores, folder: Path, rate: float, calls: int, hold_ms: int, port: int = CALLER_PORT
) -> Iterator[subprocess.Popen[bytes]]:
    """A SIPp that makes `calls` calls at `rate` a second and then ends; killed with the block."""
    arguments = ["sipp", "-sf", str(SCENARIOS / "caller.xml"), "-i", CALLER, "-p", str(port), "-s", NUMBER]
    arguments += ["-r", f"{rate:g}", "-m", str(calls), "-l", str(calls), "-d", str(hold_ms)]
    arguments += ["-trace_stat", "-stf", str(folder / "statistics.csv"), "-fd", "1"]
    arguments += ["-trace_rtt", "-rtt_freq", "1", "-nostdin", "-buff_size", BUFFER]
    arguments += ["-recv_timeout", str(max(ANSWER_LIMIT_MS, hold_ms)), f"{CALLER}:{DEVICE_PORT}"]
    process = machine.start(arguments, cores.generator, machine.GENERATOR_NICENESS, cwd=folder)
    try:
        yield process
    finally:
        _kill(process)


def place_calls(cores: Cores, rate: float, calls: int, hold_ms: int = 100) -> Calls:
    """Make the calls and wait for the last one to end."""
    with tempfile.TemporaryDirectory(prefix="bench-caller-") as folder:
        with (
            callers(cores, Path(folder), rate, calls, hold_ms) as process,
            contextlib.suppress(subprocess.TimeoutExpired),  # the calls not finished count as failed
        ):
            process.wait(calls / rate * 1.5 + hold_ms / 1000 + 20)
        return read_calls(Path(folder), calls)


def read_calls(folder: Path, expected: int) -> Calls:
    """The counts from SIPp's statistics; calls it never came to make are failed ones."""
    rows: list[dict[str, str]] = []
    with contextlib.suppress(FileNotFoundError), (folder / "statistics.csv").open() as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))
    if not rows:
        return Calls(0, expected, 0, ())
    successful = int(rows[-1]["SuccessfulCall(C)"])
    answered: list[float] = []
    for path in folder.glob("*rtt.csv"):
        for line in path.read_text().splitlines()[1:]:
            answered.append(float(line.split(";")[1]))
    retransmissions = int(rows[-1]["Retransmissions(C)"])
    return Calls(successful, expected - successful, retransmissions, tuple(sorted(answered)))


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(5)
