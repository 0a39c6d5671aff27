"""Tests of real sockets run on both loops: asyncio's and uvloop's differ in what they do with errors."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test once on each loop, in debug mode; what a callback raises fails the test."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        failures: list[object] = []
        with asyncio.Runner(debug=True, loop_factory=LOOPS[arguments.pop("loop_name")]) as runner:
            runner.get_loop().set_exception_handler(
                lambda loop, context: failures.append(context.get("exception") or context["message"])
            )
            runner.run(test(**arguments))
        assert not failures

    old = inspect.signature(test)
    name = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = old.replace(parameters=[*old.parameters.values(), name])  # type: ignore[attr-defined]  # for pytest
    marked: Callable[..., None] = pytest.mark.parametrize("loop_name", LOOPS)(run)
    return marked
