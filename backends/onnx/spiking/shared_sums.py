"""Neurons that share the sums of one synapse, each its own channels, as a single kernel of bytes.

Such are the queries, keys and values of a transformer: one linear layer makes them, and what cuts, turns and
reshapes them moves bytes then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.onnx.spiking.byte_kernels import (
    Judge,
    byte_of_zero,
    is_windowed,
    proved,
    sends_whole,
)
from snnc.ir.ops.neuron import whole_start
from snnc.ir.shapes import concrete, fill_batch

if TYPE_CHECKING:
    from snnc.backends.onnx.spiking.byte_kernels import Fused
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

CUTS = frozenset({"reshape", "transpose", "slice"})


@dataclass(frozen=True, slots=True)
class Shared:
    """The kernel of a synapse and its `neurons`; `between` them nothing but moves."""

    fused: Fused
    neurons: tuple[Node, ...]
    between: tuple[Node, ...]


def share(synapse: Node, graph: Graph, steps: int) -> Shared | None:
    """Return the kernel of several neurons that read one synapse, or None."""
    if synapse.op.name not in ("linear", "conv") or not is_windowed(synapse, graph.resolve(synapse)):
        return None
    found = Readers(synapse, graph)
    if not found.follow(synapse.result) or len(found.neurons) < 2:
        return None
    first, *others = (graph.resolve(neuron) for neuron in found.neurons)
    alike = all(one[name] == first[name] for one in others for name in ("codebook", "width", "reset"))
    zeros = {byte_of_zero(neuron.result) for neuron in found.neurons}
    zero = zeros.pop()
    once = steps == 1 or first["reset"] == "restart"
    if not alike or zeros or zero is None or not once:
        return None
    parameters = found.parameters()
    if parameters is None:
        return None
    fused = proved(synapse, None, graph, zero, Judge(first["codebook"], first["width"], *parameters))
    return None if fused is None else Shared(fused, tuple(found.neurons), tuple(found.between))


class Readers:
    """What reads a synapse through moves: neurons of whole numbers, or it is of no use."""

    def __init__(self, synapse: Node, graph: Graph) -> None:
        self.synapse, self.graph = synapse, graph
        self.neurons: list[Node] = []
        self.between: list[Node] = []

    def follow(self, value: Value) -> bool:
        """Collect the readers of a value; False if one of them is something else."""
        if self.graph.is_output(value):
            return False
        for user in value.users:
            if user.op.name in CUTS:
                self.between.append(user)
                if not self.follow(user.result):
                    return False
            elif not sends_whole(user, self.graph.resolve(user)):
                return False
            else:
                self.neurons.append(user)
        return True

    def parameters(self) -> tuple[Array, Array, Array] | None:
        """Return thresholds, biases and starts of every output [O]; None unless each has one of them."""
        shape = concrete(self.synapse.result.type.shape, 1)
        axis = len(shape) - 1 if self.synapse.op.name == "linear" else 1
        count = shape[axis]
        along = [count if index == axis else 1 for index in range(len(shape))]
        # Every element carries the number of its output along, from 1.
        numbers = np.broadcast_to(np.arange(1.0, count + 1).reshape(along), shape)
        least, most = np.full((3, count), np.inf), np.full((3, count), -np.inf)
        for neuron in self.neurons:
            given, place = self.graph.resolve(neuron), self._moved(numbers, neuron.operands[0])
            output = place.astype(np.int64).reshape(-1) - 1
            for row, one in enumerate((given["quantum"], given["bias"], whole_start(given))):
                full = np.broadcast_to(0 if one is None else one, place.shape).reshape(-1).astype(np.float64)
                np.minimum.at(least[row], output, full)
                np.maximum.at(most[row], output, full)
        if not (least == most).all():
            return None
        quantum, bias, start = least.astype(np.int64)
        return quantum, bias, start

    def _moved(self, numbers: Array, value: Value) -> Array:
        if value is self.synapse.result:
            return numbers
        node = value.node
        assert node is not None
        assert node.op.kernel is not None
        moved = node.op.kernel(
            self._moved(numbers, node.operands[0]), **fill_batch(self.graph.resolve(node), 1)
        )
        return np.asarray(moved)
