"""`dce`: remove nodes and tensors nothing depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from snnc.passes.base import Pass, PassContext, Preserves

if TYPE_CHECKING:
    from snnc.ir.graph import Graph


@dataclass(frozen=True)
class Dce(Pass):
    """Remove nodes whose result nobody reads, and tensors nobody refers to."""

    name: ClassVar[str] = "dce"
    integers: ClassVar[bool] = True
    preserves: ClassVar[Preserves | None] = Preserves.EXACT

    def run(self, graph: Graph, context: PassContext) -> bool:
        before = len(graph)
        for node in reversed(list(graph)):
            if not node.result.users and not graph.is_output(node.result):
                graph.erase(node)
        dropped = graph.drop_unused_tensors()
        return dropped or len(graph) != before
