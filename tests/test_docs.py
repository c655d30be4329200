"""The documentation is true: commands print what it shows, code runs, links lead somewhere.

A command in a `console` block starts with `$ `. What follows it is what it prints, compared number by number
(times are not compared, `…` stands for any lines); with nothing after it, it only has to succeed.
Python blocks run too, each after the ones above it; a `text` block right after one is what it prints.
`--update-golden` writes what is printed now.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
import subprocess
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from snnc.cli import main
from snnc.ir.text import parse_graph, print_graph

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TIME = re.compile(r"[\d.]+ s\b")
ELISION = "…"
# Another processor may round otherwise, and move an image or two of the test data.
RELATIVE, ABSOLUTE = 0.02, 0.0006
TOLERANCE = {"tutorial.md": 0.3}  # it trains networks, which become others on another processor
MACHINE = re.compile(r"(?<![\w.])/(?:work|home|root|tmp|opt|usr|mnt)/")


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(page.read_text()) if found == language]


@dataclass(frozen=True)
class Command:
    """A command of a console block and the lines shown below it."""

    text: str
    shown: str


def commands(page: Path) -> Iterator[Command]:
    for block in blocks(page, "console"):
        yield from commands_of(block)


def commands_of(block: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        text, _, shown = part.partition("\n")
        yield Command(text, shown)


@dataclass(frozen=True)
class Program:
    """A Python block, and what a text block right after it shows as its output (None: there is none)."""

    text: str
    shown: str | None

    @property
    def head(self) -> str:
        """Return what stands before its output."""
        return f"{self.text}```\n\n```text\n"


def steps(page: Path) -> Iterator[Command | Program]:
    """Yield what a page does, in its order."""
    text = page.read_text()
    fences = list(FENCE.finditer(text))
    for fence, following in zip(fences, [*fences[1:], None], strict=False):
        language, body = fence.groups()
        if language == "console":
            yield from commands_of(body)
        elif language == "python" and not is_quoted(body):
            follows = following is not None and not text[fence.end() : following.start()].strip()
            yield Program(body, following[2] if follows and following and following[1] == "text" else None)


@cache
def examples() -> list[str]:
    return [path.read_text() for path in (ROOT / "examples").rglob("*.py")]


def is_quoted(block: str) -> bool:
    return any(block in source for source in examples())


def run(command: str) -> str:
    """Return what a command prints on both streams; a pipe goes through the shell."""
    if "|" in command:
        line = command.replace("snnc ", f"{shlex.quote(sys.executable)} -m snnc ", 1)
        return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
    result = CliRunner().invoke(main, shlex.split(command)[1:], prog_name="snnc")
    assert result.exit_code == 0, f"{command}\n{result.output}"
    return result.output


def run_program(text: str, namespace: dict[str, object], name: str) -> str:
    """Return what a Python block prints; blocks of a page continue each other."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, UserWarning):  # PyTorch's exporters
            warnings.simplefilter("ignore", category)
        exec(compile(text, name, "exec"), namespace)
    return printed.getvalue()


def same_line(shown: str, printed: str, relative: float) -> bool:
    """Compare two lines word by word, numbers with a tolerance."""
    wanted, found = (TIME.sub("_", line).split() for line in (shown, printed))
    same = (same_word(*words, relative) for words in zip(wanted, found, strict=False))
    return len(wanted) == len(found) and all(same)


def same_word(shown: str, printed: str, relative: float) -> bool:
    try:
        wanted, found = (float(word.strip("(),;").replace(",", "")) for word in (shown, printed))
    except ValueError:
        return shown == printed
    return math.isclose(wanted, found, rel_tol=relative, abs_tol=ABSOLUTE)


def same_output(shown: list[str], printed: list[str], relative: float = RELATIVE) -> bool:
    """Compare outputs line by line; an elision matches any number of lines."""
    if not shown:
        return not printed
    if shown[0] == ELISION:
        return any(same_output(shown[1:], printed[n:], relative) for n in range(len(printed) + 1))
    return (
        bool(printed)
        and same_line(shown[0], printed[0], relative)
        and same_output(shown[1:], printed[1:], relative)
    )


def refreshed(shown: str, printed: list[str]) -> str:
    """Return the output to show; beside an elision, each shown line is looked up by its first word."""
    if ELISION not in shown.splitlines():
        return "\n".join(printed)
    lines = {line.split()[0]: line for line in reversed(printed) if line.split()}
    return "\n".join(
        lines.get(line.split()[0], line) if line.split() else line for line in shown.splitlines()
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the repository's root in which the networks of the README are compiled."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").symlink_to(ROOT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in commands(ROOT / "README.md"):
            if command.text.startswith("snnc compile"):
                run(command.text)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_page_does_what_it_shows(
    page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool
) -> None:
    monkeypatch.chdir(workspace)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for step in steps(page):
        if isinstance(step, Program):
            printed, head, shown = run_program(step.text, namespace, page.name), step.head, step.shown
        else:
            assert step.text.startswith("snnc "), f"{step.text} is not tried: indent it instead"
            printed, head, shown = run(step.text), f"$ {step.text}\n", step.shown or None
        if shown is not None:
            check_shown(page, head, shown.rstrip(), printed, update_golden)


def check_shown(page: Path, head: str, shown: str, printed: str, update_golden: bool) -> None:
    """Compare what a page shows with what is printed, or show that."""
    lines = [line.rstrip() for line in printed.rstrip().splitlines()]
    tolerance = RELATIVE if update_golden else TOLERANCE.get(page.name, RELATIVE)
    if not shown or same_output(shown.splitlines(), lines, tolerance):
        return
    if not update_golden:
        printed = "\n".join(lines)
        pytest.fail(f"{head}prints\n{printed}\n\nand is shown as\n{shown}", pytrace=False)
    before, after = (f"{head}{output}\n" for output in (shown, refreshed(shown, lines)))
    page.write_text(page.read_text().replace(before, after))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_quoted_files_are_as_quoted(page: Path) -> None:
    sources = [path.read_text() for path in (ROOT / "examples").rglob("pyproject.toml")]
    assert all(any(block in source for source in sources) for block in blocks(page, "toml"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_networks_are_canonical_text(page: Path) -> None:
    for block in blocks(page, "sir"):
        assert print_graph(parse_graph(block, name=page.name)) == block


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    prose = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} does not exist"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert not anchor or anchor in anchors(target), f"{link} names no heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_names_a_folder_of_somebodys_machine(page: Path) -> None:
    assert MACHINE.findall(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    prose = FENCE.sub("", page.read_text())
    named = re.findall(r"(?:^    |`)make ([a-z]+)", prose, re.MULTILINE)
    assert set(named) <= targets


def test_every_command_is_documented() -> None:
    """Every subcommand appears in the README's table of commands."""
    readme = (ROOT / "README.md").read_text()
    assert [name for name in main.commands if f"`snnc {name}" not in readme] == []


def test_nothing_of_the_reader_is_touched() -> None:
    """The commands wrote into their own folder, not into the repository."""
    assert [path.name for path in ROOT.glob("*.sir")] == []
