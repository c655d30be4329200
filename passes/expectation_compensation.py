"""`expectation-compensation`: wrap what does not map means to means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from snnc.ir.errors import UnsupportedOpError
from snnc.ir.types import SpikeType
from snnc.passes.analysis import passes_mean, refuse_spiking, static_values
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.masks import bound_masks
from snnc.passes.rewriter import Rewriter, describe

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node


@dataclass(frozen=True)
class ExpectationCompensation(Pass):
    """Wrap every nonlinearity and every product of two streams as `expect.<op>`.

    O(t) = t F(S(t)/t) - (t-1) F(S(t-1)/(t-1)), so that the mean of O over steps 1..t is F of the mean of
    the input (ECMT; the identity is algebra). Streams that never vary in time need none.
    What masks add to them is clipped to ±1e30, so that S(t) stays finite.
    Refuses, all at once, nodes whose result is not a real number: a comparison has no mean.
    """

    name: ClassVar[str] = "expectation-compensation"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        refuse_spiking(graph, self.name)
        rewriter = Rewriter(graph, context, self.name)
        bound_masks(graph, rewriter)
        static = static_values(graph)
        wrapped = [node for node in graph if not node.expect and not passes_mean(node, static)]
        refuse_integers([node for node in wrapped if not is_real(node)])
        for node in wrapped:
            value = rewriter.insert(node, node.op.name, node.operands, node.attributes, expect=True)
            rewriter.replace(node, value)
        return rewriter.changed


def is_real(node: Node) -> bool:
    type_ = node.result.type
    return isinstance(type_, SpikeType) or type_.is_real


def refuse_integers(nodes: list[Node]) -> None:
    if not nodes:
        return
    listed = "\n".join(
        f"  - {describe(node)}: gives {node.result.type} from a stream that varies in time" for node in nodes
    )
    raise UnsupportedOpError(
        f"{len(nodes)} nodes compute integers or truth values from spiking activity:\n{listed}",
        help="cut them off the exported model, or express them by arithmetic (for example Relu, Clip, Mul)",
    )
