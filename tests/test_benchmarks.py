"""The benchmark of the backends, in its shortest form."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from harness import run_onnxruntime

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_both_backends_are_timed_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed

    monkeypatch.setattr(speed, "TURN_SECONDS", 0.01)
    digits = speed.NETWORKS[0]
    rows = speed.measure(digits, batches=(1, 5), steps=(1, 2), rounds=1, threads=1)
    assert {(row.backend, row.batch, row.steps) for row in rows} == {
        (backend, batch, steps) for backend in ("reference", "onnx") for batch in (1, 5) for steps in (1, 2)
    }
    assert all(row.lowest <= row.ratio <= row.highest for row in rows)
    (first,) = speed.agree(digits, steps=(1,), samples=10, threads=1)
    assert first.payloads > 0.99
    assert first.difference < 0.01
    del sys.modules["speed"]


@pytest.mark.parametrize("name", ["CNN", "VIT"])
def test_other_converters_get_the_same_networks(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The PyTorch modules that SpikingJelly and sinabs convert compute what the ONNX files do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "alternatives"))
    import networks

    network = getattr(networks, name)
    images, labels = network.images(network.test, 50)
    (wanted,) = run_onnxruntime(onnx.load(network.model), {"image": images.numpy()}).values()
    found = network.module()(images).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert (found.argmax(axis=1) == labels.numpy()).mean() > 0.95
    del sys.modules["networks"]
