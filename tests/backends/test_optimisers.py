"""Onnxruntime computes what a model says where one of its optimisers would not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from snnc.backends.onnx import AnalogSession
from snnc.frontend import import_onnx
from snnc.source_model import SourceModel
from tests.harness import onnx_model, run_analog

if TYPE_CHECKING:
    from pathlib import Path


def test_zeros_padded_before_a_max_pool_stay_zeros(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    pads = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}
    model = onnx_model(nodes, {"x": ("N", 1, 2, 2)}, ["y"], pads, 18)
    x = np.full((1, 1, 2, 2), -1, np.float32)
    graph = import_onnx(model)
    assert (run_analog(graph, {"x": x})["y"] == 0).all()
    assert (AnalogSession(graph, threads=1).run({"x": x}).outputs["y"] == 0).all()
    onnx.save(model, tmp_path / "model.onnx")
    assert (SourceModel(tmp_path / "model.onnx", threads=1).run({"x": x})["y"] == 0).all()
