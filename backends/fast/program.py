"""A graph made ready to step: what runs in which order, and where every stream lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.events import EventLayer, EventUnit, event_layer
from snnc.backends.fast.expectation import FastExpectation, bound, is_unscaled
from snnc.backends.fast.fused import FusedExpectation, is_fused
from snnc.backends.fast.memory import Arena, Lifetime, bytes_of, dtype_of, plan, shape_of
from snnc.backends.fast.neuron import FastNeuronState
from snnc.backends.fast.partition import Stretch, partition
from snnc.backends.fast.stretch import open_stretch
from snnc.backends.fast.totals import totals
from snnc.backends.fast.units import KernelUnit, NeuronUnit, SessionUnit, StateUnit
from snnc.backends.reference.program import decode, invariant_values, keep_freed_memory, make_state
from snnc.backends.reference.state import PureState
from snnc.ir.errors import BackendError
from snnc.ir.shapes import fill_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from snnc.backends.fast.partition import Partition
    from snnc.backends.fast.units import Unit
    from snnc.backends.onnx.runtime import RuntimeModel
    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


class Code:
    """What a graph becomes, whatever the number of samples: its partition and its sessions.

    `watched`: every stream of spikes can be looked at. `threads`: those of a large stretch.
    """

    def __init__(self, graph: Graph, timed: frozenset[str], *, watched: bool, threads: int) -> None:
        self.graph, self.timed, self.watched = graph, timed, watched
        self.invariant = invariant_values(graph, timed)
        self.partition: Partition = partition(graph, self.invariant, watched)
        self.threads = threads
        self.models: dict[Stretch | Node, RuntimeModel] = {}
        for unit in (*self.partition.once, *self.partition.repeated):
            model = self._open(unit)
            if model is not None:
                self.models[unit] = model
        self.totals = set() if watched else totals(graph, self.invariant, self._sources())
        self.events: dict[Stretch | Node, EventLayer] = {}
        for unit in self.partition.repeated:
            layer = event_layer(graph, unit) if isinstance(unit, Stretch) else None
            if layer is not None:
                self.events[unit] = layer

    def moving(self, node: Node) -> list[int]:
        return [index for index, value in enumerate(node.operands) if value not in self.invariant]

    def reads_totals(self, node: Node) -> frozenset[int]:
        return frozenset(index for index, value in enumerate(node.operands) if value in self.totals)

    def _sources(self) -> dict[Node, str]:
        """Return the nodes that can read and send totals, and what they are."""
        found = {}
        for unit in self.partition.repeated:
            if isinstance(unit, Stretch):
                continue
            if unit.expect and (unit in self.models or is_fused(self.graph, unit, self.moving(unit))):
                found[unit] = "expect"
            elif unit.op.name == "neuron" and FastNeuronState.takes_totals(self.graph.resolve(unit)):
                found[unit] = "neuron"
        return found

    def _open(self, unit: Stretch | Node) -> RuntimeModel | None:
        """Return the session of a unit; None if it has none, or onnxruntime has no kernel for it."""
        if isinstance(unit, Stretch):
            nodes, reads, results = unit.nodes, unit.reads, unit.results
        elif unit.expect and not is_fused(self.graph, unit, self.moving(unit)):
            reads = tuple(dict.fromkeys(unit.operands))
            nodes, results = (unit,), (unit.result,)
            if len(reads) < len(unit.operands):
                return None
        else:
            return None
        try:
            return open_stretch(self.graph, nodes, reads, results, self.threads)
        except BackendError:
            return None


class Program:
    """One time step for a fixed number of samples, and the memory of its nodes.

    Streams that live at different times of a step share their places; a neuron's spikes take the place of
    its current. `planned_bytes` is the memory of streams, sums and membranes.
    """

    def __init__(self, code: Code, batch: int) -> None:
        keep_freed_memory()
        self.code, self.batch = code, batch
        self._streams = self._constants()
        self._means: dict[Node, list[Array]] = {}
        self.planned_bytes = self._lay_out()
        self._once = [self._unit(unit) for unit in code.partition.once]
        self._repeated = [self._unit(unit) for unit in code.partition.repeated]
        graph = code.graph
        self._inputs = [(value.name or "", self._streams[value]) for value in graph.inputs]
        self._outputs = [(self._streams[output.value], output.decode) for output in graph.outputs]

    def _constants(self) -> dict[Value, Array]:
        """Return what depends on no input."""
        graph, streams = self.code.graph, {}
        for node in graph:
            array = graph.constant(node.result)
            if array is not None:
                streams[node.result] = np.ascontiguousarray(array)
        for node in self.code.partition.fixed:
            state = PureState(node, fill_batch(graph.resolve(node), self.batch))
            operands = [streams[operand] for operand in node.operands]
            streams[node.result] = np.ascontiguousarray(state.step(1, operands, False))
        return streams

    def _lay_out(self) -> int:
        """Give every stream its place; return the bytes of all of them, of sums and of membranes."""
        code, batch = self.code, self.batch
        once = (value for unit in code.partition.once for value in unit.results)
        kept = [*code.graph.inputs, *once, *(value for value in code.totals if is_neuron(value.node))]
        for value in kept:
            self._streams[value] = np.zeros(shape_of(value, batch), dtype_of(value))
        places = Places(code, batch)
        offsets, size = plan(places.lifetimes)
        arena = Arena(size)

        def array(value: Value, place: int) -> Array:
            return arena.array(offsets[place], shape_of(value, batch), dtype_of(value))

        for value, place in places.of_streams.items():
            self._streams[value] = array(value, place)
        for node, means in places.of_means.items():
            operands = [node.operands[index] for index in code.moving(node)]
            self._means[node] = [array(value, place) for value, place in zip(operands, means, strict=False)]
        remembered = sum(remembered_bytes(unit, code, batch) for unit in code.partition.repeated)
        return size + sum(self._streams[value].nbytes for value in kept) + remembered

    def _unit(self, unit: Stretch | Node) -> Unit:
        if isinstance(unit, Stretch):
            return self._stretch(unit)
        code = self.code
        attributes = fill_batch(code.graph.resolve(unit), self.batch)
        if unit in code.models or is_fused(code.graph, unit, code.moving(unit)):
            return self._expectation(unit, attributes)
        operands, result = [self._streams[value] for value in unit.operands], self._streams[unit.result]
        if is_compiled(unit, attributes):
            (x,) = operands
            state = FastNeuronState(
                attributes,
                str(attributes["site"]),
                x.shape,
                x.dtype,
                reads_totals=unit.operands[0] in code.totals,
                sends_totals=unit.result in code.totals,
            )
            return NeuronUnit(state, x, x if np.may_share_memory(x, result) else result)
        return StateUnit(make_state(unit, attributes, code.invariant), operands, result)

    def _stretch(self, stretch: Stretch) -> Unit:
        code, streams = self.code, self._streams
        model = code.models.get(stretch)
        if model is None:
            return KernelUnit(code.graph, stretch, self.batch, streams)
        reads, results = ([streams[value] for value in side] for side in (stretch.reads, stretch.results))
        dense = SessionUnit(bound(model, reads, *results))
        layer = code.events.get(stretch)
        return dense if layer is None else EventUnit(layer, dense, *reads, *results)

    def _expectation(self, node: Node, attributes: dict[str, Any]) -> Unit:
        code, result = self.code, self._streams[node.result]
        operands = [self._streams[value] for value in node.operands]
        sends_totals = node.result in code.totals
        if node not in code.models:
            reads_totals = node.operands[0] in code.totals
            return FusedExpectation(
                node, attributes, operands[0], result, reads_totals=reads_totals, sends_totals=sends_totals
            )
        return FastExpectation(
            node,
            code.moving(node),
            model=code.models[node],
            streams=operands,
            result=result,
            means=self._means[node],
            totals=code.reads_totals(node),
            sends_totals=sends_totals,
        )

    def run(self, inputs: Mapping[str, Array], steps: int, observers: Sequence[Observer] = ()) -> list[Array]:
        """Step the samples from the first step; return per output the decoded values [T, …].

        The inputs that vary in time have their steps in front.
        """
        timed = self.code.timed
        sums: list[Array] = []
        decoded: list[list[Array]] = [[] for _ in self._outputs]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for t in range(1, steps + 1):
                for name, place in self._inputs:
                    if t == 1 or name in timed:
                        np.copyto(place, inputs[name][t - 1] if name in timed else inputs[name])
                self._step(t, observers, last=t == steps and not observers)
                results = [stream for stream, _ in self._outputs]
                sums = (
                    [x.copy() for x in results]
                    if t == 1
                    else [s + x for s, x in zip(sums, results, strict=True)]
                )
                for series, (y, how), total in zip(decoded, self._outputs, sums, strict=True):
                    series.append(decode(how, total, y, t))
        return [np.stack(series) for series in decoded]

    def _step(self, t: int, observers: Sequence[Observer], *, last: bool) -> None:
        if observers:
            self._watched_step(t, observers)
            return
        if t == 1:
            for unit in self._once:
                unit.step(t, last)
        for unit in self._repeated:
            unit.step(t, last)

    def _watched_step(self, t: int, observers: Sequence[Observer]) -> None:
        parts = self.code.partition
        if t == 1:
            for stretch, unit in zip(parts.once, self._once, strict=True):
                unit.step(t, False)
                self._tell(observers, t, stretch.results, None)
        for what, unit in zip(parts.repeated, self._repeated, strict=True):
            unit.step(t, False)
            self._tell(observers, t, results_of(what), unit.membrane)

    def _tell(
        self, observers: Sequence[Observer], t: int, values: Iterable[Value], membrane: Array | None
    ) -> None:
        for value in values:
            assert value.node is not None
            for observer in observers:
                observer.observe(value.node, t, self._streams[value], membrane)


class Places:
    """Which place every stream has, and from when to when it is taken."""

    def __init__(self, code: Code, batch: int) -> None:
        self.lifetimes: list[Lifetime] = []
        self.of_streams: dict[Value, int] = {}
        self.of_means: dict[Node, list[int]] = {}
        units = code.partition.repeated
        died = last_reads(code)
        for index, unit in enumerate(units):
            for value in results_of(unit):
                if value in code.totals and is_neuron(value.node):
                    continue
                end = died.get(value, index)
                place = self._current_of(unit, index, died)
                if place is None:
                    place = self._add(bytes_of(value, batch), index, end)
                else:
                    before = self.lifetimes[place]
                    self.lifetimes[place] = Lifetime(before.size, before.first, end)
                self.of_streams[value] = place
            if not isinstance(unit, Stretch) and unit in code.models:
                moving = [] if is_unscaled(unit, code.moving(unit)) else code.moving(unit)
                self.of_means[unit] = [
                    self._add(bytes_of(unit.operands[one], batch), index, index) for one in moving
                ]

    def _add(self, size: int, first: int, last: int) -> int:
        self.lifetimes.append(Lifetime(size, first, last))
        return len(self.lifetimes) - 1

    def _current_of(self, unit: Stretch | Node, index: int, died: Mapping[Value, int]) -> int | None:
        """Return the place of a neuron's current that nobody needs any more."""
        if (
            isinstance(unit, Stretch)
            or unit.op.name != "neuron"
            or unit.attributes.get("level_axis") is not None
        ):
            return None
        x = unit.operands[0]
        return self.of_streams.get(x) if died.get(x) == index else None


