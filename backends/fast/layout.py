"""Where every stream of a graph lies, and the units that read and write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.events import EventUnit
from snnc.backends.fast.expectation import FastExpectation, bound, is_unscaled
from snnc.backends.fast.fused import FusedExpectation, is_fused
from snnc.backends.fast.memory import Arena, Lifetime, bytes_of, dtype_of, plan, shape_of
from snnc.backends.fast.neuron import FastNeuronState
from snnc.backends.fast.partition import Stretch, reads_of, results_of
from snnc.backends.fast.sums import fast_neuron
from snnc.backends.fast.units import KernelUnit, NeuronUnit, PlainUnit, StateUnit
from snnc.backends.reference.program import keep_freed_memory, make_state
from snnc.backends.reference.state import PureState
from snnc.ir.shapes import fill_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.backends.fast.program import Code
    from snnc.backends.fast.units import Unit
    from snnc.ir.graph import Node, Value
    from snnc.ir.kernel_types import Array


class Layout:
    """The streams of `batch` samples, and the units that read and write them.

    What varies in time has `copies` times as many samples. Streams that live at different times of a step
    share their places; a neuron's spikes take the place of its current. `planned_bytes` is the memory of
    streams, sums and membranes.
    """

    def __init__(self, code: Code, batch: int, copies: int = 1) -> None:
        keep_freed_memory()
        self.code, self.batch, self.copies = code, batch, copies
        self._streams = self._constants()
        self._means: dict[Node, list[Array]] = {}
        self.planned_bytes = self._lay_out()
        self._once = [self._unit(unit) for unit in code.partition.once]
        self._repeated = [self._unit(unit) for unit in code.partition.repeated]
        graph = code.graph
        self._inputs = [(value.name or "", self._streams[value]) for value in graph.inputs]
        self._outputs = [(self._streams[output.value], output.decode) for output in graph.outputs]

    def _samples(self, value: Value) -> int:
        return self.batch if value in self.code.invariant else self.batch * self.copies

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
        code, batch = self.code, self.batch * self.copies
        once = (value for unit in code.partition.once for value in unit.results)
        kept = [*code.graph.inputs, *once, *(value for value in code.totals if is_neuron(value.node))]
        for value in kept:
            self._streams[value] = np.zeros(shape_of(value, self._samples(value)), dtype_of(value))
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
        attributes = fill_batch(code.graph.resolve(unit), self._samples(unit.result))
        if unit in code.models or is_fused(code.graph, unit, code.moving(unit)):
            return self._expectation(unit, attributes)
        operands, result = [self._streams[value] for value in unit.operands], self._streams[unit.result]
        if is_compiled(unit, attributes):
            (x,) = operands
            return self._neuron(unit, attributes, x, x if np.may_share_memory(x, result) else result)
        return StateUnit(make_state(unit, attributes, code.invariant), operands, result)

    def _neuron(self, node: Node, attributes: dict[str, Any], x: Array, y: Array) -> Unit:
        """Return a neuron whose y may be x."""
        reads, sends = node.operands[0] in self.code.totals, node.result in self.code.totals
        return NeuronUnit(
            fast_neuron(attributes, x.shape, x.dtype, reads_totals=reads, sends_totals=sends), x, y
        )

    def _stretch(self, stretch: Stretch) -> Unit:
        code, streams = self.code, self._seen_by(stretch)
        model = code.models.get(stretch)
        if model is None:
            return KernelUnit(code.graph, stretch, self._samples(stretch.nodes[0].result), streams)
        reads, results = ([streams[value] for value in side] for side in (stretch.reads, stretch.results))
        dense = PlainUnit(bound(model, reads, *results))
        layer = code.events.get(stretch)
        return dense if layer is None else EventUnit(layer, dense, *reads, *results)

    def _seen_by(self, stretch: Stretch) -> Mapping[Value, Array]:
        return self._streams

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


def is_neuron(node: Node | None) -> bool:
    return node is not None and node.op.name == "neuron"


def remembered_bytes(unit: Stretch | Node, code: Code, batch: int) -> int:
    """Return the bytes of a node's memory: a membrane and what bounds its sum, or its sums and last value."""
    if isinstance(unit, Stretch) or code.averages:
        return 0
    if not unit.expect:
        return bytes_of(unit.result, batch) * (2 if unit.attributes.get("bounds") == "sum" else 1)
    remembered = [unit.operands[index] for index in code.moving(unit)] + [unit.result]
    return sum(bytes_of(value, batch) for value in remembered if value not in code.totals)


def is_compiled(node: Node, attributes: dict[str, Any]) -> bool:
    return node.op.name == "neuron" and FastNeuronState.compiles(attributes)
