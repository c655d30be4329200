"""A graph made ready to step: one instruction per node, and where every stream lies meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from snnc.backends.reference.differential import make_differential_state
from snnc.backends.reference.state import (
    DelayState,
    ExpectState,
    LifState,
    NeuronState,
    PureState,
    State,
    SumNeuronState,
)
from snnc.ir.op import Role, computes_integers
from snnc.ir.shapes import fill_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


class Observer(Protocol):
    """Watches a run. Arrays are only valid during the call."""

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None: ...


GONE: Array = np.empty(0)
# glibc's largest threshold for handing a freed block back to the system at once is 32 MiB.
LARGEST_KEPT_BYTES = 2**25 - 2**16


@dataclass(frozen=True, slots=True)
class Instruction:
    """One node: the streams it reads, the one it writes, and those that nobody needs after it."""

    node: Node
    state: State
    operands: tuple[int, ...]
    result: int
    dead: tuple[int, ...]


class Program:
    """One time step of a graph for a fixed number of samples, and the memory of its nodes.

    `start` runs at step 1, `repeat` at every later one: values that no neuron, expectation node or input that
    varies in time (`timed`) has touched yet are the same at every step and computed once.

    A graph with integer weights or thresholds is computed in double precision throughout: sums of whole
    numbers are exact below 2^53, and m / q compares with multiples of 1/4 as a rational number does while m
    and q have 32 bits.
    """

    def __init__(self, graph: Graph, batch: int, timed: frozenset[str] = frozenset()) -> None:
        keep_freed_memory()
        invariant = invariant_values(graph, timed)
        slots = {value: index for index, value in enumerate(graph.inputs)}
        for node in graph:
            slots[node.result] = len(slots)
        dead = last_uses(graph, invariant)
        self.whole = graph.computes_integers
        self._coding = graph.coding
        self.start = [
            Instruction(
                node,
                self._make_state(node, fill_batch(graph.resolve(node), batch), invariant),
                tuple(slots[operand] for operand in node.operands),
                slots[node.result],
                tuple(slots[value] for value in dead.get(node, ())),
            )
            for node in graph
        ]
        self.repeat = [one for one in self.start if one.node.result not in invariant]
        self._inputs = [value.name or "" for value in graph.inputs]
        self._timed = timed
        self._outputs = [slots[output.value] for output in graph.outputs]
        self._decodes = [output.decode for output in graph.outputs]
        self._varies = [output.value not in invariant for output in graph.outputs]
        self._streams = [GONE] * len(slots)

    def _make_state(self, node: Node, attributes: dict[str, Any], invariant: set[Value]) -> State:
        if self._coding == "differential":
            return make_differential_state(node, attributes, invariant)
        whole = computes_integers(node.op, attributes)
        return make_state(node, doubled(attributes, whole) if self.whole else attributes, invariant, whole)

    def run(self, inputs: Mapping[str, Array], steps: int, observers: Sequence[Observer] = ()) -> list[Array]:
        """Step the samples from the first step; return per output the decoded values [T, …].

        The inputs that vary in time have their steps in front.
        """
        if self.whole:
            inputs = doubled(inputs, False)
        for index, name in enumerate(self._inputs):
            self._streams[index] = inputs[name]
        sums: list[Array] = []
        decoded: list[list[Array]] = [[] for _ in self._outputs]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for t in range(1, steps + 1):
                for index, name in enumerate(self._inputs):
                    if name in self._timed:
                        self._streams[index] = inputs[name][t - 1]
                # An observer may look at membranes even after the last step.
                self._step(t, observers, last=t == steps and not observers)
                results = [self._streams[slot] for slot in self._outputs]
                sums = self._accumulate(sums, results, t)
                for series, how, total, y in zip(decoded, self._decodes, sums, results, strict=True):
                    rate = self._coding == "rate"
                    series.append(decode(how, total, y, t) if rate else decode_changes(how, total, t))
        self._streams = [GONE] * len(self._streams)
        return [np.stack(series) for series in decoded]

    def _accumulate(self, sums: Sequence[Array], results: Sequence[Array], t: int) -> list[Array]:
        """Return, per output, S(t) in rate coding and r(t) in differential coding."""
        if t == 1:
            return [x.copy() for x in results]
        if self._coding == "rate":
            return [total + x for total, x in zip(sums, results, strict=True)]
        pairs = zip(sums, results, self._varies, strict=True)
        return [total + x / np.float32(t) if varies else total for total, x, varies in pairs]

    def _step(self, t: int, observers: Sequence[Observer], *, last: bool) -> None:
        streams = self._streams
        for one in self.start if t == 1 else self.repeat:
            result = one.state.step(t, [streams[slot] for slot in one.operands], last)
            streams[one.result] = result
            for observer in observers:
                membrane = one.state.membrane if isinstance(one.state, NeuronState | LifState) else None
                observer.observe(one.node, t, result, membrane)
            for slot in one.dead:
                streams[slot] = GONE


def keep_freed_memory() -> None:
    """Make glibc keep freed arrays for the next ones; elsewhere this does nothing.

    It learns from the largest block freed so far. Handing a layer's arrays back to the system and faulting
    them in again, page by page, can take longer than computing them.
    """
    np.empty(LARGEST_KEPT_BYTES, np.uint8)


def doubled(arrays: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    """Return single-precision arrays (with `whole`, those of integers as well) in double precision."""
    kinds = "fi" if whole else "f"
    return {
        name: array.astype(np.float64)
        if isinstance(array, np.ndarray) and array.dtype.kind in kinds
        else array
        for name, array in arrays.items()
    }


def make_state(node: Node, attributes: dict[str, Any], invariant: set[Value], whole: bool = False) -> State:
    """Return the memory of a node, given its attributes for the number of samples at hand.

    `whole`: its threshold is an integer.
    """
    if node.op.name == "neuron":
        kind = SumNeuronState if attributes["bounds"] == "sum" else NeuronState
        return kind(attributes, str(attributes["site"]), whole=whole)
    if node.op.name == "lif":
        return LifState(attributes, whole=whole)
    if node.op.name == "delay":
        return DelayState(attributes)
    moving = [i for i, operand in enumerate(node.operands) if operand not in invariant]
    # An expectation node of constant streams gives F(x) at every step.
    return ExpectState(node, attributes, moving) if node.expect and moving else PureState(node, attributes)


def decode(how: Decode, total: Array, y: Array, t: int) -> Array:
    """Return the answer after t steps, given S(t) and y(t), in an array of its own."""
    match how:
        case "mean":
            return mean_after(total, t)
        case "sum":
            return total
        case "last":
            return y.copy()


def decode_changes(how: Decode, decoded: Array, t: int) -> Array:
    """Return the answer after t steps in differential coding, given r(t); a sum is that of t equal values."""
    return decoded * np.float32(t) if how == "sum" else decoded


def mean_after(total: Array, t: int) -> Array:
    """Return S(t)/t; integers stay what they are (they never vary in time)."""
    if total.dtype.kind != "f":
        return total // t if total.dtype != np.bool_ else total
    mean: Array = total / total.dtype.type(t)
    return mean


def invariant_values(graph: Graph, timed: frozenset[str] = frozenset()) -> set[Value]:
    """Return the values that are the same at every step, given the inputs that vary in time."""
    invariant = {value for value in graph.inputs if value.name not in timed}
    for node in graph:
        if node.op.role is not Role.STATEFUL and all(operand in invariant for operand in node.operands):
            invariant.add(node.result)
    return invariant


def last_uses(graph: Graph, invariant: set[Value]) -> dict[Node, list[Value]]:
    """Return, per node, the values nobody needs after it, in this step or (invariant ones) in a later one."""
    last: dict[Value, Node] = {}
    for node in graph:
        last[node.result] = node
        for operand in node.operands:
            last[operand] = node
    uses: dict[Node, list[Value]] = {}
    for value, node in last.items():
        needed_again = value in invariant and any(user.result not in invariant for user in value.users)
        if not needed_again and not graph.is_output(value):
            uses.setdefault(node, []).append(value)
    return uses
