"""In which precision every node of a network of integers is written, so that none of them rounds.

Whole numbers up to 2^24 are exact in single precision, in which onnxruntime is fastest; where a bound goes
beyond, and for real numbers, it is double precision, as in the reference simulator. Real numbers, the host's,
can be in single precision if asked for, as in networks of real weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.spiking.blocks import blocks_of_host
from snnc.backends.onnx.spiking.byte_kernels import MOVES, byte_of_zero, sends_whole
from snnc.backends.onnx.spiking.eight_bits import BYTE, Bytes, plan_bytes
from snnc.backends.onnx.spiking.exact import Digits
from snnc.backends.onnx.spiking.requantise import rescaled_neuron
from snnc.backends.reference.state import starting_membrane
from snnc.ir.codebooks import MultiSpike, PowerOfTwo
from snnc.ir.op import computes_integers
from snnc.ir.types import DTYPES, SpikeType
from snnc.passes.analysis import static_values
from snnc.passes.intervals import MOVING, counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
EXACT = 2**24  # whole numbers up to here are exact in single precision
INDICES = frozenset({"take", "gather_elements", "gather_nd"})
# What onnxruntime's CPU kernels (1.31) have in single precision only.
SINGLE_ONLY = frozenset({
    "conv", "conv_transpose", "avg_pool", "resize", "group_norm", "quantise", "leaky_relu", "prelu",
    "hard_sigmoid", "hard_swish", "mish", "elu", "selu", "celu", "softplus", "softsign", "thresholded_relu",
    "atan",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Range:
    """lo <= x <= hi for every element of a stream, at every step; 0 is within."""

    lo: int
    hi: int

    @property
    def size(self) -> int:
        return max(-self.lo, self.hi)

    @property
    def carrier(self) -> np.dtype[Any]:
        return SINGLE if self.size <= EXACT else DOUBLE


ANY = Range(-(2**31), 2**31 - 1)  # what an i32 stream can hold


@dataclass(slots=True)
class Plan:
    """Of a network of integers; empty for one of real weights.

    `carries`: the element type of a stream (absent or None: its own). `computes`: the precision a node is
    written in. `digits`: synapses whose operands are cut into digits. `unsaturated`: neurons whose membranes
    cannot reach the ends of their width during the run. `bytes`: what is written as integer kernels. `host`:
    the precision of real numbers. `ranges`: what streams of whole numbers can be.
    """

    carries: dict[Value, np.dtype[Any] | None] = field(default_factory=dict)
    computes: dict[Node, np.dtype[Any] | None] = field(default_factory=dict)
    digits: dict[Node, Digits] = field(default_factory=dict)
    unsaturated: set[Node] = field(default_factory=set)
    bytes: Bytes = field(default_factory=Bytes)
    ranges: dict[Value, Range] = field(default_factory=dict)
    host: np.dtype[Any] = DOUBLE

    def answers(self, value: Value) -> np.dtype[Any] | None:
        """Return the element type of an output (None: its own): the reference simulator's."""
        return None if self.carries.get(value) is None else self.host

    def problem(self, node: Node) -> str | None:
        """Return why a node cannot be written exactly, or None."""
        precision = self.computes.get(node)
        if precision is None or precision == SINGLE or node in self.digits or node.op.name not in SINGLE_ONLY:
            return None
        return f"onnxruntime has no {node.op.name} in double precision, which a network of integers needs"


def plan_precision(graph: Graph, steps: int, *, single: bool = False, blocks: bool = False) -> Plan:
    """Return the plan for a run of so many steps, with real numbers in double or in single precision."""
    plan = Plan(host=SINGLE if single else DOUBLE)
    if graph.computes_integers:
        plan.bytes = plan_bytes(graph, steps, single=single)
        if single and steps == 1 and blocks:
            plan.bytes.blocks = blocks_of_host(graph, plan.bytes)
            plan.bytes.encoders -= plan.bytes.blocks.neurons
            for node in plan.bytes.blocks.neurons:
                plan.bytes.zeros.pop(node.result, None)
        Planner(graph, steps, plan).run()
    return plan


