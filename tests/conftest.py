"""Options and fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, however slow the machine; `make laws` and `make fuzz` look for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# Before numpy is imported: small products gain nothing from threads, and where cores are busy its threads
# wait for each other, ten times as long as they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SNNC_SHARED", REPOSITORY.parent / "shared"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite expected outputs instead of comparing with them"
    )
    parser.addoption(
        "--networks", type=int, metavar="N", help="hold N networks, other ones each time, to the laws"
    )
    parser.addoption(
        "--whole-networks", action="store_true", help="run more samples and the long networks in Lava"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of the shared networks where their folder is absent."""
    if (SHARED / "models").is_dir():
        return
    reason = f"the shared networks are not at {SHARED / 'models'}; set SNNC_SHARED to their folder's parent"
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Tell whether expected outputs are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder with the shared trained networks and their data (mark the test `shared`)."""
    return SHARED / "models"
