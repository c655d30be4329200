"""Convolutions and matrix products as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters.simple import one_node
from snnc.ir.shapes import element_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def conv(model: ModelBuilder, node: Node, inputs: Sequence[str], times: int = 1) -> str:
    """Write a convolution with so many times the bias."""
    bias = model.multiple(node, "bias", times)
    return windowed(model, node, [inputs[0], model.tensor(node, "weight"), bias])


def windowed(model: ModelBuilder, node: Node, operands: Sequence[str]) -> str:
    """Write a convolution, transposed or not, of x, W and b."""
    attributes = model.graph.resolve(node)
    names = ("strides", "pads", "dilations", "output_padding", "group")
    return model.add(
        "Conv" if node.op.name == "conv" else "ConvTranspose",
        operands,
        **{name: attributes[name] for name in names if name in attributes},
    )


def linear(model: ModelBuilder, node: Node, inputs: Sequence[str], times: int = 1) -> str:
    """One Gemm over all rows: it reads W as it lies in memory, where MatMul might need a copy.

    It has so many times the bias.
    """
    (weight, transposed), bias = model.matrix(node, "weight"), model.multiple(node, "bias", times)
    return rows_times(model, node, [inputs[0], weight, bias], transposed=transposed)


def rows_times(model: ModelBuilder, node: Node, operands: Sequence[str], *, transposed: bool) -> str:
    """Write a linear layer of x, W (or Wᵀ) and b."""
    x, shape = node.operands[0].type.shape, node.result.type.shape
    if len(x) == 2:
        return model.add("Gemm", operands, transB=int(not transposed))
    rows = model.reshape(operands[0], (element_count(x[:-1]), x[-1]))
    return model.reshape(model.add("Gemm", [rows, *operands[1:]], transB=int(not transposed)), shape)


EMITTERS: dict[str, Emitter] = {
    "conv": conv,
    "conv_transpose": conv,
    "linear": linear,
    "matmul": one_node("MatMul"),
}
