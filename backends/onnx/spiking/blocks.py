"""Neurons between convolutions, in the layout in which onnxruntime keeps what these read.

Its CPU kernels hold images in blocks of channels from one convolution to the next, through what they have
for that layout: convolutions, pools, sums, products and a few functions. Round and Clip are not among these:
images would be reordered in front of every neuron and back behind it, and Round runs on one core only. But a
convolution with one number per channel rounds as well. From 2^23 to 2^24 single precision has whole numbers
only, so with M in their middle

    u = r / q + M = M + round(r / q),   k = clip(u, M + lo, M + hi) - M

Halves go to even, for M is even. The clip becomes part of the convolution, the subtraction is a batch norm,
which is a convolution as well in that layout. The same holds for any power of two: K(t)/t at t = 2 are
halves, which is all that single precision has from 2^22 to 2^23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.onnx.emitters.reduction import averages_channels
from snnc.backends.reference.state import starting_membrane
from snnc.ir.codebooks import MultiSpike
from snnc.ir.shapes import Batch, batch_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.backends.onnx.spiking.eight_bits import Bytes
    from snnc.ir.graph import Graph, Node, Value

    # Whether a node's result lies in blocks, given its attributes and the streams that do.
    Rule = Callable[[Node, Mapping[str, Any], "set[Value]"], bool]

LEAST_CHANNELS = 16  # of a block, with AVX-512; convolutions of fewer channels read images as they are
WHOLE = 3 * 2.0**22  # M
REACH = 2**22  # so far from it


@dataclass(frozen=True, slots=True)
class Blocks:
    """The neurons that round in blocks, and the products of images with a number per channel."""

    neurons: frozenset[Node] = frozenset()
    gates: frozenset[Node] = frozenset()


NO_BLOCKS = Blocks()


def in_blocks(graph: Graph, steps: int) -> Blocks:
    """Return what can be written for images in blocks in a run of so many steps."""
    kept: set[Value] = set()
    neurons, gates = set(), set()
    for node in graph:
        given, rule = graph.resolve(node), RULES.get(node.op.name)
        behind = all(operand in kept for operand in node.operands)
        if node.op.name == "neuron" and (behind or feeds(node)) and rounds(node, given, steps):
            neurons.add(node)
        elif node.op.name == "mul" and behind and multiplies_channels(node):
            gates.add(node)
        elif rule is None or not is_image(node.result) or not rule(node, given, kept):
            continue
        kept.add(node.result)
    return Blocks(frozenset(neurons), frozenset(gates))


def blocks_of_host(graph: Graph, bytes_: Bytes) -> Blocks:
    """Return what a host in single precision computes in one step for images in blocks."""
    kept: set[Value] = set()
    neurons, gates = set(), set()
    for node in graph:
        given, rule = graph.resolve(node), HOST_RULES.get(node.op.name)
        if node in bytes_.encoders:
            if node.operands[0] in kept and divides_channels(node, given) and feeds_images(node, bytes_):
                neurons.add(node)
        elif bytes_.writes(node) or node in bytes_.absorbed or not is_image(node.result):
            continue
        elif node.op.name == "mul" and gates_image(node, kept):
            gates.add(node)
            kept.add(node.result)
        elif rule is not None and rule(node, given, kept):
            kept.add(node.result)
    read = {node.operands[0] for node in neurons}
    return Blocks(frozenset(neurons), frozenset(node for node in gates if node.result in read))


def feeds_images(node: Node, bytes_: Bytes) -> bool:
    """Tell whether nothing but convolutions of real numbers reads a node."""
    users = node.result.users
    return all(user.op.name == "conv" and not bytes_.writes(user) for user in users) and not (
        bytes_.absorbed.intersection(users)
    )


def gates_image(node: Node, kept: set[Value]) -> bool:
    images = [operand for operand in node.operands if operand in kept and operand.type.shape[2:] != (1, 1)]
    return len(images) == 1 and all(is_image(x) for x in node.operands) and multiplies_channels(node)


def divides_channels(node: Node, given: Mapping[str, Any]) -> bool:
    channels, quantum = channels_of(node.operands[0]), given["quantum"]
    alike = quantum.size == 1 or quantum.shape == (1, channels, 1, 1)
    return channels >= LEAST_CHANNELS and bool(alike)


def feeds(node: Node) -> bool:
    """Tell whether a convolution reads a node's result."""
    assert node.graph is not None
    return any(
        user.op.name == "conv" and convolved(user, node.graph.resolve(user), set())
        for user in node.result.users
    )


def multiplies_channels(node: Node) -> bool:
    """Tell whether images are multiplied by one number per channel and sample."""
    shapes = [operand.type.shape for operand in node.operands]
    alone = [shape[2:] == (1, 1) for shape in shapes]
    return shapes[0][1] == shapes[1][1] and sorted(alone) == [False, True]


