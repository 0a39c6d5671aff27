"""The HTTP side: one aiohttp application that serves the dialects, their OpenAPI document, /docs and /healthz.

Every request passes `_answer`: CORS, errors in the dialect's own words, and nothing that escapes as a bare 500.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from signalling import SignallingError

from . import __version__
from .api.openapi import ANYBODY, JSON_TYPE, Bound, Call, Dialect, document, operation, operations_of
from .auth import TokenBook
from .errors import ApiError, bad_request, refused

log = structlog.get_logger("server.web")
http_log = logging.getLogger("server.http")
"What aiohttp itself has to say of connections."

MAX_BODY = 64 * 1024  # bytes; the largest legal request of any dialect is a tenth of it
MAX_FAULTS_TOLD = 5
DOCS = Path(__file__).parent / "api" / "docs"
DOCS_FILES = {
    "": ("index.html", "text/html"),
    "docs.js": ("docs.js", "text/javascript"),
    "swagger-ui.css": ("swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
}
DOCS_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

CORS_METHODS = "GET, POST, PUT, PATCH, DELETE"
CORS_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key"
CORS_EXPOSED = "Retry-After, WWW-Authenticate"
CORS_MAX_AGE_S = "7200"


def is_ours_to_mend(record: logging.LogRecord) -> bool:
    """False for what a peer did wrong: it sent something that is no HTTP, and was answered 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


http_log.addFilter(is_ours_to_mend)


class Health(BaseModel):
    """The state of the server."""

    status: str


class HealthError(BaseModel):
    """The server cannot take calls."""

    error_code: str
    message: str


class HealthApi:
    """What load balancers ask."""

    def __init__(self, why_not_ready: Callable[[], str | None]) -> None:
        self._why_not_ready = why_not_ready

    def dialect(self) -> Dialect:
        """The routes of this API."""
        return Dialect(
            "Health",
            "Whether the server lives, and takes calls.",
            operations_of(self),
            lambda _status, code, message: HealthError(error_code=code, message=message),
            HealthError,
        )

    @operation("GET", "/healthz", summary="Is the process alive?", tag="Health", open=True)
    async def healthz(self, call: Call) -> Health:
        """Answers as long as the event loop turns."""
        return Health(status="ok")

    @operation("GET", "/readyz", summary="Does the server take calls?", tag="Health", errors=(503,), open=True)
    async def readyz(self, call: Call) -> Health:
        """503 while it starts and once it is told to stop."""
        why_not = self._why_not_ready()
        if why_not is not None:
            raise ApiError(503, "NOT_READY", why_not)
        return Health(status="ready")


def make_app(
    dialects: Iterable[Dialect],
    *,
    tokens: TokenBook,
    why_not_ready: Callable[[], str | None],
    cors_origins: Iterable[str] = ("*",),
) -> web.Application:
    """The application; it has no state but what `dialects` have."""
    all_of = (*dialects, HealthApi(why_not_ready).dialect())
    app = web.Application(middlewares=[_boundary(all_of[0], frozenset(cors_origins))], client_max_size=MAX_BODY)
    # Literal segments win over parameters (G2): aiohttp takes the first route that matches.
    every = [(dialect, bound) for dialect in all_of for bound in dialect.operations]
    for _, bound in sorted(every, key=lambda pair: "{" in pair[1].operation.path):
        app.router.add_route(bound.operation.method, bound.operation.path, _handler(bound, tokens))
        if bound.operation.method == hdrs.METH_GET:
            app.router.add_route(hdrs.METH_HEAD, bound.operation.path, _handler(bound, tokens))
    app[_DIALECTS] = {bound.operation.path: dialect for dialect, bound in every}
    app.router.add_get("/openapi.json", _description(all_of))
    for name, (file, kind) in DOCS_FILES.items():
        app.router.add_get(f"/docs/{name}" if name else "/docs", _docs_file(DOCS / file, kind))
    for path in ("/", "/docs/"):
        app.router.add_get(path, _to_docs)
    return app


_DIALECTS: web.AppKey[dict[str, Dialect]] = web.AppKey("dialects")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _handler(bound: Bound, tokens: TokenBook) -> Handler:
    declared = bound.operation

    async def handle(request: web.Request) -> web.StreamResponse:
        principal = ANYBODY if declared.open else tokens.authenticate(request.headers.get(hdrs.AUTHORIZATION))
        call = Call(principal, declared, request.match_info, request.headers)
        wanted: dict[str, Any] = {}
        if declared.query is not None:
            wanted["query"] = _parsed_query(declared.query, request)
        if declared.body is not None:
            wanted["body"] = _parsed_body(declared.body, await request.read())
        answer = await bound.handler(call, **wanted)
        return web.Response(body=answer.model_dump_json().encode(), content_type=JSON_TYPE)

    return handle


