"""Synapses of 8-bit integers as ONNX nodes: alone, and together with their neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.spiking.eight_bits import MIDDLE
from snnc.ir.shapes import static_dim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.backends.onnx.spiking.eight_bits import Fused
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array

SINGLE = np.dtype(np.float32)


def byte(model: ModelBuilder, value: int) -> str:
    return model.constant(np.asarray(value, np.uint8))


def one(model: ModelBuilder) -> str:
    """Return the scale of a payload."""
    with model.computing(None):
        return model.number(1)


def to_bytes(model: ModelBuilder, payload: str, zero: int) -> str:
    """k -> the byte k + zero"""
    # numpy takes None for float64, so it is asked for first.
    keeps = model.precision is None or model.precision == SINGLE
    single = payload if keeps else model.cast(payload, SINGLE)
    return model.add("QuantizeLinear", [single, one(model), byte(model, zero)])


def from_bytes(model: ModelBuilder, payload: str, zero: int) -> str:
    """The byte k + zero -> k, in single precision"""
    return model.once("DequantizeLinear", [payload, one(model), byte(model, zero)])


def integer_product(
    zero: int, carrier: np.dtype[Any], model: ModelBuilder, node: Node, inputs: Sequence[str]
) -> str:
    """2^e W k + b as MatMulInteger; the sums become real numbers of the given type, all of them exact.

    A convolution multiplies windows, the channels last.
    """
    given, (x,) = model.graph.resolve(node), inputs
    convolves = node.op.name == "conv"
    if convolves:
        x = windows(model, node, zero, x)
    matrix = np.moveaxis(given["weight"], 0, -1)
    matrix = np.moveaxis(matrix, 0, -2) if convolves else matrix
    weight = model.constant(np.ascontiguousarray(matrix).reshape(-1, len(given["weight"])), "weight")
    total = model.add("MatMulInteger", [x, weight, *([byte(model, zero)] if zero else [])])
    with model.computing(carrier):
        total = model.cast(total, carrier)
        if given["exponent"]:
            total = model.add("Mul", [total, model.number(2 ** given["exponent"])])
        bias = model.tensor(node, "bias")
        total = model.add("Add", [total, bias]) if bias else total
    return model.add("Transpose", [total], perm=[0, 3, 1, 2]) if convolves else total


def windows(model: ModelBuilder, node: Node, zero: int, x: str) -> str:
    """[N, I, H, W] -> what every output of a convolution sees: [N, H', W', kh kw I]."""
    given = model.graph.resolve(node)
    x = model.add("Transpose", [x], perm=[0, 2, 3, 1])
    if any(given["pads"]):
        top, left, bottom, right = given["pads"]
        around = model.ints([0, top, left, 0, 0, bottom, right, 0])
        x = model.add("Pad", [x, around, byte(model, zero)])
    sizes, kernel = node.result.type.shape[2:], given["weight"].shape[2:]
    strides, dilations = (tuple(given[name]) or (1, 1) for name in ("strides", "dilations"))
    if kernel == strides == (1, 1):
        return x
    views = []
    for row, column in np.ndindex(*kernel):
        first = [row * dilations[0], column * dilations[1]]
        ends = [
            start + (static_dim(size, "a row or column") - 1) * stride + 1
            for start, size, stride in zip(first, sizes, strides, strict=True)
        ]
        ranges = [model.ints(numbers) for numbers in (first, ends, (1, 2), strides)]
        views.append(model.add("Slice", [x, *ranges]))
    return model.add("Concat", views, axis=3) if len(views) > 1 else views[0]


def requantised(
    model: ModelBuilder, neuron: Node, fused: Fused, zeros: Sequence[int], inputs: Sequence[str]
) -> str:
    """QLinearConv, and behind it what a residual connection adds."""
    zero = byte(model, fused.zero)
    sent = convolved(model, fused, zeros[0], inputs[0])
    if len(inputs) == 2:
        branch = from_bytes(model, sent, MIDDLE)
        total = model.add("Add", [branch, from_bytes(model, inputs[1], zeros[1])])
        sent = model.add("QuantizeLinear", [total, one(model), zero])
    sent = clipped(model, sent, neuron, fused.zero)
    reshaped = fused.synapse.result.type.shape != neuron.result.type.shape
    if fused.synapse.op.name == "linear" or reshaped:
        sent = model.reshape(sent, neuron.result.type.shape)
    return sent


def clipped(model: ModelBuilder, sent: str, neuron: Node, zero: int) -> str:
    """Clip bytes to a neuron's payloads, where these are not all that a byte holds."""
    payload = model.graph.resolve(neuron)["codebook"].payload
    low, high = payload.lo + zero, payload.hi + zero
    if (low, high) == (0, 255):
        return sent
    bounds = [byte(model, low) if low > 0 else "", *([byte(model, high)] if high < 255 else [])]
    return model.add("Clip", [sent, *bounds])


def encoded(zero: int, model: ModelBuilder, neuron: Node, inputs: Sequence[str]) -> str:
    """The byte round(x / q) + z"""
    quantum = model.graph.resolve(neuron)["quantum"]
    if quantum.size == 1:
        operands = [inputs[0], model.constant(quantum.reshape(()))]
    else:
        operands = [model.add("Div", [inputs[0], model.tensor(neuron, "quantum")]), one(model)]
    sent = model.add("QuantizeLinear", [*operands, byte(model, zero)])
    return clipped(model, sent, neuron, zero)


def convolved(model: ModelBuilder, fused: Fused, zero: int, x: str) -> str:
    """QLinearConv with a factor per output. A linear layer is a 1x1 convolution of an image one row high.

    onnxruntime's kernel has the channels last, so the transpositions around it cancel.
    """
    synapse = fused.synapse
    given = model.graph.resolve(synapse)
    weight: Array = given["weight"]
    scale, channels = fused.rescaling.factor, len(weight)
    linear = synapse.op.name == "linear"
    if linear:
        rows = model.add("Reshape", [x, model.ints([1, 1, -1, weight.shape[1]])])
        x = model.add("Transpose", [rows], perm=[0, 3, 1, 2])
        weight = weight[:, :, None, None]
    operands = [
        x, one(model), byte(model, zero),
        model.constant(np.ascontiguousarray(weight), "weight"), model.constant(scale, "factor"),
        model.constant(np.zeros(channels, np.int8)), one(model), byte(model, 0),
        model.constant(fused.rescaling.shift.astype(np.int32), "shift"),
    ]  # fmt: skip
    names = () if linear else ("strides", "pads", "dilations", "group")
    y = model.add("QLinearConv", operands, **{name: given[name] for name in names})
    return model.add("Transpose", [y], perm=[0, 2, 3, 1]) if linear else y


def pad(zero: int, model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """Pad with the byte of payload 0."""
    given = model.graph.resolve(node)
    return model.add("Pad", [inputs[0], model.ints(given["pads"]), byte(model, zero)], mode=given["mode"])


MOVED: dict[str, Callable[..., str]] = {"pad": pad}
