"""A graph made ready to step: what runs in which order, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.fast.events import EventLayer, event_layer
from snnc.backends.fast.fused import is_fused
from snnc.backends.fast.layout import Layout
from snnc.backends.fast.neuron import FastNeuronState
from snnc.backends.fast.partition import Stretch, partition, results_of
from snnc.backends.fast.stretch import open_stretch
from snnc.backends.fast.totals import totals
from snnc.backends.reference.program import decode, invariant_values
from snnc.ir.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from snnc.backends.fast.partition import Partition
    from snnc.backends.onnx.runtime import RuntimeModel
    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


class Code:
    """What a graph becomes, whatever the number of samples: its partition and its sessions.

    `watched`: every stream of spikes can be looked at. `threads`: those of a large stretch. `averages`: the
    streams are decoded values (`snnc.backends.fast.averages`).
    """

    def __init__(
        self, graph: Graph, timed: frozenset[str], *, watched: bool, threads: int, averages: bool = False
    ) -> None:
        self.graph, self.timed, self.watched = graph, timed, watched
        self.averages = averages
        self.invariant = invariant_values(graph, timed)
        self.partition: Partition = partition(graph, self.invariant, watched, averages=averages)
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


class Program(Layout):
    """One time step for a fixed number of samples, and the memory of its nodes."""

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
