"""One request of ours inside a dialog that is no INVITE, and the credentials of any request (RFC 3261 section 22)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import ParseError
from ..headers import AuthValue
from ..transactions import ClientTransaction, Failure
from .events import Authorize

if TYPE_CHECKING:
    from ..dialog import Dialog
    from ..message import Request, Response
    from ..transport.base import Flow
    from .core import CallCore

MAX_CHALLENGES: Final = 4
"401s and 407s to one request: a proxy and the callee, each once more for a stale nonce."

FAILURE_STATUS: Final = {Failure.TIMEOUT: 408, Failure.TRANSPORT: 503}
"RFC 3261 section 8.1.3.1."

_CREDENTIALS: Final = ("Authorization", "Proxy-Authorization")

Done = Callable[[int, "Response | None", float], None]
"Told the final status, its response if there is one, and now."


class Exchange:
    """Sends a request, answers challenges, and tells `done` the final status, once."""

    __slots__ = ("_authorize", "_core", "_dialog", "_done", "_flow", "_tries")

    def __init__(
        self, core: CallCore, dialog: Dialog, flow: Flow, authorize: Authorize | None, done: Done | None
    ) -> None:
        self._core = core
        self._dialog = dialog
        self._flow = flow
        self._authorize = authorize
        self._done = done
        self._tries = 0

    def start(self, request: Request, now: float) -> None:
        """Send `request`, which the dialog built."""
        self._core.requests += 1
        self._core.stack.send_request(request, self._flow, now, self)

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """ClientUser."""
        status = response.status
        if status < 200:
            return
        if (status == 401 or status == 407) and self._tries < MAX_CHALLENGES:
            again = with_credentials(transaction.request, response, self._authorize, self._dialog)
            if again is not None:
                self._tries += 1
                self._core.stack.send_request(again, self._flow, now, self)
                return
        self._finish(status, response, now)

    def on_failure(self, transaction: ClientTransaction, failure: Failure, now: float) -> None:
        """ClientUser."""
        self._finish(FAILURE_STATUS[failure], None, now)

    def _finish(self, status: int, response: Response | None, now: float) -> None:
        self._core.requests -= 1
        if self._done is not None:
            self._done(status, response, now)


def with_credentials(
    request: Request, response: Response, authorize: Authorize | None, dialog: Dialog | None
) -> Request | None:
    """The request again, with an answer to the challenge of `response` and the next CSeq; None to give up.

    Credentials for other realms stay (RFC 3261 section 22.3): a proxy and the callee may both want theirs.
    """
    header = authorize(response, request) if authorize is not None else None
    if header is None:
        return None
    name, value = header
    again = request.copy()
    realm = _realm(value)
    others = [line for line in again.headers.get_all(name) if _realm(line) != realm]
    again.headers.remove(name)
    for line in (*others, value):
        again.headers.add(name, line)
    number = request.cseq.number + 1 if dialog is None else dialog.next_cseq()
    again.headers.set("CSeq", f"{number} {request.method}")
    return again


def credentials_of(request: Request) -> tuple[tuple[str, str], ...]:
    """The credentials headers of a request, for the ACK of its 2xx (RFC 3261 section 13.2.2.4)."""
    headers = request.headers
    return tuple((name, value) for name in _CREDENTIALS if name in headers for value in headers.get_all(name))


def _realm(value: str) -> str | None:
    try:
        return AuthValue.parse(value).get("realm")
    except ParseError:
        return None
