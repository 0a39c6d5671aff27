"""The devices under test: Ringway in its two media modes, and the Sippy B2BUA from PyPI."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from . import machine
from .load import CALLEE, CALLEE_PORT, CALLER, CALLER_PORT, DEVICE_PORT
from .machine import Cores

ROOT = Path(__file__).parent.parent
SIPPY_FOLDER = ROOT / "var" / "bench" / "sippy"
SIPPY_PINS = ROOT / "requirements" / "bench.txt"
SETTLE_S = 1.0
RTP_PORTS = "10000-40000"  # below SIPp's and above the well-known ones; four a call


class Device(ABC):
    """A server that passes every call from the caller on to the callee. Use as a context manager."""

    name: str
    ramp_from: float = 100.0
    "Calls a second at which the search for the limit begins."
    hold_rate: float = 100.0
    "Calls a second at which held calls are set up; well below the limit."

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._folder = tempfile.TemporaryDirectory(prefix="bench-device-")
        self.folder = Path(self._folder.name)

    @abstractmethod
    def command(self) -> list[str]:
        """The command line that runs it in the foreground."""

    def environment(self) -> dict[str, str]:
        return {}

    def __enter__(self) -> Self:
        with (self.folder / "log").open("wb") as log:
            self._process = machine.start(
                self.command(),
                self._cores.device,
                machine.DEVICE_NICENESS,
                cwd=self.folder,
                output=log,
                environment=self.environment(),
            )
        try:
            machine.wait_for_port(self._process, DEVICE_PORT)
        except RuntimeError as error:
            machine.stop(self._process)
            raise RuntimeError(f"{self.name}: {error}\n{self.log()[-2000:]}") from error
        time.sleep(SETTLE_S)
        self.pids = machine.children_of(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        machine.stop(self._process)
        self._folder.cleanup()

    def log(self) -> str:
        """What it has printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def cpu_ns(self) -> int:
        return machine.cpu_ns(self.pids)

    def memory_kb(self) -> int:
        return machine.memory_kb(self.pids)


class Sippy(Device):
    """Sippy B2BUA in its simple form: two legs a call, no media of its own."""

    name = "Sippy B2BUA 2.5.0"

    def command(self) -> list[str]:
        python = SIPPY_FOLDER / "bin"
        listen = ["-l", CALLER, "-p", str(DEVICE_PORT)]
        return [str(python / "python"), str(python / "b2bua_simple"), "-f", *listen, "-n", f"{CALLEE}:{CALLEE_PORT}"]

    def environment(self) -> dict[str, str]:
        return {"SIPLOG_BEND": "none"}


def install_sippy() -> None:
    """Make its environment from the pinned requirements, unless that is done. Needs a package index."""
    stamp = SIPPY_FOLDER / ".installed"
    if stamp.exists() and stamp.read_text() == SIPPY_PINS.read_text():
        return
    venv.create(SIPPY_FOLDER, clear=True, with_pip=True)
    pip = [str(SIPPY_FOLDER / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(SIPPY_PINS)], check=True)
    stamp.write_text(SIPPY_PINS.read_text())


class Ringway(Device):
    """Our server with a trunk on either side."""

    ramp_from = 200.0
    media = ""

    def command(self) -> list[str]:
        config = self.folder / "ringway.toml"
        config.write_text(ringway_config(self.media))
        return [sys.executable, "-c", "from server.cli import main; main()", "serve", "--config", str(config)]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}


class RingwayBypass(Ringway):
    """SDP passes through untouched; no port is opened."""

    name = "Ringway, media bypassed"
    media = "bypass"


class RingwayAnchored(Ringway):
    """Two pairs of RTP ports a call."""

    name = "Ringway, media anchored"
    media = "anchor"
    hold_rate = 100.0


def ringway_config(media: str) -> str:
    """A server that takes calls from the caller's address and sends each to the callee's."""
    return f"""
[server]
http_port = 0
log_level = "warning"

[sip]
listen = ["udp:{CALLER}:{DEVICE_PORT}"]

[media]
ports = "{RTP_PORTS}"

[limits]
sessions = 20000
early_dialogs = 20000

[[trunks]]
name = "from-caller"
hosts = ["sip:{CALLER}:{CALLER_PORT}"]
inbound_sources = ["{CALLER}/32"]
options_interval_s = 0
allow = ["33."]

[[trunks]]
name = "to-callee"
hosts = ["sip:{CALLEE}:{CALLEE_PORT}"]
options_interval_s = 0
media = "{media}"

[[routes]]
pattern = "33."
trunks = [{{ trunk = "to-callee" }}]
"""
