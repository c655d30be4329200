"""`fold-pooling`: a linear layer reads what average pooling read, so that spikes need no rounding between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snnc.ir.shapes import Batch, concrete
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from snnc.passes.rewriter import Rewriter

LARGEST_WEIGHT = 2**24  # elements


@dataclass(frozen=True)
class FoldPooling(Pass):
    """Compose average pooling (and flattening) and the linear layer or convolution behind it into one layer.

    y = W flat(pool(x)) + b = W' flat(x) + b: W' holds each weight once per element of its window, divided by
    their number; the strides and pads of a convolution are multiplied by the window's sizes. A mean of
    spikes is no spike, so a neuron would stand between pooling and layer and round it again; in few steps
    that costs more than W' does. Windows that overlap, pad or leave elements out stay.
    """

    name: ClassVar[str] = "fold-pooling"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        return rewrite(graph, {"linear": (into_linear,), "conv": (into_conv,)}, context, self.name)


def into_linear(node: Node, rewriter: Rewriter) -> bool:
    """linear{W}(reshape(avg_pool(x))) -> linear{W'}(reshape(x))"""
    graph = rewriter.graph
    flat = node.operands[0].node
    pool = None if flat is None or flat.op.name != "reshape" else flat.operands[0].node
    if flat is None or pool is None or pool.op.name != "avg_pool":
        return False
    if any(len(part.result.users) > 1 or graph.is_output(part.result) for part in (flat, pool)):
        return rewriter.decline(pool, "what it averages is read elsewhere too")
    (x,) = pool.operands
    kernel, (_, channels, *sizes) = graph.resolve(pool)["kernel"], concrete(x.type.shape, 1)
    windows = concrete(pool.result.type.shape, 1)[2:]
    if not tiles(pool, graph):
        return rewriter.decline(pool, "its windows overlap, pad or leave elements out")
    if flat.result.type.shape != (Batch(), math.prod((channels, *windows))):
        return rewriter.decline(pool, "channels and positions are not flattened together behind it")
    weight: Array = graph.resolve(node)["weight"]
    if weight.size * math.prod(kernel) > LARGEST_WEIGHT:
        return rewriter.decline(pool, f"the composed layer would have more than {LARGEST_WEIGHT:,} weights")
    spread = weight.reshape(len(weight), channels, *windows) / np.float32(math.prod(kernel))
    for axis, size in enumerate(kernel, 2):
        spread = spread.repeat(size, axis=axis)
    inputs = math.prod((channels, *sizes))
    read = rewriter.insert(node, "reshape", [x], {"shape": (Batch(), inputs)})
    attributes = {**node.attributes, "weight": spread.reshape(len(weight), inputs)}
    value = rewriter.insert(node, "linear", [read], attributes)
    rewriter.replace(node, value, absorbed=[pool, flat])
    return True


def tiles(pool: Node, graph: Graph) -> bool:
    """Tell whether the windows of a pooling cover its operand, each element once."""
    given, sizes = graph.resolve(pool), concrete(pool.operands[0].type.shape, 1)[2:]
    windows, kernel = concrete(pool.result.type.shape, 1)[2:], given["kernel"]
    apart = given["strides"] == kernel and not any(given["pads"]) and set(given["dilations"]) <= {1}
    return apart and all(n * k == size for n, k, size in zip(windows, kernel, sizes, strict=True))


def into_conv(node: Node, rewriter: Rewriter) -> bool:
    """conv{W, strides, pads}(avg_pool(x)) -> conv{W', strides k, pads k}(x), k the window's size"""
    graph, pool = rewriter.graph, node.operands[0].node
    if pool is None or pool.op.name != "avg_pool":
        return False
    if len(pool.result.users) > 1 or graph.is_output(pool.result):
        return rewriter.decline(pool, "what it averages is read elsewhere too")
    if not tiles(pool, graph):
        return rewriter.decline(pool, "its windows overlap, pad or leave elements out")
    kernel, given = graph.resolve(pool)["kernel"], graph.resolve(node)
    if set(given["dilations"]) - {1}:
        return rewriter.decline(pool, "the taps of the convolution behind it are apart")
    weight: Array = given["weight"]
    if weight.size * math.prod(kernel) > LARGEST_WEIGHT:
        return rewriter.decline(pool, f"the composed layer would have more than {LARGEST_WEIGHT:,} weights")
    spread = weight / np.float32(math.prod(kernel))
    for axis, size in enumerate(kernel, 2):
        spread = spread.repeat(size, axis=axis)
    rank = len(kernel)
    changes: dict[str, Any] = {
        "weight": spread,
        "strides": scaled(given["strides"] or (1,) * rank, kernel),
        "pads": scaled(given["pads"] or (0,) * (2 * rank), (*kernel, *kernel)),
    }
    value = rewriter.insert(node, "conv", pool.operands, {**node.attributes, **changes})
    rewriter.replace(node, value, absorbed=[pool])
    return True


def scaled(numbers: tuple[int, ...], factors: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(number * factor for number, factor in zip(numbers, factors, strict=True))
