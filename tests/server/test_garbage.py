"""The collector's habits: what is new is looked at once, and garbage in cycles does not stay for ever."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from server.garbage import YOUNG, Garbage

LOOKS = 3


class Node:
    """A cycle of one."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def soon() -> list[Callable[[], None]]:
    """What is to be called from the loop."""
    return []


@pytest.fixture
def garbage(soon: list[Callable[[], None]]) -> Iterator[Garbage]:
    thresholds = gc.get_threshold()
    garbage = Garbage(soon.append, looks=LOOKS)
    garbage.start()
    yield garbage
    garbage.end()
    gc.set_threshold(*thresholds)


def look() -> None:
    """Make as many objects as bring about a first look."""
    kept = [[] for _ in range(YOUNG + 1000)]  # type: list[list[int]]
    del kept


def test_a_young_cycle_is_freed_at_the_first_look(garbage: Garbage) -> None:
    gone = weakref.ref(Node())
    look()
    assert gone() is None


def test_what_survives_is_set_aside(garbage: Garbage) -> None:
    node = Node()
    look()
    assert not any(each is node for each in gc.get_objects())


def test_garbage_that_was_set_aside_is_freed_by_the_look_at_all(
    garbage: Garbage, soon: list[Callable[[], None]]
) -> None:
    node: Node | None = Node()
    gone = weakref.ref(node)
    look()
    node = None
    for _ in range(LOOKS - 1):
        assert gone() is not None
        assert soon == []
        look()
    assert soon == [garbage.look_at_all]
    soon.pop()()
    assert gone() is None


def test_the_look_at_all_comes_again(garbage: Garbage, soon: list[Callable[[], None]]) -> None:
    garbage.look_at_all()
    for _ in range(LOOKS):
        look()
    assert soon == [garbage.look_at_all]


def test_at_the_end_all_is_as_before(soon: list[Callable[[], None]]) -> None:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    garbage = Garbage(soon.append)
    garbage.start()
    assert gc.get_freeze_count() > 0
    garbage.end()
    gc.set_threshold(*thresholds)
    assert gc.callbacks == callbacks
    assert gc.get_freeze_count() == 0
