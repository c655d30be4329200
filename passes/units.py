"""In which unit every current counts: weights become integers, no factor is left between layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from snnc.ir.errors import PassError
from snnc.ir.op import Role
from snnc.ir.shapes import concrete
from snnc.ir.types import SpikeType
from snnc.passes.analysis import analog_values
from snnc.passes.currents import NOTHING
from snnc.passes.rewriter import describe
from snnc.passes.whole_numbers import LARGEST_EXPONENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.passes.currents import Currents

# Thresholds of fewer units would be coarse; membranes get finer ones where weights alone would give these.
SMALLEST_THRESHOLD = 16
# … and no finer than this many times the largest weight: what is smaller makes no difference to any spike,
# but would cost a factor that shares the unit, and the exponent of its layer, their precision. An encoder of
# inputs sends payloads over its whole range, other neurons small ones.
LARGEST_THRESHOLD = 16
# Multiples tried for a weight that must stay exact, from four fifths of the largest on.
LEAST_SHARE = 0.8
# Of rows of one value: what they become if nothing else decides.
PLAIN_WEIGHT = 64
# Rounding may raise the sum of a row's weights a little above what the unit was chosen for.
MARGIN = 1.02


@dataclass(frozen=True, slots=True)
class Units:
    """`unit`: the real value of 1, per class of currents; `exponents`: per synapse.

    A unit is negative where a neuron's threshold is, so that it becomes a positive number of units.
    """

    unit: Array
    exponents: dict[Node, int]


@dataclass(frozen=True, slots=True)
class Rows:
    """One synapse's weights as rows [O, K], and what its outputs can reach.

    `peak`: largest |weight| per row; `single`: rows whose weights are all of one size or 0; `worst`: largest
    |sum + bias| for any spikes.
    """

    rows: Array
    peak: Array
    single: Array
    worst: Array


def rows_of(node: Node, graph: Graph) -> Rows:
    """Describe a synapse that reads spikes."""
    given = graph.resolve(node)
    rows = as_rows(node, given["weight"], int(given.get("group", 1))).astype(np.float64)
    sizes = np.abs(rows)
    peak = sizes.max(axis=1, initial=0)
    single = ((sizes == 0) | (sizes == peak[:, None])).all(axis=1)
    spikes = node.operands[0].type
    assert isinstance(spikes, SpikeType)
    lo, hi = spikes.payload.lo, spikes.payload.hi
    up = np.maximum(rows * hi, rows * lo).sum(axis=1)
    down = np.minimum(rows * hi, rows * lo).sum(axis=1)
    bias = 0.0 if given["bias"] is None else given["bias"]
    return Rows(rows, peak, single, np.maximum(np.abs(up + bias), np.abs(down + bias)))


def as_rows(node: Node, weight: Array, group: int) -> Array:
    """Return a synapse's weight as [outputs, inputs of each]."""
    if node.op.name != "conv_transpose":
        return weight.reshape(len(weight), -1)
    inputs, per_group = weight.shape[:2]
    grouped = weight.reshape(group, inputs // group, per_group, -1)
    return grouped.transpose(0, 2, 1, 3).reshape(group * per_group, -1)


def from_rows(node: Node, rows: Array, shape: tuple[int, ...], group: int) -> Array:
    """Return rows in the shape of the synapse's weight."""
    if node.op.name != "conv_transpose":
        return rows.reshape(shape)
    inputs, per_group, *_ = shape
    grouped = rows.reshape(group, per_group, inputs // group, -1)
    return np.ascontiguousarray(grouped.transpose(0, 2, 1, 3).reshape(shape))


def thresholds_of(graph: Graph, currents: Currents) -> tuple[Array, Array]:
    """Return the least and the largest threshold on each class; infinite and 0: no neuron reads it."""
    least, most = np.full(currents.count, np.inf), np.zeros(currents.count)
    for node in graph:
        if not node.op.neuron or node.operands[0] not in currents.numbers:
            continue
        classes, size = currents.elements(node.operands[0]), threshold_of(node, graph)
        size = np.broadcast_to(size, classes.shape)[classes != NOTHING]
        np.minimum.at(least, classes[classes != NOTHING], size)
        np.maximum.at(most, classes[classes != NOTHING], size)
    return least, most


def signs_of(graph: Graph, currents: Currents) -> Array:
    """Return the sign of the thresholds on each class; `PassError` names a neuron that has another."""
    least, most = np.full(currents.count, np.inf), np.full(currents.count, -np.inf)
    for node in graph:
        if node.op.name != "neuron" or node.operands[0] not in currents.numbers:
            continue
        classes = currents.elements(node.operands[0])
        reached = classes != NOTHING
        quantum = np.broadcast_to(graph.resolve(node)["quantum"], classes.shape)[reached]
        np.minimum.at(least, classes[reached], quantum)
        np.maximum.at(most, classes[reached], quantum)
        if ((least < 0) & (most > 0)).any():
            raise PassError(
                f"{describe(node)}: thresholds on its sum have different signs",
                help="leave the batch norms behind this sum to a host (--host-nodes), or train them positive",
            )
    signs = np.where(least < 0, -1.0, 1.0)
    for node in graph:
        if node.op.name == "max_pool" and node.result in currents.numbers:
            classes = currents.elements(node.result)
            if (signs[classes[classes != NOTHING]] < 0).any():
                raise PassError(
                    f"{describe(node)}: the threshold behind it is negative, which makes it a minimum"
                )
    return signs


def threshold_of(node: Node, graph: Graph) -> Array:
    """Return how much current a payload of 1 needs, without leak, bias and what is left from before."""
    given = graph.resolve(node)
    size: Array = np.asarray(given["quantum" if node.op.name == "neuron" else "threshold"], np.float64)
    gain = given.get("gain")
    return np.abs(size if gain is None else size / gain)


def typical_payload(spikes: Value, analog: set[Value]) -> int:
    """Return the payload an encoder of inputs may send at any time, and 1 for other neurons."""
    neuron = spikes.node
    encodes = neuron is not None and neuron.op.neuron and neuron.operands[0] in analog
    return spikes.type.payload.hi if encodes and isinstance(spikes.type, SpikeType) else 1


def leaks(graph: Graph, value: Value) -> bool:
    """Tell whether a lif neuron with a leak integrates a current."""
    waiting, seen = [value], {value}
    while waiting:
        for user in waiting.pop().users:
            if user.op.name == "lif" and graph.resolve(user)["leak"] is not None:
                return True
            if user.op.role is Role.LINEAR and not user.op.synaptic and user.result not in seen:
                seen.add(user.result)
                waiting.append(user.result)
    return False


def choose_units(
    graph: Graph,
    currents: Currents,
    *,
    limit: int,
    width: int,
    per_layer: bool = False,
    plain: bool = False,
) -> Units:
    """Return units in which weights are at most `limit`, sums fit `width` bits, factors of spikes are exact.

    Per class: the largest weight becomes `limit`, unless sums or thresholds ask for another unit; a factor of
    spikes (residual connection, average) becomes a whole number times a power of two exactly, by changing the
    unit a little; where no factor does, the threshold becomes a whole number exactly. With `per_layer` all
    classes of a layer get the coarsest of their units, and only what is alike in all of them is exact. With
    `plain` only factors of spikes have exponents other than 0.
    """
    chooser = Chooser(graph, currents, limit, 2 ** (width - 1) - 1, plain=plain)
    for nodes in chooser.clusters():
        if per_layer:
            chooser.make_one(nodes)
        chooser.make_finer(nodes)
        if per_layer:
            chooser.make_one(nodes)
    if not per_layer:
        chooser.make_exact()
    return Units(chooser.unit * signs_of(graph, currents), chooser.exponents)


class Chooser:
    """The units so far, one per class, and what they depend on.

    `least` and `most`: the thresholds on a class; `largest`: the largest sum and membrane.
    """

    def __init__(
        self, graph: Graph, currents: Currents, limit: int, largest: int, *, plain: bool = False
    ) -> None:
        self.graph, self.currents, self.limit, self.largest = graph, currents, limit, largest
        self.plain = plain
        self.rows = {node: rows_of(node, graph) for node in currents.first}
        self.least, self.most = thresholds_of(graph, currents)
        self.worst = self.worst_sums(list(self.rows))
        self.unit = self.coarsest()
        self.exponents = dict.fromkeys(self.rows, 0)

    def worst_sums(self, nodes: Sequence[Node]) -> Array:
        """Return, per class, the largest |sum| of these synapses, in real numbers."""
        worst = np.zeros(self.currents.count)
        for node in nodes:
            reached = np.zeros(self.currents.count)
            np.maximum.at(reached, self.currents.channels(node), self.rows[node].worst)
            worst += reached
        return MARGIN * worst

    def coarsest(self) -> Array:
        """Return the unit in which a class's largest weight is `limit` and its sums fit."""
        unit, plain, reach = (np.zeros(self.currents.count) for _ in range(3))
        analog = analog_values(self.graph)
        for node, one in self.rows.items():
            classes = self.currents.channels(node)
            np.maximum.at(unit, classes, np.where(one.single, 0, one.peak / self.limit))
            np.maximum.at(plain, classes, one.peak / min(PLAIN_WEIGHT, self.limit))
            np.maximum.at(reach, classes, typical_payload(node.operands[0], analog))
        unit = np.maximum(np.where(unit > 0, unit, plain), self.worst / self.largest)
        threshold = np.where(np.isfinite(self.least), self.least, 0)
        unit = np.maximum(unit, threshold / (LARGEST_THRESHOLD * self.limit * np.maximum(reach, 1)))
        idle = np.where(np.isfinite(self.least), self.least / SMALLEST_THRESHOLD, 1.0)
        return np.where(unit > 0, unit, idle)

    def clusters(self) -> list[list[Node]]:
        """Return the synapses in groups that share classes."""
        together = nx.Graph()
        for node in self.rows:
            together.add_node(node)
            together.add_edges_from((node, int(index)) for index in np.unique(self.currents.channels(node)))
        members = (set(component) for component in nx.connected_components(together))
        return [[node for node in self.rows if node in component] for component in members]

    def make_one(self, nodes: Sequence[Node]) -> None:
        """Give synapses that share classes one unit, and if that can be, one that divides their threshold."""
        classes = np.unique(np.concatenate([self.currents.channels(node) for node in nodes]))
        unit, least = self.unit[classes].max(), self.least[classes].min()
        if np.isfinite(least) and least >= unit:
            unit = least / np.floor(least / unit + 1e-9)
        self.unit[classes] = unit

    def make_finer(self, nodes: Sequence[Node]) -> None:
        """Give synapses that share classes finer units where thresholds need them; choose their exponents."""
        classes = np.unique(np.concatenate([self.currents.channels(node) for node in nodes]))
        bits = self.fraction_bits(nodes, classes)
        self.unit[classes] /= 2**bits
        for node in sorted(nodes, key=lambda node: bool(self.rows[node].single.all())):
            last = 0 if self.plain and not self.rows[node].single.all() else LARGEST_EXPONENT
            costs = {exponent: self.cost(node, exponent) for exponent in range(bits, last + 1)}
            best = min(costs, key=lambda exponent: (costs[exponent], exponent))
            self.exponents[node] = best
            channels = self.currents.channels(node)
            np.maximum.at(self.unit, channels, self.fitting(node, best))

    def fitting(self, node: Node, exponent: int) -> Array:
        """Return the unit per channel with which weights are at most `limit`."""
        unit = self.unit[self.currents.channels(node)]
        return np.maximum(unit, self.rows[node].peak / (self.limit * 2.0**exponent))

    def cost(self, node: Node, exponent: int) -> float:
        """Return what an exponent costs: per channel the square, at most 1, of its steps by thresholds.

        Too small an exponent makes the unit coarse where a weight is large. Too large a one makes weights
        coarse, and leaves nothing of a factor that is less than a step; a larger factor is exact.
        """
        one, unit = self.rows[node], self.fitting(node, exponent)
        step = 2.0**exponent * unit
        least = self.least[self.currents.channels(node)]
        lost = one.single & (one.peak > 0) & (one.peak < step * (1 - 1e-9))
        error = np.where(one.single, unit, step) * SMALLEST_THRESHOLD
        error /= np.where(np.isfinite(least), least, SMALLEST_THRESHOLD * np.maximum(one.peak, 1e-300))
        return float((np.where(lost, 1.0, np.minimum(error, 1.0)) ** 2).sum())

    def fraction_bits(self, nodes: Sequence[Node], classes: Array) -> int:
        """Return how many bits finer units shall be: for coarse thresholds, and for membranes that leak."""
        if self.plain:
            return 0
        needed = SMALLEST_THRESHOLD * self.unit[classes] / self.least[classes]
        wanted = max(0, int(np.ceil(np.log2(max(needed.max(initial=0), 1e-9)))))
        if any(leaks(self.graph, node.result) for node in nodes):
            wanted = LARGEST_EXPONENT
        room = self.unit[classes] * self.largest / np.maximum(self.worst[classes], 1e-300)
        return max(0, min(wanted, LARGEST_EXPONENT, int(np.floor(np.log2(room.min())))))

    def make_exact(self) -> None:
        """Make units a little coarser, so that a factor, or else the threshold, is a whole number exactly."""
        exact = np.zeros(len(self.unit), bool)
        for node, one in self.rows.items():
            classes = self.currents.channels(node)
            for channel in np.flatnonzero(one.single & (one.peak > 0) & ~exact[classes]):
                index = classes[channel]
                value = one.peak[channel] / 2.0 ** self.exponents[node]
                self.unit[index] = unit_for_factor(value, self.unit[index], self.least[index])
                exact[index] = True
        alone = ~exact & np.isfinite(self.least) & (self.most <= self.least * (1 + 1e-6))
        alone &= self.least >= self.unit
        counts = np.floor(self.least[alone] / self.unit[alone] + 1e-9)
        self.unit[alone] = self.least[alone] / counts


def unit_for_factor(value: float, unit: float, threshold: float) -> float:
    """Return value / m for the whole m that makes the threshold most nearly whole, no finer than `unit`."""
    largest = int(np.floor(value / unit + 1e-9))
    if largest < 1:
        return unit
    candidates = value / np.arange(max(1, int(np.ceil(LEAST_SHARE * largest))), largest + 1)[::-1]
    if not np.isfinite(threshold):
        return float(candidates[0])
    counts = threshold / candidates
    return float(candidates[np.argmin(np.abs(np.rint(counts) / counts - 1))])


def element_units(current: Value, currents: Currents, units: Units) -> Array:
    """Return the unit of every element of one sample, 1 where no synapse reaches."""
    classes = currents.elements(current)
    filled = np.where(classes == NOTHING, 1.0, units.unit[classes])
    return filled.reshape(concrete(current.type.shape, 1))
