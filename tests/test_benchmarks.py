"""The benchmark of the backends, in its shortest form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_both_backends_are_timed_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed

    monkeypatch.setattr(speed, "TURN_SECONDS", 0.01)
    digits = speed.NETWORKS[0]
    graph = digits.compiled()
    rows = speed.measure(digits, graph, batches=(1, 5), steps=(1, 2), rounds=1, threads=1)
    assert {(row.backend, row.batch, row.steps) for row in rows} == {
        (backend, batch, steps)
        for backend in (backend.name for backend in speed.BACKENDS)
        for batch in (1, 5)
        for steps in (1, 2)
    }
    assert all(row.lowest <= row.ratio <= row.highest for row in rows)
    (first,) = speed.agree(digits, graph, steps=(1,), samples=10, threads=1)
    assert first.payloads > 0.99
    assert first.difference < 0.01
    del sys.modules["speed"]


def test_integer_kernels_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kernels
    import speed

    monkeypatch.setattr(speed, "TURN_SECONDS", 0.001)
    milliseconds, ratios = kernels.compare(4, 6, 1)
    assert milliseconds > 0
    assert list(ratios) == ["ConvInteger, int8", "ConvInteger, uint8", "MatMulInteger", "QLinearConv"]
    milliseconds, ratios = kernels.compare_linear(8, 3)
    assert milliseconds > 0
    assert list(ratios) == ["MatMulInteger", "QLinearConv"]
    del sys.modules["speed"], sys.modules["kernels"]
