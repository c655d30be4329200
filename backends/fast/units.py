"""What runs at a step, on streams whose places it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from snnc.backends.reference.state import LifState, NeuronState, PureState
from snnc.ir.shapes import fill_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.backends.fast.neuron import FastNeuronState
    from snnc.backends.fast.partition import Stretch
    from snnc.backends.reference.state import State
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array


class Unit(Protocol):
    """One thing to do at every step."""

    @property
    def membrane(self) -> Array | None: ...

    def step(self, t: int, last: bool) -> None: ...


class PlainUnit:
    """What remembers nothing: a stretch in onnxruntime, or a neuron of averages."""

    membrane = None

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run

    def step(self, t: int, last: bool) -> None:
        self._run()


class NeuronUnit:
    """A neuron with a compiled kernel."""

    def __init__(self, state: FastNeuronState, x: Array, y: Array) -> None:
        self._state, self._x, self._y = state, x, y
        self._prepared: dict[tuple[bool, bool], Callable[[], None]] = {}

    @property
    def membrane(self) -> Array | None:
        return self._state.membrane

    def step(self, t: int, last: bool) -> None:
        key = t == 1, last
        if key not in self._prepared:
            self._prepared[key] = self._state.prepared(t == 1, self._x, self._y, last)
        self._state.at(t)
        self._prepared[key]()


class StateUnit:
    """Anything else that remembers, as the reference simulator has it."""

    def __init__(self, state: State, operands: Sequence[Array], result: Array) -> None:
        self._state, self._operands, self._result = state, operands, result

    @property
    def membrane(self) -> Array | None:
        return self._state.membrane if isinstance(self._state, NeuronState | LifState) else None

    def step(self, t: int, last: bool) -> None:
        np.copyto(self._result, self._state.step(t, self._operands, last))


class KernelUnit:
    """A stretch that onnxruntime has no kernels for, by those of the op table."""

    membrane = None

    def __init__(self, graph: Graph, stretch: Stretch, batch: int, streams: Mapping[Value, Array]) -> None:
        self._nodes = [
            (node, PureState(node, fill_batch(graph.resolve(node), batch))) for node in stretch.nodes
        ]
        self._streams = streams
        self._results = stretch.results

    def step(self, t: int, last: bool) -> None:
        found: dict[Value, Array] = {}
        for node, state in self._nodes:
            operands = [found[one] if one in found else self._streams[one] for one in node.operands]
            found[node.result] = state.step(t, operands, last)
        for value in self._results:
            np.copyto(self._streams[value], found[value])
