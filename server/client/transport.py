"""[io] Requests of the client over aiohttp: tokens, time-outs, retries, typed answers and errors."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter

from .errors import NoAnswer, RingwayError, refusal

AnswerT = TypeVar("AnswerT", bound=BaseModel)
Sleep = Callable[[float], Awaitable[None]]

FIRST_PAUSE_S = 0.2  # before the second try; it doubles with each one
LONGEST_PAUSE_S = 30.0  # also of what Retry-After may ask for
WORTH_RETRYING = frozenset({429, 502, 503, 504})
REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
IDEMPOTENCY_KEY = "Idempotency-Key"
ACTING_USER = "Ringway-User"


class Model(BaseModel):
    """Base of what is sent and received. Unknown keys are ignored: a newer server may send more."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, protected_namespaces=())


@dataclass(frozen=True, slots=True)
class Transport:
    """How a client reaches its server, and as whom."""

    url: str
    token: str = field(repr=False)
    account: str
    app: str
    timeout_s: float
    tries: int
    "How often a request that may be repeated is sent at most."
    http: aiohttp.ClientSession
    user: str | None = None
    "Whom an admin acts for."
    sleep: Sleep = field(default=asyncio.sleep)

    def acting_for(self, user: str) -> Transport:
        """The same, acting for another user."""
        return replace(self, user=user)

    def headers(self) -> dict[str, str]:
        """Those of every request."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return headers if self.user is None else {**headers, ACTING_USER: self.user}

    def where(self, template: str, values: Mapping[str, str]) -> str:
        """The URL of a path with its parameters filled in."""
        segments = [
            quote(values[part[1:-1]], safe="") if part.startswith("{") else part for part in template.split("/")
        ]
        return self.url.rstrip("/") + "/".join(segments)

    async def ask(
        self,
        answer: type[AnswerT] | TypeAdapter[AnswerT],
        method: str,
        template: str,
        values: Mapping[str, str],
        *,
        body: BaseModel | None = None,
        query: BaseModel | None = None,
        idempotency_key: str | None = None,
        quiet_errors: bool = False,
    ) -> AnswerT:
        """Send a request and read its JSON; `quiet_errors`: an error may come with status 200 (dialect A).

        Refused when the server says no, NoAnswer when it says nothing.
        """
        status, content = await self.send(method, template, values, body, query, idempotency_key)
        try:
            decoded = json.loads(content)
            if quiet_errors and isinstance(decoded, dict) and decoded.keys() == {"error"}:
                raise refusal(status, decoded)
            return (
                answer.validate_python(decoded) if isinstance(answer, TypeAdapter) else answer.model_validate(decoded)
            )
        except ValueError as error:
            raise RingwayError(f"{method} {template}: the answer is not as described: {error}") from error

    async def send(
        self,
        method: str,
        template: str,
        values: Mapping[str, str],
        body: BaseModel | None = None,
        query: BaseModel | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[int, bytes]:
        """Status and content of a successful answer; tried again where that cannot do it twice."""
        headers = self.headers()
        if idempotency_key is not None:
            headers[IDEMPOTENCY_KEY] = idempotency_key
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = body.model_dump_json(by_alias=True, exclude_unset=True).encode()
        url = self.where(template, values)
        repeatable = method in REPEATABLE or idempotency_key is not None
        tries = self.tries if repeatable else 1
        for attempt in range(1, tries + 1):
            pause = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
            try:
                status, content, wait = await self._once(method, url, headers, data, _params(query))
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == tries:
                    raise NoAnswer(f"{method} {url}: {error or 'time ran out'}") from error
            else:
                if status < 400:
                    return status, content
                if status not in WORTH_RETRYING or attempt == tries or (wait or 0.0) > LONGEST_PAUSE_S:
                    raise refusal(status, _decoded(content), wait)
                pause = max(pause, wait or 0.0)
            await self.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, params: Mapping[str, str]
    ) -> tuple[int, bytes, float | None]:
        """Status, content, and the seconds that Retry-After asks for."""
        limit = aiohttp.ClientTimeout(total=self.timeout_s)
        async with self.http.request(
            method, url, headers=headers, data=data, params=params, timeout=limit, allow_redirects=False
        ) as response:
            return response.status, await response.read(), retry_after(response)


def retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds that the server asks to wait; None when it does not say."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _params(query: BaseModel | None) -> dict[str, str]:
    """The query as text; what is None is left out."""
    if query is None:
        return {}
    values = query.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def _decoded(content: bytes) -> Any:
    """JSON, or the text when it is none."""
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")[:1000]


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one dialect."""

    transport: Transport
