"""Run-time indices as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.onnx.emitters.simple import one_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def range_(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """start + step i; ONNX counts in a loop whose bounds are scalars."""
    given = model.graph.resolve(node)
    size = model.add("Squeeze", [model.dims(given["size"])])
    zero, one = (model.constant(np.array(number, np.int64)) for number in (0, 1))
    count = model.add("Range", [zero, size, one])
    stretched = model.add("Mul", [count, model.constant(np.array(given["step"], np.int64))])
    return model.add("Add", [stretched, model.constant(np.array(given["start"], np.int64))])


EMITTERS: dict[str, Emitter] = {
    "range": range_,
    "take": one_node("Gather", axis="axis"),
    "gather_elements": one_node("GatherElements", axis="axis"),
    "gather_nd": one_node("GatherND", batch_dims="batch_dims"),
}
