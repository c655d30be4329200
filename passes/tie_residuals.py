"""`tie-residuals`: spikes that are added to a sum count in the quantum of the neuron that reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import OptionError
from snnc.ir.shapes import concrete, fill_batch
from snnc.passes.analysis import threshold_chosen
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

MOVES = frozenset({"slice", "pad", "reshape", "transpose"})


@dataclass(frozen=True)
class TieResiduals(Pass):
    """Give the neurons of a residual stream one quantum per channel, and let neurons round halves up.

    Where y = Q((W x + q' k) / q) reads the spikes k of another neuron, q' = q makes it Q(W x / q + k). With
    floor(u + 1/2) for Q this is floor(W x / q + 1/2) + k, clipped: the branch can be rounded by itself, to 8
    bits, which saturate at no loss where payloads are at most `largest`. The quantum is the largest of the
    stream, coarsened to so few payloads. floor(u + 1/2), half a quantum of charge, differs from rounding to
    the nearest in halves alone. Payloads -`largest` … `largest` begin one lower, where bytes saturate by
    themselves. Only multi neurons that round to the nearest and have a threshold from
    choose-thresholds change; residual streams of signed neurons keep their quanta.
    """

    name: ClassVar[str] = "tie-residuals"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    largest: int = 127

    def __post_init__(self) -> None:
        if not 1 <= self.largest <= 2**15 - 1:
            raise OptionError(f"payloads cannot be at most {self.largest}", help="give 1 to 32767")

    def run(self, graph: Graph, context: PassContext) -> bool:
        rewriter = Rewriter(graph, context, self.name)
        neurons = [node for node in graph if rounds_to_nearest(node, graph)]
        ties = Ties(graph)
        for node in neurons:
            ties.add(node)
        for node in neurons:
            given = graph.resolve(node)
            codebook: MultiSpike = replace(given["codebook"], rounding="floor")
            if node in ties.members:
                share = max(1.0, codebook.hi / self.largest)
                codebook = replace(codebook, hi=min(codebook.hi, self.largest))
                name = f"{given['site'] or 'residual'}.quantum"
                stored = graph.add_tensor(name, (ties.quantum(node) * share).astype(np.float32))
                rewriter.set_attributes(node, quantum=stored, scale=stored, unit=stored)
            elif codebook.lo == -codebook.hi == -self.largest:
                codebook = replace(codebook, lo=-self.largest - 1)
            rewriter.set_attributes(node, codebook=codebook, initial=0.5)
        return rewriter.changed


def rounds_to_nearest(node: Node, graph: Graph) -> bool:
    if not threshold_chosen(node):
        return False
    codebook = graph.resolve(node)["codebook"]
    return isinstance(codebook, MultiSpike) and codebook.rounding == "nearest"


class Ties:
    """Which channels of which neurons share a quantum."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.members: dict[Node, Array] = {}
        self._parents: list[int] = []
        self._quanta: list[float] = []

    def add(self, neuron: Node) -> None:
        """Tie a neuron to those whose spikes are added to what it reads."""
        reader = neuron.operands[0].node
        if reader is None or reader.op.name != "add" or not self._may(neuron):
            return
        for operand in reader.operands:
            source = behind_moves(operand)
            if source is not None and rounds_to_nearest(source, self.graph) and self._may(source):
                self._tie(source, operand, neuron)

    def quantum(self, neuron: Node) -> Array:
        """Return the quantum per channel, [1, C, 1, …]."""
        roots = [self._root(int(number)) for number in self.members[neuron]]
        found = np.array([self._quanta[root] for root in roots])
        return found.reshape(1, -1, *(1,) * (len(neuron.result.type.shape) - 2))

    def _may(self, neuron: Node) -> bool:
        """Tell whether a neuron has no negative payloads, and a quantum per channel or one for all."""
        given, shape = self.graph.resolve(neuron), neuron.result.type.shape
        along = given["quantum"].shape
        return len(shape) >= 2 and given["codebook"].lo == 0 and along.count(1) >= len(along) - (along[1] > 1)

    def _numbers(self, neuron: Node) -> Array:
        """Return the numbers of a neuron's channels, new ones the first time."""
        if neuron not in self.members:
            channels = concrete(neuron.result.type.shape, 1)[1]
            quantum = np.broadcast_to(self.graph.resolve(neuron)["quantum"].reshape(-1), (channels,))
            first = len(self._parents)
            self._parents += range(first, first + channels)
            self._quanta += [float(one) for one in quantum]
            self.members[neuron] = np.arange(first, first + channels)
        return self.members[neuron]

    def _tie(self, source: Node, moved: Value, neuron: Node) -> None:
        """Tie channel by channel, wherever the moves in between carry one; a pad carries none."""
        numbers = self._numbers(source) + 1
        shape = concrete(source.result.type.shape, 1)
        labels = np.broadcast_to(numbers.reshape(1, -1, *(1,) * (len(shape) - 2)), shape).astype(np.float64)
        carried = moved_by(labels, moved, source.result, self.graph)
        own = self._numbers(neuron)
        for channel, number in enumerate(own):
            for other in np.unique(carried[:, channel]):
                if other > 0:
                    self._join(int(number), int(other) - 1)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            # Halving the way keeps long streams from taking quadratic time.
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def _join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        self._parents[other] = one
        self._quanta[one] = max(self._quanta[one], self._quanta[other])


def behind_moves(value: Value) -> Node | None:
    """Return the neuron whose spikes a value holds, moved at most."""
    while value.node is not None and value.node.op.name in MOVES:
        value = value.node.operands[0]
    return value.node if value.node is not None and value.node.op.name == "neuron" else None


def moved_by(labels: Array, moved: Value, source: Value, graph: Graph) -> Array:
    """Return what the moves between two values make of an array."""
    if moved is source:
        return labels
    assert moved.node is not None
    inner = moved_by(labels, moved.node.operands[0], source, graph)
    assert moved.node.op.kernel is not None
    return moved.node.op.kernel(inner, **fill_batch(graph.resolve(moved.node), 1))
