"""What the figures have to reach, and whether they do."""

from __future__ import annotations

from dataclasses import dataclass

from .devices import RingwayAnchored, RingwayBypass, Sippy
from .table import Table

CPU = "CPU ms a call at 50 calls/s"
RAMP = "most calls/s on one core"
P50 = "added set-up latency p50, ms"
P99 = "added set-up latency p99, ms"
MEMORY = "KB a held call"


@dataclass(frozen=True)
class Target:
    """A bound on a device's figure, or on its ratio to another device's."""

    figure: str
    device: str
    limit: float
    at_least: bool = False
    "The figure has to be this much or more; otherwise this much or less."
    beside: str | None = None
    "The limit is a ratio to this device's figure."

    def judge(self, table: Table) -> bool | None:
        """Whether it is reached; None when it was not measured."""
        value = self._value(table)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit

    def describe(self, table: Table) -> str:
        """One line for people."""
        value = self._value(table)
        bound = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        beside = f" of {self.beside}'s" if self.beside else ""
        return f"{self.device}: {self.figure}: {value:.4g}{beside}, {bound} wanted"

    def _value(self, table: Table) -> float | None:
        value = table.median(self.figure, self.device)
        if self.beside is None or value is None:
            return value
        base = table.median(self.figure, self.beside)
        return value / base if base else None


BYPASS, ANCHOR = RingwayBypass.name, RingwayAnchored.name
CALL_TARGETS = (
    Target(CPU, BYPASS, 0.35, beside=Sippy.name),
    Target(RAMP, BYPASS, 300, at_least=True),
    Target(P50, BYPASS, 1.9),
    Target(MEMORY, BYPASS, 19),
    Target(MEMORY, ANCHOR, 60),
)
RTP_TARGETS = (
    Target("RTP CPU us a packet at 500 calls (50,000 packets/s)", "Ringway", 15),
    Target("RTP loss % at 500 calls (50,000 packets/s)", "Ringway", 0),
    Target("RTP added latency p99 us at 800 calls (80,000 packets/s)", "Ringway", 10_000),
)


def report(table: Table, targets: tuple[Target, ...]) -> int:
    """Print which targets are reached; how many are missed."""
    missed = 0
    print()
    for target in targets:
        verdict = target.judge(table)
        if verdict is not None:
            print(f"{'reached' if verdict else 'MISSED '}  {target.describe(table)}")
            missed += not verdict
    return missed
