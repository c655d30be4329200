"""The documentation is true: commands print what it shows, code runs, links lead somewhere.

A command in a `console` block starts with `$ `. What follows it is what it prints, compared number by number
(times are not compared, `…` stands for any lines); with nothing after it, it only has to succeed.
`--update-golden` writes what is printed now.
"""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
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
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, shown = part.partition("\n")
            yield Command(text, shown)


def run(command: str) -> str:
    """Return what a command prints on both streams; a pipe goes through the shell."""
    if "|" in command:
        line = command.replace("snnc ", f"{shlex.quote(sys.executable)} -m snnc ", 1)
        return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
    result = CliRunner().invoke(main, shlex.split(command)[1:], prog_name="snnc")
    assert result.exit_code == 0, f"{command}\n{result.output}"
    return result.output


def same_line(shown: str, printed: str) -> bool:
    """Compare two lines word by word, numbers with a tolerance."""
    wanted, found = (TIME.sub("_", line).split() for line in (shown, printed))
    return len(wanted) == len(found) and all(map(same_word, wanted, found))


def same_word(shown: str, printed: str) -> bool:
    try:
        wanted, found = (float(word.strip("(),;").replace(",", "")) for word in (shown, printed))
    except ValueError:
        return shown == printed
    return math.isclose(wanted, found, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def same_output(shown: list[str], printed: list[str]) -> bool:
    """Compare outputs line by line; an elision matches any number of lines."""
    if not shown:
        return not printed
    if shown[0] == ELISION:
        return any(same_output(shown[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and same_line(shown[0], printed[0]) and same_output(shown[1:], printed[1:])


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
def test_commands_print_what_is_shown(
    page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool
) -> None:
    monkeypatch.chdir(workspace)
    for command in commands(page):
        assert command.text.startswith("snnc "), f"{command.text} is not tried: indent it instead"
        printed = run(command.text)
        shown = command.shown.rstrip()
        lines = [line.rstrip() for line in printed.rstrip().splitlines()]
        if not shown or same_output(shown.splitlines(), lines):
            continue
        text = refreshed(shown, lines)
        if update_golden:
            before, after = (f"$ {command.text}\n{output}\n" for output in (shown, text))
            page.write_text(page.read_text().replace(before, after))
        else:
            printed = "\n".join(lines)
            pytest.fail(f"$ {command.text}\nprints\n{printed}\n\nand is shown as\n{shown}", pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_runs_or_is_quoted(page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quoted = [path.read_text() for path in (ROOT / "examples").rglob("*.py")]
    monkeypatch.chdir(workspace)
    for block in blocks(page, "python"):
        if not any(block in source for source in quoted):
            exec(compile(block, str(page), "exec"), {})


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
