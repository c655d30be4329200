"""Operation counts and energy estimates, of the source network and of the spiking one.

Priced: synaptic accumulates (unit spikes times the synapses each really drives), bias and neuron updates as
accumulates, multiply-accumulates of layers fed by real streams and the arithmetic of every other node, at
every time step. In differential coding what never varies, constants included, costs the first step alone.
Special functions (exp, erf, roots, divisions) are counted but not priced, memory traffic
is neither; both are so for the source network too.

Prices: 45 nm at 0.9 V, M. Horowitz, "Computing's energy problem", ISSCC 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.reference.program import invariant_values
from snnc.ir.codebooks import PowerOfTwo, unit_spikes
from snnc.ir.op import Role
from snnc.ir.shapes import Batch, per_sample
from snnc.ir.types import SpikeType
from snnc.passes.analysis import spikes_already
from snnc.passes.fan_out import fan_out, one_sample, spike_fan_out
from snnc.passes.spikes_only import membrane_multiplications

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import AttributeValue

# Picojoules per operation (Horowitz 2014, figure 1.1.9): float32 add 0.9, multiply 3.7; int8 0.03 and 0.2.
MAC_FP32, AC_FP32 = 4.6, 0.9
MAC_INT8, AC_INT8 = 0.23, 0.03

# A neuron adds nothing of its own to what synapses deliver; it compares and, per unit spike, resets.
COMPARE_ACCUMULATES = 1

# In differential coding it also scales its membrane by t / (t-1) and moves both bounds, from step 2 on.
GROWTH_MULTIPLY_ACCUMULATES, BOUNDS_ACCUMULATES = 1, 2


@dataclass(frozen=True, slots=True)
class Counts:
    """Operations for one sample, apart from what spikes cause.

    `synaptic_multiply_accumulates` are those of synapses that read a real stream.
    """

    multiply_accumulates: float
    accumulates: float
    special: float
    neurons: int
    synaptic_multiply_accumulates: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.multiply_accumulates + other.multiply_accumulates,
            self.accumulates + other.accumulates,
            self.special + other.special,
            self.neurons + other.neurons,
            self.synaptic_multiply_accumulates + other.synaptic_multiply_accumulates,
        )

    def times(self, steps: int) -> Counts:
        """Return the operations of so many such steps; neurons stay as many as they are."""
        return Counts(
            self.multiply_accumulates * steps,
            self.accumulates * steps,
            self.special * steps,
            self.neurons,
            self.synaptic_multiply_accumulates * steps,
        )


NOTHING = Counts(0.0, 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Operations of the first step and of each later one; they differ in differential coding."""

    first: Counts
    later: Counts

    def until(self, t: int) -> Counts:
        """Return the operations of t steps."""
        return replace(self.first + self.later.times(t - 1), neurons=self.first.neurons)


@dataclass(frozen=True, slots=True)
class EnergyEstimate:
    """Energy per sample after t steps, in picojoules, and the operations behind it.

    `snn_pj` counts everything at float32 prices; `snn_synapses_pj` only synapses (accumulates of spikes and
    multiply-accumulates of analog synaptic layers), the figure most papers print.
    """

    ann_fp32_pj: float
    ann_int8_pj: float
    snn_pj: float
    snn_int8_pj: float
    snn_synapses_pj: float
    accumulates: float
    multiply_accumulates: float
    special_functions: float
    not_priced: tuple[str, ...]

    @property
    def ratio_fp32(self) -> float:
        return self.snn_pj / self.ann_fp32_pj if self.ann_fp32_pj else math.nan

    @property
    def ratio_int8(self) -> float:
        return self.snn_pj / self.ann_int8_pj if self.ann_int8_pj else math.nan

    def to_json(self) -> dict[str, object]:
        """Return the estimate as `snnc eval --json` prints it."""
        return {
            "ann_fp32_pj": self.ann_fp32_pj,
            "ann_int8_pj": self.ann_int8_pj,
            "snn_pj": self.snn_pj,
            "ratio_fp32": self.ratio_fp32,
            "ratio_int8": self.ratio_int8,
            "not_priced": list(self.not_priced),
            "snn_int8_pj": self.snn_int8_pj,
            "snn_synapses_pj": self.snn_synapses_pj,
            "accumulates": self.accumulates,
            "multiply_accumulates": self.multiply_accumulates,
            "special_functions": self.special_functions,
        }


