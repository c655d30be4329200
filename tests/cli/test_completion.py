"""What shells are told: a script per shell, and what may come next on a line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import ShellComplete

from snnc.cli import main
from snnc.cli.shell_scripts import SCRIPTS
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
        ("snnc compile -p fuse-b", ["fuse-batch-norm"]),
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
        ("snnc completion ", list(SCRIPTS)),
    ],
)  # fmt: skip
def test_what_may_come_next(line: str, wanted: list[str]) -> None:
    assert completions(line) == wanted


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_for_every_shell(shell: str, snnc: Snnc, tmp_path: Path) -> None:
    script = snnc("completion", shell).stdout
    assert "_SNNC_COMPLETE" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell.upper()} IS NOT TESTED: it is not on this machine")
    (tmp_path / "script").write_text(script)
    result = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# What stands on the line after TAB.
TYPED = {
    "snnc pas": "snnc passes ",
    "snnc compile --calib": "snnc compile --calibration ",
    "snnc compile --method=mul": "snnc compile --method=multi-spike ",
    "snnc compile in/digits_c": "snnc compile in/digits_cnn.onnx ",
    "snnc compile ~/at": "snnc compile ~/at_home.onnx ",
    "snnc compile --calibration=in": "snnc compile --calibration=in/",
    "snnc compile two": r"snnc compile two\ words.onnx ",
    "snnc opt n.sir -p simplify,dc": "snnc opt n.sir -p simplify,dce ",
    'snnc opt n.sir -p "dce,choose-thresholds{rule=max,perc': (
        'snnc opt n.sir -p "dce,choose-thresholds{rule=max,percentile='
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="opens a POSIX terminal")
@pytest.mark.parametrize("shell", SCRIPTS)
def test_real_shells_complete(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell.upper()} IS NOT TESTED: it is not on this machine")
    from shells import SHELLS, after_tab

    (tmp_path / "at_home.onnx").touch()
    work = tmp_path / "work"
    (work / "in").mkdir(parents=True)
    (work / "in" / "digits_cnn.onnx").touch()
    (work / "two words.onnx").touch()
    found = after_tab(SHELLS[shell], list(TYPED), tmp_path, work)
    # Bash closes quotes.
    assert [line.removesuffix('"') for line in found] == list(TYPED.values())


@pytest.mark.skipif(shutil.which("zsh") is None, reason="ZSH IS NOT TESTED: it is not on this machine")
def test_zsh_says_what_completion_needs(snnc: Snnc, tmp_path: Path) -> None:
    (tmp_path / "_snnc").write_text(snnc("completion", "zsh").stdout)
    result = subprocess.run(["zsh", "-f", "_snnc"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stderr == "snnc: completion needs compinit: autoload -U compinit; compinit\n"


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
