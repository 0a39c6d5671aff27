"""Operations of the REST API declared once: a decorator on a handler makes both its route and its OpenAPI 3.1 page.

A handler is an async method. Its parameters say what it wants of a request: `call` (always), `body` and `query`
(pydantic models). Its return annotation says what it answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from signalling import Principal

Handler = Callable[..., Awaitable[BaseModel]]
HandlerT = TypeVar("HandlerT", bound=Handler)

JSON_TYPE = "application/json"


ANYBODY = Principal("anybody", "token")
"Stands for a client that needs no token; it may dial nothing and sees no session."


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API, authenticated."""

    principal: Principal
    "ANYBODY where the operation is open to all."
    operation: Operation
    path: Mapping[str, str]
    "Values of the parameters in the path."
    headers: Mapping[str, str]
    "Case-insensitive."


@dataclass(frozen=True, slots=True)
class Header:
    """A request header that an operation reads."""

    name: str
    description: str
    max_length: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, with all that its page says."""

    method: str
    path: str
    summary: str
    description: str
    tag: str
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    answers: tuple[type[BaseModel], ...]
    errors: tuple[int, ...]
    headers: tuple[Header, ...]
    open: bool
    "Whether it needs no token."

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """Names in braces."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


@dataclass(frozen=True, slots=True)
class Bound:
    """An operation and the method that carries it out."""

    operation: Operation
    handler: Handler


@dataclass(frozen=True, slots=True)
class Dialect:
    """One family of the API: its operations, and how it words an error."""

    name: str
    description: str
    operations: tuple[Bound, ...]
    error: Callable[[int, str, str], BaseModel]
    "Makes the body of an error from status, code and message."
    error_model: type[BaseModel]


def operation(
    method: str,
    path: str,
    *,
    summary: str,
    tag: str,
    errors: Iterable[int] = (),
    headers: Iterable[Header] = (),
    open: bool = False,
) -> Callable[[HandlerT], HandlerT]:
    """Declare the decorated method to answer `method` on `path`; its docstring is the description."""

    def declare(handler: HandlerT) -> HandlerT:
        hints = get_type_hints(handler)
        answer = hints["return"]
        declared = Operation(
            method=method,
            path=path,
            summary=summary,
            description=" ".join((handler.__doc__ or "").split()),
            tag=tag,
            body=hints.get("body"),
            query=hints.get("query"),
            answers=get_args(answer) or (answer,),
            errors=tuple(sorted({*errors, *(() if open else (401,)), 500})),
            headers=tuple(headers),
            open=open,
        )
        handler.__operation__ = declared  # type: ignore[attr-defined]  # read by operations_of alone
        return handler

    return declare


def operations_of(api: object) -> tuple[Bound, ...]:
    """The declared operations of `api`, in the order of its class."""
    return tuple(
        Bound(function.__operation__, getattr(api, name))
        for name, function in vars(type(api)).items()
        if hasattr(function, "__operation__")
    )


def document(dialects: Iterable[Dialect], *, title: str, version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of `dialects`."""
    dialects = tuple(dialects)
    models = sorted(_models(dialects), key=lambda pair: (pair[0].__name__, pair[1]))
    generated, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    schemas = {pair: generated[pair] for pair in models}
    paths: dict[str, dict[str, Any]] = {}
    for dialect in dialects:
        error = _content(schemas[dialect.error_model, "serialization"])
        for bound in dialect.operations:
            declared = bound.operation
            paths.setdefault(declared.path, {})[declared.method.lower()] = _page(declared, schemas, error)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "tags": [{"name": dialect.name, "description": dialect.description} for dialect in dialects],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


Schemas = Mapping[tuple[type[BaseModel], JsonSchemaMode], dict[str, Any]]

_MEANINGS = {
    400: "The request is malformed; the message names the field.",
    401: "A bearer token is missing or not valid.",
    403: "The token may not do this.",
    404: "There is no such thing.",
    405: "The path does not take this method.",
    409: "Not possible in the present state.",
    413: "The body is too large.",
    422: "The Idempotency-Key was used before with another request.",
    500: "An error of the server.",
    501: "Not implemented.",
    503: "Not possible at the moment; Retry-After, when present, says when to try again.",
}


def _models(dialects: tuple[Dialect, ...]) -> set[tuple[type[BaseModel], JsonSchemaMode]]:
    found: set[tuple[type[BaseModel], JsonSchemaMode]] = set()
    for dialect in dialects:
        found.add((dialect.error_model, "serialization"))
        for bound in dialect.operations:
            declared = bound.operation
            found.update((model, "validation") for model in (declared.body, declared.query) if model)
            found.update((model, "serialization") for model in declared.answers)
    return found


def _page(declared: Operation, schemas: Schemas, error: dict[str, Any]) -> dict[str, Any]:
    answers = [schemas[model, "serialization"] for model in declared.answers]
    page: dict[str, Any] = {
        "operationId": f"{declared.method.lower()}{declared.path}".replace("/", "_").translate(_NO_BRACES),
        "summary": declared.summary,
        "description": declared.description,
        "tags": [declared.tag],
        "responses": {
            "200": {
                "description": "OK",
                "content": _content(answers[0] if len(answers) == 1 else {"oneOf": answers}),
            },
            **{str(status): {"description": _MEANINGS[status], "content": error} for status in declared.errors},
        },
    }
    if parameters := _parameters(declared):
        page["parameters"] = parameters
    if declared.body is not None:
        page["requestBody"] = {"required": True, "content": _content(schemas[declared.body, "validation"])}
    page["security"] = [] if declared.open else [{"bearer": []}]
    return page


_NO_BRACES = str.maketrans("", "", "{}")


def _parameters(declared: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in declared.path_parameters
    ]
    if declared.query is not None:
        schema = declared.query.model_json_schema()
        for name, field in schema["properties"].items():
            description = field.pop("description", "")
            required = name in schema.get("required", ())
            parameters.append(
                {"name": name, "in": "query", "required": required, "description": description, "schema": field}
            )
    parameters += [
        {
            "name": header.name,
            "in": "header",
            "required": False,
            "description": header.description,
            "schema": {"type": "string", "minLength": 1, "maxLength": header.max_length},
        }
        for header in declared.headers
    ]
    return parameters


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {JSON_TYPE: {"schema": schema}}
