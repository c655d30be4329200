"""Steps a graph: all nodes once per time step, in execution order, with no delay between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from snnc.backends.inputs import batch_size_of, check_inputs, split_batches
from snnc.backends.reference.state import DelayState, ExpectState, NeuronState, PureState, State
from snnc.ir.errors import OptionError, did_you_mean
from snnc.ir.op import Role
from snnc.ir.shapes import Batch, batch_axis, fill_batch, per_sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

# Samples are stepped in groups whose largest stream stays about this big, so that it stays in cache.
GROUP_BYTES = 4 * 2**20


class Observer(Protocol):
    """Watches a run. Arrays are only valid during the call."""

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """What a run returns.

    `outputs`: per output name, the decoded value after each step, [T, N, …]. `spikes` and `membranes`: per
    recorded site, the payloads and membranes of each step, [T, N, …].
    """

    outputs: dict[str, Array]
    spikes: dict[str, Array] = field(default_factory=dict)
    membranes: dict[str, Array] = field(default_factory=dict)


@dataclass(slots=True)
class Recorder:
    """Keeps payloads and membranes of chosen neurons, step by step."""

    names: Mapping[Node, str]
    spikes: dict[str, list[Array]] = field(default_factory=dict)
    membranes: dict[str, list[Array]] = field(default_factory=dict)

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        name = self.names.get(node)
        if name is None:
            return
        self.spikes.setdefault(name, []).append(value.copy())
        if membrane is not None:
            self.membranes.setdefault(name, []).append(membrane.copy())


class Simulator:
    """Runs a graph on the CPU with numpy.

    Inputs are constant over time: an array per input, samples along the batch axis. Values that no neuron
    or expectation node has touched yet are the same at every step and computed once.
    """

    def __init__(self, graph: Graph, *, group: int | None = None) -> None:
        self.graph = graph
        self.group = group or default_group(graph)
        self._attributes = {node: graph.resolve(node) for node in graph}
        self._invariant = invariant_values(graph)
        self._last_use = last_uses(graph)

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        steps: int,
        *,
        record: Sequence[str] = (),
        observers: Sequence[Observer] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step.

        `record` names neurons by site or source node; `progress` is told how many samples are done.
        """
        if steps < 1:
            raise OptionError(f"cannot run {steps} time steps", help="give at least 1")
        arrays = check_inputs(self.graph, inputs)
        names = self._recorded(record)
        runs = []
        for group in split_batches(self.graph, arrays, self.group):
            recorder = Recorder(names)
            decoded = self._run_group(group, steps, [recorder, *observers] if names else list(observers))
            runs.append((decoded, recorder))
            if progress is not None:
                progress(batch_size_of(self.graph, group))
        return self._collect(runs)

    def _run_group(
        self, inputs: Mapping[str, Array], steps: int, observers: Sequence[Observer]
    ) -> list[Array]:
        """Step one group of samples; return per output the decoded values [T, …]."""
        batch = batch_size_of(self.graph, inputs)
        states = {node: self._state(node, batch) for node in self.graph}
        kept: dict[Value, Array] = {value: inputs[value.name or ""] for value in self.graph.inputs}
        sums: list[Array] = []
        decoded: list[list[Array]] = [[] for _ in self.graph.outputs]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for t in range(1, steps + 1):
                values = self._step(t, states, kept, observers)
                for index, output in enumerate(self.graph.outputs):
                    if t == 1:
                        sums.append(values[output.value].copy())
                    else:
                        sums[index] = sums[index] + values[output.value]
                    decoded[index].append(mean_after(sums[index], t))
        return [np.stack(series) for series in decoded]

    def _step(
        self, t: int, states: Mapping[Node, State], kept: dict[Value, Array], observers: Sequence[Observer]
    ) -> dict[Value, Array]:
        values = dict(kept)
        for node in self.graph:
            if node.result in kept:
                continue
            state = states[node]
            result = state.step(t, [values[operand] for operand in node.operands])
            values[node.result] = result
            if node.result in self._invariant:
                kept[node.result] = result
            for observer in observers:
                membrane = state.membrane if isinstance(state, NeuronState) else None
                observer.observe(node, t, result, membrane)
            for value in self._last_use.get(node, ()):
                if value not in kept:
                    del values[value]
        return values

    def _state(self, node: Node, batch: int) -> State:
        attributes = fill_batch(self._attributes[node], batch)
        if node.op.name == "neuron":
            return NeuronState(attributes, str(attributes["site"]))
        if node.op.name == "delay":
            return DelayState(attributes)
        moving = [i for i, operand in enumerate(node.operands) if operand not in self._invariant]
        # An expectation node of constant streams gives F(x) at every step.
        return (
            ExpectState(node, attributes, moving) if node.expect and moving else PureState(node, attributes)
        )

    def _recorded(self, record: Sequence[str]) -> dict[Node, str]:
        known: dict[str, Node] = {}
        for node in self.graph:
            if node.op.name == "neuron":
                site = node.attributes.get("site")
                for name in (*node.origin, *([str(site)] if site else [])):
                    known[name] = node
        for name in record:
            if name not in known:
                raise OptionError(f"there is no neuron {name!r} to record", help=did_you_mean(name, known))
        return {known[name]: name for name in record}

    def _collect(self, runs: Sequence[tuple[list[Array], Recorder]]) -> Run:
        outputs = {}
        for index, output in enumerate(self.graph.outputs):
            axis = batch_axis(output.value.type.shape)
            parts = [decoded[index] for decoded, _ in runs]
            outputs[output.name] = parts[0] if axis is None else np.concatenate(parts, axis=axis + 1)
        names = runs[0][1].spikes
        spikes = {name: np.concatenate([np.stack(r.spikes[name]) for _, r in runs], axis=1) for name in names}
        membranes = {
            name: np.concatenate([np.stack(r.membranes[name]) for _, r in runs], axis=1) for name in names
        }
        return Run(outputs, spikes, membranes)


def mean_after(total: Array, t: int) -> Array:
    """Return S(t)/t; integers stay what they are (they never vary in time)."""
    if total.dtype != np.float32:
        return total // t if total.dtype != np.bool_ else total
    return total / np.float32(t)


def invariant_values(graph: Graph) -> set[Value]:
    """Return the values that are the same at every step while the inputs are constant."""
    invariant = set(graph.inputs)
    for node in graph:
        if node.op.role is not Role.STATEFUL and all(operand in invariant for operand in node.operands):
            invariant.add(node.result)
    return invariant


def last_uses(graph: Graph) -> dict[Node, list[Value]]:
    """Return, per node, the values nobody needs after it."""
    last: dict[Value, Node] = {}
    for node in graph:
        last[node.result] = node
        for operand in node.operands:
            last[operand] = node
    uses: dict[Node, list[Value]] = {}
    for value, node in last.items():
        if value.node is not None and not graph.is_output(value):
            uses.setdefault(node, []).append(value)
    return uses


def default_group(graph: Graph) -> int:
    """Return how many samples to step together: as many as keep the largest stream in cache."""
    shapes = [value.type.shape for value in (*graph.inputs, *(node.result for node in graph))]
    largest = max((per_sample(s) for s in shapes if any(isinstance(d, Batch) for d in s)), default=1)
    return max(1, GROUP_BYTES // (4 * largest))
