"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.sim.fixture import Sim


def pytest_configure() -> None:
    """Only errors are worth seeing in a test run; a test that wants other lines captures them."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("error"),
        cache_logger_on_first_use=False,
    )


@pytest.fixture
def sim() -> Iterator[Sim]:
    """Virtual time and a network in memory; the phones' complaints fail the test."""
    sim = Sim()
    yield sim
    sim.close()
