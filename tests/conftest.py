"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.fixture import Sim


@pytest.fixture
def sim() -> Iterator[Sim]:
    """Virtual time and a network in memory; the phones' complaints fail the test."""
    sim = Sim()
    yield sim
    sim.close()
