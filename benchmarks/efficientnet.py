"""EfficientNet-B0 with random weights: depthwise convolutions, squeeze and excitation, SiLU.

Tan and Le 2019, table 1, and batch norm folded into the convolutions, as exporters of trained networks do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLASSES, OPSET = 1000, 20
STEM, HEAD = 32, 1280
# Of the blocks: expansion, kernel, stride of the first, channels, how many.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
SQUEEZE = 4  # channels of a block's input per channel of its squeezed excitation
# SiLU leaves 0.36 of the mean square of a standard normal input: this keeps signals of one size.
GAIN = 1.68


class Builder:
    """Collects nodes and initializers; every method returns the name of the tensor it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, *shape: int, scale: float) -> str:
        array = self._random.standard_normal(shape, np.float32) * np.float32(scale)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def conv(
        self,
        x: str,
        name: str,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        gain: float = GAIN,
    ) -> str:
        fan_in = inputs // groups * kernel**2
        weight = self.weight(
            f"{name}.weight", outputs, inputs // groups, kernel, kernel, scale=gain / math.sqrt(fan_in)
        )
        bias = self.weight(f"{name}.bias", outputs, scale=0.1)
        return self.node(
            "Conv",
            [x, weight, bias],
            name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def silu(self, x: str) -> str:
        return self.node("Mul", [x, self.node("Sigmoid", [x], f"{x}.sigmoid")], f"{x}.silu")

    def excited(self, x: str, name: str, channels: int, squeezed: int) -> str:
        pooled = self.node("GlobalAveragePool", [x], f"{name}.pooled")
        small = self.silu(self.conv(pooled, f"{name}.reduce", channels, squeezed))
        gate = self.node("Sigmoid", [self.conv(small, f"{name}.expand", squeezed, channels)], f"{name}.gate")
        return self.node("Mul", [x, gate], name)

    def block(
        self, x: str, name: str, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int
    ) -> str:
        wide = inputs * expansion
        y = x if expansion == 1 else self.silu(self.conv(x, f"{name}.wide", inputs, wide, gain=1))
        y = self.silu(
            self.conv(y, f"{name}.depthwise", wide, wide, kernel=kernel, stride=stride, groups=wide)
        )
        y = self.excited(y, f"{name}.excited", wide, inputs // SQUEEZE)
        y = self.conv(y, f"{name}.narrow", wide, outputs)
        return self.node("Add", [x, y], f"{name}.residual") if (inputs, stride) == (outputs, 1) else y


def build(image: int) -> onnx.ModelProto:
    """Return the model for square images of this many pixels: (N, 3, image, image) -> (N, 1000)."""
    make = Builder()
    x, channels = make.silu(make.conv("image", "stem", 3, STEM, kernel=3, stride=2, gain=1)), STEM
    for number, (expansion, kernel, stride, outputs, count) in enumerate(STAGES):
        for index in range(count):
            name = f"stage{number}.{index}"
            x = make.block(
                x,
                name,
                channels,
                outputs,
                expansion=expansion,
                kernel=kernel,
                stride=stride if index == 0 else 1,
            )
            channels = outputs
    x = make.silu(make.conv(x, "head", channels, HEAD, gain=1))
    x = make.node("Flatten", [make.node("GlobalAveragePool", [x], "pooled")], "flat")
    weight = make.weight("classifier.weight", HEAD, CLASSES, scale=1 / math.sqrt(HEAD))
    x = make.node("Gemm", [x, weight, make.weight("classifier.bias", CLASSES, scale=0.1)], "logits")
    graph = helper.make_graph(
        make.nodes,
        "efficientnet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, image, image])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", CLASSES])],
        make.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def write(image: int, path: Path) -> int:
    """Write the model; return the bytes of its file."""
    onnx.save(build(image), path)
    return path.stat().st_size
