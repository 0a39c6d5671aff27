"""The HTTP side: one aiohttp application that serves the dialects, their OpenAPI document, /docs and /healthz."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel

from signalling import Principal

from . import __version__
from .api.document import document
from .api.health import HealthApi
from .api.input import body_reader, check_charset, check_path, query_reader, unpacked
from .api.openapi import JSON_TYPE, Bound, Call, Dialect, Operation, Raw
from .auth import ANYBODY, PERMISSIONS, Authenticator, may_begin
from .boundary import MAX_BODY, Handler, Spoken, encoded, for_all_origins, guarded, origins
from .response import ResponseHead, in_one_piece

http_log = logging.getLogger("server.http")
"What aiohttp itself has to say of connections."

DOCS = Path(__file__).parent / "api" / "docs"
DOCS_FILES = {
    "": ("index.html", "text/html"),
    "docs.js": ("docs.js", "text/javascript"),
    "docs.css": ("docs.css", "text/css"),
    "swagger-ui.css": ("swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
}
DOCS_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
DEFAULT_TENANT = ANYBODY.tenant
DIALECTS: web.AppKey[tuple[Dialect, ...]] = web.AppKey("dialects")
"What an application serves."


def is_ours_to_mend(record: logging.LogRecord) -> bool:
    """False for what a peer did wrong: it sent something that is no HTTP, and was answered 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


http_log.addFilter(is_ours_to_mend)


def make_app(
    dialects: Iterable[Dialect],
    *,
    tokens: Authenticator,
    why_not_ready: Callable[[], str | None],
    cors_origins: Iterable[str] = ("*",),
    opened: Iterable[str] = (),
    tenant: str = DEFAULT_TENANT,
) -> web.Application:
    """The application; it has no state but what `dialects` have.

    `opened`: keys of PERMISSIONS that clients without a token may use all the same, as in `tenant` (G8, B26).
    ValueError for an operation without a permission, and for two of the same method and path.
    """
    opened, cors_origins = frozenset(opened), frozenset(cors_origins)
    all_of = tuple(_checked(dialect, opened) for dialect in (*dialects, HealthApi(why_not_ready).dialect()))
    app = web.Application(
        client_max_size=MAX_BODY,
        handler_args={"auto_decompress": False},  # `unpacked` does it, and stops at the limit
    )
    app.on_response_prepare.append(origins(cors_origins))
    everywhere = for_all_origins(cors_origins)
    app[DIALECTS] = all_of
    app.on_shutdown.append(_end_streams(all_of))
    spoken = Spoken(all_of)

    def add(method: str, path: str, handler: Handler) -> None:
        app.router.add_route(method, path, guarded(handler, spoken))

    for _, group in groupby(_routes(all_of), key=lambda route: _shape(route[0])):
        methods: set[str] = set()
        for declared, bound, dialect in group:
            path = _matching(declared)
            handler = _handler(bound, dialect, tokens, tenant, everywhere)
            add(bound.operation.method, path, handler)
            methods.add(bound.operation.method)
            if bound.operation.method == hdrs.METH_GET and not bound.operation.streams:
                add(hdrs.METH_HEAD, path, handler)
                methods.add(hdrs.METH_HEAD)
        add(hdrs.METH_ANY, path, _no_other(methods))
    for path, handler in _pages(all_of):
        for method in (hdrs.METH_GET, hdrs.METH_HEAD):
            add(method, path, handler)
        add(hdrs.METH_ANY, path, _no_other((hdrs.METH_GET, hdrs.METH_HEAD)))
    add(hdrs.METH_ANY, r"/{path:[\s\S]*}", _nowhere)
    return app


def _pages(dialects: tuple[Dialect, ...]) -> Iterator[tuple[str, Handler]]:
    """Paths that are of no dialect."""
    yield "/openapi.json", _description(dialects)
    for name, (file, kind) in DOCS_FILES.items():
        yield f"/docs/{name}" if name else "/docs", _docs_file(DOCS / file, kind)
    for path in ("/", "/docs/"):
        yield path, _to_docs


def _checked(dialect: Dialect, opened: frozenset[str]) -> Dialect:
    """`dialect` with what the configuration opens; ValueError when an operation is not in the matrix."""
    operations = []
    for bound in dialect.operations:
        declared = bound.operation
        name = f"{declared.method} {declared.path}"
        if declared.permission not in PERMISSIONS:
            raise ValueError(f"{name}: auth.PERMISSIONS has no {declared.permission!r}")
        if declared.body is not None and not declared.body.model_config.get("strict"):
            raise ValueError(f"{name}: {declared.body.__name__} takes wrong types; derive it from openapi.Body")
        opens = declared.permission in opened
        operations.append(replace(bound, operation=replace(declared, opened=True)) if opens else bound)
    return replace(dialect, operations=tuple(operations))


