"""What signalling raises: each error carries the HTTP status and the code that a client sees."""

from __future__ import annotations


class SignallingError(Exception):
    """Root of what signalling raises: a command that cannot be carried out."""

    status = 500
    code = "INTERNAL"

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class BadRequest(SignallingError):
    """A field holds something that no call can be made of."""

    status = 400
    code = "BAD_REQUEST"


class NotAllowed(SignallingError):
    """The principal may not dial this number, or not through this trunk."""

    status = 403
    code = "NOT_ALLOWED"


class NoRoute(SignallingError):
    """No extension, service or route matches the number."""

    status = 404
    code = "NO_ROUTE"


class NotRegistered(SignallingError):
    """The extension exists, but no phone is registered for it."""

    status = 404
    code = "NOT_REGISTERED"


class UnknownTrunk(SignallingError):
    """There is no trunk of that name."""

    status = 404
    code = "UNKNOWN_TRUNK"


class UnknownSession(SignallingError):
    """There is no session of that id, or it is no longer retained."""

    status = 404
    code = "UNKNOWN_SESSION"


class WrongState(SignallingError):
    """The session is not in a state where this command makes sense."""

    status = 409
    code = "WRONG_STATE"


class TrunkUnavailable(SignallingError):
    """The trunk is down, or at its limit of calls."""

    status = 503
    code = "TRUNK_UNAVAILABLE"


class LimitReached(SignallingError):
    """A limit of the server is reached; trying again later may work."""

    status = 503
    code = "LIMIT_REACHED"


class UnknownUser(SignallingError):
    """There is no user of that id."""

    status = 404
    code = "UNKNOWN_USER"


class UnknownChannel(SignallingError):
    """There is no channel of that id."""

    status = 404
    code = "UNKNOWN_CHANNEL"


class AlreadyThere(SignallingError):
    """The user takes part already."""

    status = 409
    code = "ALREADY_PARTICIPANT"


class NotThere(SignallingError):
    """The user does not take part."""

    status = 404
    code = "NOT_PARTICIPANT"


class SessionNotActive(SignallingError):
    """The session is paused, or over."""

    status = 400
    code = "SESSION_NOT_ACTIVE"


class ChannelError(SignallingError):
    """A command is refused for a reason of the channel's own; `code` is one of channel_frames.ERROR_CODES."""

    def __init__(self, code: str, message: str, *, status: int = 400, retry_after_s: int | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.code = code
        self.status = status
