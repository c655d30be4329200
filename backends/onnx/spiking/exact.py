"""Ops of a network of integers whose usual ONNX nodes would round, or exist in single precision only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.emitters.synapse import rows_times, windowed
from snnc.ir.ops.elementwise import ERF_DENOMINATOR, ERF_NUMERATOR
from snnc.ir.ops.quantisation import along_axis
from snnc.ir.shapes import normalise_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True, slots=True)
class Digits:
    """x = Σ_j 2^(bits j) d_j with `count` digits, -2^(bits-1) <= d_j < 2^(bits-1)."""

    bits: int
    count: int

    @classmethod
    def of(cls, size: int, most: int) -> Digits | None:
        """Return the fewest digits of at most `most` that hold all |x| <= size; None if there are none."""
        bits = most.bit_length()
        if bits < 2:
            return None
        count, largest = 1, 2 ** (bits - 1) - 1
        while largest < size:
            largest += (2 ** (bits - 1) - 1) << (bits * count)
            count += 1
        return cls(bits, count)


def digits_of(model: ModelBuilder, x: str, digits: Digits) -> list[str]:
    """Return the digits of x, smallest first: d = x - B floor(x/B + 1/2), then those of the rest over B."""
    base, found = 2**digits.bits, []
    for _ in range(digits.count - 1):
        ratio = model.add("Mul", [x, model.number(1 / base)])
        rest = model.add("Floor", [model.add("Add", [ratio, model.number(0.5)])])
        found.append(model.add("Sub", [x, model.add("Mul", [rest, model.number(base)])]))
        x = rest
    return [*found, x]


def synapse_in_digits(digits: Digits, model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = 2^e Σ_j 2^(bits j) (W * d_j) + b: each product in single precision, where it is exact."""
    single = np.dtype(np.float32)
    weight = model.cast(model.tensor(node, "weight"), single)
    total = ""
    for j, digit in enumerate(digits_of(model, inputs[0], digits)):
        part = model.cast(
            windowed(model, node, [model.cast(digit, single), weight, ""]), np.dtype(np.float64)
        )
        scaled = model.add("Mul", [part, model.number(2 ** (digits.bits * j))]) if j else part
        total = model.add("Add", [total, scaled]) if total else scaled
    given = model.graph.resolve(node)
    if given["exponent"]:
        total = model.add("Mul", [total, model.number(2 ** given["exponent"])])
    if given["bias"] is None:
        return total
    column = given["bias"].reshape(-1, *(1,) * (len(node.result.type.shape) - 2))
    return model.add("Add", [total, model.constant(column)])


def integer_weight(model: ModelBuilder, node: Node, name: str) -> str:
    """Return 2^e W in the model's precision. The file holds W; onnxruntime converts it once."""
    assert model.precision is not None
    weight, exponent = model.cast(name, model.precision), model.graph.resolve(node)["exponent"]
    return model.add("Mul", [weight, model.number(2**exponent)]) if exponent else weight


def is_diagonal(given: Mapping[str, Any]) -> bool:
    """Tell whether a convolution multiplies every channel by one weight, as a residual connection does."""
    weight, rest = given["weight"], given["weight"].shape[1:]
    plain = all(stride == 1 for stride in given["strides"]) and not any(given["pads"])
    return plain and given["group"] == len(weight) and rest == (1,) * len(rest)


def is_average(given: Mapping[str, Any]) -> bool:
    """Tell whether a convolution adds up windows of 2^n elements of every channel, all with one weight."""
    weight: Array = given["weight"]
    window = weight[0].size
    equal = (
        weight.shape[1] == 1 and (weight.reshape(len(weight), -1) == weight.reshape(-1, window)[:, :1]).all()
    )
    undilated = all(dilation == 1 for dilation in given["dilations"])
    return bool(
        weight.ndim == 4 and given["group"] == len(weight) and equal and undilated and window.bit_count() == 1
    )


