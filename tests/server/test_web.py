"""The HTTP side: health, description, pages, origins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from server.api.pbx import PbxApi
from server.auth import Authenticator
from server.tokens import TokenBook
from server.web import make_app

from .conftest import Api
from .fake_registry import FakeRegistry


async def test_healthz_and_readyz_need_no_token(api: Api) -> None:
    assert (await api.call("GET", "/healthz", token=None))[:2] == (200, {"status": "ok"})
    assert (await api.call("GET", "/readyz", token=None))[:2] == (200, {"status": "ready"})


async def test_readyz_says_why_not(api: Api) -> None:
    api.not_ready.append("the server stops")
    status, body, _ = await api.call("GET", "/readyz", token=None)
    assert (status, body["message"]) == (503, "the server stops")
    assert (await api.call("GET", "/healthz", token=None))[0] == 200


async def description(api: Api) -> dict[str, Any]:
    status, body, _ = await api.call("GET", "/openapi.json", token=None)
    assert status == 200
    assert isinstance(body, dict)
    return body


async def test_openapi_is_3_1_and_has_every_path(api: Api) -> None:
    document = await description(api)
    assert document["openapi"] == "3.1.0"
    assert {path: sorted(methods) for path, methods in document["paths"].items()} == {
        "/api/sessions": ["get", "post"],
        "/api/sessions/directly": ["get"],
        "/api/sessions/{id}": ["get"],
        "/api/sessions/{id}/calls": ["post"],
        "/api/sessions/{id}/destroy": ["post"],
        "/api/sessions/{id}/hold": ["post"],
        "/api/sessions/{id}/unhold": ["post"],
        "/api/sessions/{id}/refer": ["post"],
        "/healthz": ["get"],
        "/readyz": ["get"],
    }


async def test_openapi_says_the_same_as_the_models(api: Api) -> None:
    document = await description(api)
    schemas = document["components"]["schemas"]
    create = schemas["CreateSession"]
    assert create["required"] == ["caller", "callee", "send_sdp"]
    assert create["properties"]["caller"]["maxLength"] == 256
    assert schemas["HeaderDirection"]["enum"] == ["CALLER", "CALLEE", "ALL"]
    assert len(schemas["AdditionalHeader"]["enum"]) == 5
    post = document["paths"]["/api/sessions"]["post"]
    assert post["security"] == [{"bearer": []}]
    assert {parameter["name"] for parameter in post["parameters"]} == {"dry_run", "Idempotency-Key"}
    assert set(post["responses"]) == {"200", "400", "401", "403", "404", "409", "413", "422", "500", "503"}
    assert document["paths"]["/healthz"]["get"]["security"] == []


async def test_openapi_refers_only_to_what_it_defines_and_names_each_operation_once(api: Api) -> None:
    document = await description(api)
    text = json.dumps(document)
    refs = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
    assert refs
    for ref in refs:
        assert ref.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    ids = [page["operationId"] for path in document["paths"].values() for page in path.values()]
    assert len(ids) == len(set(ids))
    for path, methods in document["paths"].items():
        for page in methods.values():
            named = {p["name"] for p in page.get("parameters", ()) if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert page["summary"]
            assert page["description"]


async def test_answers_match_the_description(api: Api) -> None:
    """Keys of a real answer are those of its schema."""
    schemas = (await description(api))["components"]["schemas"]
    await api.create()
    _, listed, _ = await api.call("GET", "/api/sessions")
    assert set(listed) == set(schemas["SessionList"]["required"])
    assert set(listed["items"][0]) == set(schemas["SessionItem"]["required"])
    assert set(listed["items"][0]["calls"][0]) == set(schemas["CallItem"]["required"])
    _, error, _ = await api.call("GET", "/api/sessions/none")
    assert set(error) == set(schemas["ErrorBody"]["required"])


async def test_docs_are_our_own_files_and_ask_nobody_else(api: Api) -> None:
    status, page, response = await api.call("GET", "/docs", token=None)
    assert status == 200
    assert response.content_type == "text/html"
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert "://" not in page
    for name, kind in (
        ("swagger-ui-bundle.js", "text/javascript"),
        ("swagger-ui.css", "text/css"),
        ("docs.js", "text/javascript"),
    ):
        assert f"docs/{name}" in page
        status, _, response = await api.call("GET", f"/docs/{name}", token=None)
        assert (status, response.content_type) == (200, kind)
    assert (await api.call("GET", "/docs/VERSION.md", token=None))[0] == 404
    assert (await api.call("GET", "/docs/../../auth.py", token=None))[0] == 404


@pytest.mark.parametrize("path", ["/", "/docs/"])
async def test_the_root_leads_to_the_docs(api: Api, path: str) -> None:
    response = await api.client.get(path, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "/docs")


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/sessions/", "/api/sessions/a/b", "/api/sessions/a/hold/x"])
async def test_an_unknown_path_is_404_in_the_documented_body(api: Api, path: str) -> None:
    status, body, _ = await api.call("GET", path)
    assert (status, body["error_code"]) == (404, "NOT_FOUND")


async def test_only_listed_origins_when_there_is_a_list() -> None:
    app = make_app(
        [PbxApi(FakeRegistry(), clock=lambda: 0.0).dialect()],
        tokens=Authenticator(TokenBook()),
        why_not_ready=lambda: None,
        cors_origins=["https://a.example"],
    )
    async with TestClient(TestServer(app)) as client:
        ours = await client.get("/healthz", headers={"Origin": "https://a.example"})
        assert ours.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert ours.headers["Vary"] == "Origin"
        for headers in ({"Origin": "https://b.example"}, {}):
            other = await client.options("/api/sessions", headers=headers)
            assert other.status == 204
            assert "Access-Control-Allow-Origin" not in other.headers
            assert "Access-Control-Allow-Methods" not in other.headers
            assert other.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


async def test_options_of_an_unknown_path_is_404(api: Api) -> None:
    assert (await api.call("OPTIONS", "/nowhere", token=None))[0] == 404
