"""Convolutions and matrix products as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters.simple import one_node

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
    weight, bias = model.tensor(node, "weight"), model.tensor(node, "bias")
    if len(node.operands[0].type.shape) == 2:
        return model.add("Gemm", [inputs[0], weight, bias], transB=1)
    transposed = model.add("Transpose", [weight], perm=(1, 0))
    product = model.add("MatMul", [inputs[0], transposed])
    return model.add("Add", [product, bias]) if bias else product


EMITTERS: dict[str, Emitter] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "matmul": one_node("MatMul"),
}