def convolution(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    given, (x,) = model.graph.resolve(node), inputs
    if node.op.name == "conv" and is_diagonal(given):
        return scaled(model, node, x)
    if node.op.name == "conv" and is_average(given):
        kernel = given["weight"].shape[2:]
        window = {"kernel_shape": kernel, "strides": given["strides"], "pads": given["pads"]}
        mean = model.add("AveragePool", [x], **window, count_include_pad=1)
        return scaled(model, node, mean, math.prod(kernel))
    weight = integer_weight(model, node, model.tensor(node, "weight"))
    return windowed(model, node, [x, weight, model.tensor(node, "bias")])


def scaled(model: ModelBuilder, node: Node, x: str, times: int = 1) -> str:
    """y = times 2^e w x + b per channel, which takes a fraction of the time of Conv.

    A mean over 2^n whole numbers is exact in single precision where their sum is.
    """
    given = model.graph.resolve(node)
    shape = (-1, *(1,) * (given["weight"].ndim - 2))
    first = given["weight"].reshape(len(given["weight"]), -1)[:, 0]
    weight = times * (first.astype(np.int32).reshape(shape) << given["exponent"])
    y = model.add("Mul", [x, model.constant(weight)])
    return y if given["bias"] is None else model.add("Add", [y, model.constant(given["bias"].reshape(shape))])


def linear(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    name, transposed = model.matrix(node, "weight")
    weight = integer_weight(model, node, name)
    return rows_times(model, node, [inputs[0], weight, model.tensor(node, "bias")], transposed=transposed)


def dequantise(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = scale (x - zero_point); x is whole numbers already."""
    given, rank = model.graph.resolve(node), len(node.operands[0].type.shape)

    def column(name: str) -> str:
        array = along_axis(given[name], given["axis"], rank)
        return model.constant(array.astype(model.precision))

    level = inputs[0]
    if given["zero_point"] is not None:
        level = model.add("Sub", [level, column("zero_point")])
    if (given["scale"] == 1).all():
        return level
    return model.add("Mul", [level, column("scale")])


def erf(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    return error_function(model, inputs[0])


def error_function(model: ModelBuilder, x: str) -> str:
    """The reference's erf: z P(z²) / R(z²), z = x on [-4, 4]."""
    z = model.add("Clip", [x, model.number(-4), model.number(4)])
    square = model.add("Mul", [z, z])
    upper = model.add("Mul", [z, polynomial(model, ERF_NUMERATOR, square)])
    ratio = model.add("Div", [upper, polynomial(model, ERF_DENOMINATOR, square)])
    return model.add("Clip", [ratio, model.number(-1), model.number(1)])


def polynomial(model: ModelBuilder, coefficients: Sequence[float], x: str) -> str:
    """Return the value at x, highest power first."""
    result = model.number(coefficients[0])
    for coefficient in coefficients[1:]:
        result = model.add("Add", [model.add("Mul", [result, x]), model.number(coefficient)])
    return result


def gelu(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = x/2 (1 + erf(x / √2)), or x (1/2 + 1/2 tanh(√(2/π) (x + 0.044715 x³)))."""
    x, half = inputs[0], model.number(0.5)
    if model.graph.resolve(node)["approximate"] == "tanh":
        cube = model.add("Mul", [model.add("Mul", [model.add("Mul", [x, x]), x]), model.number(0.044715)])
        inner = model.add("Mul", [model.add("Add", [x, cube]), model.number(math.sqrt(2 / math.pi))])
        share = model.add("Add", [model.add("Mul", [model.add("Tanh", [inner]), half]), half])
        return model.add("Mul", [x, share])
    below = error_function(model, model.add("Mul", [x, model.number(math.sqrt(0.5))]))
    return model.add("Mul", [model.add("Mul", [model.add("Add", [below, model.number(1)]), x]), half])


def layer_norm(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """y = gamma (x - mean) / √(variance + epsilon) + beta. ONNX holds an attribute in single precision."""
    given, x = model.graph.resolve(node), inputs[0]
    rank = len(node.operands[0].type.shape)
    axes = model.ints(range(normalise_axis(given["axis"], rank), rank))
    centred = model.add("Sub", [x, model.add("ReduceMean", [x, axes], keepdims=1)])
    variance = model.add("ReduceMean", [model.add("Mul", [centred, centred]), axes], keepdims=1)
    root = model.add("Sqrt", [model.add("Add", [variance, model.number(given["epsilon"])])])
    result = model.add("Div", [centred, root])
    if gamma := model.tensor(node, "gamma"):
        result = model.add("Mul", [result, gamma])
    beta = model.tensor(node, "beta")
    return model.add("Add", [result, beta]) if beta else result


EXACT_EMITTERS: dict[str, Emitter] = {
    "conv": convolution,
    "conv_transpose": convolution,
    "linear": linear,
    "dequantise": dequantise,
}
DOUBLE_EMITTERS: dict[str, Emitter] = {
    "erf": erf,
    "gelu": gelu,
    "layer_norm": layer_norm,
}
