"""`make integers` writes what it measures, in the form of docs/integers.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def row(page: str, title: str, weights: str) -> list[float]:
    """Return the accuracies of one kind of weights in one table."""
    table = page.split(f"### {title}\n", maxsplit=1)[1].split("###", maxsplit=1)[0]
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {weights} |")]
    return [float(cell) for cell in line.split("|")[2:-1]]


def test_eight_bits_cost_little_and_rounding_by_output_pays(tmp_path: Path) -> None:
    out = tmp_path / "integers.md"
    command = [sys.executable, ROOT / "benchmarks" / "integers.py", "--short", "--write", out]
    subprocess.run(command, check=True, capture_output=True)
    page = out.read_text()
    for title in ("Digits CNN", "Digits SAFormer"):
        real, integers = (row(page, title, weights) for weights in ("real weights", "8 bits"))
        assert integers[-1] >= real[-1] - 0.5
        assert row(page, title, "3 bits")[-1] > row(page, title, "3 bits, nearest")[-1] + 1


def test_the_committed_page_has_every_network() -> None:
    page = (ROOT / "docs" / "integers.md").read_text()
    for title in ("Digits CNN", "Digits SAFormer", "Digits ViT, host nodes", "ResNet-20, CIFAR-10"):
        assert row(page, title, "8 bits")[-1] >= row(page, title, "real weights")[-1] - 0.5, title
