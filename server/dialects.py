"""All dialects of the API, made over the same parts: by the server, and by its tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from signalling import Registry

from .api.debug import DebugApi
from .api.openapi import Dialect
from .api.pbx import PbxApi
from .sections import Config
from .store.database import Database
from .store.history import History
from .store.writer import Writer
from .tokens import TokenBook


@dataclass(slots=True)
class Services:
    """What the dialects work on."""

    config: Config
    registry: Registry
    database: Database
    writer: Writer
    history: History
    tokens: TokenBook
    clock: Callable[[], float]
    "Seconds, monotonic."
    counts: Callable[[], dict[str, int]]
    "How many there are of what calls are made of."


def dialects_of(services: Services) -> list[Dialect]:
    """Every dialect, ready for `make_app`."""
    return [
        PbxApi(services.registry, clock=services.clock).dialect(),
        DebugApi(services.counts).dialect(),
    ]
