"""Types into real shells: what stands on the line after TAB."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROMPT = "READY> "
CLEAR, TAB, SAVE = "\x15", "\t", "\x18\x18"  # Ctrl-U; Ctrl-X twice, which the start files bind
PATIENCE = 60.0


@dataclass(frozen=True)
class Shell:
    """How to start one: `argv` with {rc} for its start file, which is `start` with {lines} for the file that
    SAVE adds the line to.
    """

    name: str
    argv: tuple[str, ...]
    rc: str
    start: str


BASH = Shell(
    "bash",
    ("bash", "--rcfile", "{rc}", "-i"),
    "bashrc",
    """
PS1='READY> '
bind 'set bell-style none'
eval "$(snnc completion bash)"
bind -x '"\\C-x\\C-x": printf "%s\\n" "$READLINE_LINE" >> {lines}'
""",
)
ZSH = Shell(
    "zsh",
    ("zsh", "-d", "-i"),
    ".zshrc",
    """
PS1='READY> '
unsetopt beep
autoload -U compinit; compinit -D
eval "$(snnc completion zsh)"
save() {{ print -r -- "$BUFFER" >> {lines} }}
zle -N save
bindkey '^X^X' save
""",
)
FISH = Shell(
    "fish",
    ("fish", "--no-config", "--interactive", "--init-command", "source {rc}"),
    "start.fish",
    """
function fish_prompt; printf 'READY> '; end
set fish_greeting
set fish_autosuggestion_enabled 0
snnc completion fish | source
bind \\cx\\cx 'commandline >> {lines}'
""",
)
SHELLS = {shell.name: shell for shell in (BASH, ZSH, FISH)}


def install(folder: Path) -> Path:
    """Put a `snnc` into a folder of programs and return that."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "snnc"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'from snnc.cli import main; main(prog_name="snnc")\' "$@"\n'
    )
    program.chmod(0o755)
    return folder / "bin"


def environment(folder: Path) -> dict[str, str]:
    """A home of its own, with the `snnc` of `install`."""
    kept = {
        key: value for key, value in os.environ.items() if key.startswith(("PYTHON", "SNNC", "LANG", "LC_"))
    }
    home = {"HOME": str(folder), "ZDOTDIR": str(folder), "TERM": "xterm", "COLUMNS": "200"}
    return {**kept, **home, "PATH": f"{install(folder)}:{os.environ['PATH']}"}


def after_tab(shell: Shell, typed: list[str], folder: Path, cwd: Path) -> list[str]:
    """Return each line as the shell has it after TAB. Its files are in `folder`; it runs in `cwd`."""
    lines, rc = folder / "lines", folder / shell.rc
    lines.touch()
    rc.write_text(shell.start.format(lines=lines))
    program = shutil.which(shell.argv[0])
    assert program is not None
    argv = [word.format(rc=rc) for word in shell.argv]
    with terminal(program, argv, environment(folder), cwd) as screen:
        screen.wait(lambda: PROMPT in screen.shown)
        for number, line in enumerate(typed, start=1):
            screen.type(CLEAR + line + TAB + SAVE)
            screen.wait(lambda number=number: len(lines.read_text().splitlines()) >= number)
    return lines.read_text().splitlines()


class Screen:
    """A terminal whose program has shown so much."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self.handle, keys.encode())

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"shown so far: {self.shown!r}"
            if select.select([self.handle], [], [], 0.02)[0]:
                self.shown += os.read(self.handle, 65536).decode(errors="replace")


@contextlib.contextmanager
def terminal(program: str, argv: list[str], environment: dict[str, str], cwd: Path) -> Iterator[Screen]:
    process, handle = pty.fork()
    if not process:
        os.chdir(cwd)
        os.execve(program, argv, environment)
    try:
        yield Screen(handle)
    finally:
        os.close(handle)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
