"""The OpenAPI 3.1 description of the API, made from the models of its operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from ..fields import PRINTABLE
from .examples import example_of
from .openapi import FORM_TYPE, JSON_TYPE, Dialect, Header, Operation


def document(dialects: Iterable[Dialect], *, title: str, version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of `dialects`."""
    dialects = tuple(dialects)
    models = sorted(_models(dialects), key=lambda pair: (pair[0].__name__, pair[1]))
    generated, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    schemas = {pair: generated[pair] for pair in models}
    named = definitions.get("$defs", {})
    _bound_texts(dialects, schemas, named)
    paths: dict[str, dict[str, Any]] = {}
    for dialect in dialects:
        for bound in dialect.operations:
            declared = bound.operation
            for path in declared.paths:
                paths.setdefault(path, {})[declared.method.lower()] = _page(declared, path, schemas, named, dialect)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "tags": [{"name": dialect.name, "description": dialect.description} for dialect in dialects],
        "paths": paths,
        "components": {
            "schemas": named,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


HTML_TYPE = "text/html"
SWITCHING = 101
Schemas = Mapping[tuple[type[BaseModel], JsonSchemaMode], dict[str, Any]]

_MEANINGS = {
    400: "The request is malformed; the message names the field.",
    401: "A bearer token is missing or not valid.",
    403: "The token may not do this.",
    404: "There is no such thing.",
    405: "The path does not take this method.",
    409: "Not possible in the present state.",
    410: "It is gone.",
    413: "The body is too large.",
    415: "The body is packed in a way that the server cannot unpack.",
    422: "The Idempotency-Key was used before with another request.",
    426: "The client did not ask for a WebSocket.",
    429: "Too often; Retry-After says when to try again.",
    500: "An error of the server.",
    501: "Not implemented.",
    502: "Another server, which this needs, did not answer as it should.",
    503: "Not possible at the moment; Retry-After, when present, says when to try again.",
}
CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    410: "GONE",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_CODING",
    422: "IDEMPOTENCY_KEY_REUSED",
    426: "UPGRADE_REQUIRED",
    429: "TOO_MANY_REQUESTS",
    500: "INTERNAL",
    501: "NOT_IMPLEMENTED",
    502: "BAD_GATEWAY",
    503: "UNAVAILABLE",
}
"The code of each status where an operation has no better one."


def _models(dialects: tuple[Dialect, ...]) -> set[tuple[type[BaseModel], JsonSchemaMode]]:
    found: set[tuple[type[BaseModel], JsonSchemaMode]] = set()
    for dialect in dialects:
        found.add((dialect.error_model, "serialization"))
        for bound in dialect.operations:
            declared = bound.operation
            found.update((model, "validation") for model in (declared.body, declared.query, declared.form) if model)
            found.update((model, "serialization") for model in declared.answers)
    return found


Named = Mapping[str, dict[str, Any]]
TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
"What every text of a body must be, for a JSON schema; see input.body_reader."


def _bound_texts(dialects: Iterable[Dialect], schemas: Schemas, named: Named) -> None:
    """Say of each text of a request which characters it may have, where its model does not."""
    seen: set[str] = set()
    for dialect in dialects:
        for bound in dialect.operations:
            if bound.operation.body is not None:
                _bound(schemas[bound.operation.body, "validation"], TEXT, named, seen)
            if bound.operation.query is not None:
                _bound(schemas[bound.operation.query, "validation"], PRINTABLE, named, seen)


def _bound(schema: Any, pattern: str, named: Named, seen: set[str]) -> None:
    if isinstance(schema, list):
        for part in schema:
            _bound(part, pattern, named, seen)
    elif isinstance(schema, dict):
        if (name := schema.get("$ref", "").rpartition("/")[2]) and name not in seen:
            seen.add(name)
            _bound(named[name], pattern, named, seen)
        if schema.get("type") == "string" and not schema.keys() & {"pattern", "format", "enum", "const"}:
            schema["pattern"] = pattern
        for key in ("anyOf", "oneOf", "allOf", "items", "prefixItems", "additionalProperties"):
            _bound(schema.get(key), pattern, named, seen)
        _bound([*schema.get("properties", {}).values()], pattern, named, seen)


