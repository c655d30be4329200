"""`choose-thresholds`: a quantum for every neuron, from calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import PassError
from snnc.passes import threshold_rules as rules
from snnc.passes.analysis import channel_gain, threshold_axes
from snnc.passes.base import Pass, PassContext, Site
from snnc.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node
    from snnc.passes.statistics import SiteStatistics


@dataclass(frozen=True)
class ChooseThresholds(Pass):
    """Set quantum and scale of every neuron that has none, per channel (per=tensor: one for all).

    rule=mse: least squared error. First q = argmin E[(x - q Q(x/q))²] per channel for the codebook as it
    is; then, for multi-spike codebooks with balanced=true, the resolution is shared out so that the error
    of the following synapse's output is least for the same number of unit spikes.
    rule=max: the largest magnitude seen is the largest payload.
    rule=percentile: as max, with the given percentile of the non-zero magnitudes (Rueckauer et al. 2017).

    A multi-spike codebook then reaches `headroom` bits beyond what calibration saw (none: it stays as it
    is). `initial` is the initial membrane in quanta.
    """

    name: ClassVar[str] = "choose-thresholds"
    rule: Literal["mse", "max", "percentile"] = "mse"
    percentile: float = 99.9
    per: Literal["channel", "tensor"] = "channel"
    balanced: bool = True
    headroom: int | None = 1
    initial: float = 0.0

    def run(self, graph: Graph, context: PassContext) -> bool:
        neurons = [node for node in graph if node.op.name == "neuron" and "quantum" not in node.attributes]
        if not neurons:
            return False
        if context.calibration is None:
            raise PassError(
                "choose-thresholds needs calibration", help="give calibration data with --calibration DATA"
            )
        axes = threshold_axes(graph)
        sites = [self._site(node, axes[node.result]) for node in neurons]
        measured = context.calibration.measure(graph, sites)
        rewriter = Rewriter(graph, context, self.name)
        for node, site, statistics in zip(neurons, sites, measured, strict=True):
            self._set(node, site, statistics, rewriter)
        return True

    def _site(self, node: Node, axes: frozenset[int]) -> Site:
        given = node.attributes
        low, high, site = given.get("low"), given.get("high"), given.get("site")
        assert low is None or isinstance(low, float)
        assert high is None or isinstance(high, float)
        return Site(node.operands[0], tuple(sorted(axes)), low, high, str(site or node.op.name))

    def _set(self, node: Node, site: Site, statistics: SiteStatistics, rewriter: Rewriter) -> None:
        if self.per == "tensor":
            statistics = statistics.merged()
        codebook = rules.settle_sign(rewriter.graph.resolve(node)["codebook"], statistics)
        quantum = rules.fill_silent(self._quantum(codebook, statistics))
        if self.rule == "mse" and self.balanced and isinstance(codebook, MultiSpike) and quantum.size > 1:
            quantum = rules.balance(quantum, gains(node, statistics, rewriter), statistics)
        if self.headroom is not None:
            codebook = rules.with_headroom(codebook, quantum, statistics, self.headroom)
        codebook, quantum = rules.within((site.low, site.high), codebook, quantum, statistics)
        shape = [1] * len(site.value.type.shape)
        for axis, size in zip(statistics.axes, statistics.channel_shape, strict=True):
            shape[axis] = size
        stored = rewriter.graph.add_tensor(f"{site.name}.quantum", quantum.astype(np.float32).reshape(shape))
        rewriter.set_attributes(
            node, codebook=codebook, quantum=stored, scale=stored, unit=stored, initial=self.initial or None
        )

    def _quantum(self, codebook: Codebook, statistics: SiteStatistics) -> NDArray[np.float64]:
        match self.rule:
            case "mse":
                return rules.least_error(codebook, statistics)
            case "max":
                return rules.largest_magnitude(codebook, statistics)
            case "percentile":
                return rules.percentile(codebook, statistics, self.percentile)


def gains(node: Node, statistics: SiteStatistics, rewriter: Rewriter) -> NDArray[np.float64]:
    """Return how much the following synapses make of an error in each channel."""
    gain = channel_gain(node.result, statistics.channel_shape, rewriter.graph)
    if gain is None:
        rewriter.decline(node, "no synapse reads its channels directly: all count the same")
        return np.ones(statistics.channels)
    return gain
