"""[io] The RealtimeKit dialect put together: sessions, meetings, and the files behind links."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import Any

from signalling import Registry

from ..artefacts import Artefacts
from ..store.database import Database
from ..store.history import History
from ..store.writer import Writer
from ..tokens import TokenBook
from .downloads import Downloads
from .gate import TAG, Gate
from .links import LIFETIME_S
from .meetings import MeetingsApi
from .openapi import Dialect, operations_of
from .realtimekit import RealtimeKitApi
from .realtimekit_models import ErrorBody, ErrorItem


def realtimekit_dialect(
    registry: Registry,
    history: History,
    database: Database,
    writer: Writer,
    artefacts: Artefacts,
    tokens: TokenBook,
    *,
    clock: Callable[[], float],
    wall_clock: Callable[[], float] = time,
    public_url: str | None = None,
    requests_per_10_s: int = 0,
    link_lifetime_s: float = LIFETIME_S,
    at_start: list[Callable[[], Awaitable[None]]] | None = None,
) -> Dialect:
    """Its routes. `clock`: seconds, monotonic; `wall_clock`: seconds since the epoch.

    `at_start` gets what is to be awaited once sessions and keys are restored.

    `requests_per_10_s`: of one token, 0 for as many as there are (E16). `public_url`: how clients reach us, where the
    requests themselves do not say so, as behind a proxy that speaks TLS.
    """
    gate = Gate(clock=clock, limit=requests_per_10_s)
    downloads = Downloads(artefacts, clock=wall_clock, lifetime_s=link_lifetime_s)
    sessions = RealtimeKitApi(
        registry, history, database, writer, artefacts, downloads, gate, clock=wall_clock, public_url=public_url
    )
    meetings = MeetingsApi(registry, tokens, gate, clock=wall_clock)
    if at_start is not None:
        at_start.append(meetings.start)
    return Dialect(
        TAG,
        "Sessions of an app, who took part in them, and what was written, said and summed up.",
        (*operations_of(sessions), *operations_of(meetings), *downloads.operations()),
        error_body,
        ErrorBody,
        omit_none=True,
    )


def error_body(status: int, code: str, message: str, _details: Any = None) -> ErrorBody:
    """An error in the words of this dialect (G5)."""
    return ErrorBody(errors=[ErrorItem(code=status, message=f"{code}: {message}")])
