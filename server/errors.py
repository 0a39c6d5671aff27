"""What the server raises: faults of a configuration, and answers of the API that are not a success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signalling import SignallingError


class ServerError(Exception):
    """Root of what the server raises."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a configuration."""

    source: str
    "The file, or the environment variable."
    key: str
    "Path of the key, as `trunks[0].hosts`; empty when the fault is of the whole."
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.key, self.reason) if part)


class ConfigError(ServerError):
    """A configuration cannot be used; `faults` says all that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


class StartError(ServerError):
    """The server cannot start, for a reason that its operator can mend: a port in use, a missing address."""


class ApiError(ServerError):
    """An answer other than success: status, code for programs, message for people, details, extra headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        "More for programs, in the dialects whose errors have a place for it."
        self.headers = dict(headers or {})


class InvalidToken(ServerError):
    """A JWT that is none of the issuer's, or no longer; the text says why."""


def bad_request(message: str) -> ApiError:
    """400 with the code every malformed request gets."""
    return ApiError(400, "BAD_REQUEST", message)


def refused(error: SignallingError) -> ApiError:
    """What a client is told when signalling refuses a command."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return ApiError(error.status, error.code, error.message, headers=headers)
