"""When the collector of cycles looks at what: each object once while it is new, and all of them seldom.

A server keeps a dozen objects of each of its sessions for hours. The collector's own way looks at each of them again
with every 200,000 that are made, long after they left the processor's caches: 60 ms in which nothing else happens. So
what survives the first look is set aside (`gc.freeze`). Objects of calls die by reference counting; cycles are few.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

YOUNG = 10_000  # objects more than were freed, then the first look
NEVER = 1_000_000  # the collector's own later looks
LOOKS = 1000  # from one look at all to the next, as seldom as Python's own: it takes a second at 100,000 sessions


class Garbage:
    """The collector's habits, from `start` to `end`; one a process.

    At most `looks` times YOUNG objects can be garbage that only a look at all finds.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], Any], *, looks: int = LOOKS) -> None:
        """`soon` calls a function from the loop, and may itself be called from any thread."""
        self._soon = soon
        self._looks = looks
        self._left = looks
        "First looks until the next at all."

    def start(self) -> None:
        """Begin; all that is there by now is set aside."""
        gc.callbacks.append(self._on_collection)
        gc.freeze()
        gc.set_threshold(YOUNG, NEVER, NEVER)
        gc.enable()

    def end(self) -> None:
        """The habits of Python again."""
        gc.callbacks.remove(self._on_collection)
        gc.set_threshold(700, 10, 10)
        gc.unfreeze()

    def look_at_all(self) -> None:
        """Free every cycle."""
        gc.unfreeze()
        gc.collect()
        self._left = self._looks

    def _on_collection(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "stop":
            gc.freeze()
            self._left -= 1
            if self._left == 0:
                self._soon(self.look_at_all)
