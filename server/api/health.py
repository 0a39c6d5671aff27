"""What load balancers ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ApiError
from .model import Model
from .openapi import Call, Dialect, operation, operations_of


class Health(Model):
    """The state of the server."""

    status: str


class PlainError(Model):
    """An error where no dialect says how: paths that nobody has, and the server's own pages."""

    error_code: str
    message: str


class HealthApi:
    """Whether the server lives, and takes calls."""

    def __init__(self, why_not_ready: Callable[[], str | None]) -> None:
        self._why_not_ready = why_not_ready

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(
            "Health", "Whether the server lives, and takes calls.", operations_of(self), plain_error, PlainError
        )

    @operation("GET", "/healthz", summary="Is the process alive?", tag="Health", permission="health")
    async def healthz(self, call: Call) -> Health:
        """Answers as long as the event loop turns."""
        return Health(status="ok")

    @operation(
        "GET", "/readyz", summary="Does the server take calls?", tag="Health", permission="health", errors=(503,)
    )
    async def readyz(self, call: Call) -> Health:
        """503 while it starts and once it is told to stop."""
        why_not = self._why_not_ready()
        if why_not is not None:
            raise ApiError(503, "NOT_READY", why_not)
        return Health(status="ready")


def plain_error(_status: int, code: str, message: str, _details: Any = None) -> PlainError:
    """The body of an error in no dialect."""
    return PlainError(error_code=code, message=message)
