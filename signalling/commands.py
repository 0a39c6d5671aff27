"""[io] What is posted to a session's task, how its flows end, and the record of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from asyncio import Future

    from .legs import Leg

By = Literal["caller", "callee", "guest", "command", "server"]


class Finished(Exception):
    """Raised inside a flow: the session is over, for this cause."""

    def __init__(self, cause: str, *, by: By, status: int = 200, header: str | None = None) -> None:
        super().__init__(cause)
        self.header = header
        "The Reason header (RFC 3326) that came with it, to carry to the other legs."
        self.cause = cause
        self.by: By = by
        self.status = status


class LegsDropped(Finished):
    """Raised inside a flow: a participant left, and these legs with it. Ends every flow that cannot do without."""

    def __init__(self, legs: list[Leg]) -> None:
        super().__init__("left", by=legs[0].role, status=487)
        self.legs = legs


@dataclass(slots=True)
class HangUp:
    """Command: end the call."""

    cause: str
    by: By = "command"


@dataclass(slots=True)
class Drop:
    """Command: end these legs alone."""

    legs: list[Leg]


@dataclass(slots=True)
class Hold:
    """Command: stop the media of every leg, or let it go on."""

    on: bool
    done: Future[None]
    again: bool = False
    "Whether it is fine when that is so already."


@dataclass(frozen=True, slots=True)
class LegEvent:
    """What a leg reports: an event of its call (sip), or of its media."""

    leg: Leg
    event: object


@dataclass(slots=True)
class CallRecord:
    """One caller-callee pair, as the PBX dialect lists it. Times by the monotonic clock, but for `started_at`."""

    caller: str
    callee: str
    caller_display_name: str | None
    started_at: datetime
    clock: Callable[[], float]
    trunk: str | None = None
    user_data: str | None = None
    codecs: tuple[str, ...] = ()
    "Names of what was agreed with the caller, the first one in use."
    answered: float | None = None
    ended: float | None = None
    status: int | None = None
    "SIP code of how it ended."
    reason: str | None = None
    hung_up_by: By | None = None
    began: float = field(init=False)
    "The instant of `started_at` by the clock of the others."

    def __post_init__(self) -> None:
        """Begin now."""
        self.began = self.clock()

    @property
    def talking_time_s(self) -> int:
        """Whole seconds since the callee answered; 0 before."""
        return self.talking_ms // 1000

    @property
    def talking_ms(self) -> int:
        """Milliseconds since the callee answered; 0 before."""
        if self.answered is None:
            return 0
        return int(((self.clock() if self.ended is None else self.ended) - self.answered) * 1000)
