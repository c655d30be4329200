"""`choose-thresholds`: a quantum for every neuron, from calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from snnc.ir.codebooks import MAX_PAYLOAD, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import OptionError, PassError
from snnc.passes import threshold_rules as rules
from snnc.passes.analysis import channel_gain, threshold_axes
from snnc.passes.base import Pass, PassContext, Preserves, Site
from snnc.passes.rewriter import Rewriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node
    from snnc.ir.op import TensorRef
    from snnc.passes.statistics import SiteStatistics


@dataclass(frozen=True)
class ChooseThresholds(Pass):
    """Set quantum and scale of every neuron that has none, per channel (per=tensor: one for all).

    rule=mse: least squared error. First q = argmin E[(x - q Q(x/q))²] per channel for the codebook as it
    is; then, for multi-spike codebooks with balanced=true, the resolution is shared out so that the error
    of the following synapse's output is least for the same number of unit spikes. Bursts get the unit spikes
    that rounding to the nearest would take, and spend them on a finer quantum.
    rule=gaussian, rule=laplace: as mse, for the normal or Laplace distribution of zero mean that has the
    channel's mean square or mean magnitude (behind a ReLU: half of it, over the values above 0).
    rule=max: the largest magnitude seen is the largest payload.
    rule=percentile: as max, with the given percentile of the non-zero magnitudes (Rueckauer et al. 2017).
    rule=quantile: as max, with the mean over calibration batches of the given percentile of the values, or
    of their negatives (ECMT).
    rule=iteration: q <- E[x k] / E[k²] with k = Q(x/q), repeated from the largest value on (the threshold
    iteration of differential coding, Huang et al. 2025, on the calibration histogram instead of a normal
    distribution; a minimum of the squared error, not always the least one).

    Binary and ternary spikes carry a value by their number: mse and iteration choose the threshold whose
    multiples k q / steps, k up to `steps`, err least.

    For power-of-two codebooks: sides=separate finds one quantum for positive and one for negative payloads
    (rule=max and rule=quantile); placement=base (rule=quantile) makes what was found the smallest payload,
    not the largest; fixed=true takes ECMT's published quanta behind GELU and softmax.

    A multi-spike codebook then reaches `headroom` bits beyond what calibration saw (none: it stays as it
    is). `initial` is the initial membrane in quanta of neurons without negative payloads; it would make the
    others prefer one sign.
    """

    name: ClassVar[str] = "choose-thresholds"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    rule: Literal["mse", "gaussian", "laplace", "max", "percentile", "quantile", "iteration"] = "mse"
    percentile: float = 99.9
    per: Literal["channel", "tensor"] = "channel"
    balanced: bool = True
    headroom: int | None = 1
    initial: float = 0.0
    sides: Literal["joint", "separate"] = "joint"
    placement: Literal["top", "base"] = "top"
    fixed: bool = False
    steps: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MAX_PAYLOAD:
            raise OptionError(f"thresholds cannot be meant for {self.steps} steps", help="give 1 or more")
        if self.sides == "separate" and self.rule not in ("max", "quantile"):
            raise OptionError(
                f"choose-thresholds with rule={self.rule} sees no sides",
                help="sides=separate needs rule=max or rule=quantile",
            )
        if self.placement == "base" and self.rule != "quantile":
            raise OptionError(
                f"choose-thresholds with rule={self.rule} places levels below what it finds",
                help="placement=base needs rule=quantile",
            )

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

    @property
    def _balances(self) -> bool:
        return self.balanced and self.rule in ("mse", "gaussian", "laplace", "iteration")

    def _site(self, node: Node, axes: frozenset[int]) -> Site:
        given = node.attributes
        low, high, site = given.get("low"), given.get("high"), given.get("site")
        assert low is None or isinstance(low, float)
        assert high is None or isinstance(high, float)
        fractions = (self.percentile / 100, 1 - self.percentile / 100) if self.rule == "quantile" else ()
        if self.per == "tensor" and fractions:
            axes = frozenset()  # quantiles of channels do not add up to those of the tensor
        return Site(node.operands[0], tuple(sorted(axes)), low, high, str(site or node.op.name), fractions)

    def _set(self, node: Node, site: Site, statistics: SiteStatistics, rewriter: Rewriter) -> None:
        if self.per == "tensor" and statistics.axes:
            statistics = statistics.merged()
        codebook = rules.settle_sign(rewriter.graph.resolve(node)["codebook"], statistics)
        if isinstance(codebook, PowerOfTwo):
            self._set_powers(codebook, node, site, statistics, rewriter)
            return
        spends = rules.to_nearest(codebook) if isinstance(codebook, MultiSpike) else codebook
        quantum = rules.fill_silent(self._quantum(spends, statistics))
        if self._balances and isinstance(codebook, MultiSpike) and (quantum.size > 1 or spends != codebook):
            quantum = rules.balance(codebook, quantum, gains(node, statistics, rewriter), statistics)
        if self.headroom is not None:
            codebook = rules.with_headroom(codebook, quantum, statistics, self.headroom)
        codebook, quantum = rules.within((site.low, site.high), codebook, quantum, statistics)
        negative = None
        if isinstance(codebook, Ternary):
            quantum, below = rules.one_quantum_within((site.low, site.high), quantum)
            uneven = not np.array_equal(quantum, below)
            negative = store(below / quantum, "negative", site, statistics, rewriter) if uneven else None
        stored = store(quantum, "quantum", site, statistics, rewriter)
        initial = self.initial if codebook.payload.lo == 0 else 0.0
        rewriter.set_attributes(
            node, codebook=codebook, quantum=stored, scale=stored, unit=stored, negative=negative,
            initial=initial or None,
        )  # fmt: skip

    def _set_powers(
        self, codebook: PowerOfTwo, node: Node, site: Site, statistics: SiteStatistics, rewriter: Rewriter
    ) -> None:
        above, below = self._sides(codebook, node, statistics)
        codebook, (above, below) = rules.powers_within(
            (site.low, site.high), codebook, (above, below), statistics
        )
        stored = store(above, "quantum", site, statistics, rewriter)
        uneven = codebook.signed and not np.array_equal(above, below)
        negative = store(below / above, "negative", site, statistics, rewriter) if uneven else None
        rewriter.set_attributes(
            node, codebook=codebook, quantum=stored, scale=stored, unit=stored, negative=negative
        )

    def _sides(
        self, codebook: PowerOfTwo, node: Node, statistics: SiteStatistics
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the quanta of positive and of negative payloads."""
        if self.sides == "separate" and codebook.signed:
            above, below = (self._side(codebook, statistics, sign) for sign in (1, -1))
        else:
            above = below = self._quantum(codebook, statistics)
        if self.fixed and (source := rules.activation_behind(node.operands[0])) in rules.FIXED_QUANTA:
            above, below = (np.full(above.shape, fixed) for fixed in rules.FIXED_QUANTA[source])
        above = rules.fill_silent(np.where(above > 0, above, below))
        return above, np.where(below > 0, below, above)

    def _side(
        self, codebook: Codebook, statistics: SiteStatistics, sign: Literal[1, -1]
    ) -> NDArray[np.float64]:
        """Return the quantum of one sign's payloads; 0 where calibration saw none."""
        seen = rules.side(statistics, sign)
        found = seen if self.rule == "max" else sign * statistics.batch_quantiles[:, 0 if sign > 0 else 1]
        return rules.placed(found, seen, codebook, self.placement)

    def _quantum(self, codebook: Codebook, statistics: SiteStatistics) -> NDArray[np.float64]:
        match self.rule:
            case "mse":
                return self.steps * rules.least_error(rules.after(self.steps, codebook), statistics)
            case "iteration":
                return self.steps * rules.iterated(rules.after(self.steps, codebook), statistics)
            case "gaussian" | "laplace":
                return rules.least_error_of(self.rule, codebook, statistics)
            case "max":
                return rules.largest_magnitude(codebook, statistics)
            case "quantile":
                above, below = (self._side(codebook, statistics, sign) for sign in (1, -1))
                return np.maximum(above, below)
            case "percentile":
                return rules.percentile(codebook, statistics, self.percentile)


def store(
    quantum: NDArray[np.float64], name: str, site: Site, statistics: SiteStatistics, rewriter: Rewriter
) -> TensorRef:
    """Store one number per channel as a tensor that broadcasts against the site."""
    shape = [1] * len(site.value.type.shape)
    for axis, size in zip(statistics.axes, statistics.channel_shape, strict=True):
        shape[axis] = size
    return rewriter.graph.add_tensor(f"{site.name}.{name}", quantum.astype(np.float32).reshape(shape))


def gains(node: Node, statistics: SiteStatistics, rewriter: Rewriter) -> NDArray[np.float64]:
    """Return how much the following synapses make of an error in each channel."""
    if statistics.channels == 1:
        return np.ones(1)
    gain = channel_gain(node.result, statistics.channel_shape, rewriter.graph)
    if gain is None:
        rewriter.decline(node, "no synapse reads its channels directly: all count the same")
        return np.ones(statistics.channels)
    return gain
