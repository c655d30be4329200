"""Which inputs every position of a synaptic op's result reads, axis by axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from snnc.ir.ops import convolution, pooling
from snnc.passes.fan_out import one_sample
from snnc.placement.layers import Connection, Tangle
from snnc.placement.reads import Axis, groups, same, spread, whole, window
from snnc.placement.views import view

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

    Axes: TypeAlias = "tuple[Axis, ...] | None"


def connect(node: Node, moving: int, index: Array, origin: Array, delay: int) -> Connection | Tangle:
    """Return the synapses of a node, seen from a layer.

    `index` [*layer] says which element of the node's result each neuron adds up, counted from 1 (0: none);
    `origin` numbers the elements of the operand `moving`.
    """
    assert node.graph is not None
    axes = axes_of(node, moving, node.graph)
    if axes is None:
        return Tangle(origin.size, weight_count(node, node.graph), origin, delay)
    origin = without_reduced(node, origin, node.graph)
    found = view(axes, origin, index, delay)
    return found or Tangle(fan_in(axes, origin), weight_count(node, node.graph), origin, delay)


def identity(origin: Array, delay: int) -> Connection:
    """Return one synapse of weight 1 per neuron, from what `origin` [*layer] numbers."""
    axes = tuple(same(size, equal=True) for size in origin.shape)
    return Connection(axes, origin[..., None], delay)


def fan_in(axes: tuple[Axis, ...], origin: Array) -> int:
    return math.prod(axis.most for axis in axes) * int(origin.shape[-1])


def weight_count(node: Node, graph: Graph) -> int:
    tensors = [value for value in graph.resolve(node).values() if isinstance(value, np.ndarray)]
    constants = [found for operand in node.operands if (found := graph.constant(operand)) is not None]
    return max((array.size for array in (*tensors, *constants)), default=1)


def axes_of(node: Node, moving: int, graph: Graph) -> Axes:
    """Return what each axis of the result reads of the operand's; None if the op has no such rule."""
    rule = RULES.get(node.op.name)
    return rule(node, moving, graph) if rule else None


def conv(node: Node, moving: int, graph: Graph) -> Axes:
    given, shape = graph.resolve(node), one_sample(node.operands[0])
    result = one_sample(node.result)
    weight, number = given["weight"], given["group"]
    found = convolution.windows(
        shape[2:], weight.shape[2:], given["strides"], given["pads"], given["dilations"]
    )
    channels = whole(result[1], shape[1], own=True) if number == 1 else groups(result[1], shape[1], number)
    slide = window if node.op.name == "conv" else spread
    return (
        same(shape[0]),
        channels,
        *(
            slide(size, w.size, w.kernel, stride=w.stride, dilation=w.dilation, before=w.before)
            for size, w in zip(result[2:], found, strict=True)
        ),
    )


def pool(node: Node, moving: int, graph: Graph) -> Axes:
    given, shape = graph.resolve(node), one_sample(node.operands[0])
    geometry = {name: given[name] for name in ("kernel", "strides", "pads", "dilations", "ceil")}
    return (
        *(same(size, equal=True) for size in shape[:2]),
        *(
            window(
                w.outputs,
                w.size,
                w.kernel,
                stride=w.stride,
                dilation=w.dilation,
                before=w.before,
                equal=True,
            )
            for w in pooling.windows(shape, **geometry)
        ),
    )


def linear(node: Node, moving: int, graph: Graph) -> Axes:
    shape, result = one_sample(node.operands[0]), one_sample(node.result)
    return (*(same(size) for size in result[:-1]), whole(result[-1], shape[-1], own=True))


def matmul(node: Node, moving: int, graph: Graph) -> Axes:
    """The product with a constant; only one that does not repeat the stream along leading axes."""
    stream, result = one_sample(node.operands[moving]), one_sample(node.result)
    constant = one_sample(node.operands[1 - moving])
    if len(stream) != len(result) or stream[:-2] != result[:-2] or len(constant) < 2:
        return None
    many = len(constant) > 2
    lead = tuple(same(size, own=many and size > 1) for size in result[:-2])
    if moving == 0:
        return (*lead, same(result[-2]), whole(result[-1], stream[-1], own=True))
    return (*lead, whole(result[-2], stream[-2], own=True), same(result[-1]))


def reduced_axes(node: Node, graph: Graph) -> set[int]:
    shape = one_sample(node.operands[0])
    return {axis % len(shape) for axis in graph.resolve(node)["axes"]} or set(range(len(shape)))


def reduction(node: Node, moving: int, graph: Graph) -> Axes:
    shape, reduced = one_sample(node.operands[0]), reduced_axes(node, graph)
    kept = graph.resolve(node)["keepdims"]
    return tuple(
        whole(1, size, equal=True) if axis in reduced else same(size, equal=True)
        for axis, size in enumerate(shape)
        if kept or axis not in reduced
    )


def without_reduced(node: Node, origin: Array, graph: Graph) -> Array:
    """Return the numbers with one more axis: what every position reads besides the axes that are left."""
    if node.op.name not in REDUCTIONS or graph.resolve(node)["keepdims"]:
        return origin[..., None]
    reduced = sorted(reduced_axes(node, graph))
    left = [axis for axis in range(origin.ndim) if axis not in reduced]
    moved = origin.transpose(*left, *reduced)
    return moved.reshape(*(origin.shape[axis] for axis in left), -1)


REDUCTIONS = ("reduce_sum", "reduce_mean")
RULES: Mapping[str, Callable[[Node, int, Graph], Any]] = {
    "conv": conv,
    "conv_transpose": conv,
    "linear": linear,
    "matmul": matmul,
    "avg_pool": pool,
    "max_pool": pool,
    **dict.fromkeys(REDUCTIONS, reduction),
}
