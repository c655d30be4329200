"""Chooses units for streams in which looking a payload up takes no multiplication.

A codebook with a table has its edges at multiples of 1/p quanta (p = 2 or 4), so its neuron reads the table
at p m / q. Where the ops in front can take the factor p / q into their weights, and those behind 1 / p into
theirs, the membrane itself is the place in the table, and what is sent, p k, is what the reset takes away.
Powers of two never round. Other factors are moved only where the sum in front rounds anyway.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from snnc.backends.onnx.spiking.blocks import NO_BLOCKS, Blocks, channels_of
from snnc.backends.onnx.spiking.codebook import table_parts
from snnc.ir.codebooks import MultiSpike
from snnc.ir.shapes import batch_axis, concrete
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

    Change: TypeAlias = Callable[[], None]
    Rule: TypeAlias = Callable[["Units", Node, Array], "list[Change] | None"]

SIGNIFICANT_BITS = 20  # weights that need more of them have no exact sums in single precision
SAMPLE = 4096  # weights that are looked at


class Units:
    """Changes a graph of real numbers for a run of so many steps, `by_averages` or one after the other.

    `factors` says what multiplies a stream that does not lie in its own unit any more. Streams in `kept`
    do, but for spikes. Neurons of `blocks` divide by their thresholds anyway, where rounding does no harm.
    """

    def __init__(
        self,
        graph: Graph,
        steps: int,
        kept: Collection[Value],
        *,
        by_averages: bool,
        blocks: Blocks = NO_BLOCKS,
    ) -> None:
        self.graph = graph
        self.blocks = blocks
        self._dividing: set[Node] = set()
        self.steps = steps
        self.by_averages = by_averages
        self.kept = frozenset(kept)
        self.answers = frozenset(output.value for output in graph.outputs)
        self.factors: dict[Value, float] = {}
        self._rounded: set[Value] = set()

    def choose(self) -> None:
        for node in list(self.graph):
            if self._rounds(node):
                self._rounded.add(node.result)
            if node.op.name == "neuron":
                self._neuron(node)
        self.blocks = Blocks(frozenset(self._dividing), self.blocks.gates)

    def _neuron(self, node: Node) -> None:
        given = self.graph.resolve(node)
        parts, quantum = table_parts(given["codebook"]), given["quantum"].astype(np.float64)
        rounds = isinstance(given["codebook"], MultiSpike) and parts is None
        parts = 1 if rounds else parts
        plain = all(given[name] is None for name in ("negative", "level_axis", "width", "scale"))
        if parts is None or not plain or not (power_of_two(quantum) or node.operands[0] in self._rounded):
            return
        if node in self.blocks.neurons:
            self._dividing.add(node)
            self._in_residual_units(node)
            return
        behind: list[Change] | None = []
        if self.steps > 1 and given["reset"] == "subtract" and not rounds:
            behind = self._behind(node.result, 1 / parts)
        if behind is None:
            parts, behind = 1, []  # the membrane is in quanta, at least
        in_front = self._in_front(node.operands[0], parts / quantum)
        if in_front is None:
            if (quantum == 1).all() or (rounds and self.by_averages):
                return
            in_front = [partial(self._multiply, node, parts / quantum)]
        for change in (*in_front, *behind):
            change()
        self._set_neuron(node, given, parts, sends=bool(behind))

    def _in_residual_units(self, node: Node) -> None:
        """Add up what a neuron reads in the unit of a residual connection, which is not multiplied then."""
        (x,) = node.operands
        total = x.node
        for index, operand in enumerate(
            total.operands if total is not None and total.op.name == "add" else ()
        ):
            found = self._scaled_images(operand)
            if found is None or total is None or not (power_of_two(found[1]) or x in self._rounded):
                continue
            stream, unit = found
            changes = self._in_front(x, 1 / unit)
            if changes is None:
                continue
            for change in changes:
                change()
            self.graph.set_operand(total, index, stream)
            quantum = self._tensor(node, "quantum", self.graph.resolve(node)["quantum"], 1 / unit)
            self.graph.set_attributes(node, quantum=quantum)
            return

    def _scaled_images(self, value: Value) -> tuple[Value, Array] | None:
        """Return the images and the factors per channel of which a value is the product, if it is one."""
        if value.node is None or value.node.op.name != "mul":
            return None
        for stream, constant in (value.node.operands, value.node.operands[::-1]):
            unit = self.graph.constant(constant)
            if unit is not None and unit.shape == (1, channels_of(stream), 1, 1) and (unit > 0).all():
                return stream, unit.astype(np.float64)
        return None

    def _set_neuron(self, node: Node, given: dict[str, Any], parts: int, *, sends: bool) -> None:
        ones = np.ones((1,) * given["quantum"].ndim, np.float32)
        changes = {"quantum": self.graph.add_tensor("quantum", parts * ones)}
        if given["bias"] is not None:
            changes["bias"] = self._tensor(node, "bias", given["bias"], parts / given["quantum"])
        if sends:
            changes["scale"] = changes["quantum"]
            self.factors[node.result] = parts
        self.graph.set_attributes(node, **changes)

    def _multiply(self, node: Node, factor: Array, index: int = 0) -> None:
        """Multiply what a node reads."""
        x = node.operands[index]
        factor = factor.astype(DTYPES[x.type.dtype])
        constant = self.graph.constant_value(factor, "factor", node, node.origin)
        product = self.graph.insert(node, "mul", [x, constant], origin=node.origin)
        self.graph.set_operand(node, index, product)

    def _rounds(self, node: Node) -> bool:
        """Tell whether a node's result has rounding errors for certain."""
        if node.op.neuron or node.op.name == "constant":
            return False
        if node.op.special or (node.op.synaptic and many_bits(self.graph.resolve(node).get("weight"))):
            return True
        if node.op.name == "mul" and any(many_bits(self.graph.constant(x)) for x in node.operands):
            return True
        return any(operand in self._rounded for operand in node.operands)

    # In front: every rule returns the changes that multiply a node's result by a factor per channel, or None.

    def _in_front(self, value: Value, factor: Array) -> list[Change] | None:
        node = value.node
        if node is None or value in self.kept or value in self.answers or sum(value.users.values()) != 1:
            return None
        rule = IN_FRONT.get(node.op.name)
        return rule(self, node, factor) if rule else None

    def synapse(self, node: Node, factor: Array) -> list[Change] | None:
        axis = factor.ndim - 1 if node.op.name == "linear" else 1
        if not varies_along(factor, {axis}):
            return None
        weight, row = self.graph.resolve(node)["weight"], factor.reshape(-1)
        return self._scaled(node, weight=row.reshape(-1, *(1,) * (weight.ndim - 1)), bias=row)

    def layer_norm(self, node: Node, factor: Array) -> list[Change] | None:
        gamma = self.graph.resolve(node)["gamma"]
        if gamma is None or not varies_along(factor, set(range(factor.ndim - gamma.ndim, factor.ndim))):
            return None
        inner = factor.reshape(factor.shape[factor.ndim - gamma.ndim :])
        return self._scaled(node, gamma=inner, beta=inner)

    def total(self, node: Node, factor: Array) -> list[Change] | None:
        changes: list[Change] = []
        for index, operand in enumerate(node.operands):
            if self.graph.constant(operand) is not None:
                changes.append(partial(self._scale_constant, node, index, factor))
                continue
            same = operand.type.shape == node.result.type.shape
            inner = self._in_front(operand, factor) if same else None
            if inner is None:
                return None
            changes += inner
        return changes

    def product(self, node: Node, factor: Array) -> list[Change] | None:
        constant = [i for i, operand in enumerate(node.operands) if self.graph.constant(operand) is not None]
        return [partial(self._scale_constant, node, constant[0], factor)] if constant else None

    def reshaped(self, node: Node, factor: Array) -> list[Change] | None:
        (x,) = node.operands
        before, after = (concrete(value.type.shape, 1) for value in (x, node.result))
        inner = without_repeats(np.broadcast_to(factor, after).reshape(before))
        batch = batch_axis(x.type.shape)
        return None if batch is None or inner.shape[batch] != 1 else self._in_front(x, inner)

    def transposed(self, node: Node, factor: Array) -> list[Change] | None:
        order = np.argsort(self.graph.resolve(node)["perm"])
        return self._in_front(node.operands[0], factor.transpose(order))

    def _scaled(self, node: Node, **factors: Array) -> list[Change]:
        """Multiply tensors of a node."""
        return [partial(self._scale_tensor, node, name, factor) for name, factor in factors.items()]

    def _scale_tensor(self, node: Node, name: str, factor: Array) -> None:
        array = self.graph.resolve(node)[name]
        if array is not None:
            self.graph.set_attributes(node, **{name: self._tensor(node, name, array, factor)})

    def _tensor(self, node: Node, name: str, array: Array, factor: Array) -> Any:
        # In the order in which the weight lies: readers ask for it.
        scaled = np.multiply(array.T, factor.T).T if array.flags.f_contiguous else np.multiply(array, factor)
        reference: Any = node.attributes[name]
        return self.graph.add_tensor(reference.name, scaled.astype(array.dtype, order="A"))

    def _scale_constant(self, node: Node, index: int, factor: Array) -> None:
        array = self.graph.constant(node.operands[index])
        assert array is not None
        scaled = (array * factor).astype(array.dtype)
        self.graph.set_operand(node, index, self.graph.constant_value(scaled, "factor", node, node.origin))

    # Behind: every reader takes the reciprocal into its weights, or hands the factor on.

    def _behind(self, value: Value, factor: float) -> list[Change] | None:
        if value in self.answers or not value.users:
            return None
        changes: list[Change] = []
        for user, times in value.users.items():
            found = self._reader(user, factor, user.operands.index(value)) if times == 1 else None
            if found is None:
                return None
            changes += found
        return changes

    def _reader(self, node: Node, factor: float, index: int) -> list[Change] | None:
        scalar = np.asarray(factor)
        if node.op.synaptic and "weight" in node.attributes and index == 0:
            return self._scaled(node, weight=scalar)
        if node.op.name == "mul":
            return self.product(node, scalar)
        if node.op.name not in HAND_ON or (node.op.name == "pad" and self.graph.resolve(node)["value"]):
            return None
        inner = self._behind(node.result, factor)
        return None if inner is None else [*inner, partial(self._hand_on, node.result, factor)]

    def _hand_on(self, value: Value, factor: float) -> None:
        self.factors[value] = self.factors.get(value, 1.0) / factor


