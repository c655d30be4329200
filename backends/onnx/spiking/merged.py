"""Networks of integers whose neurons depend on sums: every step by itself, as a network of one step.

What a neuron with bounds = sum has sent in all is a function of what it received in all, so `merge-steps`
makes one step of the first t, exactly. Whatever is written for one step serves for every t, integer kernels
among it, where the sums of payloads are bytes as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnc.backends.onnx.spiking.host_units import HostUnits
from snnc.backends.onnx.spiking.precision import ANY, membrane_bound, plan_precision
from snnc.backends.onnx.spiking.streams import differences
from snnc.backends.onnx.spiking.unroll import Unroller, kind_of_answer
from snnc.ir.errors import BackendError, PassError
from snnc.ir.op import computes_integers
from snnc.passes.merge_steps import Merger, refuse_what_is_no_sum
from snnc.passes.rewriter import describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.backends.onnx.spiking.precision import Plan
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph, Value


@dataclass(frozen=True, slots=True)
class Merged:
    """The first t steps as one: the graph, where the original's values are in it, and as t^p times what
    mean; how its nodes are written.
    """

    times: int
    graph: Graph
    twins: Mapping[Value, Value]
    powers: Mapping[Value, int]
    plan: Plan


def merged_steps(graph: Graph, times: int, *, single: bool = False, blocks: bool = False) -> Merged:
    """Return the network of one step that sends what the first `times` steps of this one send.

    `BackendError` if there is none: a membrane might saturate before, or a node remembers otherwise.
    """
    copy = graph.copy()
    twins = dict(zip(graph.inputs, copy.inputs, strict=True))
    twins |= {node.result: twin.result for node, twin in zip(graph, copy, strict=True)}
    try:
        refuse_what_is_no_sum(graph)
        merger = Merger(copy, times)
        merger.run()
    except PassError as error:
        raise BackendError(
            f"the ONNX backend writes networks of integers with bounds = sum by sums alone; {error.message}",
            help="run fewer steps, or with --backend fast",
        ) from error
    if single:
        HostUnits(copy, 1, (), by_averages=False).choose()
    plan = plan_precision(copy, 1, single=single, blocks=blocks)
    refuse_saturation(copy, plan, times)
    return Merged(times, copy, twins, merger.powers, plan)


def refuse_saturation(graph: Graph, plan: Plan, times: int) -> None:
    """Refuse membranes that could have saturated on the way to a sum: |m(t)| <= |S(t)| + |S(t-1)| + 2 q.

    One step saturates as it would.
    """
    problems = []
    if times == 1:
        return
    for node in graph:
        given = graph.resolve(node)
        if node.op.name == "neuron" and computes_integers(node.op, given) and given["width"]:
            bound = 2 * membrane_bound(given, plan.ranges.get(node.operands[0], ANY), 1)
            if bound + 2 * float(given["quantum"].max()) >= 2 ** (given["width"] - 1):
                problems.append(f"\n  {describe(node)}")
    if problems:
        raise BackendError(
            f"in {times} steps these membranes might saturate, which sums do not tell:{''.join(problems)}",
            help="run fewer steps, or with --backend fast",
        )


class MergedWriter:
    """Writes these steps, one after the other."""

    def __init__(
        self, model: ModelBuilder, times: Sequence[int], *, single: bool = False, blocks: bool = False
    ) -> None:
        self.model, self.times = model, times
        self.single, self.blocks = single, blocks
        self.steps: list[tuple[Merged, Unroller]] = []

    def write(self, graph: Graph) -> None:
        for t in self.times:
            merged = merged_steps(graph, t, single=self.single, blocks=self.blocks)
            with self.model.writing(merged.graph):
                unroller = Unroller(self.model, 1, merged.plan)
                unroller.write(merged.graph)
            self.steps.append((merged, unroller))

    def answers(self, value: Value) -> np.dtype[Any] | None:
        merged, _ = self.steps[0]
        return merged.plan.answers(merged.twins[value])

    def decoded(self, value: Value, how: Decode) -> str:
        """Return the answer after every step, [T, N, …]."""
        kind_of_answer(self.model, value, how, varies=not self._first.streams.invariant(self._twin(value)))
        if how == "mean":
            return self._first.stacked([self._at_power(value, index, 0) for index in range(len(self.times))])
        sums = [self._at_power(value, index, 1) for index in range(len(self.times))]
        if how == "sum":
            return self._first.stacked(sums)
        assert self.times[0] == 1, "the last step is a difference from the one before"
        return self._first.stacked(differences(self.model, sums))

    def watched(self, value: Value, factor: float) -> str:
        """Return a stream, [T, N, …]."""
        assert factor == 1, "whole numbers lie as they are"
        sums = [self._at_power(value, index, 1) for index in range(len(self.times))]
        return self._first.stacked(differences(self.model, sums))

    @property
    def _first(self) -> Unroller:
        return self.steps[0][1]

    def _twin(self, value: Value) -> Value:
        return self.steps[0][0].twins[value]

    def _at_power(self, value: Value, index: int, power: int) -> str:
        """Return t^power times the mean of the first t steps."""
        merged, unroller = self.steps[index]
        twin = merged.twins[value]
        (name,) = unroller.streams.at_steps(twin)
        more = power - merged.powers.get(twin, 0)
        return self.model.scale(name, float(merged.times) ** more, twin) if more else name