def _parsed_query(model: type[BaseModel], request: web.Request) -> BaseModel:
    given = request.query
    for name in model.model_fields:
        if len(given.getall(name, ())) > 1:
            raise bad_request(f"{name}: given more than once")
    try:
        return model.model_validate_strings({name: given[name] for name in model.model_fields if name in given})
    except ValidationError as error:
        raise bad_request(_reasons(error)) from error


def _parsed_body(model: type[BaseModel], data: bytes) -> BaseModel:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise bad_request(_reasons(error)) from error


def _reasons(error: ValidationError) -> str:
    """What is wrong with each field, without the values that were given."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    reasons = []
    for detail in details[:MAX_FAULTS_TOLD]:
        place = ".".join(map(str, detail["loc"]))
        reason = detail["msg"].removeprefix("Value error, ")
        reasons.append(f"{place}: {reason}" if place else reason)
    if len(details) > MAX_FAULTS_TOLD:
        reasons.append(f"and {len(details) - MAX_FAULTS_TOLD} more")
    return "; ".join(reasons)


# The boundary that every request passes.


def _boundary(default: Dialect, origins: frozenset[str]) -> Any:
    @web.middleware
    async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
        cors = _cors(request, origins)
        try:
            response = await handler(request)
        except web.HTTPMethodNotAllowed as error:
            if request.method == hdrs.METH_OPTIONS:
                return _preflight(error.allowed_methods, cors)
            allow = ", ".join(sorted({*error.allowed_methods, hdrs.METH_OPTIONS}))
            fault = ApiError(405, "METHOD_NOT_ALLOWED", "the path does not take this method", headers={"Allow": allow})
            response = _refusal(fault, default)
        except web.HTTPRequestEntityTooLarge:
            response = _refusal(ApiError(413, "TOO_LARGE", f"a body has at most {MAX_BODY} bytes"), default)
        except web.HTTPNotFound:
            response = _refusal(ApiError(404, "NOT_FOUND", "there is no such path"), default)
        except web.HTTPException as error:  # aiohttp's other answers
            error.headers.update(cors)
            raise
        except SignallingError as error:
            response = _refusal(refused(error), _spoken(request, default))
        except ApiError as error:
            response = _refusal(error, _spoken(request, default))
        except Exception:  # The boundary: whatever went wrong, this client is told so, and the others are served.
            log.exception("request_failed", method=request.method, path=request.path)
            fault = ApiError(500, "INTERNAL", "an error of the server; its log has the details")
            response = _refusal(fault, _spoken(request, default))
        response.headers.update(cors)
        return response

    return boundary


def _spoken(request: web.Request, default: Dialect) -> Dialect:
    """The dialect of the path that `request` asks for."""
    resource = request.match_info.route.resource
    return default if resource is None else request.app[_DIALECTS].get(resource.canonical, default)


def _refusal(fault: ApiError, dialect: Dialect) -> web.Response:
    body = dialect.error(fault.status, fault.code, fault.message)
    return web.Response(
        status=fault.status,
        body=body.model_dump_json().encode(),
        content_type=JSON_TYPE,
        headers=fault.headers,
    )


def _cors(request: web.Request, origins: frozenset[str]) -> Mapping[str, str]:
    """Headers that let a page of an allowed origin read the answer (D24).

    Any origin may be allowed: nothing is sent by a browser on its own, a page must know a token.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if "*" in origins:
        allowed = {"Access-Control-Allow-Origin": "*"}
    elif origin in origins and origin is not None:
        allowed = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    else:
        return {"Vary": "Origin"}
    return {**allowed, "Access-Control-Expose-Headers": CORS_EXPOSED}


def _preflight(methods: Iterable[str], cors: Mapping[str, str]) -> web.Response:
    allow = ", ".join(sorted({*methods, hdrs.METH_OPTIONS}))
    headers = {**cors, "Allow": allow}
    if "Access-Control-Allow-Origin" in cors:
        headers["Access-Control-Allow-Methods"] = CORS_METHODS
        headers["Access-Control-Allow-Headers"] = CORS_REQUEST_HEADERS
        headers["Access-Control-Max-Age"] = CORS_MAX_AGE_S
    return web.Response(status=204, headers=headers)


# Files and constants.


def _description(dialects: tuple[Dialect, ...]) -> Handler:
    @cache
    def description() -> bytes:
        return json.dumps(document(dialects, title="Ringway", version=__version__)).encode()

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=description(), content_type=JSON_TYPE)

    return answer


def _docs_file(path: Path, kind: str) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        headers = {
            "Content-Type": kind,
            "Content-Security-Policy": DOCS_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "max-age=3600",
        }
        return web.FileResponse(path, headers=headers)

    return answer


async def _to_docs(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={hdrs.LOCATION: "/docs"})
