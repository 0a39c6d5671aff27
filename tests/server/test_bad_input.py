"""Bad input to every operation of every dialect: the right 4xx in that dialect's own body, never a 5xx (G5-G7)."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from server.api.input import query_reader
from server.api.openapi import Dialect, Operation
from server.boundary import MAX_BODY, encoded
from server.fields import CONTROLS

from .house import House
from .scenery import HOST, Scene, body_for, filled, operations, scene_in

JSON = {"Content-Type": "application/json"}
DEEP = 30_000  # levels that fit into a body; 100,000 do not, and are refused for their size
NOT_JSON = [
    b"{",
    b"}",
    b"nonsense",
    b'{"a": 1,}',
    b"{'a': 1}",
    b'{"a": NaN}',
    b"\xff\xfe{\x00}\x00",
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"a": "\x01"}',
    b"[" * DEEP,
    b'{"a":' * (DEEP // 5),
    b'{"a":' + b"1" * 50_000 + b"}",
]
NO_OBJECT = [b"null", b"true", b"7", b'"text"', b"[7]", b'["a", null]']
TYPES: list[tuple[object, str]] = [
    ("1", "string"),
    (1, "integer"),
    ({"a": 1}, "object"),
    ([{}], "array"),
    (True, "boolean"),
]
BOMB_BYTES = 64 << 20
BROKEN = [("gzip", b"not gzip"), ("gzip", gzip.compress(b"{}")[:-9]), ("deflate", b"\xff\xff")]
AT_ONCE = 6  # requests that are under way


def wrong_shape(answer: Any, dialect: Dialect) -> str | None:
    """Why `answer` is no error of `dialect`; None when it is."""
    if not isinstance(answer, dict):
        return f"no object but {answer!r:.100}"
    pattern = json.loads(encoded(dialect.error(400, "BAD_REQUEST", "why", None), omit_none=dialect.omit_none))
    if not set(pattern) <= set(answer):
        return f"keys {sorted(answer)}, not {sorted(pattern)}"
    dialect.error_model.model_validate(answer)
    return None


def main_paths(house: House) -> Iterator[tuple[Dialect, Operation, str]]:
    """Each operation once."""
    return ((dialect, declared, path) for dialect, declared, path in operations(house) if path == declared.path)


def token_for(declared: Operation) -> str | None:
    """Somebody who may."""
    return None if declared.needs.level == "open" else "admin"


class Complaints:
    """What was wrong, told together: a fault of one dialect does not hide another's."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.told: list[str] = []
        self._sent: list[asyncio.Task[None]] = []
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def send(
        self, dialect: Dialect, declared: Operation, where: str, wanted: set[int], what: str, **request: Any
    ) -> None:
        """As `send_now`, at some time before the test ends."""
        await self._turns.acquire()
        sending = asyncio.ensure_future(self.send_now(dialect, declared, where, wanted, what, **request))
        sending.add_done_callback(lambda _: self._turns.release())
        self._sent.append(sending)

    async def all(self) -> None:
        """All that was sent is answered."""
        await asyncio.gather(*self._sent)

    async def send_now(
        self, dialect: Dialect, declared: Operation, where: str, wanted: set[int], what: str, **request: Any
    ) -> None:
        """Send, and take note when the status is none of `wanted`, or the body not that of the dialect's errors."""
        method = request.pop("method", declared.method)
        headers = {"Ringway-User": HOST, **request.pop("headers", {})}
        for _ in range(3):
            status, answer, response = await self.house.call(
                method, where, token=token_for(declared), headers=headers, **request
            )
            if status != 503 or "STORE_UNAVAILABLE" not in str(answer):
                break  # a busy machine's database: no answer to the bad input
        wrong = None if status in wanted else f"{status}, not {sorted(wanted)}"
        if status == 405 and not response.headers.get("Allow"):
            wrong = "405 without Allow"
        if wrong is None and status >= 400 and declared.media_type != "text/html":
            wrong = wrong_shape(answer, dialect)
        if wrong is not None:
            self.told.append(f"{method} {declared.path} with {what}: {wrong}: {answer!r:.200}")


@pytest.fixture
async def complaints(house: House) -> AsyncIterator[Complaints]:
    """Fails the test when there are any."""
    complaints = Complaints(house)
    yield complaints
    await complaints.all()
    assert not complaints.told, "\n" + "\n".join(complaints.told)


async def with_bodies(house: House) -> list[tuple[Dialect, Operation, str, Scene]]:
    """The operations that read a body, each with a scene."""
    found = []
    for dialect, declared, path in main_paths(house):
        if declared.body is not None:
            scene = scene_in(house)
            found.append((dialect, declared, await filled(scene, path), scene))
    return found


async def test_g6_what_is_no_json_is_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, where, _ in await with_bodies(house):
        for raw in NOT_JSON:
            await complaints.send(dialect, declared, where, {400}, f"{raw[:20]!r}", raw=raw, headers=JSON)


