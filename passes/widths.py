"""Proves that a network of whole numbers stays within the bits of its machine, whatever its inputs are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.errors import PassError
from snnc.ir.ops.neuron import MOST_WIDTH, whole_start
from snnc.ir.shapes import concrete, fill_batch
from snnc.ir.types import SpikeType
from snnc.passes.analysis import answers_by_averages, static_values
from snnc.passes.intervals import (
    Interval,
    counts,
    payload_interval,
    result_interval,
    synapse_sums,
    with_bias,
)
from snnc.passes.rewriter import describe
from snnc.passes.saturation import lif_saturates, neuron_saturates
from snnc.passes.whole_numbers import LARGEST_EXPONENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value

# Currents, membranes, thresholds and graded payloads have 24 bits in Lava's fixed-point models (lava-nc
# 0.10.0, lava/proc/lif/models.py: precision=24 of u, v and s_out); weights have 8 (lava/proc/dense/models.py,
# precision=8) and share an exponent per layer.
STATE_BITS, PAYLOAD_BITS, WEIGHT_BITS = 24, 24, 8
# A membrane is summed up in so many bits before it saturates (np.int32 in the same models).
TRANSIENT_BITS = MOST_WIDTH


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of a machine, two's complement: sums before a neuron, membranes, weights, payloads of spikes."""

    accumulator: int = STATE_BITS
    membrane: int = STATE_BITS
    weight: int = WEIGHT_BITS
    payload: int = PAYLOAD_BITS


def widths_of(graph: Graph) -> Widths:
    """Return the widths of a machine whose sums and membranes have the bits of the widest membrane."""
    given = [graph.resolve(node)["width"] for node in graph if node.op.neuron]
    widest = max([STATE_BITS, *(width for width in given if width is not None)])
    return Widths(accumulator=widest, membrane=widest)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a quantity of a node can go, and the bits there are for it."""

    node: str
    what: str
    least: int
    most: int
    width: int

    @property
    def bits(self) -> int:
        return bits_of(self.least, self.most)

    @property
    def share(self) -> float:
        """Return how much of the width is used, at most 1 if it fits."""
        lo, hi = limits_of(self.width)
        return max(self.most / hi, self.least / lo)

    @property
    def range(self) -> str:
        return f"{self.least} … {self.most}, {self.bits} bits of {self.width}"

    def __str__(self) -> str:
        return f"{self.node}: {self.what} {self.range}"


@dataclass(slots=True)
class WidthProof:
    """What interval analysis found. `problems`: what may leave its width, or is not of the machine at all.

    `steps`: how many steps it holds for (None: any number), because of `counter`, whose sum over steps grows.
    No membrane saturates before step `saturates` (None: never); `filling` could there.
    """

    widths: Widths
    problems: list[str] = field(default_factory=list)
    excess: int = 0
    tightest: Reach | None = None
    steps: int | None = None
    counter: str | None = None
    saturates: int | None = None
    filling: str | None = None

    @property
    def holds(self) -> bool:
        return not self.problems

    def remarks(self) -> list[tuple[str, str]]:
        """Say what holds, each time with the node that it is said of."""
        found = []
        if self.tightest is not None:
            near = self.tightest
            text = f"nothing leaves its width for any input; nearest: {near.what} {near.range}"
            found.append((near.node, text))
        if self.steps is not None:
            found.append((self.counter or "", f"its sum over steps keeps its width for {self.steps} steps"))
        if self.saturates is not None:
            text = f"no membrane saturates before step {self.saturates}, where this one could"
            found.append((self.filling or "", text))
        return found

    def sentence(self) -> str:
        """Say in one line what holds."""
        if self.problems:
            return f"widths: {len(self.problems)} numbers may leave their width (the pass fit names them)"
        steps = "any number of steps" if self.steps is None else f"{self.steps} steps"
        first = "" if self.saturates is None else f" before step {self.saturates}"
        return f"widths: nothing leaves its width for any input in {steps}; no membrane saturates{first}"


def bits_of(least: int, most: int) -> int:
    """Return how many bits hold both in two's complement."""
    return max(most.bit_length() if most >= 0 else 0, (-least - 1).bit_length() if least < 0 else 0) + 1


def limits_of(width: int) -> tuple[int, int]:
    return -(2 ** (width - 1)), 2 ** (width - 1) - 1


