"""`make results` writes what it measures, in the form of docs/results.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("results") / "results.md"
    command = [sys.executable, ROOT / "benchmarks" / "results.py", "--short", "--write", out]
    subprocess.run(command, check=True, capture_output=True)
    return out.read_text()


def rows(page: str, title: str) -> list[list[str]]:
    """Return the cells of the first table below a title."""
    below = page.split(title, maxsplit=1)[1].split("\n#", maxsplit=1)[0]
    table = [line for line in below.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[1:]]


def test_converted_networks_lose_next_to_nothing(page: str) -> None:
    for title in ("Digits CNN: `multi-spike`", "Digits ViT: `multi-spike`"):
        first = rows(page, title)[0]
        assert first[0] == "1"
        assert float(first[1]) > 98
        assert float(first[5]) < 0.4


def test_trained_spiking_networks_multiply_in_the_first_layer_only(page: str) -> None:
    vit, *saformer = rows(page, "Trained spiking")
    assert vit[1] == "softmax ViT"
    assert [row[3] for row in saformer] == ["1", "2", "4"]
    assert all(row[-1] == "0.0000" for row in saformer)
    assert float(saformer[-1][4]) > 99
    assert float(saformer[-1][7]) < 0.3


def test_the_committed_page_has_all_sections() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    for title in ("Within a budget", "MiniLM-L6 sentence encoder", "Trained spiking: SAFormer"):
        assert title in page
    assert {row[0] for row in rows(page, "Trained spiking")} == {"digits", "events", "fashion"}
