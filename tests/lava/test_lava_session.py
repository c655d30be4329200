"""The Python that runs Lava, and what a run leaves: nothing. A script stands for Lava here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import snnc
from snnc.backends.lava.session import find_lava_python
from snnc.ir.errors import OptionError
from tests.lava.networks import Builder

if TYPE_CHECKING:
    from pathlib import Path

# Asked for Lava it says yes; started with a run.py it reports and goes on until its caller ends.
STAND_IN = """#!/bin/sh
if [ "$1" = -c ]; then echo lava; exit; fi
echo '{"cost": {"text": "it has begun"}}'
cat > /dev/null
exit 1
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    path = tmp_path / "stand-in"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return path


def test_what_is_wrong_with_a_python_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for name, problem in (
        ("none", "does not exist"),
        ("file", "cannot be executed"),
        (".", "is a folder"),
    ):
        with pytest.raises(OptionError) as refused:
            find_lava_python(str(tmp_path / name))
        assert str(refused.value) == (
            f"{tmp_path / name} {problem}\n  --> --lava-python\n"
            "  help: name the Python of the environment that has Lava, such as .lava/bin/python"
        )
    for program in ("true", "cat"):  # programs, and one even succeeds
        with pytest.raises(OptionError, match=f"^{program} is no Python with Lava\n  --> --lava-python\n"):
            find_lava_python(program)
    monkeypatch.setenv("SNNC_LAVA_PYTHON", "/nonexistent")
    with pytest.raises(OptionError, match=r"^/nonexistent does not exist\n  --> SNNC_LAVA_PYTHON\n"):
        find_lava_python()


def test_a_python_may_be_on_the_path(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    assert find_lava_python("stand-in") == stand_in


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_run_that_is_ended_leaves_no_folders(
    number: signal.Signals, stand_in: Path, tmp_path: Path
) -> None:
    net = Builder("small")
    net.answer(net.synapse("linear", net.encode(net.input(4)), 3, 4))
    snnc.save(net.done(), tmp_path / "net.sir")
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    (tmp_path / "temporary").mkdir()
    command = "run net.sir --backend lava --input x.npy -T 4 -o y.npy --lava-python"
    process = subprocess.Popen(
        [sys.executable, "-m", "snnc", *command.split(), stand_in],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        # A shell's background jobs ignore the signals, and so would their children.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "note: it has begun\n"
    assert len(list((tmp_path / "temporary").glob("snnc-lava-*"))) == 2
    process.send_signal(number)
    process.send_signal(number) if number != signal.SIGINT else None  # as `timeout` does
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert not list((tmp_path / "temporary").glob("snnc-*"))
    assert not (tmp_path / "y.npy").exists()
