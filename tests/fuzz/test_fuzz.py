"""The short form of `make fuzz`: a fixed number of inputs for every target, the same ones every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.faulty import FAULTS
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

RUNS = 300
# Wall-clock seconds: other processes on the machine must not turn a slow input into a finding.
PATIENCE, WHOLE = 60, 500


@pytest.mark.parametrize("name", TARGETS)
def test_only_refusals_come_out(name: str, tmp_path: Path) -> None:
    result = fuzz(name, tmp_path, seconds=WHOLE, runs=RUNS, patience=PATIENCE)
    assert result.findings == {}
    assert result.inputs == RUNS
    assert 0 < result.accepted < RUNS, "a target that takes everything, or nothing, tests little"


def test_faults_are_noticed(tmp_path: Path) -> None:
    """An exception, too much time or memory, a crash: each is a finding, and what comes next is tried."""
    result = fuzz("faulty", tmp_path, seconds=WHOLE, runs=len(FAULTS), patience=3)
    assert result.inputs == len(FAULTS)
    found = " ".join(result.findings)
    for fault in ("OverflowError", "MemoryError", "FindingError", "died of SIGALRM", "died of SIGBUS"):
        assert fault in found
    assert result.accepted == 2  # the hoard is noticed behind it


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    first, again, other = (
        fuzz("options", tmp_path / str(number), seconds=WHOLE, runs=100, seed=seed, patience=PATIENCE)
        for number, seed in enumerate((7, 7, 8))
    )
    assert first.accepted == again.accepted != other.accepted