def _page(declared: Operation, path: str, schemas: Schemas, named: Named, dialect: Dialect) -> dict[str, Any]:
    page: dict[str, Any] = {
        "operationId": f"{declared.method.lower()}{path}".replace("/", "_").translate(_NO_BRACES),
        "summary": declared.summary,
        "description": declared.description,
        "tags": [declared.tag],
        "responses": {
            str(declared.status): _success(declared, schemas, named),
            **{str(status): _error(status, declared, schemas, dialect) for status in declared.errors},
        },
    }
    if parameters := _parameters(declared, path, schemas, named):
        page["parameters"] = parameters
    if declared.body is not None:
        content: dict[str, Any] = {"schema": schemas[declared.body, "validation"]}
        given = declared.examples.get("body")
        content["example"] = example_of(content["schema"], named, whole=False) if given is None else given
        page["requestBody"] = {"required": declared.body_needed, "content": {JSON_TYPE: content}}
    if declared.form is not None:
        form = schemas[declared.form, "validation"]
        content = {"schema": form, "example": example_of(form, named, whole=False)}
        page["requestBody"] = {"required": True, "content": {FORM_TYPE: content}}
    page["security"] = [] if declared.open else [{"bearer": []}]
    return page


_NO_BRACES = str.maketrans("", "", "{}")


def _success(declared: Operation, schemas: Schemas, named: Named) -> dict[str, Any]:
    if declared.status == SWITCHING:
        return {"description": "From now on the connection is a WebSocket."}
    answers = [schemas[model, "serialization"] for model in declared.answers]
    content: dict[str, Any] = {"schema": {"type": "object"}}
    if answers:
        content = {"schema": answers[0] if len(answers) == 1 else {"oneOf": answers}}
        content["example"] = example_of(answers[0], named, whole=True)
    elif declared.media_type != JSON_TYPE:
        content = {"schema": {"type": "string"}} if declared.media_type.startswith("text/") else {}
    if (example := declared.examples.get(str(declared.status))) is not None:
        content["example"] = example
    return {"description": "Success.", "content": {declared.media_type: content}}


def _error(status: int, declared: Operation, schemas: Schemas, dialect: Dialect) -> dict[str, Any]:
    example = declared.examples.get(str(status))
    if example is None:
        body = dialect.error(status, CODES[status], _MEANINGS[status], None)
        example = body.model_dump(mode="json", by_alias=True, exclude_none=dialect.omit_none)
    content = {"schema": schemas[dialect.error_model, "serialization"], "example": example}
    kinds: dict[str, Any] = {JSON_TYPE: content}
    if declared.media_type == HTML_TYPE:  # a page says what is wrong in a page
        kinds[HTML_TYPE] = {"schema": {"type": "string"}}
    return {"description": _MEANINGS[status], "content": kinds}


LONGEST = {"account_id": 32, "clientId": 256, "user": 256}
"Characters of those parameters of paths that have a limit of their own."


def _in_path(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "pattern": PRINTABLE}
    return {**schema, "maxLength": LONGEST[name]} if name in LONGEST else schema


def _parameters(declared: Operation, path: str, schemas: Schemas, named: Named) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": _in_path(part[1:-1])}
        for part in path.split("/")
        if part.startswith("{")
    ]
    if declared.query is not None:
        schema = schemas[declared.query, "validation"]
        if "$ref" in schema:
            schema = named[schema["$ref"].rpartition("/")[2]]
        for name, field in schema.get("properties", {}).items():
            field = dict(field)
            parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "required": name in schema.get("required", ()),
                    "description": field.pop("description", ""),
                    "schema": field,
                }
            )
    parameters += map(_header, declared.headers)
    return parameters


def _header(header: Header) -> dict[str, Any]:
    return {
        "name": header.name,
        "in": "header",
        "required": False,
        "description": header.description,
        "schema": {"type": "string", "minLength": 1, "maxLength": header.max_length, "pattern": r"^[!-~]+$"},
    }
