"""Reductions and running sums as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def reduction(onnx_op: str) -> Emitter:
    """Return the emitter of a reduction over `axes` (empty: all)."""

    def emit(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
        attributes = model.graph.resolve(node)
        axes = [model.ints(attributes["axes"])] if attributes["axes"] else []
        return model.add(onnx_op, [inputs[0], *axes], keepdims=int(attributes["keepdims"]))

    return emit


def mean(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """The mean of every channel of images is a pool, which onnxruntime has for its own layout of images."""
    if model.precision in (None, np.float32) and averages_channels(node):
        return model.add("GlobalAveragePool", inputs)
    return reduction("ReduceMean")(model, node, inputs)


def averages_channels(node: Node) -> bool:
    """Tell whether a node takes the mean over the pixels of images and keeps their axes."""
    assert node.graph is not None
    given, rank = node.graph.resolve(node), len(node.operands[0].type.shape)
    pixels = rank == 4 and {axis % 4 for axis in given["axes"]} == {2, 3}
    return pixels and bool(given["keepdims"]) and DTYPES[node.operands[0].type.dtype] == np.float32


def cumsum(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    axis = model.constant(np.array(attributes["axis"], np.int64))
    return model.add(
        "CumSum",
        [inputs[0], axis],
        exclusive=int(attributes["exclusive"]),
        reverse=int(attributes["reverse"]),
    )


EMITTERS: dict[str, Emitter] = {
    "reduce_mean": mean,
    "reduce_sum": reduction("ReduceSum"),
    "reduce_max": reduction("ReduceMax"),
    "reduce_min": reduction("ReduceMin"),
    "reduce_l1": reduction("ReduceL1"),
    "reduce_l2": reduction("ReduceL2"),
    "reduce_prod": reduction("ReduceProd"),
    "reduce_sum_square": reduction("ReduceSumSquare"),
    "reduce_log_sum_exp": reduction("ReduceLogSumExp"),
    "reduce_log_sum": reduction("ReduceLogSum"),
    "cumsum": cumsum,
}
