"""The command line as a user meets it: compiled digits networks, and a way to run commands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from click.testing import CliRunner

from snnc.cli import main

if TYPE_CHECKING:
    from click.testing import Result

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


class Snnc(Protocol):
    """Run `snnc` with arguments in this process; its exit code must be the expected one."""

    def __call__(self, *arguments: str | Path, code: int = 0) -> Result: ...


def invoke(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)), prog_name="snnc")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"exit code {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(name="snnc", scope="session")
def snnc_command() -> Snnc:
    return invoke


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder with the trained digits networks and their data."""
    return DIGITS


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cnn.sir and vit.sir, compiled by default settings."""
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("cnn", "vit"):
        invoke(
            "compile", DIGITS / f"digits_{name}.onnx", "-o", folder / f"{name}.sir", "--calibration",
            DIGITS / "digits_calibration.npz", "--scale", "1/16", "--limit", "48", "--quiet",
        )  # fmt: skip
    return folder


@pytest.fixture
def cnn(compiled: Path, tmp_path: Path) -> Path:
    """A copy of the compiled CNN that a test may damage."""
    return Path(shutil.copy(compiled / "cnn.sir", tmp_path / "cnn.sir"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for results."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
