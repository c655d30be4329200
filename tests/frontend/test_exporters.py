"""Networks from both PyTorch exporters, with an open and a fixed batch, against onnxruntime."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="the newer PyTorch exporter needs onnxscript")

from tests.frontend.networks import NETWORKS, export
from tests.harness import assert_matches_onnxruntime, run_analog, run_onnxruntime

CASES = list(product(NETWORKS, ("torchscript", "dynamo"), ("open", "fixed")))


@pytest.mark.parametrize(("name", "exporter", "batch"), CASES, ids=str)
def test_network(name: str, exporter: str, batch: str) -> None:
    model = export(name, dynamo=exporter == "dynamo", dynamic=batch == "open")
    _, make_inputs, axis = NETWORKS[name]
    samples = [{f"in{i}": x.numpy() for i, x in enumerate(make_inputs(1))} for _ in range(3)]
    together = {key: np.concatenate([sample[key] for sample in samples], axis) for key in samples[0]}
    graph = assert_matches_onnxruntime(
        model, together if batch == "open" else samples[0], rtol=1e-4, atol=1e-5
    )
    assert "N" in str(graph.inputs[0].type)
    if batch == "fixed":
        found = run_analog(graph, together)
        for index, sample in enumerate(samples):
            for key, array in run_onnxruntime(model, sample).items():
                part = found[key].take([index], axis)
                np.testing.assert_allclose(part, array, rtol=1e-4, atol=1e-5)
