"""The analog meaning of a graph of pure ops: its kernels, in execution order."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.errors import ShapeError
from snnc.ir.shapes import Batch, concrete
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


LARGEST = 2**26
"""Elements of the largest stream that an import evaluates (256 MiB of f32)."""


def measurable(graph: Graph, batch: int) -> bool:
    """Tell whether no stream is too large to be evaluated with so many samples."""
    streams = (*graph.inputs, *(node.result for node in graph))
    return all(math.prod(concrete(value.type.shape, batch)) <= LARGEST for value in streams)


def evaluate(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs by name; `inputs` by name, with any batch size."""
    batch = batch_size(graph, inputs)
    values = {
        value: np.asarray(inputs[value.name or ""]).astype(DTYPES[value.type.dtype], copy=False)
        for value in graph.inputs
    }
    pending: Counter[Value] = Counter(operand for node in graph for operand in node.operands)
    pending.update(output.value for output in graph.outputs)
    for node in graph:
        values[node.result] = evaluate_node(
            graph, node, [values[operand] for operand in node.operands], batch
        )
        pending.subtract(node.operands)
        for operand in set(node.operands):
            if not pending[operand]:
                del values[operand]
    return {output.name: values[output.value] for output in graph.outputs}


def evaluate_node(graph: Graph, node: Node, operands: Sequence[Array], batch: int) -> Array:
    """Return one node's result, held against the type the graph states for it."""
    assert node.op.kernel is not None, f"{node!r} keeps state"
    attributes = {key: _with_batch(value, batch) for key, value in graph.resolve(node).items()}
    with np.errstate(all="ignore"):
        result = np.asarray(node.op.kernel(*operands, **attributes))
    stated = concrete(node.result.type.shape, batch)
    if result.shape != stated:
        raise ShapeError(f"{node!r} gives {result.shape}, its type says {stated}")
    return result


def _with_batch(value: Any, batch: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_with_batch(item, batch) for item in value)
    return value.coefficient * batch if isinstance(value, Batch) else value


def batch_size(graph: Graph, inputs: Mapping[str, Array]) -> int:
    """Return the batch size that the inputs have (1 where no input has a batch)."""
    for value in graph.inputs:
        for dim, size in zip(value.type.shape, np.shape(inputs[value.name or ""]), strict=True):
            if isinstance(dim, Batch):
                return int(size) // dim.coefficient
    return 1
