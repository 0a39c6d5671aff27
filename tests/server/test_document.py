"""The OpenAPI document of a whole server: complete, and true to its own schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from .house import House
from .scenery import operations


@pytest.fixture
async def description(house: House) -> dict[str, Any]:
    status, description = await house.get("/openapi.json", token=None)
    assert status == 200
    assert isinstance(description, dict)
    return description


def contents(description: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Operation, "body" or the status, media type and content of everything that is sent or answered."""
    for path, methods in description["paths"].items():
        for method, page in methods.items():
            name = f"{method.upper()} {path}"
            for kind, content in page.get("requestBody", {"content": {}})["content"].items():
                yield name, "body", kind, content
            for status, answer in page["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    yield name, status, kind, content


async def test_every_operation_is_in_the_document_with_success_and_errors(
    house: House, description: dict[str, Any]
) -> None:
    for _, declared, path in operations(house):
        page = description["paths"][path][declared.method.lower()]
        assert {str(status) for status in (declared.status, *declared.errors)} <= set(page["responses"])
        assert page["summary"]
        assert page["description"]
    identities = [page["operationId"] for methods in description["paths"].values() for page in methods.values()]
    assert len(set(identities)) == len(identities)


async def test_everything_that_is_json_has_an_example_that_is_as_its_schema_says(description: dict[str, Any]) -> None:
    wrong: list[str] = []
    seen = 0
    for name, what, kind, content in contents(description):
        if "json" not in kind and "form" not in kind:
            continue
        if "example" not in content:
            wrong.append(f"{name} {what}: no example")
            continue
        schema = {**content["schema"], "components": description["components"]}
        try:
            jsonschema_rs.validate(schema, content["example"], validate_formats=True)
        except jsonschema_rs.ValidationError as error:
            wrong.append(f"{name} {what}: {error.message}")
        seen += 1
    assert wrong == []
    assert seen > 500


async def test_g4_what_a_dialect_may_leave_out_is_not_required(house: House, description: dict[str, Any]) -> None:
    """B and E omit what has no value; A, C and D answer every key."""
    for dialect, declared, _ in operations(house):
        for model in declared.answers:
            schema = model.model_json_schema(mode="serialization")
            for defined in (schema, *schema.get("$defs", {}).values()):
                for field, about in defined.get("properties", {}).items():
                    may_be_null = any(part.get("type") == "null" for part in about.get("anyOf", ()))
                    if dialect.omit_none and may_be_null:
                        assert field not in defined.get("required", ()), (declared.path, field)
