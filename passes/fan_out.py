"""How many accumulates one unit spike causes: the synapses it really drives, borders and strides included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.shapes import Batch, concrete, per_sample
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


def one_sample(value: Value) -> tuple[int, ...]:
    return concrete(value.type.shape, 1)


def fan_out(node: Node, graph: Graph) -> Array:
    """Return how many synapses each element of the first operand drives."""
    assert node.op.fan_out is not None
    return node.op.fan_out(one_sample(node.operands[0]), one_sample(node.result), **graph.resolve(node))


def spike_fan_out(user: Node, value: Value, graph: Graph) -> Array | None:
    """Return how many accumulates a unit spike of each element causes in a reader; None where it moves on."""
    if isinstance(user.result.type, SpikeType) and not user.op.synaptic:
        return None
    if user.op.fan_out is not None:
        return fan_out(user, graph)
    if user.op.name == "matmul":
        return np.asarray(product_fan_out(user, value))
    copies = per_sample(user.result.type.shape) / per_sample(value.type.shape)
    return np.asarray(max(1.0, copies))


def product_fan_out(matmul: Node, value: Value) -> float:
    """A(t) meets every column of S_B, B(t) every row of S_A; in a product of one step A(t) those of B(t)."""
    if not matmul.expect and isinstance(matmul.result.type, SpikeType) and matmul.operands[0] is not value:
        return 0.0
    shape = matmul.result.type.shape
    free = shape[-1] if matmul.operands[0] is value else shape[-2]
    assert not isinstance(free, Batch)
    return float(free)


def mean_fan_out(value: Value, graph: Graph) -> float:
    """Return how many accumulates a unit spike causes on average, in all readers, however it gets there."""
    total = 0.0
    for user in value.users:
        drives = spike_fan_out(user, value, graph)
        if drives is not None:
            total += float(np.mean(drives))
            continue
        kept = math.prod(one_sample(user.result)) / math.prod(one_sample(value))
        total += kept * mean_fan_out(user.result, graph)
    return total
