"""`fold-pooling`: a linear layer reads what average pooling read, so that spikes need no rounding between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

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
    """Compose average pooling, flattening and a linear layer into one linear layer.

    y = W flat(pool(x)) + b = W' flat(x) + b: W' holds each weight once per element of its window, divided by
    their number. A mean of spikes is no spike, so a neuron would stand between pooling and layer and round
    it again; in few steps that costs more than W' does. Windows that overlap, pad or leave elements out stay.
    """

    name: ClassVar[str] = "fold-pooling"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        return rewrite(graph, {"linear": (into_linear,)}, context, self.name)


def into_linear(node: Node, rewriter: Rewriter) -> bool:
    """linear{W}(reshape(avg_pool(x))) -> linear{W'}(reshape(x))"""
    graph = rewriter.graph
    flat = node.operands[0].node
    pool = None if flat is None or flat.op.name != "reshape" else flat.operands[0].node
    if flat is None or pool is None or pool.op.name != "avg_pool":
        return False
    if any(len(part.result.users) > 1 or graph.is_output(part.result) for part in (flat, pool)):
        return rewriter.decline(pool, "what it averages is read elsewhere too")
    (x,), given = pool.operands, graph.resolve(pool)
    kernel, (_, channels, *sizes) = given["kernel"], concrete(x.type.shape, 1)
    windows = concrete(pool.result.type.shape, 1)[2:]
    apart = given["strides"] == kernel and not any(given["pads"]) and set(given["dilations"]) <= {1}
    if not apart or any(n * k != size for n, k, size in zip(windows, kernel, sizes, strict=True)):
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
