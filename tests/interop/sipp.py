"""SIPp as a trunk or as a crowd of callers: started, counted, ended."""

from __future__ import annotations

import contextlib
import csv
import signal
from dataclasses import dataclass
from pathlib import Path

from .network import Network
from .program import Program, needs, until

SCENARIOS = Path(__file__).parent / "scenarios"
MEDIA_PORTS = 4


@dataclass(frozen=True)
class Counts:
    """What SIPp's statistics file says of all its calls."""

    created: int
    successful: int
    failed: int
    retransmissions: int


class Sipp:
    """A running SIPp. `scenario` is a file of ours (without .xml) or one built in ("uac", "uas")."""

    def __init__(
        self,
        network: Network,
        folder: Path,
        scenario: str,
        *options: str,
        target: str = "",
        address: str = "127.0.0.1",
        port: int = 0,
        timeout_s: int = 60,
        status: str = "",
    ) -> None:
        """`target` is host:port for a caller; `options` are passed to SIPp as they are.

        `status` ("486 Busy Here") takes the place of STATUS-LINE in the scenario: SIPp's own
        keywords are not allowed there.
        """
        needs("sipp")
        self.address = address
        self.port = port or network.ports(1, address)
        self._statistics = folder / "statistics.csv"
        own = SCENARIOS / f"{scenario}.xml"
        if status:
            folder.mkdir(parents=True, exist_ok=True)
            text = own.read_text().replace("STATUS-LINE", status)
            own = folder / own.name
            own.write_text(text)
        media = network.ports(MEDIA_PORTS, address)
        arguments = ["sipp", "-sf", str(own)] if own.exists() else ["sipp", "-sn", scenario]
        arguments += ["-i", address, "-p", str(self.port), "-mi", address, "-mp", str(media)]
        arguments += ["-nostdin", "-timeout", str(timeout_s), "-timeout_error"]
        arguments += ["-trace_stat", "-stf", str(self._statistics), "-fd", "1"]
        arguments += ["-trace_err", "-error_file", str(folder / "errors")]
        self.folder = folder
        self.program = Program(network, [*arguments, *options, *([target] if target else [])], folder)

    @classmethod
    async def trunk(
        cls,
        network: Network,
        folder: Path,
        scenario: str,
        *options: str,
        address: str,
        port: int = 0,
        status: str = "",
    ) -> Sipp:
        """One that answers; returns once its port is open."""
        sipp = cls(network, folder, scenario, *options, address=address, port=port, status=status)
        await sipp.program.listens(sipp.port)
        return sipp

    @property
    def place(self) -> str:
        """host:port where it can be called."""
        return f"{self.address}:{self.port}"

    def errors(self) -> str:
        """What SIPp wrote of unexpected messages."""
        path = self.folder / "errors"
        return path.read_text(errors="replace") if path.exists() else ""

    def counts(self) -> Counts:
        """The totals so far; final once it has ended."""
        with self._statistics.open(errors="replace") as lines:
            rows = list(csv.DictReader(lines, delimiter=";"))
        assert rows, f"no statistics\n{self.program.log()[-2000:]}"
        last = rows[-1]
        names = ("TotalCallCreated", "SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)")
        return Counts(*(int(last[name]) for name in names))

    async def finished(self, timeout_s: float) -> Counts:
        """Wait for its end by itself (option -m); the counts."""
        await self.program.wait(timeout_s)
        return self.counts()

    async def stop(self) -> None:
        """Let it write its statistics and leave; by force if it will not."""
        if self.program.running:
            self.program.signal(signal.SIGUSR1)
            with contextlib.suppress(AssertionError):  # calls were open; it is ended below
                await until(lambda: not self.program.running, 1.0, lambda: "SIPp still runs")
        await self.program.stop()
