"""Synapses of 8-bit integers as ONNX nodes: alone, and together with their neurons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.spiking.byte_kernels import MIDDLE, is_one_kernel
from snnc.ir.shapes import batch_axis, concrete, static_dim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.backends.onnx.spiking.byte_kernels import Fused
    from snnc.backends.onnx.spiking.requantise import Rescaling
    from snnc.backends.onnx.spiking.shared_sums import Shared
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Shape

SINGLE = np.dtype(np.float32)
# QuantizeLinear begins anew for every channel, which so many elements each make up for.
LEAST_PER_CHANNEL = 128
# onnxruntime's QLinearConv is slower where there are fewer channels: images have some added.
FEWEST_CHANNELS = 4


def byte(model: ModelBuilder, value: int) -> str:
    return model.constant(np.asarray(value, np.uint8))


def whole(model: ModelBuilder, array: Array) -> str:
    """Return the name of an initializer of 32-bit integers."""
    with model.computing(None):
        return model.constant(array.astype(np.int32))


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
    """2^e W k + b, in real numbers of the given type, all of them exact.

    A convolution multiplies windows, the channels last.
    """
    if carrier == SINGLE and is_one_kernel(model.graph, node):
        return scaled_product(Product(node, zero, np.ones(1)), model, node, inputs)
    given = model.graph.resolve(node)
    convolves = node.op.name == "conv"
    x, weight = factors_of(zero, model, node, inputs[0])
    total = model.add("MatMulInteger", [x, weight, *([byte(model, zero)] if zero else [])])
    with model.computing(carrier):
        total = model.cast(total, carrier)
        if given["exponent"]:
            total = model.add("Mul", [total, model.number(2 ** given["exponent"])])
        bias = model.tensor(node, "bias")
        total = model.add("Add", [total, bias]) if bias else total
    return model.add("Transpose", [total], perm=[0, 3, 1, 2]) if convolves else total


def factors_of(zero: int, model: ModelBuilder, node: Node, x: str) -> tuple[str, str]:
    """Return the factors of a product: rows or windows of bytes, and the weights of an output per column."""
    weight: Array = model.graph.resolve(node)["weight"]
    matrix = np.moveaxis(weight, 0, -1)
    if node.op.name == "conv":
        x, matrix = windows(model, node, zero, x), np.moveaxis(matrix, 0, -2)
    return x, model.constant(np.ascontiguousarray(matrix).reshape(-1, len(weight)), "weight")


@dataclass(frozen=True, slots=True)
class Product:
    """A synapse that reads bytes k + zero, and what multiplies its sums: one number, or one per output."""

    synapse: Node
    zero: int
    scale: Array


def scaled_product(product: Product, model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """s (2^e W k + b) in single precision: exact where s = 1 and the sums are.

    A product of dequantised bytes, which onnxruntime computes as one of integers.
    """
    synapse, zero = product.synapse, product.zero
    given, (x, weight) = model.graph.resolve(synapse), factors_of(zero, model, synapse, inputs[0])
    channels, bias = len(given["weight"]), given["bias"]
    unit = np.broadcast_to(product.scale.astype(np.float64).reshape(-1), channels)
    with model.computing(SINGLE):
        steps = model.constant((unit * 2.0 ** given["exponent"]).astype(np.float32))
        zeros = model.constant(np.zeros(channels, np.int8))
        operands = [from_bytes(model, x, zero), model.add("DequantizeLinear", [weight, steps, zeros], axis=1)]
        if bias is not None and len(synapse.result.type.shape) == 2:
            # onnxruntime makes a Gemm of a product and a bias, and one of integers only where both are.
            added = model.add("DequantizeLinear", [whole(model, bias), steps, whole(model, 0 * bias)], axis=0)
            return model.add("Gemm", [*operands, added])
        total = model.add("MatMul", operands)
        if bias is not None:
            total = model.add("Add", [total, model.constant((unit * bias).astype(np.float32))])
    return model.add("Transpose", [total], perm=[0, 3, 1, 2]) if synapse.op.name == "conv" else total


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


def shared_sums(zero: int, shared: Shared, model: ModelBuilder, synapse: Node, inputs: Sequence[str]) -> str:
    """QLinearConv for all neurons that read a synapse; what moves its bytes parts them."""
    sent = convolved(model, shared.fused, zero, inputs[0])
    sent = clipped(model, sent, shared.neurons[0], shared.fused.zero)
    return model.reshape(sent, synapse.result.type.shape) if synapse.op.name == "linear" else sent


def clipped(model: ModelBuilder, sent: str, neuron: Node, zero: int) -> str:
    """Clip bytes to a neuron's payloads, where these are not all that a byte holds."""
    payload = model.graph.resolve(neuron)["codebook"].payload
    low, high = payload.lo + zero, payload.hi + zero
    if (low, high) == (0, 255):
        return sent
    bounds = [byte(model, low) if low > 0 else "", *([byte(model, high)] if high < 255 else [])]
    return model.add("Clip", [sent, *bounds])


def rescaled(
    rescaling: Rescaling, zero: int, model: ModelBuilder, neuron: Node, inputs: Sequence[str]
) -> str:
    """The byte k + zero = round((S + shift) / factor), in single precision.

    Not a product: onnxruntime multiplies the weights of a convolution in front with its factors, and rounds.
    """
    with model.computing(SINGLE):
        total = model.add("Add", [inputs[0], model.constant(rescaling.shift.astype(np.float32))])
        scaled = model.add("Div", [total, model.constant(rescaling.factor)])
    sent = model.add("QuantizeLinear", [scaled, one(model), byte(model, 0)])
    return clipped(model, sent, neuron, zero)


def divides_by_channel(quantum: Array, shape: Shape) -> bool:
    """Tell whether QuantizeLinear divides by a quantum per channel as fast as by one."""
    if quantum.ndim != len(shape) or len(shape) < 2 or quantum.size != quantum.shape[1]:
        return False
    rest = shape[2:]
    return batch_axis(rest) is None and math.prod(concrete(rest, 1)) >= LEAST_PER_CHANNEL


def encoded(zero: int, model: ModelBuilder, neuron: Node, inputs: Sequence[str]) -> str:
    """The byte round(x / q) + z"""
    quantum, shape = model.graph.resolve(neuron)["quantum"], neuron.result.type.shape
    if quantum.size == 1:
        operands = [inputs[0], model.constant(quantum.reshape(()))]
    elif divides_by_channel(quantum, shape):
        zeros = model.constant(np.full(quantum.size, zero, np.uint8))
        sent = model.add("QuantizeLinear", [inputs[0], model.constant(quantum.reshape(-1)), zeros], axis=1)
        return clipped(model, sent, neuron, zero)
    else:
        reciprocal = model.constant((1 / quantum.astype(np.float64)).astype(np.float32))
        operands = [model.add("Mul", [inputs[0], reciprocal]), one(model)]
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
        rows = model.add("Reshape", [model.before_reshape(x), model.ints([1, 1, -1, weight.shape[1]])])
        x = model.add("Transpose", [rows], perm=[0, 3, 1, 2])
        weight = weight[:, :, None, None]
    elif given["group"] == 1 and weight.shape[1] < FEWEST_CHANNELS:
        missing = FEWEST_CHANNELS - weight.shape[1]
        x = model.add("Pad", [x, model.ints([0, 0, 0, 0, 0, missing, 0, 0]), byte(model, zero)])
        weight = np.pad(weight, ((0, 0), (0, missing), (0, 0), (0, 0)))
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