def count_step(graph: Graph, *, dense: bool = False, later: bool = False) -> Counts:
    """Count what one step costs whatever the spikes: analog layers, other arithmetic, biases, neurons.

    If `dense`, spikes are numbers like any other: what reads them costs as if it read a real stream. If
    `later`, it is not the first step.
    """
    if dense:
        return sum((count_dense(node, graph) for node in graph), NOTHING)
    return sum((counts for _, counts in count_nodes(graph, later=later)), NOTHING)


def count_dense(node: Node, graph: Graph) -> Counts:
    """Return a node's part in `count_step` where no use is made of spikes."""
    if node.op.neuron:
        return count_node(node, graph)
    if node.op.synaptic:
        return Counts(synaptic_macs(node, graph), 0.0, 0.0, 0)
    return count_other(node, graph)


def count_steps(graph: Graph) -> StepCounts:
    """Count what the first step and each later one cost whatever the spikes."""
    return StepCounts(count_step(graph), count_step(graph, later=True))


def count_nodes(graph: Graph, *, later: bool) -> Iterator[tuple[Node, Counts]]:
    """Yield every node's part in the first step, or in a later one: what varies, in differential coding."""
    if not later or graph.coding == "rate":
        yield from ((node, count_node(node, graph)) for node in graph)
        return
    invariant = invariant_values(graph)
    for node in graph:
        yield node, NOTHING if node.result in invariant else count_changes(node, graph)


def count_changes(node: Node, graph: Graph) -> Counts:
    """Return what a node costs once constants have taken part and a neuron has a decoded output to bound."""
    counts = count_node(node, graph)
    if node.op.name == "neuron":
        adds = counts.neurons * (COMPARE_ACCUMULATES + BOUNDS_ACCUMULATES)
        return Counts(counts.neurons * GROWTH_MULTIPLY_ACCUMULATES, adds, 0.0, counts.neurons)
    if node.op.synaptic and has_spikes(node):
        return replace(counts, accumulates=0.0)  # no bias
    return counts


def count_node(node: Node, graph: Graph) -> Counts:
    """Return a node's part in `count_step`."""
    if node.op.neuron:
        membranes = per_sample(node.operands[0].type.shape)
        factors = membrane_multiplications(node, graph)
        updates = COMPARE_ACCUMULATES + ("bias" in node.attributes)
        return Counts(membranes * factors, membranes * updates, 0.0, membranes)
    if node.expect and node.op.role is Role.MULTILINEAR and has_spikes(node):
        return Counts(product_macs(node, graph), 0.0, 0.0, 0)
    if node.op.synaptic and has_spikes(node):
        return Counts(0.0, per_sample(node.result.type.shape) if "bias" in node.attributes else 0, 0.0, 0)
    if node.op.synaptic:
        macs = synaptic_macs(node, graph)
        return Counts(macs, 0.0, 0.0, 0, macs)
    if isinstance(node.result.type, SpikeType):
        return Counts(0.0, node.op.cost * elements(node), 0.0, 0)  # integers compared or added: pools, sums
    if has_spikes(node) and node.op.role in (Role.LINEAR, Role.MULTILINEAR):
        return NOTHING  # accumulates, as many as spikes arrive
    return count_other(node, graph)


def count_other(node: Node, graph: Graph) -> Counts:
    """Return the declared cost of an op that is no synapse, multiply-accumulates.

    In a network that spikes already currents are added where they arrive, as spikes' weights are.
    """
    cost, special = node.op.cost * elements(node), node.op.special * elements(node)
    if node.op.additive and not node.expect and spikes_already(graph):
        return Counts(0.0, cost, special, 0)
    return Counts(cost, 0.0, special, 0)