def _routes(dialects: Iterable[Dialect]) -> list[tuple[str, Bound, Dialect]]:
    """In the order of asking: literal segments win over parameters at every position (G2)."""
    every = [
        (path, bound, dialect) for dialect in dialects for bound in dialect.operations for path in bound.operation.paths
    ]
    taken: set[tuple[str, str]] = set()
    for path, bound, _ in every:
        shape = (bound.operation.method, _shape(path))
        if shape in taken:
            raise ValueError(f"two operations answer {bound.operation.method} {path}")
        taken.add(shape)
    return sorted(
        every, key=lambda route: ([part.startswith("{") for part in route[0].split("/")], _shape(route[0]), route[0])
    )


def _matching(path: str) -> str:
    """The path as aiohttp wants it. A parameter may have braces, which it would not take by itself."""
    return re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", path)


def _shape(path: str) -> str:
    """The path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def _no_other(methods: Iterable[str]) -> Handler:
    """405 for the methods that a path lacks, also where a path of parameters would take them (G2)."""
    allowed = sorted(methods)

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    return refuse


async def _nowhere(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


def _handler(
    bound: Bound, dialect: Dialect, tokens: Authenticator, tenant: str, everywhere: Mapping[str, str] | None
) -> Handler:
    """From request to answer; all that can be known beforehand is looked up here, once.

    `everywhere`: what every answer has in its head; None when that depends on the request.
    """
    declared = bound.operation
    act = bound.handler
    needs = declared.needs
    known, find_out = _principals(declared, tokens, tenant)
    read_query = None if declared.query is None else query_reader(declared.query)
    read_body = None if declared.body is None else _body_of(declared.body, needed=declared.body_needed)
    omit_none = dialect.omit_none
    status = declared.status
    head = None if everywhere is None else ResponseHead(status, JSON_TYPE, everywhere)

    async def handle(request: web.Request) -> web.StreamResponse:
        principal = known(request) or await find_out(request)
        may_begin(principal, needs, tenant)
        path = request.match_info
        if path:
            check_path(path)
        call = Call(principal, declared, path, request.headers, request)
        wanted: dict[str, Any] = {}
        if read_query is not None:
            wanted["query"] = read_query(request.query)
        if read_body is not None:
            content = request.content
            # Nearly always it came with the head.
            data = content.read_nowait() if content.is_eof() else await request.read()
            wanted["body"] = read_body(request.headers, data)
        answer = await act(call, **wanted)
        if isinstance(answer, BaseModel):
            body = encoded(answer, omit_none=omit_none)
            if head is not None and in_one_piece(request):
                return head.before(body)
            return web.Response(body=body, status=status, content_type=JSON_TYPE)
        return _raw(answer, status) if isinstance(answer, Raw) else answer

    return handle


def _principals(
    declared: Operation, tokens: Authenticator, tenant: str
) -> tuple[Callable[[web.Request], Principal | None], Callable[[web.Request], Awaitable[Principal]]]:
    """How an operation finds out who asks: at once, as nearly always, or else in a while."""
    if declared.opened:
        anybody = replace(ANYBODY, tenant=tenant, roles={"*": "host"})
    else:
        anybody = replace(ANYBODY, tenant=tenant)
    open_to_all = declared.needs.level == "open"
    opened = declared.opened
    ticketed = declared.ticketed

    def known(request: web.Request) -> Principal | None:
        if open_to_all:
            return anybody
        header = request.headers.get(hdrs.AUTHORIZATION)
        if header is None and opened:
            return anybody
        return tokens.known(header)

    async def find_out(request: web.Request) -> Principal:
        header = request.headers.get(hdrs.AUTHORIZATION)
        if header is None and ticketed:
            header = tokens.tickets.authorization(request.query.get("ticket", ""))
        return tokens.known(header) or await tokens.authenticate(header)

    return known, find_out


def _body_of(model: type[BaseModel], *, needed: bool) -> Callable[[Mapping[str, str], bytes], BaseModel | None]:
    """How an operation reads its body, which comes with its headers."""
    parse = body_reader(model)

    def read(headers: Mapping[str, str], data: bytes) -> BaseModel | None:
        kind = headers.get(hdrs.CONTENT_TYPE)
        if kind is not None:
            check_charset(kind)
        if len(data) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY, len(data))
        coding = headers.get(hdrs.CONTENT_ENCODING)
        if coding is not None and data:
            data = unpacked(data, coding, MAX_BODY)
        return parse(data) if data or needed else None

    return read


def _raw(answer: Raw, status: int) -> web.Response:
    body = answer.body.encode() if isinstance(answer.body, str) else answer.body
    headers = {**answer.headers, hdrs.CONTENT_TYPE: answer.content_type}
    return web.Response(body=body, status=answer.status or status, headers=headers)


def _end_streams(dialects: tuple[Dialect, ...]) -> Callable[[web.Application], Awaitable[None]]:
    async def end(_app: web.Application) -> None:
        for dialect in dialects:
            if dialect.on_shutdown is not None:
                dialect.on_shutdown()

    return end


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