async def test_g6_a_body_that_is_no_object_is_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, where, _ in await with_bodies(house):
        for raw in NO_OBJECT:
            await complaints.send(dialect, declared, where, {400}, f"{raw!r}", raw=raw, headers=JSON)


async def test_g6_no_body_where_one_is_needed_is_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, where, _ in await with_bodies(house):
        if declared.body_needed:
            await complaints.send(dialect, declared, where, {400}, "nothing")


async def test_g6_wrong_types_are_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, where, scene in await with_bodies(house):
        body = body_for(declared, scene, HOST)
        assert declared.body is not None
        for name, field in declared.body.model_json_schema().get("properties", {}).items():
            types = {part.get("type") for part in field.get("anyOf", [field])}
            for value, kind in (
                ("1", "string"),
                (1, "integer"),
                ({"a": 1}, "object"),
                ([{}], "array"),
                (True, "boolean"),
            ):
                if kind in types or types & {None} or (kind == "integer" and "number" in types):
                    continue
                what = f"{name} = {value!r}"
                await complaints.send(dialect, declared, where, {400}, what, json={**body, name: value})


async def test_g6_unknown_fields_are_ignored(house: House, complaints: Complaints) -> None:
    for dialect, declared, path in main_paths(house):
        body = None if declared.body is None else body_for(declared, scene_in(house), HOST)
        if not isinstance(body, dict) or path.startswith("/admin/"):
            continue  # an administrator is told of a mistyped setting, as the configuration file's is
        seen = []
        for more in ({}, {"unknown_field_of_the_tests": {"a": [1]}}):
            scene = scene_in(house)
            where = await filled(scene, path)
            body = {**body_for(declared, scene, HOST), **more}
            status, _, _ = await house.call(
                declared.method, where, token=token_for(declared), headers={"Ringway-User": HOST}, json=body
            )
            seen.append(status)
        if seen[0] < 300 and seen[1] >= 400 and seen[1] != 409:
            complaints.told.append(f"{dialect.name}: {declared.method} {path}: {seen}")


async def test_g6_too_large_is_413_compressed_or_not(house: House, complaints: Complaints) -> None:
    large = json.dumps({"a": "x" * MAX_BODY}).encode()
    for dialect, declared, where, _ in await with_bodies(house):
        await complaints.send(dialect, declared, where, {413}, "too much", raw=large, headers=JSON)
        await complaints.send(dialect, declared, where, {413}, "100,000 levels", raw=b"[" * 100_000, headers=JSON)
        squeezed = {**JSON, "Content-Encoding": "gzip"}
        await complaints.send(
            dialect, declared, where, {413}, "too much in gzip", raw=gzip.compress(large), headers=squeezed
        )


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_is_413_before_it_is_unpacked(house: House, complaints: Complaints, coding: str) -> None:
    bomb = (gzip.compress if coding == "gzip" else zlib.compress)(b" " * BOMB_BYTES)
    assert len(bomb) < MAX_BODY * 2
    for dialect, declared, where, _ in await with_bodies(house):
        before = time.process_time()
        headers = {**JSON, "Content-Encoding": coding}
        await complaints.send_now(dialect, declared, where, {413}, f"a {coding} bomb", raw=bomb, headers=headers)
        spent_s = time.process_time() - before
        assert spent_s < 0.5, f"{declared.path}: {spent_s:.2f} s"


async def test_what_is_not_encoded_as_it_says_is_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, where, _ in await with_bodies(house):
        for coding, raw in (*BROKEN, ("gzip", gzip.compress(b"{}") + b"more")):
            headers = {**JSON, "Content-Encoding": coding}
            await complaints.send(dialect, declared, where, {400}, f"broken {coding}", raw=raw, headers=headers)
        unknown = {**JSON, "Content-Encoding": "br"}
        await complaints.send(dialect, declared, where, {415}, "an unknown coding", raw=b"{}", headers=unknown)


async def test_another_charset_is_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, where, _ in await with_bodies(house):
        for charset in ("utf-16", "iso-8859-1", '"utf-7"'):
            kind = {"Content-Type": f"application/json; charset={charset}"}
            await complaints.send(dialect, declared, where, {400}, charset, raw=b"{}", headers=kind)


async def test_g7_control_characters_are_400_in_every_text_of_a_body(house: House, complaints: Complaints) -> None:
    for dialect, declared, where, scene in await with_bodies(house):
        body = body_for(declared, scene, HOST)
        if not isinstance(body, dict):
            continue
        for name in [*(name for name, value in body.items() if isinstance(value, str)), "unknown"]:
            for control in ("\0", "\x1b", "\x7f"):
                what = f"{name} with {control!r}"
                await complaints.send(dialect, declared, where, {400}, what, json={**body, name: f"a{control}b"})
        await complaints.send(dialect, declared, where, {400}, "a key with NUL", json={**body, "a\0": 1})


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "GZIP"])
async def test_a_packed_body_is_read(house: House, coding: str) -> None:
    plain = json.dumps({"host": "alice", "name": "packed"}).encode()
    packed = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}.get(coding.lower(), plain)
    headers = {**JSON, "Content-Encoding": coding}
    status, body = await house.post("/api/CallSession/createSession", raw=packed, headers=headers)
    assert status == 200, body


