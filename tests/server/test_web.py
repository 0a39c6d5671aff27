"""The HTTP side: health, description, pages, origins."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import StreamResponse
from pydantic import BaseModel, ConfigDict, Field

from server.api.openapi import ACTING_USER, Body, Call, Dialect, Raw, operation, operations_of
from server.api.pbx import PbxApi
from server.auth import Authenticator
from server.errors import ApiError
from server.sections import Token
from server.tokens import TokenBook
from server.web import make_app

from .conftest import ADMIN, GUEST, Api
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
    assert set(post["responses"]) == {"200", "400", "401", "403", "404", "409", "413", "415", "422", "500", "503"}
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
        ("docs.css", "text/css"),
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


# What every dialect can count on.


class Made(BaseModel):
    """An answer with something that may be missing."""

    model_config = ConfigDict(serialize_by_alias=True)

    what: str
    missing: str | None = None
    in_camel: Annotated[int, Field(serialization_alias="inCamel")] = 1


class Sort(StrEnum):
    """An enumeration in a query."""

    UP = "up"
    DOWN = "down"


class SortQuery(BaseModel):
    """How to sort."""

    sort: Sort = Sort.UP


class Wish(Body):
    """A body that may be left out."""

    wish: str


class Problem(BaseModel):
    """This dialect's own error."""

    problem: str
    details: dict[str, Any] | None = None


class Sample:
    """One operation of each kind."""

    @operation("GET", "/sample/new/{client}", summary="s", tag="t", permission="callsession.create")
    async def literal_first(self, call: Call) -> Made:
        """Literal, then a parameter."""
        return Made(what=f"literal {call.path['client']}")

    @operation("GET", "/sample/{id}/logs", summary="s", tag="t", permission="callsession.create")
    async def parameter_first(self, call: Call) -> Made:
        """A parameter, then a literal."""
        return Made(what=f"logs {call.path['id']}")

    @operation("GET", "/sample/{id}/{more}", summary="s", tag="t", permission="callsession.create")
    async def only_parameters(self, call: Call) -> Made:
        """Parameters alone."""
        return Made(what=f"{call.path['id']} {call.path['more']}")

    @operation(
        "POST",
        "/sample",
        summary="s",
        tag="t",
        permission="callsession.create",
        status=201,
        aliases=("/sample/", "/v1/sample"),
        examples={"body": {"wish": "a pony"}},
    )
    async def create(self, call: Call, query: SortQuery, body: Wish | None) -> Made:
        """201, an optional body, other paths."""
        return Made(what=f"{query.sort} {None if body is None else body.wish}")

    @operation("GET", "/sample", summary="s", tag="t", permission="callsession.create", media_type="text/csv")
    async def table(self, call: Call) -> Raw:
        """Text."""
        return Raw("a,b\n", "text/csv; charset=utf-8", {"Content-Disposition": "attachment"})

    @operation("GET", "/sample/stream", summary="s", tag="t", permission="callsession.create", media_type="text/plain")
    async def stream(self, call: Call) -> StreamResponse:
        """What it writes itself."""
        answer = StreamResponse()
        await answer.prepare(call.request)
        await answer.write(b"one")
        return answer

    @operation("GET", "/sample/whoami", summary="s", tag="t", permission="callsession.create", headers=(ACTING_USER,))
    async def whoami(self, call: Call) -> Made:
        """The acting user."""
        return Made(what=call.user)

    @operation("POST", "/sample/fail", summary="s", tag="t", permission="callsession.create", errors=(409,))
    async def fail(self, call: Call) -> Made:
        """Always."""
        raise ApiError(409, "CONFLICT", "no", {"with": "details"})


@pytest.fixture
async def sample() -> AsyncIterator[Api]:
    """The operations of Sample beside the PBX dialect; the token of the tests is an admin's, GUEST a user's."""
    book = TokenBook(
        [
            Token.model_validate({"name": "boss", "token": ADMIN, "role": "admin"}),
            Token.model_validate({"name": "guest", "token": GUEST, "user": "gwen"}),
        ]
    )
    registry = FakeRegistry()
    dialect = Dialect(
        "Sample",
        "One of each.",
        operations_of(Sample()),
        lambda status, code, message, details: Problem(problem=f"{status} {code} {message}", details=details),
        Problem,
        omit_none=True,
    )
    app = make_app(
        [PbxApi(registry, clock=lambda: 0.0).dialect(), dialect],
        tokens=Authenticator(book),
        why_not_ready=lambda: None,
    )
    async with TestClient(TestServer(app)) as client:
        yield Api(client, registry)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/sample/new/logs", "literal logs"),
        ("/sample/old/logs", "logs old"),
        ("/sample/old/other", "old other"),
        ("/sample/new/x%2Fy", "literal x/y"),
    ],
)
async def test_g2_literal_segments_win_at_every_position(sample: Api, path: str, what: str) -> None:
    status, body, _ = await sample.call("GET", path)
    assert (status, body["what"]) == (200, what)


async def test_g4_a_dialect_that_omits_what_is_missing(sample: Api) -> None:
    assert (await sample.call("GET", "/sample/a/b"))[1] == {"what": "a b", "inCamel": 1}


@pytest.mark.parametrize("path", ["/sample", "/sample/", "/v1/sample"])
async def test_aliases_status_and_an_optional_body(sample: Api, path: str) -> None:
    assert (await sample.call("POST", path))[:2] == (201, {"what": "up None", "inCamel": 1})
    status, body, _ = await sample.call("POST", f"{path}?sort=down", {"wish": "rain"})
    assert (status, body["what"]) == (201, "down rain")
    assert (await sample.call("POST", path, {"wish": 1}))[0] == 400


