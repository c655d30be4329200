"""Thresholds of a host's neurons, taken into what the host computes in front of them.

In a network of integers whose host computes in single precision: a multiplication less per neuron, and no
other rounding than that had.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from snnc.backends.onnx.spiking.integer_kernels import divides_by_channel
from snnc.backends.onnx.spiking.units import Units
from snnc.ir.op import computes_integers
from snnc.ir.shapes import concrete

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

SMALL = 16  # a factor with so many times fewer elements than the product is worth a multiplication of its own


class HostUnits(Units):
    """Changes only neurons that read real numbers."""

    def choose(self) -> None:
        for node in list(self.graph):
            if node.op.name == "neuron":
                self._host_neuron(node)

    def _host_neuron(self, node: Node) -> None:
        given = self.graph.resolve(node)
        plain = all(given[name] is None for name in ("negative", "level_axis", "width", "scale"))
        if computes_integers(node.op, given) or not plain or given["quantum"].size == 1:
            return
        if divides_by_channel(given["quantum"], node.result.type.shape):
            return
        changes = self._in_front(node.operands[0], 1 / given["quantum"].astype("float64"))
        if changes is None:
            return
        for change in changes:
            change()
        self._set_neuron(node, given, 1, sends=False)

    def product(self, node: Node, factor: Array) -> list[Callable[[], None]] | None:
        """Multiply a constant, or a small operand such as a gate, in front of the product."""
        found = super().product(node, factor)
        if found is not None:
            return found
        for index, operand in enumerate(node.operands):
            if elements(operand) * SMALL <= elements(node.result) and fits(factor, operand):
                return [partial(self._multiply, node, factor, index)]
        return None


def host_in_units(graph: Graph, steps: int, sites: Sequence[Value]) -> tuple[Graph, Sequence[Value]]:
    """Return a copy of the graph with such thresholds, and its own `sites`."""
    copy = graph.copy()
    twins = {node.result: twin.result for node, twin in zip(graph, copy, strict=True)}
    found = [twins[value] for value in sites]
    HostUnits(copy, steps, found, by_averages=False).choose()
    return copy, found


def elements(value: Value) -> int:
    """Return the number of elements of a sample."""
    count = 1
    for size in concrete(value.type.shape, 1):
        count *= size
    return count


def fits(factor: Array, value: Value) -> bool:
    """Tell whether a factor does not repeat what it multiplies."""
    shape = concrete(value.type.shape, 1)
    return len(shape) == factor.ndim and all(
        size in (1, own) for size, own in zip(factor.shape, shape, strict=True)
    )
