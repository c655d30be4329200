"""Whether indices that count samples leave every sample to itself.

Exporters read a mask of sample n by n, counted at run time. That is the same network for every sample; taking
sample n's data for sample m, or computing with the number n itself, is not, and could not run in groups.
What decides is measured: every value that such indices lead to, for three samples at once and for each alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.evaluate import evaluate_node, measurable
from snnc.ir.errors import DataError
from snnc.ir.shapes import Batch, batch_axis, concrete
from snnc.ir.types import DTYPES
from snnc.passes.analysis import static_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import Type

SAMPLES = 3


def mixing_nodes(graph: Graph) -> list[Node]:
    """Return the nodes that need other samples, or the number of a sample, to compute their result."""
    static = static_values(graph)
    counting = nodes_by_sample_number(graph, static)
    if not counting:
        return []
    if not measurable(graph, SAMPLES):
        return counting
    inputs = {value: draw(value, number) for number, value in enumerate(graph.inputs) if value in static}
    try:
        together = static_arrays(graph, static, inputs, SAMPLES)
        alone = [
            static_arrays(graph, static, {v: part(array, v.type, n) for v, array in inputs.items()}, 1)
            for n in range(SAMPLES)
        ]
    except DataError:
        return [node for node in counting if picks_samples(node)]
    return [
        node
        for node in counting
        if (node.result not in static or graph.is_output(node.result))
        and not independent(graph, node, together, alone)
    ]


def nodes_by_sample_number(graph: Graph, static: set[Value]) -> list[Node]:
    """Return the nodes that count samples, pick among them, or read indices from which that was computed."""
    found: list[Node] = []
    counted: set[Value] = set()
    for node in graph:
        counts = node.op.name == "range" and batch_axis(node.result.type.shape) is not None
        if counts or picks_samples(node) or any(operand in counted for operand in node.operands):
            found.append(node)
            if node.result in static:
                counted.add(node.result)
    return found


def picks_samples(node: Node) -> bool:
    """Tell whether run-time indices look up the batch axis."""
    if node.op.name not in ("take", "gather_nd"):
        return False
    data, indices = (operand.type.shape for operand in node.operands)
    axis = batch_axis(data)
    if node.op.name == "take":
        number = node.attributes["axis"]
        assert isinstance(number, int)
        return axis == number % len(data)
    shared, depth = node.attributes.get("batch_dims", 0), indices[-1]
    assert isinstance(shared, int)
    assert isinstance(depth, int)
    return axis is not None and shared <= axis < shared + depth


def independent(
    graph: Graph, node: Node, together: Mapping[Value, Array], alone: Sequence[Mapping[Value, Array]]
) -> bool:
    """Compare a node's result for all samples with the results for each alone, on any data."""
    data = [
        together[operand] if operand in together else draw(operand, number)
        for number, operand in enumerate(node.operands)
    ]
    try:
        result = evaluate_node(graph, node, data, SAMPLES)
        for n, known in enumerate(alone):
            own = [
                known[operand] if operand in known else part(array, operand.type, n)
                for operand, array in zip(node.operands, data, strict=True)
            ]
            expected = evaluate_node(graph, node, own, 1)
            # Not bit by bit: a matrix product rounds differently for another number of rows.
            if not np.allclose(part(result, node.result.type, n), expected, 1e-4, 1e-4, equal_nan=True):
                return False
    except DataError:
        return False
    return True


def static_arrays(
    graph: Graph, static: set[Value], inputs: Mapping[Value, Array], batch: int
) -> dict[Value, Array]:
    """Return the arrays of the values that never vary in time."""
    values = dict(inputs)
    for node in graph:
        if node.result in static:
            operands = [values[operand] for operand in node.operands]
            values[node.result] = evaluate_node(graph, node, operands, batch)
    return values


def draw(value: Value, number: int) -> Array:
    """Return data that differ from sample to sample; integers are 0 or 1, as every table and mask allows."""
    shape, dtype = concrete(value.type.shape, SAMPLES), DTYPES[value.type.dtype]
    rng = np.random.default_rng(number)
    drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
    return np.asarray(drawn).astype(dtype)


def part(array: Array, type_: Type, n: int) -> Array:
    """Return what belongs to sample n."""
    axis = batch_axis(type_.shape)
    if axis is None:
        return array
    dim = type_.shape[axis]
    assert isinstance(dim, Batch)
    return array.take(range(n * dim.coefficient, (n + 1) * dim.coefficient), axis)
