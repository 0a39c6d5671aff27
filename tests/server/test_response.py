"""Answers in one piece: the same bytes as aiohttp's own, and aiohttp's own where something about them is special."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.response import ResponseHead, in_one_piece

HEADERS = {"Access-Control-Allow-Origin": "*"}


async def answer(request: web.Request) -> web.StreamResponse:
    """`{}` with 201, in one piece where that can be."""
    if request.path == "/whole" and in_one_piece(request):
        return ResponseHead(201, "application/json", HEADERS).before(b"{}")
    return web.Response(status=201, body=b"{}", content_type="application/json", headers=HEADERS)


async def asked(text: str) -> tuple[str, set[str], str]:
    """What a server answers: status line, the other lines of the head, body; b"" at the end when it hangs up."""
    app = web.Application()
    app.router.add_route("*", "/{name}", answer)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(text.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        body = b"" if text.startswith("HEAD") else await reader.readexactly(2)
        writer.close()
        await writer.wait_closed()
        return status, {line for line in lines if not line.startswith("Date: ")}, body.decode()


@pytest.mark.parametrize(
    ("method", "version", "more"),
    [
        ("GET", "1.1", ""),
        ("POST", "1.1", "Content-Length: 2\r\n\r\n{}"),
        ("HEAD", "1.1", ""),
        ("GET", "1.1", "Connection: close\r\n"),
        ("GET", "1.0", ""),
        ("GET", "1.0", "Connection: keep-alive\r\n"),
    ],
)
async def test_it_says_what_aiohttp_would(method: str, version: str, more: str) -> None:
    end = "" if "{}" in more else "\r\n"
    ours, theirs = [
        await asked(f"{method} /{name} HTTP/{version}\r\nHost: a\r\n{more}{end}") for name in ("whole", "other")
    ]
    assert ours == theirs
    assert ours[0].endswith("201 Created")


async def test_requests_that_follow_at_once_are_answered_in_order() -> None:
    app = web.Application()
    heads = ResponseHead(200, "text/plain", {})

    async def echo(request: web.Request) -> web.StreamResponse:
        return heads.before(request.path.encode())

    app.router.add_get("/{name}", echo)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5)))
        for n in range(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nDate: " in head
            assert b"\r\nContent-Length: 2\r\n" in head
            assert await reader.readexactly(2) == b"/%d" % n
        writer.close()
        await writer.wait_closed()
