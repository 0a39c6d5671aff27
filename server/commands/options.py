"""What the commands have in common on the command line: where to find users and keys, and how to print them.

Nothing heavy is imported here, so that help answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any


def add_place(parser: argparse.ArgumentParser) -> None:
    """The options that say where users and keys are."""
    place = parser.add_argument_group("where", "a running server, or the database of one that is down")
    place.add_argument("--url", default=os.environ.get("RINGWAY_URL"), help="running server; default: $RINGWAY_URL")
    place.add_argument(
        "--token", default=os.environ.get("RINGWAY_TOKEN"), help="its admin token; default: $RINGWAY_TOKEN"
    )
    place.add_argument("--config", type=Path, metavar="FILE", help="configuration of a server that is down")
    place.add_argument("--data", type=Path, metavar="DIR", help="data folder of `ringway dev`, which is down")
    place.add_argument("--tenant", metavar="ACCOUNT/APP", help="with --config and --data: whose; default: the server's")
    parser.add_argument("--json", action="store_true", help="print JSON")


def show(options: argparse.Namespace, answer: Any, text: str) -> None:
    """Print `answer` as JSON where that is wanted, else `text`."""
    sys.stdout.write((json.dumps(answer, indent=2) if options.json else text) + "\n")


def table(rows: list[list[str]]) -> str:
    """Columns as wide as they must be; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
