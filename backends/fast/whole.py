"""Networks of integers and of changes: the reference simulator's steps, neurons in compiled kernels.

Integers need double precision, for which onnxruntime has no convolutions; a change passes a linear op without
its bias, at every step but the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.memory import shape_of
from snnc.backends.fast.neuron import FastNeuronState
from snnc.backends.fast.sums import fast_neuron
from snnc.backends.reference import Simulator
from snnc.backends.reference.program import Program, doubled
from snnc.ir.op import computes_integers

if TYPE_CHECKING:
    from snnc.backends.reference.state import State
    from snnc.ir.graph import Graph, Node, Value


class WholeProgram(Program):
    """The reference's program with compiled neurons where the coding is by rate."""

    def __init__(self, graph: Graph, batch: int, timed: frozenset[str]) -> None:
        self._batch = batch
        super().__init__(graph, batch, timed)

    def _make_state(self, node: Node, attributes: dict[str, Any], invariant: set[Value]) -> State:
        if (
            self._coding == "differential"
            or node.op.name != "neuron"
            or not FastNeuronState.compiles(attributes)
        ):
            return super()._make_state(node, attributes, invariant)
        whole = computes_integers(node.op, attributes)
        given = doubled(attributes, whole) if self.whole else attributes
        dtype = np.dtype(np.float64 if self.whole else np.float32)
        shape = shape_of(node.operands[0], self._batch)
        return fast_neuron(given, shape, dtype, whole=whole)


class WholeSimulator(Simulator):
    """The reference simulator with such programs."""

    def _make_program(self, batch: int, timed: frozenset[str]) -> Program:
        return WholeProgram(self.graph, batch, timed)
