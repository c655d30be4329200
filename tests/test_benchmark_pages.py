"""Tables that benchmarks put on pages, and the limits that they hold networks to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_table_takes_the_place_of_the_one_between_its_marks(tmp_path: Path) -> None:
    from page import markdown, put

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- end of a -->\nbetween\n<!-- b -->\n<!-- end of b -->\n")
    table = markdown(["x", "y"], [["1", "2"]])
    for _ in range(2):  # the second time replaces what the first one wrote
        put(page, {"a": table, "b": "new\n"})
    assert page.read_text() == (
        "before\n<!-- a -->\n| x | y |\n| --- | --- |\n| 1 | 2 |\n<!-- end of a -->\n"
        "between\n<!-- b -->\nnew\n<!-- end of b -->\n"
    )


def test_a_page_without_the_mark_stays_as_it_is(tmp_path: Path) -> None:
    from page import put

    page = tmp_path / "page.md"
    page.write_text("<!-- a -->\n<!-- end of a -->\n")
    with pytest.raises(ValueError, match="no place for b"):
        put(page, {"a": "new", "b": "new"})
    assert page.read_text() == "<!-- a -->\n<!-- end of a -->\n"


def test_the_readme_has_a_place_for_every_table() -> None:
    text = (BENCHMARKS / "README.md").read_text()
    tables = ("machine", "ratios", "milliseconds", "seconds to open", "agreement", "scale", "growth")
    for name in (*tables, "abilities", "limits", "hotspots", "sparsity", "rates", "gains"):
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- end of {name} -->") == 1, name


def test_a_limit_is_the_longer_of_computing_and_moving() -> None:
    from limits import Layer, Machine

    machine = Machine(single=1e9, integer=4e9, node=0, call=0, copy={2**10: 8e9, 2**20: 4e9})
    # 1000 MAC take 1 µs; 4 * 30 bytes at 8 GB/s take 0.015 µs.
    computing = Layer(1000, inputs=10, outputs=10, weights=10, invariant=False)
    assert machine.milliseconds(computing, 1, 1, integers=False) == pytest.approx(1e-3)
    assert machine.milliseconds(computing, 2, 4, integers=False) == pytest.approx(8e-3)
    assert machine.milliseconds(computing, 1, 1, integers=True) == pytest.approx(0.25e-3)
    # 4 * 1200 bytes do not fit the smaller size: 4 GB/s, 1.2 µs.
    moving = Layer(1, inputs=100, outputs=100, weights=1000, invariant=True)
    assert machine.milliseconds(moving, 1, 4, integers=False) == pytest.approx(1.2e-3)


def test_speed_is_compared_with_the_faster_way_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "alternatives"))
    from timing import Row, table

    theirs = {"step by step": [9.0, 8.0, 7.0], "all steps at once": [4.0, 6.0, 6.0]}
    row = Row("net", 1, 4, theirs, {"onnx": [2.0, 2.0, 1.0]})
    assert row.faster("onnx") == [2.0, 3.0, 6.0]
    titles, (cells,) = table([row])
    assert cells == ["net", "1", "4", "3.0 (2.0..6.0)", "8", "6", "2"]
    assert len(titles) == len(cells)


def test_layers_of_the_digits_cnn_are_counted() -> None:
    import subjects
    from limits import layers

    found = layers(subjects.NETWORKS[0].compiled())
    # 3x3 convolutions without the taps outside of the image: 22 of 24 rows of taps at 8 pixels.
    first, last = found[0], found[-1]
    assert first.multiply_accumulates == 16 * 22 * 22
    assert first.invariant
    assert (last.multiply_accumulates, last.inputs, last.outputs, last.weights) == (640, 64, 10, 640)
    assert not any(one.invariant for one in found[1:])
    del sys.modules["subjects"]
