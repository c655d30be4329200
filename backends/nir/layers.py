"""The layers between neurons: convolution, linear layers, pooling, flattening, sums, factors, delays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.nir.geometry import squared, ungrouped
from snnc.backends.nir.remedies import ONNX
from snnc.backends.nir.writer import Emitter, InexpressibleError, Writer, per_sample, sample_shape

if TYPE_CHECKING:
    from snnc.ir.graph import Node, Value
    from snnc.ir.kernel_types import Array


def conv(writer: Writer, node: Node) -> None:
    given, (x,) = writer.graph.resolve(node), node.operands
    weight, rank = given["weight"], given["weight"].ndim - 2
    if rank not in (1, 2):
        raise InexpressibleError(f"NIR convolves in one or two dimensions, not in {rank}", help=ONNX)
    sizes = sample_shape(x)[1:]
    strides = given["strides"] or (1,) * rank
    dilations = given["dilations"] or (1,) * rank
    pads = given["pads"] or (0,) * (2 * rank)
    if sums_windows(node, given["group"], weight, pads, dilations) and given["bias"] is None:
        window = (np.array(v) for v in (weight.shape[2:], strides, pads[:2]))
        writer.put(node, "sum_pool", writer.nir.SumPool2d(*window))
        return
    kernel = squared(ungrouped(weight, given["group"]), pads, dilations)
    if kernel is None:
        raise InexpressibleError(
            f"NIR pads both sides of an axis alike, this convolution by {list(pads)}",
            help="train with the same padding on both sides",
        )
    bias = np.zeros(len(weight), np.float32) if given["bias"] is None else given["bias"]
    if rank == 1:
        primitive = writer.nir.Conv1d(
            sizes[0], kernel.weight, strides[0], kernel.padding[0], dilations[0], 1, bias
        )
        writer.put(node, "conv", primitive)
    else:
        writer.put(
            node, "conv", writer.nir.Conv2d(sizes, kernel.weight, strides, kernel.padding, dilations, 1, bias)
        )


def sums_windows(
    node: Node, group: int, weight: Array, pads: tuple[int, ...], dilations: tuple[int, ...]
) -> bool:
    """Tell whether a convolution adds up windows of each channel in two dimensions."""
    alone = weight.ndim == 4 and weight.shape[:2] == (group, 1)
    return alone and bool((weight == 1).all()) and set(dilations) == {1} and pads[:2] == pads[2:]


def linear(writer: Writer, node: Node) -> None:
    given, (x,) = writer.graph.resolve(node), node.operands
    if len(sample_shape(x)) != 1:
        raise InexpressibleError(
            "NIR's Affine maps one vector per sample, this layer maps several",
            help="a convolution with kernels of size 1 maps the channels at every position",
        )
    if given["bias"] is None:
        writer.put(node, "linear", writer.nir.Linear(given["weight"]))
    else:
        writer.put(node, "affine", writer.nir.Affine(given["weight"], given["bias"]))


def avg_pool(writer: Writer, node: Node) -> None:
    given, (x,) = writer.graph.resolve(node), node.operands
    kernel, sizes = given["kernel"], sample_shape(x)[1:]
    strides, pads = given["strides"] or (1, 1), given["pads"] or (0, 0, 0, 0)
    if len(kernel) != 2:
        raise InexpressibleError(f"NIR pools in two dimensions, not in {len(kernel)}", help=ONNX)
    if set(given["dilations"]) - {1} or pads[:2] != pads[2:]:
        raise InexpressibleError(
            "NIR's AvgPool2d has no dilation and pads both sides of an axis alike",
            help="train without either",
        )
    if any(pads) and not given["count_include_pad"]:
        raise InexpressibleError(
            "NIR's AvgPool2d counts the padding, this pooling leaves it out",
            help="train with count_include_pad=True, or without padding",
        )
    windows = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(sizes, pads[:2], kernel, strides, strict=True)]
    if windows != list(sample_shape(node.result)[1:]):
        raise InexpressibleError(
            "NIR's AvgPool2d has no last window that reaches beyond the padding",
            help="train with ceil_mode=False",
        )
    writer.put(
        node, "avg_pool", writer.nir.AvgPool2d(np.array(kernel), np.array(strides), np.array(pads[:2]))
    )


def reshape(writer: Writer, node: Node) -> None:
    """Flatten joins neighbouring axes of a sample."""
    before, after = sample_shape(node.operands[0]), sample_shape(node.result)
    if before == after:
        writer.sources[node.result] = writer.read(node)
        return
    joined = len(before) - len(after)
    for start in range(len(after)):
        end = start + joined
        if joined > 0 and (*before[:start], after[start], *before[end + 1 :]) == after:
            last = -1 if end == len(before) - 1 else end
            writer.put(node, "flatten", writer.nir.Flatten(np.array(before), start, last))
            return
    raise InexpressibleError(
        f"NIR flattens axes, it does not reshape {list(before)} to {list(after)}",
        help=f"join neighbouring axes only; {ONNX}",
    )


def add(writer: Writer, node: Node) -> None:
    """Several edges into a node add up."""
    for operand in node.operands:
        if writer.graph.constant(operand) is not None:
            raise InexpressibleError(
                "NIR presents no constants", help="let the layer in front add it as its bias"
            )
        if operand.type.shape != node.result.type.shape:
            raise InexpressibleError(
                "NIR adds streams of one shape", help="bring both to the shape of their sum first"
            )
    sources = [source for operand in node.operands for source in writer.sources[operand]]
    if len(set(sources)) < len(sources):
        raise InexpressibleError(
            "NIR has one edge between two nodes: it cannot add a stream to itself", help="multiply it by 2"
        )
    writer.sources[node.result] = tuple(sources)


def mul(writer: Writer, node: Node) -> None:
    x, factor = stream_and_factor(writer, node)
    shape = sample_shape(x)
    rank = len(x.type.shape)
    factor = factor.reshape((1,) * (rank - factor.ndim) + factor.shape).astype(np.float32)
    scale = writer.nir.Scale(per_sample(factor, shape))
    writer.sources[node.result] = (writer.add("scale", scale, writer.sources[x], node),)


def stream_and_factor(writer: Writer, node: Node) -> tuple[Value, Array]:
    """Return the one stream of a product and the constant that multiplies it."""
    constants = [writer.graph.constant(operand) for operand in node.operands]
    streams = [value for value, array in zip(node.operands, constants, strict=True) if array is None]
    if len(streams) != 1:
        raise InexpressibleError("NIR multiplies a stream by numbers, not by another stream", help=ONNX)
    (factor,) = (array for array in constants if array is not None)
    if streams[0].type.shape != node.result.type.shape:
        raise InexpressibleError(
            "NIR's Scale keeps the shape of its stream",
            help="bring the stream to the shape of the product first",
        )
    return streams[0], factor


def delay(writer: Writer, node: Node) -> None:
    steps = writer.graph.resolve(node)["steps"]
    shape = sample_shape(node.operands[0])
    writer.put(node, "delay", writer.nir.Delay(np.full(shape, steps * writer.timing.dt)))


def constant(writer: Writer, node: Node) -> None:
    """What reads it takes it as a parameter, or refuses it."""


WINDOWS = {"strides", "pads", "dilations"}
LAYERS: dict[str, Emitter] = {
    "conv": Emitter(conv, {"weight", "bias", "group"} | WINDOWS),
    "linear": Emitter(linear, {"weight", "bias"}),
    "avg_pool": Emitter(avg_pool, {"kernel", "ceil", "count_include_pad"} | WINDOWS),
    "reshape": Emitter(reshape, {"shape"}),
    "add": Emitter(add),
    "mul": Emitter(mul),
    "delay": Emitter(delay, {"steps"}),
    "constant": Emitter(constant, {"value"}),
}
