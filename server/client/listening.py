"""[io] Events as they happen: server-sent events that go on after a broken connection, missing nothing."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import aiohttp

from .errors import Refused, ServerFault, TooManyRequests, refusal
from .events import Event
from .transport import LONGEST_PAUSE_S, Transport, retry_after

SILENCE_S = 45.0  # three of the server's heartbeats; then the connection is taken for dead
RECONNECT_S = 2.0  # until the server says something else
MAX_LINE = 1 << 20  # bytes


class Listening:
    """An endless iterator over events; `aclose()`, or leaving it to the garbage, ends it.

    A lost connection is made again, and what happened meanwhile is sent first. Refused, when the server says no, as
    for a session that the token may not see. Events may come twice: their ids tell.
    """

    def __init__(self, transport: Transport, query: dict[str, str], after: str | None) -> None:
        self._transport = transport
        self._query = query
        self.last_id = after
        "Id of the last event: give it as `after` to go on later."
        self._pause_s = RECONNECT_S
        self._failures = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events, for ever."""
        while True:
            try:
                async with aclosing(self._connected()) as connected:
                    async for event in connected:
                        yield event
            except (aiohttp.ClientError, TimeoutError):
                self._failures += 1
            except (ServerFault, TooManyRequests) as error:
                self._failures += 1
                self._pause_s = max(self._pause_s, error.retry_after_s or 0.0)
            else:
                self._failures += 1
            pause = min(self._pause_s * 2 ** min(self._failures - 1, 5), LONGEST_PAUSE_S)
            await self._transport.sleep(pause * random.uniform(0.5, 1.0))

    async def _connected(self) -> AsyncGenerator[Event, None]:
        """The events of one connection."""
        headers = {**self._transport.headers(), "Accept": "text/event-stream"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        limit = aiohttp.ClientTimeout(total=None, sock_connect=self._transport.timeout_s, sock_read=SILENCE_S)
        url = self._transport.where("/events", {})
        async with self._transport.http.get(
            url, headers=headers, params=self._query, timeout=limit, read_bufsize=MAX_LINE
        ) as response:
            if response.status != 200:
                raise await _refused(response)
            async with aclosing(self._read(response.content)) as read:
                async for event in read:
                    yield event

    async def _read(self, lines: aiohttp.StreamReader) -> AsyncGenerator[Event, None]:
        """Fields of server-sent events (WHATWG HTML §9.2.6); an event ends with an empty line."""
        data, event_id = "", ""
        async for raw in lines:
            self._failures = 0
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data = f"{data}\n{value}" if data else value
            elif field == "id":
                event_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                self._pause_s = int(value) / 1000
            elif not line:
                if data and event_id:
                    event = Event.model_validate(json.loads(data))
                    self.last_id = event_id
                    yield event
                data, event_id = "", ""


async def _refused(response: aiohttp.ClientResponse) -> Refused:
    text = await response.text()
    try:
        body = json.loads(text)
    except ValueError:
        body = text[:1000]
    return refusal(response.status, body, retry_after(response))


def listen(
    transport: Transport,
    *,
    session: str | None = None,
    channel: str | None = None,
    kinds: Iterable[str] = (),
    after: str | None = None,
) -> AsyncGenerator[Event, None]:
    """See Ringway.listen."""
    wanted = {"session": session, "channel": channel, "kind": ",".join(kinds) or None}
    query = {name: value for name, value in wanted.items() if value is not None}
    return Listening(transport, query, after).events()
