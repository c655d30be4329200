"""What shells are told: a script per shell, and what may come next on a line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import ShellComplete

from snnc.cli import main
from snnc.cli.completion import SHELLS
from snnc.methods import METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc


def completions(line: str) -> list[str]:
    """Return what may stand for the last word of a line; the words of a type for files."""
    *words, last = line.split(" ")
    found = ShellComplete(main, {}, "snnc", "_SNNC_COMPLETE").get_completions(words[1:], last)
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("snnc comp", ["compile", "completion"]),
        ("snnc compile --method mul", ["multi-spike"]),
        ("snnc compile --method ", [*METHODS, "direct"]),
        ("snnc compile --cod", ["--coding"]),
        ("snnc compile --coding d", ["differential"]),
        ("snnc compile mod", ["<file>"]),
        ("snnc compile m.onnx --calibration d", ["<file>"]),
        ("snnc compile -p fuse", ["fuse-batch-norm"]),
        ("snnc opt n.sir -p simplify,dc", ["simplify,dce"]),
        ("snnc opt n.sir -p dce,choose-thresholds{ru", ["dce,choose-thresholds{rule="]),
        ("snnc opt n.sir -p choose-thresholds{rule=max,per", ["choose-thresholds{rule=max,percentile=",
                                                              "choose-thresholds{rule=max,per="]),
        ("snnc opt n.sir -p choose-thresholds{rule=max},dc", ["choose-thresholds{rule=max},dce"]),
        ("snnc opt n.sir -p no-such{", []),
        ("snnc emit --backend on", ["onnx"]),
        ("snnc run --backend ref", ["reference"]),
        ("snnc passes expand", ["expand-levels"]),
        ("snnc ops max_", ["max_pool"]),
        ("snnc completion ", list(SHELLS)),
    ],
)  # fmt: skip
def test_what_may_come_next(line: str, wanted: list[str]) -> None:
    assert completions(line) == wanted


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_every_shell(shell: str, snnc: Snnc, tmp_path: Path) -> None:
    script = snnc("completion", shell).stdout
    assert "_SNNC_COMPLETE" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not on this machine: its script is not read by it")
    (tmp_path / "script").write_text(script)
    result = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not on this machine")
def test_bash_completes(tmp_path: Path) -> None:
    """The script as bash runs it: it calls snnc, which answers."""
    (tmp_path / "snnc").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'from snnc.cli import main; main(prog_name="snnc")\' "$@"\n'
    )
    (tmp_path / "snnc").chmod(0o755)
    code = (
        'eval "$(snnc completion bash)"; COMP_WORDS=(snnc compile --method ecmt-); COMP_CWORD=3; '
        '_snnc_completion snnc; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout == "ecmt-top\n", result.stderr


def test_short_options_mean_the_same_everywhere() -> None:
    meanings: dict[str, set[str]] = {}
    for command in main.commands.values():
        for parameter in command.params:
            for name in parameter.opts if isinstance(parameter, click.Option) else ():
                if len(name) == 2:
                    meanings.setdefault(name, set()).add(max(parameter.opts, key=len))
    assert meanings == {
        "-o": {"--output"}, "-T": {"--steps"}, "-q": {"--quiet"}, "-v": {"--verbose"}, "-p": {"--pipeline"}
    }  # fmt: skip


def test_whatever_makes_remarks_can_be_quiet() -> None:
    without = {
        name for name, command in main.commands.items() if "quiet" not in {p.name for p in command.params}
    }
    assert without == {"print", "ops", "passes", "completion"}  # these print what was asked for, and no more
