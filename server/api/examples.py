"""Examples made from a JSON schema, for operations that give none of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

BY_FORMAT = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "uuid": "1a201c3c-760f-8f39-a010-00000ee9499e",
    "uri": "https://example.com/",
    "email": "ann@example.com",
}
MAX_DEPTH = 8  # of what refers to itself


def example_of(schema: Schema, definitions: Mapping[str, Schema], *, whole: bool, depth: int = 0) -> Any:
    """A value that `schema` allows, as far as it says; `whole`: with the fields that may be left out."""
    if "$ref" in schema:
        named = definitions[schema["$ref"].rpartition("/")[2]]
        return example_of(named, definitions, whole=whole, depth=depth + 1)
    for key in ("const", "example", "default"):
        if key in schema and schema[key] is not None:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example_of(schema[key][0], definitions, whole=whole, depth=depth)
    return _of_type(schema, definitions, whole, depth)


def _of_type(schema: Schema, definitions: Mapping[str, Schema], whole: bool, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {})
        wanted = [*fields] if whole and depth < MAX_DEPTH else schema.get("required", ())
        return {name: example_of(fields[name], definitions, whole=whole, depth=depth + 1) for name in wanted}
    if kind == "array":
        count = max(schema.get("minItems", 0), int(whole and depth < MAX_DEPTH))
        return [example_of(schema.get("items", {}), definitions, whole=whole, depth=depth + 1) for _ in range(count)]
    if kind == "string":
        text = BY_FORMAT.get(schema.get("format", ""), "1")
        return text + "1" * (schema.get("minLength", 1) - len(text))
    if kind in ("integer", "number"):
        return max(1, schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
    return None if kind == "null" else True