def rounds(node: Node, given: Mapping[str, Any], steps: int) -> bool:
    """Tell whether K(t) = clip(round(S(t)/q), t lo, t hi), with one q per channel and sums within reach."""
    book = given["codebook"]
    nearest = isinstance(book, MultiSpike) and book.rounding == "nearest" and given["bounds"] == "sum"
    plain = all(given[name] is None for name in ("bias", "scale", "negative", "level_axis", "width"))
    if not (nearest and plain) or starting_membrane(dict(given)) is not None:
        return False
    channels = channels_of(node.operands[0])
    quantum = given["quantum"]
    alike = quantum.size == 1 or quantum.shape in ((1, channels, 1, 1), (channels, 1, 1))
    return channels >= LEAST_CHANNELS and bool(alike) and steps * max(-book.lo, book.hi) <= REACH


def is_image(value: Value) -> bool:
    """Tell whether a stream is [N, C, H, W]."""
    shape = value.type.shape
    known = all(not isinstance(dim, Batch) for dim in shape[1:])
    return len(shape) == 4 and batch_axis(shape) == 0 and known and 0 not in shape


def channels_of(value: Value) -> int:
    dim = value.type.shape[1]
    return dim if is_image(value) and isinstance(dim, int) else 0


def convolved(node: Node, given: Mapping[str, Any], kept: set[Value]) -> bool:
    """A convolution over all channels or over each by itself."""
    inputs = channels_of(node.operands[0])
    weight = given["weight"]
    return weight.ndim == 4 and given["group"] in (1, inputs) and len(weight) >= LEAST_CHANNELS


def from_blocks(node: Node, given: Mapping[str, Any], kept: set[Value]) -> bool:
    """What a pool, a function or a sum makes of images in blocks."""
    return all(operand in kept for operand in node.operands)


def averaged(node: Node, given: Mapping[str, Any], kept: set[Value]) -> bool:
    """The mean of every channel."""
    return from_blocks(node, given, kept) and averages_channels(node)


def multiplied(node: Node, given: Mapping[str, Any], kept: set[Value]) -> bool:
    """An image with one factor per channel, which onnxruntime makes a convolution."""
    assert node.graph is not None
    constants = [array for x in node.operands if (array := node.graph.constant(x)) is not None]
    channels = channels_of(node.result)
    return any(x in kept for x in node.operands) and any(a.shape == (1, channels, 1, 1) for a in constants)


RULES: dict[str, Rule] = {
    "conv": convolved,
    "max_pool": from_blocks,
    "avg_pool": from_blocks,
    "relu": from_blocks,
    "sigmoid": from_blocks,
    "tanh": from_blocks,
    "silu": from_blocks,
    "add": from_blocks,
    "reduce_mean": averaged,
    "mul": multiplied,
}


HOST_RULES = {**RULES, "dequantise": from_blocks}


def gated(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """Multiply images by one number per channel and sample, enlarged: its layout has no broadcasting."""
    pixels = [operand.type.shape[2:] for operand in node.operands]
    (gate, image), like = (inputs, 1) if pixels[0] == (1, 1) else (inputs[::-1], 0)
    scales = model.constant(np.array([1, 1, *pixels[like]], np.float32))
    enlarged = model.add(
        "Resize",
        [gate, "", scales],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    # onnxruntime infers all of the shape but the batch size, and multiplies in blocks what has the same.
    model.declare(enlarged, node.operands[like].type)
    return model.add("Mul", [image, enlarged])


def rounded(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """The payloads round(x / q) of one step"""
    with model.computing(np.dtype(np.float32)):
        return averages(model, node, inputs[0], 1)


def averages(model: ModelBuilder, node: Node, r: str, t: int) -> str:
    """Return K(t)/t of a neuron in blocks, given the decoded currents r(t).

    With t = p m, p a power of two and m odd, it is K(t)/p = round_1/p(m r/q) divided by m.
    """
    given, channels = model.graph.resolve(node), channels_of(node.operands[0])
    book, p = given["codebook"], t & -t
    m, middle = t // p, WHOLE / p
    quantum = np.broadcast_to(given["quantum"].astype(np.float64).reshape(-1), channels)
    weight = model.constant((m / quantum).astype(np.float32).reshape(-1, 1, 1, 1), "factor")
    every, one, none = (model.constant(np.full(channels, value, np.float32)) for value in (middle, 1, 0))
    u = model.add("Conv", [r, weight, every], group=channels)
    u = model.add("Clip", [u, model.number(middle + m * book.lo), model.number(middle + m * book.hi)])
    # A convolution with -M as its bias would take factors behind it into its weights, and round M.
    k = model.add("BatchNormalization", [u, one, none, every, one], epsilon=0.0)
    if m == 1:
        return k
    return model.add("Mul", [k, model.constant(np.full((1, channels, 1, 1), 1 / m, np.float32))])
