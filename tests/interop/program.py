"""A child process of a test: its folder, its log, its end by pid."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from .network import Network

NICENESS = -10


def needs(*programs: str) -> None:
    """Skip the test when a program is missing; fail it instead where CI=true promises them all."""
    for program in programs:
        if shutil.which(program) is None:
            absent(program)


def absent(what: str) -> None:
    """Skip for want of `what`, or fail when CI=true."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


class Program:
    """One running program. Its output goes to `folder/log`, and it is ended by its own pid alone."""

    def __init__(
        self,
        network: Network,
        arguments: list[str],
        folder: Path,
        *,
        environment: dict[str, str] | None = None,
        stdin: bool = False,
        cwd: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = Path(arguments[0]).name
        self.log_path = folder / "log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                network.command(arguments),
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=cwd or folder,
                start_new_session=True,
            )
        if os.geteuid() == 0:
            # Phones must not stutter for what else this machine does; a session is a scheduling group (sched(7)).
            with contextlib.suppress(OSError):  # a kernel without autogroup
                Path(f"/proc/{self._process.pid}/autogroup").write_text(str(NICENESS))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None, "started without stdin"
        return self._process.stdin

    def log(self) -> str:
        """All the program has said so far; progress lines (CR) become lines of their own."""
        return self.log_path.read_text(errors="replace").replace("\r", "\n")

    async def said(self, text: str, timeout_s: float = 10.0) -> None:
        """Wait until the log holds `text`. Raises AssertionError with the log's end otherwise."""
        await until(lambda: text in self.log(), timeout_s, lambda: f"{self.name} never said {text!r}", self)

    async def listens(self, port: int, timeout_s: float = 5.0) -> None:
        """Wait until a UDP or TCP socket is bound to the port, by what the kernel says of its network."""
        tables = [Path(f"/proc/{self.pid}/net/{name}") for name in ("udp", "tcp")]
        suffix = f":{port:04X} "

        def bound() -> bool:
            return any(suffix in table.read_text() for table in tables if self.running)

        await until(bound, timeout_s, lambda: f"{self.name} never opened port {port}", self)

    async def wait(self, timeout_s: float) -> int:
        """The exit status, once the program has ended by itself."""
        await until(lambda: not self.running, timeout_s, lambda: f"{self.name} still runs", None)
        self._close_stdin()
        return self._process.wait()

    async def stop(self, timeout_s: float = 5.0) -> int:
        """SIGTERM, and SIGKILL for one that does not listen; the exit status."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                return await self.wait(timeout_s)
            except AssertionError:
                self._process.kill()
        self._close_stdin()
        return await asyncio.to_thread(self._process.wait, 5)

    def signal(self, number: signal.Signals) -> None:
        """Send any other signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL at once, for clean-up after a failure."""
        if self.running:
            self._process.kill()
        self._close_stdin()
        self._process.wait(5)

    def _close_stdin(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it ended before it read everything
                self._process.stdin.close()


async def until(
    condition: Callable[[], bool],
    timeout_s: float,
    complaint: Callable[[], str],
    program: Program | None = None,
    poll_s: float = 0.03,
) -> None:
    """Poll `condition`; AssertionError with `complaint()` when it is not met in time or `program` ends."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        ended = program is not None and not program.running
        if ended or time.monotonic() > give_up_at:
            tail = program.log()[-3000:] if program else ""
            raise AssertionError(f"{complaint()} in {timeout_s} s{' (it ended)' if ended else ''}\n{tail}")
        await asyncio.sleep(poll_s)
