"""Digits of a party that says each in two ways, by telephone-event and by INFO: which of them count.

Phones and gateways do so that one of the two is understood. A digit that comes one way is the double of the same digit
that came the other way a moment before; each is the double of one at most. So as many count as the way that says more
of them has said, and a digit that is repeated in one way always counts again.
"""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 2.0
"""After a digit was said, its double may come: an INFO that the network loses comes again after 0.5 and 1.5 s.

An event goes on for as long as the key is held, and its INFO may come when the key is released.
"""
MAX_WAITING: Final = 64  # digits of one way that may still have a double; the oldest is forgotten first


class Doubles:
    """What one party has said, and may be about to say in the other way."""

    __slots__ = ("_events", "_infos")

    def __init__(self) -> None:
        self._events: list[tuple[str, float | None]] = []
        "Digit, and until when its double may come; None while it goes on."
        self._infos: list[tuple[str, float | None]] = []

    def event_begins(self, digit: str, now: float) -> bool:
        """A telephone-event begins; False when an INFO has said the digit already."""
        if _take(self._infos, digit, now):
            return False
        _keep(self._events, digit, None)
        return True

    def event_ends(self, digit: str, now: float) -> None:
        """A telephone-event that counted is over."""
        going_on = (digit, None)
        if going_on in self._events:  # else its double came meanwhile
            self._events[self._events.index(going_on)] = (digit, now + WINDOW_S)

    def info_comes(self, digit: str, now: float) -> bool:
        """An INFO says a digit; False when a telephone-event has said it already, or is saying it."""
        if _take(self._events, digit, now):
            return False
        _keep(self._infos, digit, now + WINDOW_S)
        return True


def _keep(said: list[tuple[str, float | None]], digit: str, until: float | None) -> None:
    if len(said) >= MAX_WAITING:
        del said[0]
    said.append((digit, until))


def _take(said: list[tuple[str, float | None]], digit: str, now: float) -> bool:
    """Whether a digit was said, or is being said, of which this is the double; then it is forgotten."""
    said[:] = [(each, until) for each, until in said if until is None or now <= until]
    for place, (each, _) in enumerate(said):
        if each == digit:
            del said[place]
            return True
    return False