def has_spikes(node: Node) -> bool:
    return any(isinstance(operand.type, SpikeType) for operand in node.operands)


def product_macs(node: Node, graph: Graph) -> float:
    """Return what a product of streams multiplies: its sums by 1/t, and whatever is no spike.

    A real factor meets the other's sums one by one. An uneven one meets sums kept a second time, scaled.
    """
    outputs = per_sample(node.result.type.shape)
    real = not all(isinstance(operand.type, SpikeType) for operand in node.operands)
    met = (synaptic_macs(node, graph) if node.op.synaptic else outputs) if real else 0
    return outputs + rescaled(node) + met


def rescaled(product: Node) -> int:
    """Return how many sums a product keeps a second time, scaled.

    Where negative spikes of one operand have a scale of their own, they meet such a copy of the other's sums.
    """
    pairs = zip(product.operands, reversed(product.operands), strict=True)
    return sum(per_sample(other.type.shape) for operand, other in pairs if uneven(operand))


def uneven(value: Value) -> bool:
    return isinstance(value.type, SpikeType) and value.type.scaled and value.type.payload.lo < 0


def elements(node: Node) -> int:
    """Return how many elements a node works through for one sample."""
    outputs = per_sample(node.result.type.shape)
    kernel = node.attributes.get("kernel")
    if isinstance(kernel, tuple):
        return outputs * product(kernel)
    return max([outputs, *(per_sample(operand.type.shape) for operand in node.operands)])


def product(sizes: tuple[AttributeValue, ...]) -> int:
    return math.prod(size for size in sizes if isinstance(size, int))


def synaptic_macs(node: Node, graph: Graph) -> float:
    """Return the multiply-accumulates of a synaptic node for one sample."""
    if node.op.fan_out is None:
        return float(per_sample(node.result.type.shape) * contracted(node))
    return float(np.broadcast_to(fan_out(node, graph), one_sample(node.operands[0])).sum())


def contracted(matmul: Node) -> int:
    dim = matmul.operands[0].type.shape[-1]
    assert not isinstance(dim, Batch)
    return dim


