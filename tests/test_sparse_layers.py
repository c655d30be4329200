"""The layers of the sparsity benchmark: every way to compute one gives the same sums."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("kind", ["Linear", "Convolution"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_all_ways_give_the_same_sums(kind: str, rate: float) -> None:
    import events

    layer: Any = getattr(events, kind)(6, 5)
    random = np.random.default_rng(0)
    x = (random.random(layer.shape(2)) < rate).astype(np.float32) * random.integers(-3, 4, layer.shape(2))
    x = x.astype(np.float32)
    dense, sparse = layer.ways()
    wanted = dense["onnxruntime"](x)
    assert sparse, "no way to be event-driven is installed"
    for name, run in (dense | sparse).items():
        found = run(x)
        if wanted.ndim == 4 and name in sparse:
            found = found.transpose(0, 3, 1, 2)  # sums of a place lie together
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=name)


def test_break_even_lies_where_the_ratio_crosses_one() -> None:
    from sparsity import RATES, Curve

    def curve(*ratios: float) -> Any:
        return Curve("linear", 1, 1.0, list(ratios), [""] * len(RATES)).break_even

    assert curve(2, 2, 2, 2, 2, 2, 2) is None
    assert curve(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5) == 1
    assert curve(0.1, 0.1, 0.1, 0.5, 2, 4, 8) == pytest.approx((RATES[3] * RATES[4]) ** 0.5)
