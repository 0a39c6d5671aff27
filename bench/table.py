"""The figures as a table: a row a figure, a column a device, the ratio to the first peer beside ours."""

from __future__ import annotations

import statistics
from collections import defaultdict


class Table:
    """Collects measurements and prints their medians."""

    def __init__(self, devices: list[str], reference: str) -> None:
        """`reference` is the device that ratios are made to."""
        self._devices = devices
        self._reference = reference
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, figure: str, device: str, value: float) -> None:
        """One more measurement."""
        self._values[figure][device].append(value)

    def median(self, figure: str, device: str) -> float | None:
        """The median so far, or None without a measurement."""
        values = self._values[figure][device]
        return statistics.median(values) if values else None

    def markdown(self) -> str:
        """The table, in Markdown; smallest and largest value in brackets after a median of several."""
        rows = [["figure", *self._devices], ["---"] * (len(self._devices) + 1)]
        rows += [[figure, *(self._cell(figure, device) for device in self._devices)] for figure in self._values]
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def _cell(self, figure: str, device: str) -> str:
        values = self._values[figure][device]
        if not values:
            return "-"
        middle = statistics.median(values)
        spread = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
        base = self.median(figure, self._reference)
        ratio = f" [x{middle / base:.2f}]" if base and device != self._reference else ""
        return f"{middle:.4g}{spread}{ratio}"
