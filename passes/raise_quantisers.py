"""`raise-quantisers`: quantisers, however a toolchain wrote them, become `fake_quantise`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snnc.ir.codebooks import MAX_PAYLOAD
from snnc.ir.types import SpikeType
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter, rewrite
from snnc.passes.simplify import fold_constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.passes.rewriter import Pattern

INTEGER = 1e-4  # how far from a whole level a bound may lie, in levels
EXACT = 1e-5  # how far the factors before and after the rounding may be from each other's reciprocal
MOVEMENT = ("reshape", "transpose", "slice", "gather", "expand", "tile", "depth_to_space", "space_to_depth",
            "max_pool", "relu")  # fmt: skip


@dataclass(frozen=True)
class RaiseQuantisers(Pass):
    """Recognise quantisers: QuantizeLinear and DequantizeLinear, and rounding between scales and bounds.

    y = q clip(floor(x / q + 1/2), lo, hi), the form PMSM and QCFS train, and y = q clip(round(x / q), lo, hi)
    are found whatever the order of factors and bounds; a ReLU or clip before a quantiser is one more bound;
    a quantiser of values that are quantised so already goes. Levels that are only moved before they become
    reals are moved as reals.

    Runs before simplify, which would merge their factors into the layers around them.
    """

    name: ClassVar[str] = "raise-quantisers"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        changed = False
        for node in graph:
            changed |= fold_constant(node, graph)
        patterns: dict[str, tuple[Pattern, ...]] = {
            "floor": (raise_rounding,),
            "round": (raise_rounding,),
            "dequantise": (dequantise_first, raise_pair),
            "fake_quantise": (absorb_bounds, drop_repeated),
        }
        return rewrite(graph, patterns, context, self.name) or changed


# Rounding between scales and bounds.


@dataclass(slots=True)
class Steps:
    """What the nodes next to a rounding do: z -> clip(gain z + offset, low, high), all of them in levels."""

    gain: NDArray[np.float64] = field(default_factory=lambda: np.ones(()))
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(()))
    low: float = -np.inf
    high: float = np.inf

    def bound(self, low: float, high: float) -> None:
        self.low, self.high = max(self.low, low), min(self.high, high)


@dataclass(frozen=True, slots=True)
class Half:
    """One side of a quantiser: the value it starts or ends with, its factor, its bounds, its nodes."""

    value: Value
    gain: NDArray[np.float64]
    low: float
    high: float
    nodes: tuple[Node, ...]


def raise_rounding(node: Node, rewriter: Rewriter) -> bool:
    """q clip(floor(x / q + 1/2), lo, hi) -> fake_quantise{q, lo, hi, floor}(x); round likewise"""
    if node.expect or not node.result.type.is_real or rewriter.graph.constant(node.operands[0]) is not None:
        return False
    candidates = steps_before(node, rewriter.graph)
    if not candidates:
        return rewriter.decline(node, "it does not round to the nearest multiple of anything")
    pairs = ((before, steps_after(node, before, rewriter.graph)) for before in candidates)
    before, after = next((pair for pair in pairs if pair[1] is not None), (candidates[0], None))
    if after is None:
        return rewriter.decline(node, "it has no bounds, or is not scaled back as it was scaled")
    lo, hi = level_of(max(before.low, after.low)), level_of(min(before.high, after.high))
    scale = full_rank(after.gain, before.value)
    if lo is None or hi is None or scale is None or before.value.type != after.value.type:
        return rewriter.decline(node, "its scale or its bounds are not those of levels")
    if not -MAX_PAYLOAD <= lo <= 0 <= hi <= MAX_PAYLOAD or lo == hi:
        return rewriter.decline(node, f"the levels {lo}..{hi} are not those of a neuron")
    nodes = [*before.nodes, node, *after.nodes]
    attributes: dict[str, Any] = {"scale": scale, "lo": lo, "hi": hi}
    if node.op.name == "floor":
        attributes["rounding"] = "floor"
    value = rewriter.insert(nodes[-1], "fake_quantise", [before.value], attributes)
    rewriter.replace(nodes[-1], value, absorbed=nodes[:-1])
    return True


def steps_before(node: Node, graph: Graph) -> list[Half]:
    """Return every x for which the node is floor(gain x + 1/2) or round(gain x), the farthest first."""
    wanted = 0.5 if node.op.name == "floor" else 0.0
    steps = Steps()
    found: list[Half] = []
    value = node.operands[0]
    nodes: list[Node] = []
    while True:
        if np.allclose(steps.offset, wanted, rtol=0, atol=1e-6):
            found.insert(0, Half(value, steps.gain, steps.low, steps.high, tuple(reversed(nodes))))
        producer = value.node
        if producer is None or not step_before(producer, steps, wanted, graph):
            return found
        nodes.append(producer)
        value = streaming_operand(producer, graph)


def step_before(node: Node, steps: Steps, wanted: float, graph: Graph) -> bool:
    """Put one more node in front of the steps; return whether it is one of those a quantiser has."""
    if node.op.name in ("clip", "relu") and not node.expect:
        # The rounding meets a bound b as gain b + offset, with the offset that the whole quantiser has.
        if steps.gain.size > 1 and not only_zero(node, graph):
            return False
        factor = float(steps.gain.flat[0])
        low, high = bounds_of(node, graph)
        shift = float(steps.offset.flat[0]) - wanted
        steps.bound(rounded(low * factor + shift), rounded(high * factor + shift))
        return steps.offset.size == 1
    constant = constant_of(node, graph)
    if constant is None:
        return False
    match node.op.name:
        case "mul":
            steps.gain = steps.gain * constant
        case "div":
            steps.gain = steps.gain / constant
        case "add":
            steps.offset = steps.offset + steps.gain * constant
        case "sub":
            steps.offset = steps.offset - steps.gain * constant
        case _:
            return False
    return bool((steps.gain > 0).all() and np.isfinite(steps.gain).all())


def steps_after(node: Node, before: Half, graph: Graph) -> Half | None:
    """Return the farthest value that is the rounded one times 1 / before.gain, within known bounds."""
    steps, found = Steps(), None
    value = node.result
    nodes: list[Node] = []
    while True:
        bounded = max(before.low, steps.low) > -np.inf and min(before.high, steps.high) < np.inf
        reciprocal = steps.gain.ndim <= len(value.type.shape) and matches(steps.gain * before.gain)
        if bounded and reciprocal:
            found = Half(value, steps.gain, steps.low, steps.high, tuple(nodes))
        users = list(value.users)
        if len(users) != 1 or graph.is_output(value) or not step_after(users[0], steps, graph):
            return found
        nodes.append(users[0])
        value = users[0].result


def step_after(node: Node, steps: Steps, graph: Graph) -> bool:
    """Put one more node behind the steps; return whether it is one of those a quantiser has."""
    if node.op.name in ("clip", "relu") and not node.expect:
        if steps.gain.size > 1 and not only_zero(node, graph):
            return False
        factor = float(steps.gain.flat[0])
        low, high = (bound / factor for bound in bounds_of(node, graph))
        if level_of(low, unbounded=True) is None or level_of(high, unbounded=True) is None:
            return False
        steps.bound(low, high)
        return True
    constant = constant_of(node, graph)
    if constant is None or node.op.name not in ("mul", "div"):
        return False
    steps.gain = steps.gain * constant if node.op.name == "mul" else steps.gain / constant
    return bool((steps.gain > 0).all() and np.isfinite(steps.gain).all())


def constant_of(node: Node, graph: Graph) -> NDArray[np.float64] | None:
    """Return the constant operand of an arithmetic node that has one (of div and sub: the second)."""
    if node.expect or len(node.operands) != 2:
        return None
    second = graph.constant(node.operands[1])
    if second is None and node.op.name in ("add", "mul"):
        second = graph.constant(node.operands[0])
    return None if second is None else second.astype(np.float64)


def streaming_operand(node: Node, graph: Graph) -> Value:
    return next(operand for operand in node.operands if graph.constant(operand) is None)


def bounds_of(node: Node, graph: Graph) -> tuple[float, float]:
    """Return what a clip or ReLU confines its result to."""
    if node.op.name == "relu":
        return 0.0, np.inf
    given = graph.resolve(node)
    low, high = given["low"], given["high"]
    return -np.inf if low is None else low, np.inf if high is None else high


def only_zero(node: Node, graph: Graph) -> bool:
    """Tell whether the bounds are the same in levels whatever the scale."""
    return all(bound == 0 or np.isinf(bound) for bound in bounds_of(node, graph))


def rounded(bound: float) -> float:
    """Return the level a bound on x / q rounds to; one halfway between two levels rounds up."""
    return bound if np.isinf(bound) else float(np.floor(bound + 0.5 + INTEGER))


def level_of(bound: float, *, unbounded: bool = False) -> int | float | None:
    """Return a bound as a level, or None if it lies between two."""
    if np.isinf(bound):
        return bound if unbounded else None
    nearest = round(bound)
    return nearest if abs(bound - nearest) <= INTEGER * max(1.0, abs(bound)) else None


def matches(product: NDArray[np.float64]) -> bool:
    return bool((np.abs(product - 1) <= EXACT).all())


def full_rank(scale: NDArray[np.float64], value: Value) -> NDArray[np.float32] | None:
    """Return a scale with every axis of the value present, or None if it does not broadcast against it."""
    shape = value.type.shape
    full = scale.reshape([1] * (len(shape) - scale.ndim) + list(scale.shape))
    fits = all(size in (1, dim) for size, dim in zip(full.shape, shape, strict=True))
    return full.astype(np.float32) if fits else None


# Pairs.


def dequantise_first(node: Node, rewriter: Rewriter) -> bool:
    """dequantise(move(q)) -> move(dequantise(q)), of one scale, where nothing else reads them"""
    move, given = node.operands[0].node, rewriter.graph.resolve(node)
    if move is None or move.op.name not in MOVEMENT or move.op.name == "relu" or move.expect:
        return False
    if given["scale"].size > 1 or len(move.result.users) > 1 or rewriter.graph.is_output(move.result):
        return False
    real = rewriter.insert(node, "dequantise", [move.operands[0]], node.attributes)
    moved = rewriter.insert(node, move.op.name, [real, *move.operands[1:]], move.attributes)
    rewriter.replace(node, moved, absorbed=[move])
    return True


def raise_pair(node: Node, rewriter: Rewriter) -> bool:
    """dequantise{s'}(quantise{s}(x)) -> fake_quantise{s}(x) s' / s

    Products of integers dequantise by 1: their scales come later.
    """
    quantise = node.operands[0].node
    if quantise is None or quantise.op.name != "quantise":
        return False
    inner, outer = rewriter.graph.resolve(quantise), rewriter.graph.resolve(node)
    zero = inner["zero_point"]
    outer_zero = outer["zero_point"] if outer["zero_point"] is not None else np.zeros_like(zero)
    if (zero != outer_zero).any():
        return rewriter.decline(node, "the quantiser and dequantiser have different zero points")
    if max(inner["scale"].size, outer["scale"].size) > 1 and inner["axis"] != outer["axis"]:
        return rewriter.decline(node, "the quantiser and dequantiser have scales along different axes")
    limits = np.iinfo(zero.dtype)
    if limits.bits > 8:
        return rewriter.decline(node, f"it quantises to {limits.bits} bits; 8 at most make a neuron")
    rank = len(node.result.type.shape)
    scale, back = (along_axis(given["scale"], given["axis"], rank) for given in (inner, outer))
    lo, hi = limits.min - zero.astype(np.int64), limits.max - zero.astype(np.int64)
    x = quantise.operands[0]
    if np.unique(zero).size > 1:
        # The neurons of one tensor share a codebook, so what differs between channels bounds x instead.
        low, high = (
            (along_axis(bound, inner["axis"], rank) * scale).astype(np.float32) for bound in (lo, hi)
        )
        x = rewriter.insert(node, "max", [x, rewriter.constant(node, low, "low")])
        x = rewriter.insert(node, "min", [x, rewriter.constant(node, high, "high")])
    attributes: dict[str, Any] = {"scale": scale, "lo": int(lo.min()), "hi": int(hi.max())}
    value = rewriter.insert(node, "fake_quantise", [x], attributes)
    if (scale != back).any():
        value = scaled_back(node, value, (back.astype(np.float64) / scale).astype(np.float32), rewriter)
    rewriter.replace(node, value, absorbed=[quantise])
    return True


def scaled_back(node: Node, value: Value, factor: Array, rewriter: Rewriter) -> Value:
    """Return what stands for the node: value times factor, or the value where synapses take the factor."""
    readers = list(node.result.users)
    if factor.size > 1 or rewriter.graph.is_output(node.result) or not all(map(is_synapse, readers)):
        assert value.node is not None
        rewriter.graph.set_origin(value.node, node.origin)
        return rewriter.insert(node, "mul", [value, rewriter.constant(node, factor, "scale")])
    for reader in readers:
        weight = rewriter.graph.resolve(reader)["weight"]
        rewriter.set_attributes(reader, weight=weight * factor.reshape(()))
    return value


def is_synapse(node: Node) -> bool:
    return node.op.synaptic and "weight" in node.attributes


def along_axis(array: Array, axis: int, rank: int) -> Array:
    """Return a number, or one per channel, with every axis present."""
    shape = [1] * rank
    if array.size > 1:
        shape[axis] = array.size
    return array.reshape(shape)


# Around a quantiser.


def absorb_bounds(node: Node, rewriter: Rewriter) -> bool:
    """fake_quantise{lo, hi}(clip(x)) -> fake_quantise{max(lo, low / q), min(hi, high / q)}(x)"""
    producer = node.operands[0].node
    if producer is None or producer.expect or producer.op.name not in ("clip", "relu"):
        return False
    given, graph = rewriter.graph.resolve(node), rewriter.graph
    if isinstance(producer.operands[0].type, SpikeType):
        return False
    scale = given["scale"]
    if scale.size > 1 and not only_zero(producer, graph):
        return rewriter.decline(node, "the bounds before it are other levels in every channel")
    low, high = (bound / float(scale.flat[0]) for bound in bounds_of(producer, graph))
    to_level = rounded if given["rounding"] == "floor" else np.rint
    lo, hi = int(max(given["lo"], to_level(low))), int(min(given["hi"], to_level(high)))
    if not lo <= 0 <= hi or lo == hi:
        return rewriter.decline(node, "the bounds before it leave one level")
    attributes = {**node.attributes, "lo": lo, "hi": hi}
    value = rewriter.insert(node, "fake_quantise", producer.operands, attributes)
    rewriter.replace(node, value, absorbed=[producer])
    return True


def drop_repeated(node: Node, rewriter: Rewriter) -> bool:
    """fake_quantise(move(fake_quantise(x))) -> move(fake_quantise(x)), where both have the same scale"""
    outer, graph = rewriter.graph.resolve(node), rewriter.graph
    source = node.operands[0].node
    moved = False
    while source is not None and source.op.name in MOVEMENT and not source.expect:
        source, moved = source.operands[0].node, True
    if source is None or source.op.name != "fake_quantise":
        return False
    inner = graph.resolve(source)
    if outer["scale"].size > 1 and moved:
        return False
    same = np.array_equal(outer["scale"].ravel(), inner["scale"].ravel())
    if not same or outer["lo"] > inner["lo"] or outer["hi"] < inner["hi"]:
        return False
    rewriter.replace(node, node.operands[0])
    return True
