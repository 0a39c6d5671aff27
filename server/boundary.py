"""The boundary of every request: CORS, errors in the dialect's own words, nothing that escapes as a bare 500."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel

from signalling import SignallingError

from .api.health import PlainError, plain_error
from .api.openapi import JSON_TYPE, Dialect
from .errors import ApiError, refused

log = structlog.get_logger("server.boundary")

MAX_BODY = 64 * 1024  # bytes, decompressed; the largest legal request of any dialect is a tenth of it

CORS_METHODS = "GET, POST, PUT, PATCH, DELETE"
CORS_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Ringway-User"
CORS_EXPOSED = "Retry-After, WWW-Authenticate"
CORS_MAX_AGE_S = "7200"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NO_DIALECT = Dialect("Ringway", "Errors of no dialect.", (), plain_error, PlainError)


def encoded(model: BaseModel, *, omit_none: bool) -> bytes:
    """JSON of an answer, with a missing value left out or null as the dialect has it (G4)."""
    return model.__pydantic_serializer__.to_json(model, exclude_none=omit_none, by_alias=True)


class Spoken:
    """Which dialect a path is of: that of its operation, else that of the longest beginning which only one has."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        owners: dict[str, dict[Any, Dialect]] = {}
        for dialect in dialects:
            words = (dialect.error, dialect.omit_none)  # two that err in the same words are one here
            for bound in dialect.operations:
                for path in bound.operation.paths:
                    for beginning in _beginnings(path.partition("{")[0]):
                        owners.setdefault(beginning, {})[words] = dialect
        self._sole = {beginning: next(iter(owned.values())) for beginning, owned in owners.items() if len(owned) == 1}
        self._shared = {beginning for beginning, owned in owners.items() if len(owned) > 1}

    def of(self, path: str) -> Dialect:
        """The dialect of `path`, or NO_DIALECT."""
        for beginning in reversed(list(_beginnings(path))):
            if beginning in self._sole:
                return self._sole[beginning]
            if beginning in self._shared:
                break
        return NO_DIALECT


MAX_SEGMENTS = 16  # that are looked at to find a dialect; none has a path that long


def _beginnings(path: str) -> Iterable[str]:
    """/a, /a/b and /a/b/c of /a/b/c."""
    beginning = ""
    for segment in path.strip("/").split("/")[:MAX_SEGMENTS]:
        beginning += f"/{segment}"
        yield beginning


def guarded(handler: Handler, spoken: Spoken) -> Handler:
    """`handler`, of which whatever goes wrong is an answer. A middleware of aiohttp's would be two coroutines more."""

    async def cross(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            if request.method == hdrs.METH_OPTIONS:
                return _preflight(error.allowed_methods)
            allow = ", ".join(sorted({*error.allowed_methods, hdrs.METH_OPTIONS}))
            fault = ApiError(405, "METHOD_NOT_ALLOWED", "the path does not take this method", headers={"Allow": allow})
        except web.HTTPRequestEntityTooLarge:
            fault = ApiError(413, "TOO_LARGE", f"a body has at most {MAX_BODY} bytes")
        except web.HTTPNotFound:
            fault = ApiError(404, "NOT_FOUND", "there is no such path")
        except web.HTTPException as error:  # aiohttp's other answers
            if error.status < 400:
                raise
            fault = ApiError(error.status, "BAD_REQUEST", error.reason)
        except (HttpProcessingError, web.RequestPayloadError):
            fault = ApiError(400, "BAD_REQUEST", "the body does not come as its headers say")
        except SignallingError as error:
            fault = refused(error)
        except ApiError as error:
            fault = error
        except Exception:  # The boundary: whatever went wrong, this client is told so, and the others are served.
            log.exception("request_failed", method=request.method, path=request.path)
            fault = ApiError(500, "INTERNAL", "an error of the server; its log has the details")
        return refusal(fault, spoken.of(request.path))

    return cross


def refusal(fault: ApiError, dialect: Dialect) -> web.Response:
    """An error in the words of `dialect`."""
    body = dialect.error(fault.status, fault.code, fault.message, fault.details)
    return web.Response(
        status=fault.status,
        body=encoded(body, omit_none=dialect.omit_none),
        content_type=JSON_TYPE,
        headers=fault.headers,
    )


# Origins.

Signal = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def origins(allowed: frozenset[str]) -> Signal:
    """Adds to every answer, streams too, what lets a page of an allowed origin read it (D24).

    Any origin may be allowed: nothing is sent by a browser on its own, a page must know a token.
    """
    anyone = "*" in allowed

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_ANYONE if anyone else _for_origin(request.headers.get(hdrs.ORIGIN), allowed))
        if request.method == hdrs.METH_OPTIONS and "Access-Control-Allow-Origin" in response.headers:
            response.headers.update(_PREFLIGHT)

    return add


def for_all_origins(allowed: frozenset[str]) -> Mapping[str, str] | None:
    """What `origins` adds to every answer but those of OPTIONS; None when that depends on the request."""
    return _ANYONE if "*" in allowed else None


_EXPOSED = {"Access-Control-Expose-Headers": CORS_EXPOSED}
_ANYONE: Mapping[str, str] = {"Access-Control-Allow-Origin": "*", **_EXPOSED}
_PREFLIGHT: Mapping[str, str] = {
    "Access-Control-Allow-Methods": CORS_METHODS,
    "Access-Control-Allow-Headers": CORS_REQUEST_HEADERS,
    "Access-Control-Max-Age": CORS_MAX_AGE_S,
}


def _for_origin(origin: str | None, allowed: frozenset[str]) -> Mapping[str, str]:
    if origin is None or origin not in allowed:
        return {"Vary": "Origin"}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **_EXPOSED}


def _preflight(methods: Iterable[str]) -> web.Response:
    return web.Response(status=204, headers={"Allow": ", ".join(sorted({*methods, hdrs.METH_OPTIONS}))})
