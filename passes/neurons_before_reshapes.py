"""`neurons-before-reshapes`: neurons behind a flattened image move in front of what flattens it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from snnc.ir.shapes import batch_axis
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node


@dataclass(frozen=True)
class NeuronsBeforeReshapes(Pass):
    """neuron(flatten(x)) -> flatten(neuron(x)), for an image x and a neuron without a threshold.

    It will have one per channel of the image then, not one per pixel. The neuron alone may read flatten(x).
    """

    name: ClassVar[str] = "neurons-before-reshapes"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION

    def run(self, graph: Graph, context: PassContext) -> bool:
        return rewrite(graph, {"neuron": (in_front,)}, context, self.name)


def in_front(neuron: Node, rewriter: Rewriter) -> bool:
    graph, flattened = rewriter.graph, neuron.operands[0].node
    if flattened is None or flattened.op.name != "reshape" or neuron.attributes.get("quantum") is not None:
        return False
    (x,) = flattened.operands
    shape, result = x.type.shape, flattened.result.type.shape
    # [N, C, H, W] -> [N, C H W]
    if len(shape) != 4 or len(result) != 2 or batch_axis(shape) != 0 or shape[0] != result[0]:
        return False
    if len(flattened.result.users) > 1 or graph.is_output(flattened.result):
        return rewriter.decline(flattened, "it is not read by one neuron alone")
    sent = rewriter.insert(neuron, "neuron", [x], neuron.attributes)
    if x.node is not None and sent.node is not None:
        graph.set_origin(sent.node, x.node.origin)
    rewriter.replace(
        neuron, rewriter.insert(neuron, "reshape", [sent], flattened.attributes), absorbed=[flattened]
    )
    return True