async def test_text_is_sent_as_it_is(sample: Api) -> None:
    status, text, response = await sample.call("GET", "/sample")
    assert (status, text, response.headers["Content-Type"]) == (200, "a,b\n", "text/csv; charset=utf-8")
    assert response.headers["Content-Disposition"] == "attachment"
    assert (await sample.call("HEAD", "/sample"))[:2] == (200, None)


async def test_a_stream_may_be_read_by_a_page_of_another_origin_and_has_no_head(sample: Api) -> None:
    status, text, response = await sample.call("GET", "/sample/stream", headers={"Origin": "https://a.example"})
    assert (status, text) == (200, "one")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert (await sample.call("HEAD", "/sample/stream"))[0] == 405


async def test_g8_an_admin_acts_for_anybody_and_others_for_their_own_user(sample: Api) -> None:
    async def acting(token: str, named: str | None) -> tuple[int, Any]:
        headers = {} if named is None else {"Ringway-User": named}
        status, body, _ = await sample.call("GET", "/sample/whoami", token=token, headers=headers)
        return status, body.get("what")

    assert await acting(ADMIN, "anna") == (200, "anna")
    assert (await acting(ADMIN, None))[0] == 403
    assert await acting(GUEST, None) == (200, "gwen")
    assert await acting(GUEST, "gwen") == (200, "gwen")
    assert (await acting(GUEST, "anna"))[0] == 403
    assert (await acting(ADMIN, "x" * 300))[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "dialect"),
    [
        ("POST", "/sample/fail", 409, "sample"),
        ("GET", "/sample/fail/at/all", 404, "sample"),
        ("PUT", "/sample/a/b", 405, "sample"),
        ("DELETE", "/sample", 405, "sample"),
        ("GET", "/api/sessions/nobody", 404, "pbx"),
        ("GET", "/api/sessions/a/b/c/d", 404, "pbx"),
        ("GET", "/nowhere", 404, "none"),
        ("GET", "/samples", 404, "none"),
    ],
)
async def test_g5_errors_are_in_the_dialect_of_the_path(
    sample: Api, method: str, path: str, status: int, dialect: str
) -> None:
    got, body, response = await sample.call(method, path)
    assert got == status
    assert set(body) <= ({"problem", "details"} if dialect == "sample" else {"error_code", "message"})
    assert ("Allow" in response.headers) == (status == 405)


async def test_g5_details_of_an_error_where_the_dialect_has_a_place_for_them(sample: Api) -> None:
    assert (await sample.call("POST", "/sample/fail"))[1]["details"] == {"with": "details"}
    assert "details" not in (await sample.call("GET", "/sample/a/b/c"))[1]


async def test_the_description_has_an_example_of_each_answer(sample: Api) -> None:
    document = await description(sample)
    for path, methods in document["paths"].items():
        for method, page in methods.items():
            for status, answer in page["responses"].items():
                for content in answer["content"].values():
                    is_text = content.get("schema", {}).get("type") == "string" or not content
                    assert "example" in content or is_text, f"{method} {path} {status}"
    page = document["paths"]["/sample"]["post"]
    assert page["requestBody"]["required"] is False
    assert page["requestBody"]["content"]["application/json"]["example"] == {"wish": "a pony"}
    assert page["responses"]["409" if "409" in page["responses"] else "400"]
    assert document["paths"]["/v1/sample"]["post"]["operationId"] != page["operationId"]
    refs = {part.partition('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]}
    assert "#/components/schemas/Sort" in refs
    for ref in refs:
        assert ref.removeprefix("#/components/schemas/") in document["components"]["schemas"], ref


class Twice:
    """Two operations of the same path."""

    @operation("GET", "/twice/{a}", summary="s", tag="t", permission="health")
    async def one(self, call: Call) -> Made:
        """One."""
        return Made(what="one")

    @operation("GET", "/twice/{b}", summary="s", tag="t", permission="health")
    async def two(self, call: Call) -> Made:
        """Two."""
        return Made(what="two")


class Loose(BaseModel):
    """A body that would take "1" for 1."""

    count: int


class TakesLoose:
    """An operation that would."""

    @operation("POST", "/loose", summary="s", tag="t", permission="health")
    async def take(self, call: Call, body: Loose) -> Made:
        """Never served."""
        return Made(what="")


@pytest.mark.parametrize(("api", "why"), [(Twice(), "two operations answer"), (TakesLoose(), "takes wrong types")])
def test_mistakes_of_a_dialect_are_told_when_it_is_served(api: object, why: str) -> None:
    dialect = Dialect("Wrong", "Wrong.", operations_of(api), lambda *_: Problem(problem=""), Problem)
    with pytest.raises(ValueError, match=why):
        make_app([dialect], tokens=Authenticator(TokenBook()), why_not_ready=lambda: None)


async def test_what_the_configuration_opens_needs_no_token_but_a_wrong_one_is_refused() -> None:
    dialect = Dialect("Open", "Open.", operations_of(Sample()), lambda *_: Problem(problem=""), Problem)
    app = make_app(
        [dialect], tokens=Authenticator(TokenBook()), why_not_ready=lambda: None, opened=["callsession.create"]
    )
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/sample/a/b")).status == 200
        assert (await client.get("/sample/a/b", headers={"Authorization": "Bearer wrong"})).status == 401