@dataclass(slots=True)
class ActivityMeter:
    """Observes a run and adds up unit spikes and the accumulates they cause, per step, over all samples.

    `unit_spikes[t-1]` and `spikes[t-1]` count neurons' unit spikes and non-zero payloads of step t;
    `accumulates[t-1]` what they cause: `synaptic[t-1]` in the nodes that read them, by payload (1, above 1,
    below 0), and one per unit spike to reset. `per_neuron_node` holds unit spikes and payloads by node.
    """

    graph: Graph
    steps: int
    samples: int = 0
    unit_spikes: NDArray[np.float64] = field(init=False)
    spikes: NDArray[np.float64] = field(init=False)
    accumulates: NDArray[np.float64] = field(init=False)
    synaptic: NDArray[np.float64] = field(init=False)
    per_neuron_node: dict[Node, NDArray[np.float64]] = field(default_factory=dict)
    _fan_outs: dict[Node, list[tuple[Node, Array]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unit_spikes = np.zeros(self.steps)
        self.spikes = np.zeros(self.steps)
        self.accumulates = np.zeros(self.steps)
        self.synaptic = np.zeros((self.steps, 3))
        for node in self.graph:
            if isinstance(node.result.type, SpikeType):
                drives = [(user, spike_fan_out(user, node.result, self.graph)) for user in node.result.users]
                self._fan_outs[node] = [(user, fan) for user, fan in drives if fan is not None]

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        """Count one node's payloads of one step."""
        drives = self._fan_outs.get(node)
        if drives is None or (not drives and not node.op.neuron):
            return
        units = units_by_payload(node, value, self.graph)
        for user, fan in drives:
            # The first step of a product has no sums yet: only its first operand's spikes do work.
            if t > 1 or not (user.expect and user.operands[0] is not node.result):
                caused = (units * fan).reshape(len(units), -1).sum(axis=1)
                self.synaptic[t - 1] += caused
                self.accumulates[t - 1] += caused.sum()
        if node.op.neuron:
            total, events = float(units.sum()), float(np.count_nonzero(value))
            self.unit_spikes[t - 1] += total
            self.spikes[t - 1] += events
            # Every unit spike resets its membrane once.
            self.accumulates[t - 1] += total
            self.per_neuron_node.setdefault(node, np.zeros(2))[:] += (total, events)


def units_by_payload(node: Node, value: Array, graph: Graph) -> NDArray[np.float64]:
    """Return the unit spikes of payloads 1, above 1 and below 0, summed over samples: [3, …]."""
    assert isinstance(node.result.type, SpikeType)
    payload, units = node.result.type.payload, unit_spikes_of(node, value, graph)
    total = sum_over_samples(units, node.result)
    result = np.zeros((3, *total.shape))
    if payload.lo < 0 or payload.hi > 1:
        quanta = unscaled(node, value, graph)
        if payload.hi > 1:
            # Halfway between 1 and 2, so that the rounding of a scale does not matter.
            result[1] = sum_over_samples(units * (quanta > 1.5), node.result)
        if payload.lo < 0:
            result[2] = sum_over_samples(units * (quanta < 0), node.result)
    result[0] = total - result[1] - result[2]
    return result


def unit_spikes_of(node: Node, value: Array, graph: Graph) -> Array:
    """Return how many unit spikes each element of a spike stream costs."""
    assert isinstance(node.result.type, SpikeType)
    payload = node.result.type.payload
    if payload.powers_of_two or max(-payload.lo, payload.hi) <= 1:
        return np.asarray(value != 0)
    return unit_spikes(np.rint(unscaled(node, value, graph)))


def unscaled(node: Node, value: Array, graph: Graph) -> Array:
    """Return a neuron's payloads in quanta, whatever scale or lines it sends them with.

    These are integers, but for negative ones of a neuron whose sides differ (`negative`).
    """
    given = graph.resolve(node)
    if "codebook" not in given:
        return value  # spikes of one size, and what was computed of spikes
    if given["level_axis"] is not None:
        codebook = graph.sent_codebook(node)
        assert isinstance(codebook, PowerOfTwo), "only these have lines"
        payload = codebook.from_lines(value, given["level_axis"])
        uneven = given["negative"] is not None
        return np.where(payload < 0, payload * given["negative"], payload) if uneven else np.asarray(payload)
    return value if given["scale"] is None else np.asarray(value / given["scale"])


def sum_over_samples(units: Array, value: Value) -> NDArray[np.float64]:
    """Sum over the batch; keep one sample's shape."""
    for axis, dim in enumerate(value.type.shape):
        if isinstance(dim, Batch):
            shape = [*units.shape[:axis], units.shape[axis] // dim.coefficient, dim.coefficient]
            grouped = units.reshape(*shape, *units.shape[axis + 1 :])
            return np.asarray(grouped.sum(axis=axis, dtype=np.float64))
    return units.astype(np.float64)


def estimate(ann: Counts, snn: Counts, accumulates: float) -> EnergyEstimate:
    """Return the energy per sample of some steps: their counts, and the accumulates that spikes caused."""
    macs, adds = snn.multiply_accumulates, snn.accumulates + accumulates
    special = [
        f"{ann.special:.0f} special functions of the ANN",
        f"{snn.special:.0f} of the SNN",
        "memory traffic",
    ]
    return EnergyEstimate(
        ann_fp32_pj=ann.multiply_accumulates * MAC_FP32,
        ann_int8_pj=ann.multiply_accumulates * MAC_INT8,
        snn_pj=macs * MAC_FP32 + adds * AC_FP32,
        snn_int8_pj=macs * MAC_INT8 + adds * AC_INT8,
        snn_synapses_pj=snn.synaptic_multiply_accumulates * MAC_FP32 + accumulates * AC_FP32,
        accumulates=adds,
        multiply_accumulates=macs,
        special_functions=snn.special,
        not_priced=tuple(special),
    )
