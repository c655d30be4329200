"""Constant indices that count the samples of a fixed batch, counted at run time instead.

Exporters index a mask by [sample, position]; with a fixed batch B that is a constant array which says
0..B-1 along one axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.graph import Graph, Value
from snnc.ir.shapes import Batch, batch_axis

if TYPE_CHECKING:
    import onnx

    from snnc.frontend.context import Entry
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim


@dataclass(frozen=True, slots=True)
class Counting:
    """Indices base + step n for sample n, samples along `axis`."""

    base: Array
    step: Array
    axis: int


def counted(graph: Graph, node: onnx.NodeProto, name: str, inputs: list[Entry | None], size: int) -> Entry:
    """Return the indices of a Gather or GatherND with samples counted at run time, if they count them."""
    data, indices = inputs[:2]
    assert isinstance(data, Value)
    assert isinstance(indices, np.ndarray)
    step = sample_step(node, data, indices)
    found = None if step is None else find_counting(indices, step, size)
    if found is None:
        return indices
    dims: list[Dim] = [1] * indices.ndim
    dims[found.axis] = Batch()
    number = graph.append("range", [], {"size": (Batch(),)}, origin=(name,))
    number = graph.append("reshape", [number], {"shape": tuple(dims)}, origin=(name,))
    step_value, base = (
        graph.constant_value(array.astype(np.int64), f"{name}.indices", origin=(name,))
        for array in (found.step, found.base)
    )
    offset = graph.append("mul", [number, step_value], origin=(name,))
    return graph.append("add", [offset, base], origin=(name,))


def sample_step(node: onnx.NodeProto, data: Value, indices: Array) -> Array | None:
    """Return by how much an index grows from one sample to the next, or None if it picks no samples."""
    axis = batch_axis(data.type.shape)
    assert axis is not None
    dim = data.type.shape[axis]
    assert isinstance(dim, Batch)
    given = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "Gather":
        picks = given.get("axis", 0) % len(data.type.shape) == axis
        return np.array(dim.coefficient) if picks else None
    depth = indices.shape[-1]
    if given.get("batch_dims", 0) or axis >= depth:
        return None
    return np.where(np.arange(depth) == axis, dim.coefficient, 0)


def find_counting(indices: Array, step: Array, size: int) -> Counting | None:
    """Return the first axis along which the indices grow by `step` from sample to sample."""
    for axis in range(indices.ndim - step.ndim):  # the last axis of GatherND holds the index itself
        if indices.shape[axis] != size:
            continue
        base = indices.take([0], axis)
        number = np.arange(size).reshape([-1 if other == axis else 1 for other in range(indices.ndim)])
        first = base[..., step > 0] if step.ndim else base
        if np.array_equal(indices, base + number * step) and 0 <= first.min() <= first.max() < step.max():
            return Counting(base, step, axis)
    return None
