"""A graph made ready to step on a device: one instruction per node, and the memory of its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from snnc.backends.reference.differential import passes_changes
from snnc.backends.reference.program import doubled, invariant_values, last_uses
from snnc.backends.torch.codebook import QUANTISERS
from snnc.backends.torch.differential import DifferentialExpectState, DifferentialNeuronState, LinearState
from snnc.backends.torch.kernels import KERNELS
from snnc.backends.torch.state import (
    Clock,
    DelayState,
    ExpectState,
    HostState,
    LifState,
    NeuronState,
    PureState,
    SumNeuronState,
)
from snnc.ir.errors import BackendError
from snnc.ir.op import computes_integers
from snnc.ir.shapes import fill_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from snnc.backends.reference.program import Observer
    from snnc.backends.torch.state import State
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

    Watch = Callable[["Instruction", int, Tensor], None]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One node: its memory, and the values that nobody needs after it."""

    node: Node
    state: State
    dead: tuple[Value, ...]


class Weights:
    """The attributes of every node, tensors on a device: moved there once, whatever runs."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.device = device
        self.whole = graph.computes_integers
        self.arrays = {node: self._doubled(node, graph.resolve(node)) for node in graph}
        self._moved: dict[int, Tensor] = {}

    def _doubled(self, node: Node, attributes: dict[str, Any]) -> dict[str, Any]:
        return doubled(attributes, computes_integers(node.op, attributes)) if self.whole else attributes

    def of(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return attributes with tensors on the device in the place of arrays that belong to a node."""
        return {
            name: self._tensor(value) if isinstance(value, np.ndarray) else value
            for name, value in attributes.items()
        }

    def _tensor(self, array: Array) -> Tensor:
        # The array lives as long as `arrays` does, so nothing else gets its address.
        if id(array) not in self._moved:
            self._moved[id(array)] = moved(array, self.device)
        return self._moved[id(array)]