async def test_an_escaped_backslash_is_no_control_character(house: House) -> None:
    status, body = await house.post("/api/CallSession/createSession", {"host": "alice", "name": "a\\u0000b\\f"})
    assert status == 200, body


async def test_control_characters_in_a_path_are_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, path in main_paths(house):
        scene = scene_in(house)
        for at, segment in enumerate(path.split("/")):
            if segment.startswith("{"):
                for control in ("%00", "%0D%0A"):
                    segments = (await filled(scene, path)).split("/")
                    segments[at] = f"a{control}b"
                    where = "/".join(segments)
                    body = body_for(declared, scene, HOST)
                    await complaints.send(dialect, declared, where, {400, 403, 404}, where, json=body)


UNKNOWN = [
    "unknown",
    "0",
    "9" * 30,
    "9" * 3000,
    "00000000-0000-4000-8000-000000000000",
    "%F0%9F%92%A9",
    "a%2Fb",
]


async def test_unknown_ids_are_4xx_and_never_5xx(house: House, complaints: Complaints) -> None:
    for dialect, declared, path in main_paths(house):
        scene = scene_in(house)
        for at, segment in enumerate(path.split("/")):
            if segment.startswith("{"):
                for unknown in UNKNOWN:
                    segments = (await filled(scene, path)).split("/")
                    segments[at] = unknown
                    wanted = {400, 403, 404, 405, 409}
                    named_into_being = segment in ("{user}", "{clientId}") or path.startswith("/admin/v1/users/")
                    if named_into_being or declared.needs.level == "open":
                        wanted |= {200, 201}  # such an id is made by being named
                    if segment == "{sessionId}" and declared.permission == "channels.session.end":
                        wanted.add(200)  # B2: another session than the active one is left alone
                    body = body_for(declared, scene, HOST)
                    await complaints.send(dialect, declared, "/".join(segments), wanted, unknown[:40], json=body)


async def test_g6_bad_queries_are_400(house: House, complaints: Complaints) -> None:
    for dialect, declared, path in main_paths(house):
        if declared.query is None:
            continue
        query_reader(declared.query)
        scene = scene_in(house)
        where = await filled(scene, path)
        body = body_for(declared, scene, HOST)
        for name, field in declared.query.model_json_schema()["properties"].items():
            for value in ("a%00b", "a%0Ab", f"1&{name}=1"):
                what = f"{name}={value}"
                await complaints.send(dialect, declared, f"{where}?{name}={value}", {400}, what, json=body)
            if "integer" in {part.get("type") for part in field.get("anyOf", [field])}:
                for value in ("x", "1.5", "", "1e3", "9" * 30, "-" + "9" * 30):
                    what = f"{name}={value}"
                    await complaints.send(dialect, declared, f"{where}?{name}={value}", {400}, what, json=body)


async def test_g6_wrong_methods_are_405_with_allow(house: House, complaints: Complaints) -> None:
    allowed: dict[str, set[str]] = {}
    for _, declared, path in operations(house):
        allowed.setdefault(path, set()).add(declared.method)
    for dialect, declared, path in main_paths(house):
        where = await filled(scene_in(house), path)
        for method in ("PUT", "DELETE", "TRACE"):
            if not any(method in methods for other, methods in allowed.items() if may_be(other, where)):
                await complaints.send(dialect, declared, where, {405}, method, method=method)


def may_be(path: str, where: str) -> bool:
    """Whether `where` is `path` with something for its parameters."""
    ours, theirs = path.split("/"), where.split("/")
    return len(ours) == len(theirs) and all(a == b or a.startswith("{") for a, b in zip(ours, theirs, strict=True))


async def test_g5_what_is_beside_the_paths_is_answered_in_the_dialect_of_its_beginning(
    house: House, complaints: Complaints
) -> None:
    beginnings: dict[str, set[str]] = {}
    for dialect, _, path in operations(house):
        beginnings.setdefault(path.partition("{")[0].rstrip("/"), set()).add(dialect.name)
    for dialect, declared, path in main_paths(house):
        beginning = path.partition("{")[0].rstrip("/")
        if len(beginnings[beginning]) == 1:
            where = f"{beginning}/no/such/path/at/all"
            await complaints.send(dialect, declared, where, {404}, where, method="GET")


async def test_g5_below_api_v1_0_errors_are_the_channel_dialects(house: House) -> None:
    for path in ("/api/v1_0", "/api/v1_0/nowhere", "/api/v1_0/sessions/a/b/c"):
        status, answer = await house.get(path)
        assert (status, set(answer), answer["error"]) == (404, {"message", "error"}, "NOT_FOUND")


def test_the_readers_know_every_control_character() -> None:
    assert {0, 9, 10, 13, 27, 127, 0x85} <= set(CONTROLS)
