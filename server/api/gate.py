"""What every request of the RealtimeKit dialect passes: account and app, and how often one may ask (E16)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from ..errors import ApiError, bad_request
from .openapi import Call

TAG = "RealtimeKit sessions"
BASE = "/accounts/{account_id}/realtime/kit/{app_id}"
SESSIONS = BASE + "/sessions"
MEETINGS = BASE + "/meetings"

MAX_ACCOUNT = 32  # characters
WINDOW_S = 10.0
MAX_CLIENTS = 10_000  # whose requests are counted; the one that has been quiet for longest is forgotten first


class Gate:
    """Lets requests in, at most `limit` of a token in each WINDOW_S; 0: as many as there are."""

    def __init__(self, *, clock: Callable[[], float], limit: int = 0) -> None:
        """`clock`: seconds, monotonic."""
        self._clock = clock
        self._limit = limit
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def enter(self, call: Call) -> str:
        """The app. ApiError 400 for an account that is too long, 404 for another tenant's, 429 when asked too often."""
        account, app = call.path["account_id"], call.path["app_id"]
        if len(account) > MAX_ACCOUNT:
            raise bad_request(f"account_id: at most {MAX_ACCOUNT} characters")
        if f"{account}/{app}" != call.tenant:
            raise ApiError(404, "UNKNOWN_APP", "the token is of another account or app, or there is none of that name")
        if self._limit:
            self._count(call.principal.owner)
        return app

    def _count(self, client: str) -> None:
        now = self._clock()
        began, count = self._windows.pop(client, (now, 0))
        if now - began >= WINDOW_S:
            began, count = now, 0
        self._windows[client] = (began, count + 1)
        if len(self._windows) > MAX_CLIENTS:
            self._windows.popitem(last=False)
        if count >= self._limit:
            wait = max(1, math.ceil(began + WINDOW_S - now))
            raise ApiError(
                429,
                "TOO_MANY_REQUESTS",
                f"at most {self._limit} requests in {WINDOW_S:g} s",
                headers={"Retry-After": str(wait)},
            )
