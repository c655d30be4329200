"""Lava for the tests: the environment that `make lava` builds, or the reason why there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snnc.backends.lava.session import VARIABLE, find_lava_python
from snnc.ir.errors import SnncError

REPOSITORY = Path(__file__).resolve().parents[2]
REASON = REPOSITORY / ".lava" / "unavailable"  # tests/lava/environment.py says there why it failed


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the whole networks to `make lava`."""
    if config.getoption("--whole-networks"):
        return
    long = [item for item in items if item.get_closest_marker("whole_network")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Tell whether there is time for many samples."""
    return bool(request.config.getoption("--whole-networks"))


@pytest.fixture(scope="session")
def lava_python() -> Path:
    """A Python with Lava; the test is skipped, with the reason, where there is none."""
    own = REPOSITORY / ".lava" / "bin" / "python"
    chosen = os.environ.get(VARIABLE) or (str(own) if own.is_file() else None)
    try:
        return find_lava_python(chosen)
    except SnncError as error:
        reason = REASON.read_text().strip() if REASON.is_file() else f"{error.message}; run make lava"
        pytest.skip(f"LAVA IS NOT TESTED: {reason}")
