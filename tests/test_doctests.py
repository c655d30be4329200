"""The examples in docstrings of the public modules do what they say, from the repository's folder."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import snnc
from tests.archives import read_npz

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parents[1] / "examples"
MODULES = sorted(
    {home for home in snnc._HOMES.values() if home.count(".") == 1} | {"snnc.backends.reference.simulator"}
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write into that has the examples beside it."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found_in(module: ModuleType) -> list[doctest.DocTest]:
    digits = read_npz(EXAMPLES / "digits" / "digits_calibration.npz")["x"][:32] / 16
    tests = doctest.DocTestFinder().find(module, extraglobs={"digits": digits.astype("f4")})
    return [test for test in tests if test.examples]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    tests = found_in(import_module(name))
    assert tests
    for test in tests:
        report: list[str] = []
        assert runner.run(test, out=report.append).failed == 0, "".join(report)


def test_every_public_function_shows_an_example() -> None:
    shown = {test.name.rpartition(".")[2] for name in MODULES for test in found_in(import_module(name))}
    assert {"compile", "load", "check", "evaluate", "load_data", "Normalise", "Simulator"} <= shown
