"""Models that are one time step: which inputs are states, and which outputs are their successors.

A graph output `NAME_next` beside a graph input `NAME` is that input's value at the next step; so it is where
the model's metadata say `snnc.state`, a JSON object {input: output}. States are 0 before the first step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnc.frontend.metadata import STATE_PROPERTY, property_of
from snnc.frontend.signature import graph_inputs
from snnc.ir.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import onnx

SUFFIX = "_next"


@dataclass(frozen=True, slots=True)
class RecurrentState:
    """A state of a model that is one time step: the graph input and the graph output that replaces it."""

    input: str
    output: str


def recurrent_states(model: onnx.ModelProto) -> tuple[RecurrentState, ...]:
    """Return the states of a model, in the order of its inputs; none if it is no single time step.

    `ModelError` where the metadata name what is not there, where two states share an output, where no output
    is left as the answer, or where a successor's type is not the state's.
    """
    inputs = {info.name: info for info in graph_inputs(model.graph)}
    outputs = {info.name: info for info in model.graph.output}
    pairs = {name: name + SUFFIX for name in inputs if name + SUFFIX in outputs} | declared_states(model)
    for state, successor in pairs.items():
        for what, name, known in (("input", state, inputs), ("output", successor, outputs)):
            if name not in known:
                raise ModelError(
                    f"the model's {STATE_PROPERTY} names the {what} {name!r}, which it does not have",
                    help=did_you_mean(name, known),
                )
        if list(pairs.values()).count(successor) > 1:
            raise ModelError(f"two states of the model are replaced by one output {successor!r}")
        refuse_other_type(inputs[state], outputs[successor])
    if pairs and len(pairs) == len(outputs):
        raise ModelError(
            "every output of the model is a state's next value",
            help="give the model an output to answer with",
        )
    return tuple(RecurrentState(name, pairs[name]) for name in inputs if name in pairs)


def declared_states(model: onnx.ModelProto) -> dict[str, str]:
    """Return what the model's metadata say about states: {input: output}."""
    text = property_of(model, STATE_PROPERTY) or "{}"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ModelError(
            f"the model's {STATE_PROPERTY} is not a JSON object of names: {text[:80]!r}",
            help='write it as {"state": "its next value"}',
        )
    return found


def refuse_other_type(state: onnx.ValueInfoProto, successor: onnx.ValueInfoProto) -> None:
    """Refuse a successor that cannot take the state's place; what the model leaves open fits anything."""
    before, after = state.type.tensor_type, successor.type.tensor_type
    same = before.elem_type == after.elem_type or not after.elem_type
    if same and before.HasField("shape") and after.HasField("shape"):
        old, new = before.shape.dim, after.shape.dim
        fixed = [(a.dim_value, b.dim_value) for a, b in zip(old, new, strict=False)]
        same = len(old) == len(new) and all(a == b or not (a and b) for a, b in fixed)
    if not same:
        raise ModelError(
            f"the state {state.name!r} and its next value {successor.name!r} differ in type or shape"
        )
