"""The shared trained networks, on their own data, against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from snnc.frontend import import_onnx
from snnc.frontend.check import check_model
from tests.archives import read_npz
from tests.harness import run_analog, run_onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.shared

NETWORKS = {
    "mnist_cnn": ("mnist_test", (0.1307,), (0.3081,)),
    "cifar10_resnet20": ("cifar10_test", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10_vit": ("cifar10_test", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_analog_outputs(name: str, shared_models: Path) -> None:
    data, mean, deviation = NETWORKS[name]
    path = shared_models / f"{name}.onnx"
    images = read_npz(shared_models / f"{data}.npz")["x"][:16].astype(np.float32) / 255
    images = images.reshape(16, len(mean), *images.shape[-2:])
    x = (images - np.array(mean, np.float32)[:, None, None]) / np.array(deviation, np.float32)[:, None, None]
    graph = import_onnx(path)
    inputs = {graph.inputs[0].name or "": x.astype(np.float32)}
    found = run_analog(graph, inputs)
    for output, expected in run_onnxruntime(onnx.load(path), inputs).items():
        assert np.abs(found[output] - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_node_is_accounted_for(name: str, shared_models: Path) -> None:
    path = shared_models / f"{name}.onnx"
    report = check_model(path)
    assert report.compiles
    assert report.coverage == 100.0
    assert len(report.nodes) == len(onnx.load(path).graph.node)
