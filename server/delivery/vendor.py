"""[io] Requests to the HTTP API of somebody who delivers messages for us, and what the answers mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from .outbox import Refused, RetryLater

TIMEOUT_S = 15.0
MAX_ANSWER = 16 * 1024  # bytes of an answer that are read; those of the vendors have a few hundred
MAX_REASON = 200  # characters of a vendor's words that are kept
MAX_WAIT_S = 86_400.0  # a longer Retry-After is cut to this
AGAIN = frozenset({408, 425, 429})
"Statuses below 500 after which the same request may succeed."


class Vendor:
    """One HTTP API. The session is made at the first request, in the loop that makes it."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = dict(headers)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, path: str, *, headers: Mapping[str, str] | None = None, again: frozenset[int] = AGAIN, **content: Any
    ) -> None:
        """POST; returns when it was taken (2xx). `content`: `json`, or `data` for a form or bytes.

        `again`: statuses below 500 that are worth another attempt. Raises Refused or RetryLater.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)
        try:
            async with self._session.post(
                self._base_url + path, headers=headers, allow_redirects=False, **content
            ) as response:
                status, after = response.status, response.headers.get("Retry-After")
                answer = await response.content.read(MAX_ANSWER)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryLater(f"no answer: {type(error).__name__}") from error
        if 200 <= status < 300:
            return
        reason = f"{status} {_words(answer)}".strip()
        if status >= 500 or status in again:
            raise RetryLater(reason, retry_after_s(after, now=datetime.now(UTC)))
        raise Refused(reason)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 §10.2.3); None when it has none, or nonsense."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MAX_WAIT_S)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), MAX_WAIT_S)


def _words(answer: bytes) -> str:
    """What the vendor says of its error: `message` of a JSON object, or nothing."""
    try:
        told = json.loads(answer)
    except ValueError:
        return ""
    message = told.get("message") if isinstance(told, dict) else None
    if not isinstance(message, str):
        return ""
    return "".join(char if char.isprintable() else " " for char in message)[:MAX_REASON]
