"""What calls of the client raise."""

from __future__ import annotations

from typing import Any


class RingwayError(Exception):
    """Root of what the client raises."""


class NoAnswer(RingwayError):
    """No answer came: the network failed, or time ran out. Whether the server did it is not known."""


class Refused(RingwayError):
    """The server answered with an error."""

    def __init__(
        self, status: int, code: str, message: str, body: Any = None, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}" if code else f"{status}: {message}")
        self.status = status
        "HTTP's."
        self.code = code
        "For programs, such as NOT_ALLOWED; empty where the dialect has none."
        self.message = message
        "For people."
        self.body = body
        "The whole error, decoded if it was JSON."
        self.retry_after_s = retry_after_s


class BadRequest(Refused):
    """400 and other 4xx without a class of their own: the request is not right, or not now."""


class Unauthorized(Refused):
    """401: the token is missing, unknown, expired or revoked."""


class Forbidden(Refused):
    """403: the token may not do this."""


class NotFound(Refused):
    """404: there is no such thing, or not in this tenant."""


class Conflict(Refused):
    """409: not possible in the present state."""


class TooManyRequests(Refused):
    """429: too often."""


class ServerFault(Refused):
    """5xx: an error of the server, or it cannot do it now."""


_BY_STATUS: dict[int, type[Refused]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: TooManyRequests,
}


def refusal(status: int, body: Any, retry_after_s: float | None = None) -> Refused:
    """The error for an answer, in the words of whichever dialect it is."""
    code, message = _told(body)
    kind = _BY_STATUS.get(status, ServerFault if status >= 500 else BadRequest)
    return kind(status, code, message, body, retry_after_s=retry_after_s)


def _told(body: Any) -> tuple[str, str]:
    """Code and message."""
    if not isinstance(body, dict):
        return "", str(body or "no reason given")
    error = body.get("error")
    if isinstance(error, dict):  # dialect C
        return str(error.get("code", "")), str(error.get("message", ""))
    if body.get("errors"):  # dialect E: "CODE: message"
        text = str(body["errors"][0].get("message", ""))
        code, found, message = text.partition(": ")
        return (code, message) if found and code.isupper() else ("", text)
    if "error_code" in body:  # dialect D, and what is of no dialect
        return str(body["error_code"]), str(body.get("message", ""))
    if "message" in body:  # dialect B
        return str(error or ""), str(body["message"])
    return "", str(error or "no reason given")  # dialect A