def moved(array: Array, device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, in memory of its own."""
    return torch.from_numpy(np.array(array, order="C")).to(device)


class Program:
    """One time step of a graph for a fixed number of samples, and the memory of its nodes.

    Values that never vary are computed at step 1 only, as in the reference simulator.
    """

    def __init__(self, graph: Graph, weights: Weights, batch: int, timed: frozenset[str]) -> None:
        invariant = invariant_values(graph, timed)
        refuse_unknown(graph, invariant)
        dead = last_uses(graph, invariant)
        self.graph, self.weights = graph, weights
        self.batch = batch
        self._coding, self._timed = graph.coding, timed
        make = make_state if self._coding == "rate" else make_differential_state
        instructions = [
            Instruction(
                node,
                make(node, fill_batch(weights.arrays[node], batch), weights, invariant),
                tuple(dead.get(node, ())),
            )
            for node in graph
        ]
        self.once = [one for one in instructions if one.node.result in invariant]
        self.repeat = [one for one in instructions if one.node.result not in invariant]
        self._varies = {value for value in (o.value for o in graph.outputs) if value not in invariant}

    def run(self, inputs: Mapping[str, Array], steps: int, observers: Sequence[Observer] = ()) -> list[Array]:
        """Step the samples from the first step; return per output the decoded values [T, …]."""
        times, streams = self.begin(inputs, steps, observers)
        watch = partial(tell, observers) if observers else None
        return [series.cpu().numpy() for series in self.finish(times, streams, watch)]

    def begin(
        self, inputs: Mapping[str, Array], steps: int, observers: Sequence[Observer]
    ) -> tuple[Tensor, dict[Value, Tensor]]:
        """Return the numbers of the steps and every stream that is needed and known before the first one.

        Those are the inputs, [T, …] where they vary in time, and what never varies.
        """
        device, kind = self.weights.device, torch.float64 if self.weights.whole else torch.float32
        given = doubled(inputs, False) if self.weights.whole else inputs
        streams = {value: moved(given[value.name or ""], device) for value in self.graph.inputs}
        times = torch.arange(1, steps + 1, dtype=kind, device=device)
        self._execute(self.once, Clock(1, times[0]), streams, partial(tell, observers) if observers else None)
        return times, streams

    def finish(self, times: Tensor, known: Mapping[Value, Tensor], watch: Watch | None) -> list[Tensor]:
        """Take all steps with what `begin` returned; return per output the decoded values [T, …]."""
        sums: list[Tensor] = []
        decoded: list[list[Tensor]] = [[] for _ in self.graph.outputs]
        streams = dict(known)
        timed = [value for value in self.graph.inputs if value.name in self._timed]
        for t in range(1, len(times) + 1):
            clock = Clock(t, times[t - 1])
            for value in timed:
                streams[value] = known[value][t - 1]
            self._execute(self.repeat, clock, streams, watch)
            results = [streams[output.value] for output in self.graph.outputs]
            sums = self._accumulate(sums, results, clock)
            for series, output, total, y in zip(decoded, self.graph.outputs, sums, results, strict=True):
                series.append(self._decode(output.decode, total, y, clock))
        return [torch.stack(series) for series in decoded]

    def _execute(
        self,
        instructions: Sequence[Instruction],
        clock: Clock,
        streams: dict[Value, Tensor],
        watch: Watch | None,
    ) -> None:
        for one in instructions:
            result = one.state.step(clock, [streams[operand] for operand in one.node.operands])
            streams[one.node.result] = result
            if watch is not None:
                watch(one, clock.t, result)
            for value in one.dead:
                del streams[value]

    def _accumulate(self, sums: Sequence[Tensor], results: Sequence[Tensor], clock: Clock) -> list[Tensor]:
        """Return, per output, S(t) in rate coding and r(t) in differential coding."""
        if clock.t == 1:
            return list(results)
        if self._coding == "rate":
            return [total + x for total, x in zip(sums, results, strict=True)]
        triples = zip(sums, results, self.graph.outputs, strict=True)
        return [
            total + x / clock.time if output.value in self._varies else total for total, x, output in triples
        ]

    def _decode(self, how: Decode, total: Tensor, y: Tensor, clock: Clock) -> Tensor:
        """Return the answer after t steps; integers never vary."""
        if self._coding == "differential":
            return total * clock.time if how == "sum" else total
        if how == "last":
            return y
        if how == "sum" or total.dtype == torch.bool:
            return total
        return total / clock.time if total.is_floating_point() else total // clock.t


def tell(observers: Sequence[Observer], one: Instruction, t: int, result: Tensor) -> None:
    membrane = one.state.membrane if isinstance(one.state, NeuronState | LifState) else None
    for observer in observers:
        observer.observe(
            one.node, t, result.cpu().numpy(), None if membrane is None else membrane.cpu().numpy()
        )


def on_host(node: Node, invariant: set[Value]) -> bool:
    """Tell whether the op table's kernel computes a node: it never varies, and is no matter of reals."""
    if node.result not in invariant:
        return False
    real = all(value.type.is_real for value in (*node.operands, node.result))
    return node.op.name not in KERNELS or not real


def make_state(node: Node, attributes: dict[str, Any], weights: Weights, invariant: set[Value]) -> State:
    """Return the memory of a node, given its attributes for the number of samples at hand."""
    if on_host(node, invariant):
        return HostState(node, attributes)
    given = weights.of(attributes)
    if node.op.name in STATEFUL:
        return STATEFUL[node.op.name](node, given, weights)
    moving = [i for i, operand in enumerate(node.operands) if operand not in invariant]
    return ExpectState(node, given, moving) if node.expect and moving else PureState(node, given)


def integrates_whole_numbers(node: Node) -> bool:
    return node.graph is not None and computes_integers(node.op, node.graph.resolve(node))


NEURONS = {"step": NeuronState, "sum": SumNeuronState}
STATEFUL: dict[str, Callable[[Node, dict[str, Any], Weights], State]] = {
    "neuron": lambda node, given, weights: NEURONS[given["bounds"]](
        given, str(given["site"]), whole=integrates_whole_numbers(node)
    ),
    "lif": lambda node, given, weights: LifState(given, whole=integrates_whole_numbers(node)),
    "delay": lambda node, given, weights: DelayState(given),
}


def make_differential_state(
    node: Node, attributes: dict[str, Any], weights: Weights, invariant: set[Value]
) -> State:
    """Return the memory of a node in differential coding."""
    if on_host(node, invariant):
        return HostState(node, attributes)
    moving = [i for i, operand in enumerate(node.operands) if operand not in invariant]
    given = weights.of(attributes)
    if node.op.name == "neuron":
        return DifferentialNeuronState(given, str(given["site"]), moving=bool(moving))
    if not moving:
        return PureState(node, given)
    if node.expect:
        return DifferentialExpectState(node, given, moving)
    if not passes_changes(node.op, moving):
        raise BackendError(
            f"{node.op.name} of changes is not the change of {node.op.name}",
            where=", ".join(node.origin) or None,
            help="run expectation-compensation first (snnc compile does)",
        )
    constant = [i for i, _ in enumerate(node.operands) if i not in moving and node.op.affine_in(i)]
    return LinearState(node, given, weights.of(node.op.linear_part(attributes)), constant)


def refuse_unknown(graph: Graph, invariant: set[Value]) -> None:
    """Raise `BackendError` with every node that varies in time and that this backend has no kernel for."""
    problems = [
        f"{', '.join(node.origin) or node.op.name}: {why}"
        for node in graph
        if (why := problem(node, graph, invariant))
    ]
    if problems:
        raise BackendError(
            "this network cannot be run with PyTorch:\n" + "\n".join(f"  {line}" for line in problems),
            help="--backend reference runs every network",
        )


def problem(node: Node, graph: Graph, invariant: set[Value]) -> str | None:
    """Return why a node cannot be run, or None."""
    if node.op.name == "neuron":
        codebook = graph.resolve(node)["codebook"]
        known = type(codebook) in QUANTISERS
        return None if known else f"the torch backend does not know {codebook.name} neurons"
    if node.op.name in STATEFUL or node.op.name in KERNELS or on_host(node, invariant):
        return None
    return f"the torch backend does not know {node.op.name}"
