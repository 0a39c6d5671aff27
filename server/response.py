"""[io] Answers in one piece: the usual ones of the API, whose heads differ in their length and their second alone.

aiohttp makes each head anew, from a mapping that handlers and signals may change: a quarter of a small request's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from time import time

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE


class WholeResponse(web.StreamResponse):
    """ResponseHead and body as they go out; for requests that `in_one_piece` is true of."""

    def __init__(self, data: bytes, status: int) -> None:
        super().__init__(status=status)
        self._data = data
        self._to: AbstractStreamWriter | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Note where it goes."""
        self._to = request.writer
        return self._to

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it; waits while the peer does not read. ConnectionError when the peer has gone."""
        assert self._to is not None, "it was prepared"
        await self._to.write_eof(self._data)

    @property
    def keep_alive(self) -> bool:
        """The connection stays open, as the request wants it."""
        return True


def in_one_piece(request: web.Request) -> bool:
    """Whether the answer has a body and needs to say nothing of the connection."""
    return request.version == HttpVersion11 and request.keep_alive and request.method != hdrs.METH_HEAD


class ResponseHead:
    """The head of all answers of one status and type of content, up to their length."""

    def __init__(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        self.status = status
        lines = {**headers, hdrs.CONTENT_TYPE: content_type, hdrs.SERVER: SERVER_SOFTWARE}
        begin = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        self._fixed = begin + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._second = 0
        self._text = b""

    def before(self, body: bytes) -> WholeResponse:
        """The answer with that body."""
        now = int(time())
        if now != self._second:
            self._second = now
            date = formatdate(now, usegmt=True)
            self._text = f"{self._fixed}{hdrs.DATE}: {date}\r\n{hdrs.CONTENT_LENGTH}: ".encode()
        return WholeResponse(b"%b%d\r\n\r\n%b" % (self._text, len(body), body), self.status)