def prove_widths(graph: Graph, widths: Widths | None = None) -> WidthProof:
    """Follow the bounds of every stream through the graph; `PassError` if it computes with real weights.

    See `snnc.passes.intervals` for the bounds. A stream that leaves its width counts as filling it from
    there on, so that every node is named for what it does itself.
    """
    refuse_real(graph)
    prover = Prover(graph, widths or Widths())
    for _ in prover.run():
        pass
    return prover.proof


def refuse_real(graph: Graph) -> None:
    """Refuse a graph that has real weights, or no integers at all."""
    real = [describe(node) for node in graph if computes_real(graph, node)]
    if real or not graph.computes_integers:
        listed = ":\n  " + "\n  ".join(real) if real else ""
        raise PassError(
            f"widths are those of whole numbers; this network computes with real ones{listed}",
            help="run quantise-weights and integerise before fit",
        )


def computes_real(graph: Graph, node: Node) -> bool:
    """Tell whether a node has real weights or a real threshold although it reads no real stream.

    What reads one is an encoder, or a layer that runs on a host.
    """
    given = graph.resolve(node)
    weight, threshold = given.get("weight"), given.get("quantum", given.get("threshold"))
    if node.op.synaptic:
        real = weight is not None and bool(weight.dtype.kind == "f")
        return real and counts(node.operands[0].type)
    encodes = node.op.name == "neuron" and not counts(node.operands[0].type)
    return node.op.neuron and not encodes and (threshold is None or bool(threshold.dtype.kind == "f"))


