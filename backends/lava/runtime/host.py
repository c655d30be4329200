"""What is real-valued, computed with copies of snnc's own kernels and states, in float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.reference.state import DelayState, ExpectState, NeuronState, PureState
from snnc.ir.codebooks import CODEBOOKS
from snnc.ir.ops import get_op

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def kernel_of(op: str, attributes: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a pure op's function of its operands."""
    kernel = get_op(op).kernel
    assert kernel is not None, f"{op} has no kernel"
    given = attributes_of(attributes)
    return lambda *operands: kernel(*operands, **given)


def attributes_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as snnc's kernels take them: tuples, codebooks, float64 arrays."""
    return {name: as_attribute(value) for name, value in attributes.items()}


def as_attribute(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        fields = {key: item for key, item in value.items() if key != "name"}
        return CODEBOOKS[value["name"]](**fields)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    return value


class HostUnit:
    """One operation on real streams, with its memory."""

    def __init__(self, one: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        given = attributes_of(attributes)
        node: Any = SimpleNamespace(
            op=get_op(one["op"]), expect=one["expect"], operands=one["operands"], origin=()
        )
        self.state: Any
        if one["op"] == "neuron":
            self.state = NeuronState(given, str(given["site"]))
        elif one["op"] == "delay":
            self.state = DelayState(given)
        elif one["expect"] and one["moving"]:
            self.state = ExpectState(node, given, one["moving"])
        else:
            self.state = PureState(node, given)

    def step(self, t: int, operands: Sequence[Any]) -> Any:
        return np.array(self.state.step(t, operands, False))
