"""The machine under the measurement: cores, processes, CPU time, memory, a private network."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import IO

DEVICE_NICENESS, GENERATOR_NICENESS = -18, -17
MAX_FILES = 65_536
EPHEMERAL_PORTS = "61000 65000"


@dataclass(frozen=True)
class Cores:
    """Which core the device under test has to itself, and which the generators share."""

    device: int
    generator: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The last allowed core for the device, the first for the rest; the same one if there is but one."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[-1], allowed[0])


def start(
    arguments: list[str],
    core: int,
    niceness: int,
    *,
    cwd: Path,
    output: IO[bytes] | int = subprocess.DEVNULL,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program pinned to a core; at a higher priority where we are allowed to give it one."""
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    if shutil.which("taskset"):
        prefix += ["taskset", "-c", str(core)]
    if os.geteuid() == 0:
        prefix += ["nice", "-n", str(niceness - os.nice(0))]
    process = subprocess.Popen(
        prefix + arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    prioritise(process.pid, niceness)
    return process


def prioritise(leader: int, niceness: int) -> None:
    """Give a session's scheduling group its niceness: beside it that of a process counts little (sched(7))."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # a kernel without autogroup
            Path(f"/proc/{leader}/autogroup").write_text(str(niceness))


def stop(process: subprocess.Popen[bytes], timeout_s: float = 8.0) -> int:
    """SIGTERM, then SIGKILL to what is left of its children; the exit status."""
    if process.poll() is None:
        family = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return process.wait(5)


def children_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += parents.get(found[-1], [])
    return found


def cpu_ns(pids: list[int]) -> int:
    """CPU time used by all threads of the processes, user and kernel, in nanoseconds (schedstat)."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total


class Waits:
    """How long processes were ready to run and had no core: others had it, or the host took it away. By time, in us."""

    def __init__(self, pids: list[int], cores: Cores) -> None:
        self._files = [Path(f"/proc/{pid}/task/{pid}/schedstat") for pid in pids]
        self._cores = {f"cpu{cores.device}", f"cpu{cores.generator}"}
        self._at: list[int] = []
        self._waited: list[float] = []

    def sample(self) -> None:
        """Note what it has come to by now."""
        waited_us = sum(int(file.read_text().split()[1]) for file in self._files) / 1000
        for line in Path("/proc/stat").read_text().splitlines():
            fields = line.split()
            if fields and fields[0] in self._cores:
                waited_us += int(fields[8]) * 1e6 / os.sysconf("SC_CLK_TCK")  # steal
        self._at.append(time.time_ns() // 1000)
        self._waited.append(waited_us)

    def between_us(self, start: int, end: int) -> float:
        """From one instant to another, both in us since the epoch."""
        return max(0.0, self._by(end) - self._by(start))

    def _by(self, at: int) -> float:
        after = bisect_left(self._at, at)
        if after in (0, len(self._at)):
            return self._waited[0 if after == 0 else -1]
        from_us, to_us = self._at[after - 1], self._at[after]
        share = (at - from_us) / (to_us - from_us)
        return self._waited[after - 1] + share * (self._waited[after] - self._waited[after - 1])


def memory_kb(pids: list[int]) -> int:
    """Proportional set size of the processes in KB (shared pages counted once)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def wait_for_port(process: subprocess.Popen[bytes], port: int, timeout_s: float = 40.0) -> None:
    """Wait until a UDP socket is bound to the port. Raises RuntimeError if the program ends or never does."""
    table, suffix = Path(f"/proc/{process.pid}/net/udp"), f":{port:04X} "
    give_up_at = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < give_up_at:
        if suffix in table.read_text():
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not open UDP port {port}")


def raise_file_limit() -> None:
    """Let children hold two sockets a leg for thousands of calls."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_in_namespace(arguments: list[str]) -> int | None:
    """Run a command in a network namespace of its own; its exit status, or None where none can be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the namespace is removed then, too
    name = f"ringway-bench-{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return None
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
        subprocess.run([*inside, "sh", "-c", f"echo {EPHEMERAL_PORTS} > {ports}"], check=True)
        return subprocess.run([*inside, *arguments], check=False).returncode
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
