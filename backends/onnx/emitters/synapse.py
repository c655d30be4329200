"""Convolutions and matrix products as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters.simple import one_node
from snnc.ir.shapes import element_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def conv(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    return model.add(
        "Conv",
        [inputs[0], model.tensor(node, "weight"), model.tensor(node, "bias")],
        **{name: attributes[name] for name in ("strides", "pads", "dilations", "group")},
    )


def conv_transpose(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    return model.add(
        "ConvTranspose",
        [inputs[0], model.tensor(node, "weight"), model.tensor(node, "bias")],
        **{name: attributes[name] for name in ("strides", "pads", "dilations", "output_padding", "group")},
    )


def linear(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """One Gemm over all rows: it reads W as it lies in memory, where MatMul might need a copy."""
    x, shape = node.operands[0].type.shape, node.result.type.shape
    weight, transposed = model.matrix(node, "weight")
    operands, order = [weight, model.tensor(node, "bias")], int(not transposed)
    if len(x) == 2:
        return model.add("Gemm", [inputs[0], *operands], transB=order)
    rows = model.reshape(inputs[0], (element_count(x[:-1]), x[-1]))
    return model.reshape(model.add("Gemm", [rows, *operands], transB=order), shape)


EMITTERS: dict[str, Emitter] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "matmul": one_node("MatMul"),
}
