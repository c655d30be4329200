"""Lifts the states of a single time step into `lif` neurons that remember them.

A model file that is one step has its states as inputs and their next values as outputs (`recurrent_state`
says which belong together). Each pair must be the membrane of one neuron: input and output disappear, the
neuron takes their place, and whatever read its spikes reads the neuron.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.formulas import Formulas
from snnc.frontend.membrane import EXPECTED, Membrane, MismatchError, recognise
from snnc.frontend.metadata import STATE_PROPERTY
from snnc.frontend.recurrent_state import SUFFIX
from snnc.frontend.walk import remove_dead_nodes
from snnc.ir.errors import ModelError
from snnc.ir.shapes import show_shape
from snnc.passes.rewriter import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.frontend.cases import Number
    from snnc.frontend.recurrent_state import RecurrentState
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import AttributeValue

COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "sign")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A state that is not a neuron's membrane: the node that gives its next value, why, and what helps."""

    node: str
    reason: str
    help: str


def lift_states(graph: Graph, states: Sequence[RecurrentState]) -> list[Refusal]:
    """Replace every state by its neuron; return those that are none, which leave the graph half done."""
    refusals = []
    for state in states:
        v = next(value for value in graph.inputs if value.name == state.input)
        successor = next(output.value for output in graph.outputs if output.name == state.output)
        try:
            lift(graph, v, successor, state)
        except MismatchError as mismatch:
            reason = f"the state {state.input!r} is no neuron's membrane: {mismatch}"
            refusals.append(Refusal(blamed(successor, state), reason, EXPECTED))
    if not refusals:
        for state in states:
            graph.remove_output(state.output)
        remove_dead_nodes(graph)
        for state in states:
            graph.remove_input(state.input)
        graph.retype()
    return refusals


def lift(graph: Graph, v: Value, successor: Value, state: RecurrentState) -> None:
    """Put the neuron in front of the first node that gives its spikes, and let their readers read it."""
    formulas = Formulas(graph, v)
    membrane = with_factor(graph, recognise(formulas, successor))
    for x in membrane.inputs:
        if x.type.shape != v.type.shape:
            raise MismatchError(
                f"it is {show_shape(v.type.shape)}, what it integrates is {show_shape(x.type.shape)}"
            )
    spikes = [
        value
        for value, cases in formulas.of.items()
        if cases is not None and cases.is_indicator(membrane.spike) and value.type.is_real
    ]
    computed = between(graph, formulas, [*spikes, successor])
    refuse_readers(
        graph, [v, *(node.result for node in computed if node.result not in spikes)], computed, state
    )
    read = [value for value in spikes if graph.is_output(value) or value.users.keys() - set(computed)]
    if not read:
        raise MismatchError("its spikes are not used")
    first = read[0].node
    assert first is not None
    origin = [name for node in computed for name in node.origin]
    parameters = attributes(graph, membrane, read[0])
    x = membrane.inputs[0]
    for other in membrane.inputs[1:]:
        x = graph.insert(first, "add", [x, other], origin=origin)
    neuron = graph.insert(first, "lif", [x], parameters, origin=origin, name=read[0].name)
    for value in read:
        graph.replace_uses(value, neuron, keep=computed)


def with_factor(graph: Graph, membrane: Membrane) -> Membrane:
    """Take a constant factor of what the neuron integrates for its gain, if it has none of its own."""
    node = membrane.inputs[0].node
    alone = len(membrane.inputs) == 1 and bool((membrane.gain == 1).all())
    if node is None or node.op.name not in ("mul", "div") or not alone:
        return membrane
    operands = node.operands if node.op.name == "div" else sorted(node.operands, key=is_constant)
    x, factor = operands[0], graph.constant(operands[1])
    if factor is None or x.type != node.result.type or not factor.all():
        return membrane
    gain = factor.astype(np.float64)
    return replace(membrane, inputs=(x,), gain=gain if node.op.name == "mul" else 1 / gain)


def is_constant(value: Value) -> bool:
    return value.node is not None and value.node.op.name == "constant"


def refuse_readers(
    graph: Graph, membranes: Sequence[Value], inside: Sequence[Node], state: RecurrentState
) -> None:
    """Refuse a neuron whose membrane leaves it by another way than its state."""
    for value in membranes:
        for user in value.users:
            if user not in inside:
                raise MismatchError(f"its membrane is read by {describe(user)}")
        for output in graph.outputs:
            if output.value is value and output.name != state.output:
                raise MismatchError(f"its membrane is the output {output.name!r} too")


def attributes(graph: Graph, membrane: Membrane, spikes: Value) -> dict[str, AttributeValue]:
    """Return the neuron's attributes; what is 1 (leak, gain) or 0 (bias, rest) everywhere is left out."""
    rank = len(spikes.type.shape)
    parameters = {
        "threshold": (membrane.threshold, None),
        "leak": (membrane.leak, 1),
        "gain": (membrane.gain, 1),
        "bias": (membrane.bias, 0),
        "rest": (membrane.rest, 0),
    }
    hint = spikes.name or "lif"
    given: dict[str, AttributeValue] = {
        name: graph.add_tensor(f"{hint}.{name}", per_channel(number, rank))
        for name, (number, absent) in parameters.items()
        if absent is None or (number != absent).any()
    }
    given["reset"] = membrane.reset
    return given | {
        "strict": membrane.strict or None, "delayed": membrane.delayed or None, "site": spikes.name
    }  # fmt: skip


def per_channel(number: Number, rank: int) -> Array:
    """Return a parameter with every axis of the stream."""
    return number.astype(np.float32).reshape((1,) * (rank - number.ndim) + number.shape)


def refuse_undeclared_state(graph: Graph) -> None:
    """Refuse a graph with a neuron whose state the model does not declare."""
    if not any(node.op.name in COMPARISONS for node in graph):
        return
    for v in graph.inputs:
        for output in graph.outputs:
            if v.type.is_real and output.value.type == v.type and is_membrane(graph, v, output.value):
                raise ModelError(
                    f"the output {output.name!r} is the next value of the input {v.name!r}, a neuron's "
                    "membrane, but the model does not say so",
                    help=f"call the output {str(v.name) + SUFFIX!r}, or set the metadata property "
                    f"{STATE_PROPERTY} to {json.dumps({v.name: output.name})}",
                )


def is_membrane(graph: Graph, v: Value, successor: Value) -> bool:
    try:
        recognise(Formulas(graph, v), successor)
    except MismatchError:
        return False
    return True


def blamed(successor: Value, state: RecurrentState) -> str:
    """Return the ONNX node that gives a state's next value."""
    node = successor.node
    return node.origin[-1] if node is not None and node.origin else state.input


def between(graph: Graph, formulas: Formulas, results: Sequence[Value]) -> list[Node]:
    """Return the nodes that compute the results from the state, in order."""
    needed, found = set(results), []
    for node in reversed(list(graph)):
        if node.result in needed and node.result in formulas.of:
            found.append(node)
            needed.update(node.operands)
    return found[::-1]