IN_FRONT: dict[str, Rule] = {
    "conv": Units.synapse,
    "linear": Units.synapse,
    "layer_norm": Units.layer_norm,
    "add": Units.total,
    "sub": Units.total,
    "mul": lambda units, node, factor: units.product(node, factor),
    "reshape": Units.reshaped,
    "transpose": Units.transposed,
}
HAND_ON = frozenset({"reshape", "transpose", "slice", "pad", "max_pool", "avg_pool", "matmul"})


def in_units(
    graph: Graph, steps: int, sites: Sequence[Value], *, by_averages: bool, blocks: Blocks = NO_BLOCKS
) -> tuple[Units, Sequence[Value]]:
    """Return a copy of the graph in units of its neurons, and its own `sites`."""
    copy = graph.copy()
    twins = {node.result: twin.result for node, twin in zip(graph, copy, strict=True)}
    twins |= dict(zip(graph.inputs, copy.inputs, strict=True))
    found = [twins[value] for value in sites]
    nodes = dict(zip(graph, copy, strict=True))
    twin = Blocks(*(frozenset(nodes[node] for node in group) for group in (blocks.neurons, blocks.gates)))
    units = Units(copy, steps, found, by_averages=by_averages, blocks=twin)
    units.choose()
    return units, found


def power_of_two(array: Array) -> bool:
    """Tell whether products with these numbers are exact."""
    return bool((np.frexp(np.abs(array))[0] == 0.5).all())


def varies_along(factor: Array, axes: set[int]) -> bool:
    """Tell whether a factor is the same along every other axis."""
    return all(size == 1 or axis in axes for axis, size in enumerate(factor.shape))


def without_repeats(array: Array) -> Array:
    """Return an array that broadcasts to this one, with as few elements as that takes."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        array = first if (array == first).all() else array
    return array


def many_bits(array: Array | None) -> bool:
    """Tell whether products with these numbers round: in fixed point they have more than 20 bits."""
    if array is None or array.dtype.kind != "f" or not array.any():
        return False
    some = array.reshape(-1)[:: -(-array.size // SAMPLE)]
    mantissa, exponent = np.frexp(np.abs(some[some != 0]).astype(np.float64))
    whole = (mantissa * 2.0**53).astype(np.int64)
    lowest = exponent + np.frexp((whole & -whole).astype(np.float64))[1] - 1 - 53
    return bool(exponent.size) and int(exponent.max()) - int(lowest.min()) > SIGNIFICANT_BITS
