"""`make methods` writes what it measures, in the form of docs/methods-table.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TITLES = re.compile(r"^### (.*)$", re.MULTILINE)


def row(page: str, title: str, variant: str) -> list[float]:
    """Return the numbers of one variant in one table."""
    table = page.split(f"### {title}", maxsplit=1)[1].split("###", maxsplit=1)[0]
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {variant} |")]
    return [float(cell) for cell in line.split("|")[2:-1]]


def test_the_short_table_has_the_figures_of_both_codings(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    command = [sys.executable, ROOT / "benchmarks" / "methods.py", "--short", "--limit", "20", "--write", out]
    subprocess.run(command, check=True, capture_output=True)
    page = out.read_text()
    values, changes = "`multi-spike`, rate", "`multi-spike`, differential"
    assert row(page, "Accuracy, %", values)[0] >= 95
    together, alone = (f"Unit spikes per neuron, step{text}" for text in ("s 1 to T together", " T alone"))
    for variant in (values, changes):
        first, second = row(page, together, variant)
        assert abs(first + row(page, alone, variant)[1] - second) < 0.02
    assert row(page, together, changes)[1] < 0.8 * row(page, together, values)[1]
    assert row(page, "Energy of steps 1 to T over the source network's", changes)[1] > 0
    assert "- Bad, not within a point up to T=2: `if`, rate, reset to zero" in page


def test_the_committed_table_is_in_that_form() -> None:
    page = (ROOT / "docs" / "methods-table.md").read_text()
    assert len(set(TITLES.findall(page))) == 5
    for network in page.split("\n## ")[1:]:
        variants = re.findall(r"^\| (`.*?) \|", network.split("###", maxsplit=2)[1], re.MULTILINE)
        assert len(variants) == 15, network.splitlines()[0]
