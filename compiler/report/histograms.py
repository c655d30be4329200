"""Payloads and membranes of every neuron node, counted while a network runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from snnc.energy import unscaled
from snnc.ir.codebooks import Payload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

# Membranes are counted in steps of 1/20 quantum from -2 to 2; what lies beyond is counted apart.
MEMBRANE_EDGES: NDArray[np.float64] = np.linspace(-2, 2, 81)


@dataclass(slots=True)
class Distribution:
    """One neuron node. `payloads[k - lowest]` counts payload k; `membranes` in the bins of MEMBRANE_EDGES.

    `below` and `above` are membranes out of their reach: what a ReLU cuts off, or too few levels. `bounded`:
    no payload is beyond the codebook's, which are all there from the start.
    """

    lowest: int
    payloads: NDArray[np.int64]
    membranes: NDArray[np.int64]
    below: int = 0
    above: int = 0
    bounded: bool = True

    def count(self, payloads: NDArray[np.int64]) -> None:
        """Count payloads, more of them than there were if need be."""
        if not payloads.size:
            return
        missing = max(0, self.lowest - int(payloads.min())), max(0, int(payloads.max()) - self.highest)
        self.payloads, self.lowest = np.pad(self.payloads, missing), self.lowest - missing[0]
        self.payloads += np.bincount(payloads.ravel() - self.lowest, minlength=len(self.payloads))

    def share(self, payload: int) -> float:
        """Return how often a payload was sent, 0 of course included."""
        return float(self.payloads[payload - self.lowest] / max(1, self.payloads.sum()))

    @property
    def highest(self) -> int:
        return self.lowest + len(self.payloads) - 1

    @property
    def saturated(self) -> float:
        """Return the share of the largest payload, and of the smallest if it is negative."""
        return self.share(self.highest) + (self.share(self.lowest) if self.lowest < 0 else 0.0)


@dataclass(slots=True)
class Histograms:
    """Observes a run: payloads of all steps, membranes (in quanta) after the last one."""

    graph: Graph
    steps: int
    found: dict[Node, Distribution] = field(default_factory=dict)

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if not node.op.neuron:
            return
        given = self.graph.resolve(node)
        if node not in self.found:
            allowed = self.graph.sent_codebook(node).payload if "codebook" in given else Payload(0, 1)
            self.found[node] = Distribution(
                allowed.lo,
                np.zeros(allowed.hi - allowed.lo + 1, np.int64),
                np.zeros(len(MEMBRANE_EDGES) - 1, np.int64),
                bounded=given.get("bounds") != "sum",
            )
        one = self.found[node]
        payload = unscaled(node, value, self.graph)
        if given.get("negative") is not None and given["level_axis"] is None:
            payload = np.where(payload < 0, payload / given["negative"], payload)
        one.count(np.rint(payload).astype(np.int64))
        if t == self.steps and membrane is not None:
            quanta = membrane / given.get("quantum", given.get("threshold"))
            one.membranes += np.histogram(quanta, MEMBRANE_EDGES)[0]
            one.below += int((quanta < MEMBRANE_EDGES[0]).sum())
            one.above += int((quanta > MEMBRANE_EDGES[-1]).sum())