def last_reads(code: Code) -> dict[Value, int]:
    """Return, per stream, the last unit that reads it; outputs are read when all are done."""
    units = code.partition.repeated
    last: dict[Value, int] = {}
    for index, unit in enumerate(units):
        last.update((value, index) for value in reads_of(unit))
    last.update((output.value, len(units)) for output in code.graph.outputs)
    return last


def reads_of(unit: Stretch | Node) -> tuple[Value, ...]:
    return unit.reads if isinstance(unit, Stretch) else unit.operands


def results_of(unit: Stretch | Node) -> tuple[Value, ...]:
    return unit.results if isinstance(unit, Stretch) else (unit.result,)


def is_neuron(node: Node | None) -> bool:
    return node is not None and node.op.name == "neuron"


def remembered_bytes(unit: Stretch | Node, code: Code, batch: int) -> int:
    """Return the bytes of a node's memory: its membrane, or its sums and its last value."""
    if isinstance(unit, Stretch):
        return 0
    if not unit.expect:
        return bytes_of(unit.result, batch)
    remembered = [unit.operands[index] for index in code.moving(unit)] + [unit.result]
    return sum(bytes_of(value, batch) for value in remembered if value not in code.totals)


def is_compiled(node: Node, attributes: dict[str, Any]) -> bool:
    return node.op.name == "neuron" and FastNeuronState.compiles(attributes)
