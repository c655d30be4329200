"""Proves that a network computes with spikes alone: no product of two real streams, no weight on a real one.

Every stream gets the class that its type and its node give it:

    spikes                   -1, 0 or 1 per element
    whole numbers of spikes  sums and products of spikes, between the bounds that the type states
    current                  weights summed over spikes; only ever added, pooled, moved, and integrated
    analog input             on its way to the synapses of the first layer, or to neurons
    constant                 the same at every step

The first node that needs more than these is the one that stands against the proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.op import Role
from snnc.ir.ops import FAMILIES
from snnc.ir.shapes import per_sample
from snnc.ir.text.printer import value_names
from snnc.ir.types import SpikeType
from snnc.passes.analysis import analog_values, static_values
from snnc.passes.rewriter import describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import Type

# Linear ops that only move, add or average what they read, with no number of their own to multiply by.
GATHERING = frozenset(
    {"add", "sub", "neg"}
    | {op.name for family in ("movement", "reduction", "pooling") for op in FAMILIES[family].OPS}
)


class Kind(Enum):
    """What travels on an edge."""

    SPIKES = "spikes"
    SUM = "whole numbers of spikes"
    CURRENT = "current"
    INPUT = "analog input"
    CONSTANT = "constant"


COUNTED = (Kind.SPIKES, Kind.SUM)


@dataclass(frozen=True, slots=True)
class Edge:
    """One stream: its name in the graph, its type, what it is, and what reads it."""

    name: str
    type: str
    kind: Kind
    made_by: str
    read_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Offence:
    """The first node that needs more than spikes: its operands, as name, type and class, and what it does."""

    node: str
    operands: tuple[tuple[str, str, str], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Proof:
    """All edges but constants, in order, as far as the first offence; how many synapses read what.

    `membrane_multiplications`: by leaks and gains that are no power of two, in one step of one sample.
    """

    edges: tuple[Edge, ...]
    offence: Offence | None
    spiking_synapses: int
    input_synapses: int
    neurons: int
    membrane_multiplications: int

    @property
    def holds(self) -> bool:
        return self.offence is None


def prove_spikes_only(graph: Graph) -> Proof:
    """Return the class of every edge, and the first node that stands against the proof, if any."""
    names = value_names(graph)
    static, analog = static_values(graph), analog_values(graph)
    kinds = {value: stream_kind(value.type) or Kind.INPUT for value in graph.inputs}
    kinds |= dict.fromkeys(static & kinds.keys(), Kind.CONSTANT)
    offence = None
    for node in graph:
        if node.result in static:
            kinds[node.result] = Kind.CONSTANT
            continue
        read = [kinds[operand] for operand in node.operands]
        try:
            kinds[node.result] = result_kind(node, read, analog)
        except OffenceError as error:
            shown = [(names[o], str(o.type), kinds[o].value) for o in dict.fromkeys(node.operands)]
            offence = Offence(describe(node), tuple(shown), str(error))
            break
    edges = [edge_of(value, kind, names) for value, kind in kinds.items() if kind is not Kind.CONSTANT]
    weighing = [kinds[node.operands[0]] for node in graph if weighs(node) and node.result in kinds]
    return Proof(
        tuple(edges),
        offence,
        spiking_synapses=sum(kind in COUNTED for kind in weighing),
        input_synapses=weighing.count(Kind.INPUT),
        neurons=sum(node.op.neuron and node.result in kinds for node in graph),
        membrane_multiplications=sum(
            membrane_multiplications(node, graph) * per_sample(node.result.type.shape)
            for node in graph
            if node.op.neuron
        ),
    )


def membrane_multiplications(neuron: Node, graph: Graph) -> int:
    """Return how often a step multiplies each membrane by what is no power of two; those are shifts."""
    given = graph.resolve(neuron)
    factors = [given[name] for name in ("leak", "gain") if given.get(name) is not None]
    return sum(not is_shift(factor) for factor in factors)


def is_shift(factor: Array) -> bool:
    mantissa, _ = np.frexp(factor)
    return bool(np.isin(np.abs(mantissa), (0, 0.5)).all())


class OffenceError(Exception):
    """Why a node needs more than spikes; never shown alone."""


def stream_kind(type_: Type) -> Kind | None:
    """Return what a stream of spikes is, None for any other."""
    if not isinstance(type_, SpikeType):
        return None
    payload = type_.payload
    return Kind.SPIKES if max(-payload.lo, payload.hi) <= 1 else Kind.SUM


def weighs(node: Node) -> bool:
    """Tell whether the node is a synapse with weights of its own."""
    return node.op.synaptic and node.op.role is Role.LINEAR


def result_kind(node: Node, read: Sequence[Kind], analog: set[Value]) -> Kind:
    """Return the class of a node's result, given those of its operands; `OffenceError` if it has none."""
    result = node.result.type
    if isinstance(result, SpikeType) and result.scaled:
        raise OffenceError(
            "its spikes have a scale other than 1 (normalise-thresholds folds it into weights)"
        )
    counted = stream_kind(result)
    if counted is not None:
        return counted
    if node.result in analog:
        return Kind.INPUT
    if node.expect:
        raise OffenceError("an expectation node computes with real sums of its operands")
    moving = [kind for kind in read if kind is not Kind.CONSTANT]
    if node.op.role is Role.STATEFUL:
        return moving[0]
    if weighs(node):
        if Kind.CURRENT in moving:
            raise OffenceError("its weights multiply a current, which is real: no neuron lies between")
        return Kind.CURRENT
    if node.op.role is Role.MULTILINEAR:
        return product_kind(moving)
    if node.op.role is Role.LINEAR and node.op.name in GATHERING and not interpolates(node):
        return Kind.CURRENT
    raise OffenceError("it computes with real numbers")


def product_kind(moving: Sequence[Kind]) -> Kind:
    """Return the class of a product that is no stream of spikes: one weight per spike, or nothing allowed."""
    if len(moving) > 1:
        raise OffenceError("it multiplies two streams that are not both spikes")
    if moving[0] not in COUNTED:
        raise OffenceError("it multiplies a real stream by a constant (fold it into the weights before it)")
    return Kind.CURRENT


def interpolates(node: Node) -> bool:
    return node.op.name == "resize" and node.attributes.get("mode") != "nearest"


def edge_of(value: Value, kind: Kind, names: Mapping[Value, str]) -> Edge:
    node = value.node
    made_by = "input" if node is None else " ".join([node.full_name, *node.origin[:1]])
    return Edge(names[value], str(value.type), kind, made_by, tuple(describe(user) for user in value.users))
