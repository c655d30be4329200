"""Damaged models are refused with a `SnncError`, never with anything else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper

from snnc.frontend import import_onnx
from snnc.ir.errors import SnncError
from tests.harness import onnx_model

if TYPE_CHECKING:
    from pathlib import Path


def victim(batch: int | str) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b": np.zeros(4, np.float32),
        "target": np.array([0, 2, -1]),
        "fc": rng.standard_normal((32, 5)).astype(np.float32),
        "axes": np.array([1]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1], strides=[1, 1]),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[1, 1], ceil_mode=1),
        helper.make_node("AveragePool", ["p"], ["q"], kernel_shape=[1, 1], strides=[1, 1]),
        helper.make_node("Reshape", ["q", "target"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["t", "axes"], ["m"], keepdims=0),
        helper.make_node("Softmax", ["m"], ["y"], axis=-1),
    ]
    return onnx_model(nodes, {"x": (batch, 3, 5, 5)}, ["y"], constants, opset=18)


def survives(model: onnx.ModelProto | Path) -> bool:
    try:
        import_onnx(model)
    except SnncError:
        return False
    return True


@pytest.mark.parametrize("batch", ["N", 1])
def test_flipped_and_missing_bytes(batch: int | str, tmp_path: Path) -> None:
    path, whole, rng = tmp_path / "model.onnx", victim(batch).SerializeToString(), random.Random(0)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            place = rng.randrange(len(data))
            if rng.random() < 0.7:
                data[place] = rng.randrange(256)
            else:
                del data[place : place + rng.randrange(1, 9)]
        path.write_bytes(data)
        survives(path)


@pytest.mark.parametrize("batch", ["N", 1])
def test_absurd_attributes_and_constants(batch: int | str) -> None:
    absurd = (-(2**63), -2, -1, 0, 1, 3, 2**31, 2**62)
    for index, node in enumerate(victim(batch).graph.node):
        for which, attribute in enumerate(node.attribute):
            for number in absurd:
                model = victim(batch)
                changed = model.graph.node[index].attribute[which]
                if attribute.ints:
                    changed.ints[-1] = number
                else:
                    changed.i = number
                survives(model)
    for tensor in ("target", "axes"):
        for number in absurd:
            model = victim(batch)
            (found,) = [item for item in model.graph.initializer if item.name == tensor]
            array = onnx.numpy_helper.to_array(found).copy()
            array[-1] = number
            found.CopyFrom(onnx.numpy_helper.from_array(array, tensor))
            survives(model)


def test_the_victim_itself_is_sound() -> None:
    assert survives(victim("N"))
    assert survives(victim(1))