class Prover:
    """The bounds so far, node after node."""

    def __init__(self, graph: Graph, widths: Widths) -> None:
        self.graph, self.widths = graph, widths
        self.proof = WidthProof(widths)
        self.intervals: dict[Value, Interval] = {}
        # What neurons take back is bounded on average: then every interval is that of a mean over the steps.
        self.averages = answers_by_averages(graph)

    def run(self) -> Iterator[tuple[Node, Interval]]:
        """Yield every node whose result is whole numbers that vary, with its bounds."""
        static = static_values(self.graph)
        last = {operand: node for node in self.graph for operand in node.operands}
        for node in self.graph:
            if counts(node.result.type) and node.result not in static:
                self.intervals[node.result] = self._bound(node)
                yield node, self.intervals[node.result]
            for operand in node.operands:
                if last[operand] is node:
                    self.intervals.pop(operand, None)

    def _bound(self, node: Node) -> Interval:
        """Return the bounds of a node's result, checked and within its width."""
        given = fill_batch(self.graph.resolve(node), 1)
        operands = [self._operand(operand) for operand in node.operands]
        if node.op.neuron:
            self._check_neuron(node, given, operands[0])
        if isinstance(node.result.type, SpikeType):
            result = self._sent(node, given) if node.op.neuron else self._pure(node, operands)
            return self._check(node, "payloads", result, self.widths.payload)
        if not (node.op.synaptic and "weight" in given):
            result = self._pure(node, operands)
            return self._check(node, "sums", result, self.widths.accumulator)
        self._check_weights(node, given)
        assert node.op.kernel is not None
        sums = synapse_sums(given, node.op.kernel, operands[0])
        result = with_bias(sums, given)
        # Whatever the order of the terms, and whether or not all of them come.
        whole = self._check(node, "sums", sums.with_zero().hull(result), self.widths.accumulator)
        return Interval(np.maximum(result.lo, whole.lo), np.minimum(result.hi, whole.hi))

    def _sent(self, node: Node, given: Mapping[str, Any]) -> Interval:
        """Return the bounds of a neuron's payloads."""
        assert isinstance(node.result.type, SpikeType)
        if not self.averages:
            return payload_interval(node.result.type)
        payload = given["codebook"].payload
        return Interval.constant(payload.lo, payload.hi, concrete(node.result.type.shape, 1))

    def _operand(self, value: Value) -> Interval:
        """Return the bounds of a stream; a constant has its own, any other tensor those of its type."""
        known, constant = self.intervals.get(value), self.graph.constant(value)
        if constant is not None:
            known = Interval(constant.astype(np.float64), constant.astype(np.float64))
        if known is None and isinstance(value.type, SpikeType):
            known = payload_interval(value.type)  # an input's
        return known or Interval.constant(*limits_of(MOST_WIDTH), concrete(value.type.shape, 1))

    def _pure(self, node: Node, operands: Sequence[Interval]) -> Interval:
        if node.op.name == "delay":
            return operands[0].with_zero()
        if node.expect:
            self._count_steps(node, operands)
        return result_interval(node, self.graph, operands)

    def _count_steps(self, node: Node, operands: Sequence[Interval]) -> None:
        """S(t) is at most t times the largest operand: it fits for so many steps."""
        lo, hi = limits_of(self.widths.membrane)
        for x in operands:
            self._hold(
                node, min(hi // x.most if x.most > 0 else np.inf, lo // x.least if x.least < 0 else np.inf)
            )

    def _hold(self, node: Node, steps: float) -> None:
        """Note that a node keeps its width for so many steps only."""
        if steps < (np.inf if self.proof.steps is None else self.proof.steps):
            self.proof.steps, self.proof.counter = int(steps), describe(node)

    def _check(
        self, node: Node, what: str, reached: Interval, width: int, *, compare: bool = True
    ) -> Interval:
        """Note how far a quantity goes, and whether that is too far; return what fits.

        Among those that `compare`, the one that comes nearest to its width is kept.
        """
        reach = Reach(describe(node), what, reached.least, reached.most, width)
        if reach.bits > width:
            self._problem(str(reach), reach.bits - width)
            return reached.limited(*limits_of(width))
        if compare and (self.proof.tightest is None or reach.share > self.proof.tightest.share):
            self.proof.tightest = reach
        if self.averages and compare:
            self._hold(node, int(limits_of(width)[1] // max(reach.most - reach.least, 1)))
        return reached

    def _problem(self, text: str, excess: int = 0) -> None:
        self.proof.problems.append(text)
        self.proof.excess = max(self.proof.excess, excess)

    def _check_weights(self, node: Node, given: Mapping[str, Any]) -> None:
        largest = 2 ** (self.widths.weight - 1) - 1
        found = int(np.abs(given["weight"].astype(np.int64)).max(initial=0))
        if found > largest:
            self._problem(f"{describe(node)}: a weight of {found}, at most {largest}")
        if given["exponent"] > LARGEST_EXPONENT:
            self._problem(f"{describe(node)}: exponent {given['exponent']}, at most {LARGEST_EXPONENT}")

    def _check_neuron(self, node: Node, given: Mapping[str, Any], x: Interval) -> None:
        """Check what a membrane starts from, is compared with and sums up; find when it could saturate."""
        whole = given.get("quantum", given.get("threshold"))
        if whole is None or whole.dtype.kind == "f":
            return  # it encodes a real stream
        name, width = describe(node), given["width"]
        if width is None or width > self.widths.membrane:
            bits = "no width" if width is None else f"{width} bits"
            self._problem(f"{name}: a membrane of {bits}; there are {self.widths.membrane}")
            width = self.widths.membrane
        starts = given["initial"] if node.op.name == "lif" else whole_start(given)
        bias = np.zeros(()) if given["bias"] is None else given["bias"].astype(np.float64)
        held = {"threshold": whole, "bias": bias, "rest": given.get("rest"), "starting membrane": starts}
        for what, numbers in held.items():
            if numbers is not None:
                self._check_number(node, what, np.asarray(numbers, np.float64), width)
        if node.op.name == "neuron":
            if (whole <= 0).any():
                self._problem(f"{name}: a threshold of {whole.min()}, which must be positive")
            first = neuron_saturates(given, x, limits_of(width))
        else:
            x = self._gained(node, given, x)
            first = lif_saturates(given, x, limits_of(width))
        summed = x.plus(bias)
        if given.get("reset") == "soft" and given.get("delayed"):
            summed = summed.hull(summed.plus(-whole))
        lo, hi = limits_of(width)
        reached = Interval(summed.lo + lo, summed.hi + hi)
        self._check(node, "membranes before they saturate", reached, TRANSIENT_BITS, compare=False)
        if first < (np.inf if self.proof.saturates is None else self.proof.saturates):
            self.proof.saturates, self.proof.filling = int(first), name

    def _check_number(self, node: Node, what: str, numbers: Any, width: int) -> None:
        if (numbers != np.rint(numbers)).any():
            self._problem(f"{describe(node)}: a {what} of {numbers.ravel()[0]:g}, which is not whole")
            return
        reach = Reach(describe(node), what, int(numbers.min()), int(numbers.max()), width)
        if reach.bits > width:
            self._problem(str(reach), reach.bits - width)

    def _gained(self, node: Node, given: Mapping[str, Any], x: Interval) -> Interval:
        """Return gain x; note leaks that amplify."""
        leak, gain = given["leak"], given["gain"]
        if leak is not None and not ((leak >= 0) & (leak <= 1)).all():
            self._problem(f"{describe(node)}: a leak outside of 0 … 1")
        if gain is None:
            return x
        scaled = np.asarray(gain, np.float64)
        return x.times(Interval(scaled, scaled))