class Planner:
    """Follows the bounds of whole numbers through a graph."""

    def __init__(self, graph: Graph, steps: int, plan: Plan) -> None:
        self.graph, self.steps, self.plan = graph, steps, plan
        self.ranges = plan.ranges
        self.static = static_values(graph)

    def run(self) -> None:
        for value in self.graph.inputs:
            self.plan.carries[value] = SINGLE if value.type.is_real else None
        for node in self.graph:
            given = self.graph.resolve(node)
            if self._whole(node):
                self.ranges[node.result] = self._range(node, given)
            if node.op.name == "neuron":
                self._rescale(node, given)
            precision = self._precision(node, given)
            self.plan.carries[node.result] = self._carrier(node, precision)
            bytes_ = self.plan.bytes
            if node.result in bytes_.zeros:
                self.plan.carries[node.result] = BYTE
            raw = bytes_.writes(node) or is_moved(node, bytes_)
            self.plan.computes[node] = None if raw else precision

    def _rescale(self, node: Node, given: Mapping[str, Any]) -> None:
        """Send bytes where rounding one product decides the payload of a single step, as in QLinearConv."""
        bytes_, (x,) = self.plan.bytes, node.operands
        once = self.steps == 1 or given["reset"] == "restart"
        zero, known = byte_of_zero(node.result), self.ranges.get(x, ANY)
        if bytes_.writes(node) or not once or zero is None or not sends_whole(node, given):
            return
        if self.plan.carries.get(x) != SINGLE:
            return
        limit = 2 ** (given["width"] - 1) if given["width"] else EXACT
        if membrane_bound(given, known, 1) >= min(limit, EXACT):
            return
        found = rescaled_neuron(given, zero, (known.lo, known.hi))
        if found is not None:
            bytes_.rescaled[node] = found
            bytes_.zeros[node.result] = zero

    def _whole(self, node: Node) -> bool:
        """Tell whether a node's result is whole numbers that are computed with."""
        if node.op.name == "constant":
            readers = [user for user in node.result.users if user.result not in self.static]
            added = any(user.op.name not in INDICES for user in readers)
            return node.result.type.dtype == "i32" and added
        scaled = isinstance(node.result.type, SpikeType) and node.result.type.scaled
        return counts(node.result.type) and not scaled and node.result not in self.static

    def _carrier(self, node: Node, precision: np.dtype[Any] | None) -> np.dtype[Any] | None:
        if node.result in self.ranges:
            return self.ranges[node.result].carrier
        return precision if DTYPES[node.result.type.dtype].kind == "f" else None

    def _range(self, node: Node, given: Mapping[str, Any]) -> Range:
        """Return the bounds of a result of whole numbers."""
        type_, name = node.result.type, node.op.name
        if isinstance(type_, SpikeType):
            return Range(min(type_.payload.lo, 0), max(type_.payload.hi, 0))
        if name == "constant":
            return hull(Range(int(given["value"].min(initial=0)), int(given["value"].max(initial=0))))
        operands = [self.ranges.get(operand, ANY) for operand in node.operands]
        if node.op.synaptic and "weight" in given:
            return Sums(node, given, operands[0]).result
        if name in RULES and not node.expect:
            return RULES[name](*operands)
        if name in KEEPING and not node.expect:
            return hull(*operands)
        return ANY

    def _precision(self, node: Node, given: Mapping[str, Any]) -> np.dtype[Any] | None:
        """Return the precision in which a node is exact; None if it reads and makes no real numbers."""
        carried = [self.plan.carries.get(operand) for operand in node.operands]
        read = [dtype for dtype in carried if dtype is not None]  # numpy takes None for float64
        whole, real = node.result in self.ranges, DTYPES[node.result.type.dtype].kind == "f"
        if not whole and not real and not read:
            return None
        if node.op.neuron:
            return self._of_neuron(node, given)
        if node.op.synaptic and computes_integers(node.op, given):
            return self._of_synapse(node, given)
        if node.op.name == "constant" or (node.op.name in KEEPING and not node.expect):
            return DOUBLE if DOUBLE in read or (whole and self.ranges[node.result].size > EXACT) else SINGLE
        if not whole:
            return self.plan.host
        return SINGLE if self._stays_exact(node) else DOUBLE

    def _stays_exact(self, node: Node) -> bool:
        """Tell whether nothing that a node of whole numbers adds up goes beyond 2^24."""
        steps = self.steps if node.expect else 1
        known = all(operand in self.ranges for operand in node.operands)
        streams = [self.ranges.get(value, ANY) for value in (*node.operands, node.result)]
        simple = node.op.homogeneous or not node.expect
        return known and simple and all(steps * stream.size <= EXACT for stream in streams)

    def _of_synapse(self, node: Node, given: Mapping[str, Any]) -> np.dtype[Any]:
        x = self.ranges.get(node.operands[0], ANY)
        sums = Sums(node, given, x)
        if sums.reach <= EXACT:
            return SINGLE
        if node.op.name in SINGLE_ONLY:
            digits = Digits.of(x.size, EXACT // max(sums.weights, 1))
            if digits is not None:
                self.plan.digits[node] = digits
        return DOUBLE

    def _of_neuron(self, node: Node, given: Mapping[str, Any]) -> np.dtype[Any]:
        whole = node.op.name == "neuron" and computes_integers(node.op, given)
        x = self.ranges.get(node.operands[0], ANY)
        bound = membrane_bound(given, x, self.steps) if whole else np.inf
        if bound < 2 ** ((given["width"] or 0) - 1):
            self.plan.unsaturated.add(node)
        if not whole and node.op.name == "neuron":
            return self.plan.host
        return SINGLE if whole and judges_exactly(given, x, bound) else DOUBLE


class Sums:
    """How far 2^e Σ w x + b goes: `result`, and `reach` for whatever part of its terms, in any order.

    `weights`: the largest Σ |w| of any output.
    """

    def __init__(self, node: Node, given: Mapping[str, Any], x: Range) -> None:
        weight = per_output(node, given).astype(np.int64)
        bias = np.zeros(1, np.int64) if given["bias"] is None else given["bias"].astype(np.int64)
        up, down = np.maximum(weight, 0).sum(axis=1), np.minimum(weight, 0).sum(axis=1)
        most = (up * x.hi + down * x.lo) << given["exponent"]
        least = (up * x.lo + down * x.hi) << given["exponent"]
        self.weights = int((up - down).max(initial=0))
        self.reach = int((np.maximum(most, -least) + np.abs(bias)).max(initial=0))
        self.result = hull(Range(int((least + bias).min(initial=0)), int((most + bias).max(initial=0))))


def per_output(node: Node, given: Mapping[str, Any]) -> Array:
    """Return a synapse's weights with the outputs in front and all else behind."""
    weight: Array = given["weight"]
    if node.op.name != "conv_transpose":
        return weight.reshape(len(weight), -1)
    group = given["group"]  # [I, O/group, …]: an input reaches the outputs of its group
    inner = weight.reshape(group, len(weight) // group, weight.shape[1], -1)
    return inner.swapaxes(1, 2).reshape(group * weight.shape[1], -1)


def is_moved(node: Node, bytes_: Bytes) -> bool:
    """Tell whether a node moves bytes, and nothing else."""
    return node.op.name in MOVES and all(value in bytes_.zeros for value in (*node.operands, node.result))


def membrane_bound(given: Mapping[str, Any], x: Range, steps: int) -> float:
    """Return what no |m(t)| exceeds: max(|v(0)|, q) + t (|x| + |b|), as |v(t)| is at most |m(t)| or q."""
    start, bias = starting_membrane(dict(given), whole=True), given["bias"]
    first = 0.0 if start is None else float(np.abs(start).max())
    driven = x.size + (0 if bias is None else int(np.abs(bias.astype(np.int64)).max()))
    return max(first, float(np.abs(given["quantum"].astype(np.int64)).max())) + steps * driven


def judges_exactly(given: Mapping[str, Any], x: Range, bound: float) -> bool:
    """Tell whether a neuron of whole numbers computes exactly in single precision, given what no membrane
    exceeds that does not saturate.

    Membranes are at most 2^23, and so are currents and thresholds: their sums are at most 2^24, but where
    they saturate anyway. m / q is compared with edges i / p. If it is none, it is 1 / (p q) or more away
    from it, of i / p the share 1 / (i q); with i q < 2^24 that is more than half the distance between two
    numbers, so the rounded quotient is on the same side.
    """
    quantum, width, parts = given["quantum"], given["width"], parts_of_edges(given["codebook"])
    start, bias = starting_membrane(dict(given), whole=True), given["bias"]
    half = EXACT // 2
    if parts is None or x.size > half or min(bound, np.inf if width is None else 2 ** (width - 1)) > half:
        return False
    if quantum.min() <= 0 or quantum.max() > half:
        return False
    if start is not None and np.abs(start).max() > half:
        return False
    if bias is not None and np.abs(bias.astype(np.int64)).max() > EXACT:
        return False
    payload = given["codebook"].payload
    return bool(parts * int(quantum.max()) * max(-payload.lo, payload.hi) < EXACT)


def parts_of_edges(codebook: Codebook) -> int | None:
    """Return p where all edges of Q are multiples of 1/p; None if there is no such power of two up to 4."""
    if isinstance(codebook, MultiSpike):
        return {"nearest": 2, "floor": 1, "burst": 4}[codebook.rounding]
    if isinstance(codebook, PowerOfTwo):
        parts = 2 if codebook.firing == "below" else 4
        return parts if (codebook.dead_zone * parts).is_integer() else None
    return 1


def hull(*ranges: Range) -> Range:
    return Range(min(0, *(x.lo for x in ranges)), max(0, *(x.hi for x in ranges)))


def total(x: Range, y: Range) -> Range:
    return Range(x.lo + y.lo, x.hi + y.hi)


def difference(x: Range, y: Range) -> Range:
    return Range(x.lo - y.hi, x.hi - y.lo)


def negated(x: Range) -> Range:
    return Range(-x.hi, -x.lo)


RULES: dict[str, Callable[..., Range]] = {"add": total, "sub": difference, "neg": negated}
# Every element of the result is one of an operand, or 0.
KEEPING = MOVING - {"embedding", "pad", "resize"} | {"max", "min", "relu", "max_pool", "delay"}
