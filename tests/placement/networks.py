"""Small networks to place, and an independent account of who reads whom: move one input, see what changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import Binary
from snnc.ir.shapes import concrete
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

FIRE: dict[str, Any] = {"codebook": Binary()}


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def fire(b: Builder, x: Value, name: str) -> Value:
    """Neurons that send binary spikes."""
    return b("neuron", x, name=name, **FIRE)


def one_layer(op: str, *shape: int, **attributes: Any) -> Graph:
    """Spikes of a shape [N, …] into one op and the neurons behind it."""
    b = Builder(N, *shape)
    return b.outputs(y=fire(b, b(op, b.x, name="synapse", **attributes), "layer"))


def taps(node: Node, graph: Graph) -> Array:
    """Return how many synapses lead from each input element to each output element, [in, out].

    All weights are 1, so that is what one input element alone adds to an output element.
    """
    assert node.op.kernel is not None
    shape = concrete(node.operands[0].type.shape, 1)
    size = int(np.prod(shape))
    given = {
        key: np.ones_like(value) if key == "weight" else value
        for key, value in graph.resolve(node).items()
        if key != "bias"
    }
    if "bias" in node.op.attributes:
        given["bias"] = None
    batch = np.eye(size, dtype=np.float32).reshape(size, *shape[1:])
    reached = node.op.kernel(batch, **given) > 0  # averages are not 1
    counts = node.op.kernel(batch, **given) if node.op.synaptic else reached
    return np.rint(counts.reshape(size, -1)).astype(int)
