"""Scenes: the cases of one test module, played at the same time on one stage.

A phone call is mostly waiting, so twenty of them cost little more time than one. Each scene is an
async function that takes the stage; pytest sees each as a test of its own, which tells its outcome.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from .network import Network, can_make_namespaces
from .program import absent

SCENE_LIMIT_S = 60.0
AT_ONCE = 8  # scenes; more would starve the phones of a two-core machine of time to speak

StageT = TypeVar("StageT")


@dataclass(frozen=True)
class Outcome:
    """How a scene went: `failure` is "" or the text of what went wrong; `skipped` why it was not played."""

    failure: str = ""
    skipped: str = ""

    def check(self) -> None:
        """Pass, fail or skip the running test."""
        if self.skipped:
            pytest.skip(self.skipped)
        if self.failure:
            pytest.fail(self.failure, pytrace=False)


class Scenes(Generic[StageT]):
    """The scenes of a module. `@scenes.add` puts one in; `names()` parametrizes the test."""

    def __init__(self) -> None:
        self._scenes: dict[str, Callable[[StageT], Awaitable[None]]] = {}

    def add(self, scene: Callable[[StageT], Awaitable[None]]) -> Callable[[StageT], Awaitable[None]]:
        self._scenes[scene.__name__] = scene
        return scene

    def names(self) -> list[str]:
        """Those added so far: the test that is parametrized by them stands at the end of its module."""
        return list(self._scenes)

    def play(
        self,
        request: pytest.FixtureRequest,
        stage: Callable[[], AbstractAsyncContextManager[StageT]],
        at_once: int = AT_ONCE,
    ) -> dict[str, Outcome]:
        """Set the stage, play those scenes of the module that pytest has selected, clear the stage.

        They begin in the order in which they were added, `at_once` at a time.
        """
        own = [item for item in request.session.items if item.path == request.path]
        selected = " ".join(item.name for item in own)
        names = [name for name in self._scenes if f"[{name}]" in selected]
        return asyncio.run(self._play_all(names, stage, at_once), debug=True)

    async def _play_all(
        self, names: list[str], make_stage: Callable[[], AbstractAsyncContextManager[StageT]], at_once: int
    ) -> dict[str, Outcome]:
        asyncio.get_running_loop().slow_callback_duration = 1.0  # starting a program takes its time
        async with make_stage() as stage:
            places = asyncio.Semaphore(at_once)
            outcomes = await asyncio.gather(*(self._play(self._scenes[name], stage, places) for name in names))
            return dict(zip(names, outcomes, strict=True))

    async def _play(
        self, scene: Callable[[StageT], Awaitable[None]], stage: StageT, places: asyncio.Semaphore
    ) -> Outcome:
        async with places:
            try:
                async with asyncio.timeout(SCENE_LIMIT_S):
                    await scene(stage)
            except pytest.skip.Exception as reason:
                return Outcome(skipped=str(reason))
            except (Exception, pytest.fail.Exception) as error:  # told to the scene's own test
                return Outcome(failure="".join(traceback.format_exception(error)))
        return Outcome()


@asynccontextmanager
async def own_network() -> AsyncIterator[Network]:
    """A private namespace where we may make one, else the machine's loopback."""
    network = Network.private() if can_make_namespaces() else Network.shared()
    try:
        yield network
    finally:
        network.close()


def needs_namespaces() -> None:
    """Skip where none can be made: for tests whose messages name hosts that exist elsewhere."""
    if not can_make_namespaces():
        absent("network namespaces (root and iproute2)")


@dataclass
class BareStage:
    """A stage without a server: a network and a folder."""

    network: Network
    folder: Path
