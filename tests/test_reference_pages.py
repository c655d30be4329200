"""The reference pages say what the code declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnc.cli import COMMANDS
from snnc.ir.ops import op_table
from snnc.methods import DIRECT, METHODS
from snnc.passes.builtin import BUILTIN
from snnc.reference import PAGES
from snnc.reference.markup import text

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str, update_golden: bool) -> None:
    page = PAGES[name]()
    if update_golden:
        (FOLDER / name).write_text(page)
    assert (FOLDER / name).read_text() == page, "write the pages again: make reference"


def test_nothing_else_lies_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("ops.md", op_table()),
        ("passes.md", [item.name for item in BUILTIN]),
        ("methods.md", [*METHODS, DIRECT.name]),
        ("cli.md", [f"snnc {command.name}" for command in COMMANDS]),
    ],
)
def test_everything_has_a_heading(page: str, names: list[str]) -> None:
    headings = {line.lstrip("# ") for line in PAGES[page]().splitlines() if line.startswith("##")}
    assert set(names) <= headings


def test_signs_are_shown_and_not_taken_for_markup() -> None:
    assert text("a_b * [c] <d> | #e") == r"a\_b \* \[c\] \<d\> \| \#e"
    assert text("see `expect.<op>` and x_y") == r"see `expect.<op>` and x\_y"
