"""One layer's step: a short list of operations from its input streams to the one it sends.

A program is [{"op", "expect", "operands", "attributes"}]; operand i < inputs is an input, i >= inputs the
result of operation i - inputs. Arrays among the attributes are {"tensor": key} into the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.runtime.host import HostUnit, kernel_of
from snnc.backends.lava.runtime.neurons import Lif, Neuron
from snnc.backends.lava.runtime.synapses import make_synapse
from snnc.backends.lava.runtime.units import (
    FUNCTIONS,
    Attributes,
    Delay,
    Stateless,
    Telescope,
    check_width,
    ints,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SYNAPSES = ("conv", "conv_transpose", "linear")
SUM_BITS = 32  # of what a maximum over time remembers


class Constant:
    """y(t) = value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def step(self, t: int, operands: Sequence[Any]) -> Any:
        return self.value


class Program:
    """The units of a layer and their memory.

    `chip`: on integers; else on real numbers, with snnc's own kernels.
    """

    def __init__(
        self,
        operations: Sequence[Mapping[str, Any]],
        shapes: Sequence[Sequence[int]],
        weights: Mapping[str, Any],
        *,
        chip: bool,
        name: str,
    ) -> None:
        self.operands = [tuple(one["operands"]) for one in operations]
        known = [tuple(shape) for shape in shapes]
        self.units: list[Any] = []
        for one in operations:
            attributes = resolve(one["attributes"], weights)
            make = chip_unit if chip else host_unit
            self.units.append(make(one, attributes, [known[i] for i in one["operands"]], name))
            known.append(tuple(one["shape"]))

    def step(self, t: int, inputs: Sequence[Any]) -> list[Any]:
        """Return the inputs and every operation's result at step t of a sample."""
        values = list(inputs)
        for unit, operands in zip(self.units, self.operands, strict=True):
            values.append(unit.step(t, [values[i] for i in operands]))
        return values


def resolve(attributes: Mapping[str, Any], weights: Mapping[str, Any]) -> Attributes:
    """Return the attributes with arrays in place of their references."""
    return {
        name: weights[value["tensor"]] if isinstance(value, dict) and "tensor" in value else value
        for name, value in attributes.items()
    }


def chip_unit(one: Mapping[str, Any], attributes: Attributes, shapes: Sequence[Any], what: str) -> Any:
    """Return the integer unit of an operation."""
    op = one["op"]
    if op == "constant":
        return Constant(ints(attributes["value"]))
    if op in SYNAPSES:
        return make_synapse(op, attributes, shapes[0], what)
    if op == "neuron":
        return Neuron(attributes)
    if op == "lif":
        return Lif(attributes)
    if op == "delay":
        return Delay(attributes["steps"])
    if op in FUNCTIONS and not one["expect"]:
        return Stateless(FUNCTIONS[op], attributes)
    kernel = kernel_of(op, attributes)

    def function(*operands: Any) -> Any:
        # The kernel pads with minus infinity, which integers lack; whole numbers below 2^53 pass unharmed.
        return check_width(ints(kernel(*(x.astype(np.float64) for x in operands))), SUM_BITS, what)

    return Telescope(function, SUM_BITS, what) if one["expect"] else Stateless(function, {})


def host_unit(one: Mapping[str, Any], attributes: Attributes, shapes: Sequence[Any], what: str) -> Any:
    """Return the real-valued unit of an operation."""
    if one["op"] == "constant":
        return Constant(attributes["value"])
    return HostUnit(one, attributes)
