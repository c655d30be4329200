"""A pass that is not part of snnc: thresholds become powers of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snnc.passes import Pass, PassContext, Preserves, Rewriter, rewrite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node


@dataclass(frozen=True)
class RoundThresholds(Pass):
    """Round every quantum to a power of two, so that hardware shifts where it would divide.

    q' = ±2^round(log2 |q|), per channel. A payload now stands for q'/q times as much, so the neuron's scale
    takes the factor q'/q and the decoded value stays what it was, up to the new rounding.
    to=down gives finer quanta (less error, more unit spikes), to=up coarser ones.
    """

    name: ClassVar[str] = "round-thresholds"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    to: Literal["nearest", "down", "up"] = "nearest"

    def run(self, graph: Graph, context: PassContext) -> bool:
        return rewrite(graph, {"neuron": (self.round_quantum,)}, context, self.name)

    def round_quantum(self, node: Node, rewriter: Rewriter) -> bool:
        """neuron{q, s} -> neuron{q', s q'/q}"""
        given = rewriter.graph.resolve(node)
        quantum = given["quantum"]
        if quantum is None:
            return rewriter.decline(node, "it has no threshold yet; run choose-thresholds first")
        bounds = [bound for bound in (given["low"], given["high"]) if bound]
        if bounds:
            return rewriter.decline(node, f"a payload must stand for its bound {bounds[-1]} exactly")
        rounded = self.power_of_two(quantum)
        if (rounded == quantum).all():
            return False
        changes = {"quantum": rounded, "scale": rescaled(given["scale"], rounded, quantum)}
        if given["unit"] is not None:
            changes["unit"] = rescaled(given["unit"], rounded, quantum)
        rewriter.set_attributes(node, **changes)
        return True

    def power_of_two(self, quantum: NDArray[np.float32]) -> NDArray[np.float32]:
        rounding = {"nearest": np.rint, "down": np.floor, "up": np.ceil}[self.to]
        exponent = rounding(np.log2(np.abs(quantum.astype(np.float64))))
        return np.asarray(np.copysign(2.0**exponent, quantum), np.float32)


def rescaled(
    value: NDArray[np.float32] | None, rounded: NDArray[np.float32], quantum: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return value · q'/q (no value: 1), exactly q' where the value is q."""
    before = np.float64(1) if value is None else value.astype(np.float64)
    return np.asarray(before * rounded / quantum, np.float32)
