"""`choose-thresholds`: a quantum for every neuron, from calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snnc.ir.codebooks import Binary, MultiSpike, Ternary
from snnc.ir.errors import PassError
from snnc.ir.shapes import Batch
from snnc.passes.analysis import channel_axes
from snnc.passes.base import Pass, PassContext, Site
from snnc.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node, Value
    from snnc.passes.statistics import SiteStatistics

# Candidate quanta, as fractions of the one that just reaches the largest value seen.
FRACTIONS = np.geomspace(0.04, 1.1, 120)


@dataclass(frozen=True)
class ChooseThresholds(Pass):
    """Set quantum and scale of every neuron that has none, per channel (per=tensor: one for all).

    rule=mse: q = argmin E[(x - q Q(x/q))²] + clip_weight E[(x - clip(x, q lo, q hi))²] over the calibration
    histogram: the error of one quantisation, clipping weighted more because rounding errors average out over
    the steps and clipping errors do not; a signed multi-spike codebook is shifted (same number of payloads, fewer
    negative ones) where that lowers the error.
    rule=max: the largest magnitude seen is the largest payload.
    rule=percentile: as max, with the given percentile of the non-zero magnitudes (Rueckauer et al. 2017).
    `margin` multiplies the result; `initial` is the initial membrane in quanta.
    """

    name: ClassVar[str] = "choose-thresholds"
    rule: Literal["mse", "max", "percentile"] = "mse"
    percentile: float = 99.9
    per: Literal["channel", "tensor"] = "channel"
    headroom: int = 2
    clip_weight: float = 0.0
    margin: float = 1.0
    initial: float = 0.0

    def run(self, graph: Graph, context: PassContext) -> bool:
        neurons = [node for node in graph if needs_threshold(node)]
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
        codebook = settle_sign(rewriter.graph.resolve(node)["codebook"], statistics)
        codebook, quantum = self._choose(codebook, statistics)
        quantum = fill_silent(quantum * self.margin)
        codebook = with_headroom(codebook, self.headroom)
        if site.high is not None:
            # The largest payload may not exceed the activation's upper bound.
            quantum = np.minimum(quantum, site.high / codebook.payload.hi)
        shape = [1] * len(site.value.type.shape)
        if self.per == "channel":
            for axis, size in zip(statistics.axes, statistics.channel_shape, strict=True):
                shape[axis] = size
        parameter = quantum.astype(np.float32).reshape(shape)
        stored = rewriter.graph.add_tensor(f"{site.name}.quantum", parameter)
        rewriter.set_attributes(
            node, codebook=codebook, quantum=stored, scale=stored, unit=stored, initial=self.initial or None
        )

    def _choose(self, codebook: Codebook, statistics: SiteStatistics) -> tuple[Codebook, NDArray[np.float64]]:
        if self.rule == "mse":
            choices = shifted(codebook, statistics)
            options = [least_error(choice, statistics, self.clip_weight) for choice in choices]
            best = int(np.argmin([error.sum() for _, error in options]))
            return choices[best], options[best][0]
        reach = max(-codebook.payload.lo, codebook.payload.hi)
        if self.rule == "max":
            peak = np.maximum(-statistics.minimum, statistics.maximum).astype(np.float64)
            return codebook, peak / reach
        fraction = self.percentile / 100
        return codebook, statistics.quantile(fraction, of_magnitude=True, skip_zero=True) / reach


def needs_threshold(node: Node) -> bool:
    return node.op.name == "neuron" and "quantum" not in node.attributes


def settle_sign(codebook: Codebook, statistics: SiteStatistics) -> Codebook:
    """Return the unsigned form of a signed codebook where calibration saw no negative value."""
    if codebook.payload.lo == 0 or (statistics.minimum < 0).any():
        return codebook
    if isinstance(codebook, MultiSpike):
        return replace(codebook, lo=0, hi=codebook.hi - codebook.lo + 1)
    return Binary() if isinstance(codebook, Ternary) else codebook


def shifted(codebook: Codebook, statistics: SiteStatistics) -> list[Codebook]:
    """Return the codebook and, if signed multi-spike, those of the same size with fewer negative payloads."""
    if not isinstance(codebook, MultiSpike) or codebook.lo == 0:
        return [codebook]
    span = codebook.hi - codebook.lo
    negatives = {-codebook.lo, span // 4, span // 8, span // 16}
    return [replace(codebook, lo=-count, hi=span - count) for count in sorted(negatives) if count > 0]


def least_error(
    codebook: Codebook, statistics: SiteStatistics, clip_weight: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the quantum of least squared error per channel, and that error.

    All channels share the bin centres u in units of their reach, so one table of squared errors over
    candidates f serves them all: errors = counts · tableᵀ.
    """
    candidates = FRACTIONS / max(codebook.payload.hi, -codebook.payload.lo)
    centres = statistics.centres
    table = np.stack([squared_errors(codebook, centres, f, clip_weight) for f in candidates])
    errors = statistics.counts.astype(np.float64) @ table.T
    best = errors.argmin(axis=1)
    error = errors[np.arange(len(best)), best] * statistics.reach**2
    return candidates[best] * statistics.reach, error


def with_headroom(codebook: Codebook, bits: int) -> Codebook:
    """Return a multi-spike codebook whose payloads reach 2^bits times further."""
    if not isinstance(codebook, MultiSpike):
        return codebook
    return replace(codebook, lo=codebook.lo << bits, hi=((codebook.hi + 1) << bits) - 1)


def squared_errors(
    codebook: Codebook, x: NDArray[np.float64], quantum: float, clip_weight: float
) -> NDArray[np.float64]:
    """Return (x - q Q(x/q))² + clip_weight (x - clip(x, q lo, q hi))²."""
    payload = codebook.payload
    clipped = np.clip(x, quantum * payload.lo, quantum * payload.hi)
    rounded = quantum * codebook.quantise(x / quantum)
    return np.asarray((x - rounded) ** 2 + clip_weight * (x - clipped) ** 2)


def fill_silent(quantum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give channels that calibration never saw active the largest quantum of the others (1 if none)."""
    active = quantum > 0
    fallback = quantum[active].max() if active.any() else 1.0
    return np.where(active, quantum, fallback)


def threshold_axes(graph: Graph) -> dict[Value, frozenset[int]]:
    """Return, per neuron output, the channel axes along which its quantum may differ at no cost.

    A scale folds into the weights that follow; the product of two streams can only take it out of the sum
    along axes it does not contract.
    """
    axes = channel_axes(graph)
    allowed = {}
    for node in graph:
        if node.op.name == "neuron":
            shape = node.result.type.shape
            found = frozenset(axis for axis in axes[node.operands[0]] if not isinstance(shape[axis], Batch))
            for user in node.result.users:
                if user.op.name == "matmul":
                    found -= contracted_axes(user, node.result)
            allowed[node.result] = found
    return allowed


def contracted_axes(matmul: Node, operand: Value) -> frozenset[int]:
    """Return the axes of an operand a matmul sums over."""
    rank = len(operand.type.shape)
    summed = set()
    if matmul.operands[0] is operand:
        summed.add(rank - 1)
    if matmul.operands[1] is operand:
        summed.add(rank - 2 if rank > 1 else 0)
    return frozenset(summed)
