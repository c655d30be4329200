"""`set-coding`: what the streams of a graph stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from snnc.passes.base import Pass, PassContext, Preserves

if TYPE_CHECKING:
    from snnc.ir.graph import Graph


@dataclass(frozen=True)
class SetCoding(Pass):
    """Let streams stand for their mean (coding=rate) or send changes (coding=differential).

    The decoded values stay what they are, and so does the first step. Changes may be negative: every neuron
    of a graph in differential coding sends payloads of both signs, and the result of an expectation node is
    always real. Run it in front of insert-neurons, which then gives synapses behind such nodes a neuron.
    """

    name: ClassVar[str] = "set-coding"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    coding: Literal["rate", "differential"] = "differential"

    def run(self, graph: Graph, context: PassContext) -> bool:
        if graph.coding == self.coding:
            return False
        graph.coding = self.coding
        graph.retype()
        return True
