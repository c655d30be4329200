"""`fuse-factors`: constant factors in front of neurons disappear into their thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node


@dataclass(frozen=True)
class FuseFactors(Pass):
    """Q(c x / q) -> Q(x / (q / c)), for a constant c > 0 whose product with x one neuron alone reads.

    So the neuron reads what comes from a synapse, and can count in whole numbers (`quantise-weights`).
    """

    name: ClassVar[str] = "fuse-factors"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        return rewrite(graph, {"neuron": (into_threshold,)}, context, self.name)


def into_threshold(neuron: Node, rewriter: Rewriter) -> bool:
    graph, product = rewriter.graph, neuron.operands[0].node
    if product is None or product.op.name != "mul" or neuron.attributes.get("quantum") is None:
        return False
    factors = [graph.constant(operand) for operand in product.operands]
    place = next((index for index, factor in enumerate(factors) if factor is not None), None)
    if place is None:
        return False
    factor, x = factors[place], product.operands[1 - place]
    assert factor is not None
    if len(product.result.users) > 1 or graph.is_output(product.result):
        return rewriter.decline(product, "it is not read by one neuron alone")
    if not (factor > 0).all() or x.type.shape != product.result.type.shape:
        return rewriter.decline(product, "its factors are not all positive, or repeat what they multiply")
    given = graph.resolve(neuron)
    rank = len(x.type.shape)
    changed = {
        name: (given[name] / factor.reshape((1,) * (rank - factor.ndim) + factor.shape)).astype(np.float32)
        for name in ("quantum", "bias")
        if given[name] is not None
    }
    value = rewriter.insert(neuron, "neuron", [x], {**neuron.attributes, **changed})
    rewriter.replace(neuron, value, absorbed=[product])
    return True
