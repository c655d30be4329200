"""`allocate-levels`: unit spikes go where the network's output needs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.ir.codebooks import MAX_PAYLOAD, MultiSpike
from snnc.ir.errors import OptionError, PassError
from snnc.ir.shapes import per_sample
from snnc.passes.analysis import threshold_chosen
from snnc.passes.base import Pass, PassContext, Preserves, Site
from snnc.passes.fan_out import mean_fan_out
from snnc.passes.rewriter import Rewriter
from snnc.passes.threshold_rules import UnitSpikeTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node
    from snnc.passes.base import Calibration

# A site counts at least this fraction of the most sensitive one.
LEAST_SENSITIVITY = 1e-4

# An allocation stays if it meets the budget this closely and another would lower the error by less than this.
BUDGET_TOLERANCE, LEAST_GAIN = 0.01, 0.02
# What a step really costs is known behind it: it may miss the budget by this much.
MISSED = 0.03
NO_CHANGE = 1e-3
COARSENED = ("codebook", "quantum", "scale", "unit")


@dataclass(frozen=True)
class AllocateLevels(Pass):
    """Share out unit spikes between multi-spike neurons so that the network's output errs least.

    Calibration measures E_s, the squared relative error of the output with nothing but site s quantised.
    Multiplying the quanta of s by m_s turns it into E_s m_s². Unit spikes fall with log m_s, each costs the
    accumulates K_s / N_s it causes (K_s: those of one per neuron), so

        minimise Σ E_s m_s²   subject to   Σ -K_s log m_s = budget   gives   m_s = sqrt(λ K_s / E_s)

    and λ follows by bisection on the unit spikes that the histograms predict. Where factors are far from 1
    the squared law is rough: everything is measured anew, and the step repeated until it would gain little,
    or did when measured and is taken back. A second run tries that last step again, and changes nothing.
    `accumulates` is the budget, per sample and step (none: what the thresholds as they are cause, at every
    step). `unit_spikes`, on average per neuron and step, is one that counts every unit spike alike, whatever
    it reaches.
    """

    name: ClassVar[str] = "allocate-levels"
    preserves: ClassVar[Preserves | None] = Preserves.QUANTISATION
    accumulates: float | None = None
    unit_spikes: float | None = None

    def __post_init__(self) -> None:
        if self.accumulates is not None and self.unit_spikes is not None:
            raise OptionError("allocate-levels meets one budget", help="give accumulates or unit_spikes")
        for budget in (self.accumulates, self.unit_spikes):
            if budget is not None and not budget > 0:
                raise OptionError(f"a budget of {budget:g} is none", help="give more than 0")

    def run(self, graph: Graph, context: PassContext) -> bool:
        if not adjustable_neurons(graph):
            return False
        if context.calibration is None:
            raise PassError(
                "allocate-levels needs calibration", help="give calibration data with --calibration DATA"
            )
        plan = Plan.of(graph, context.calibration, alike=self.unit_spikes is not None)
        budget = self.unit_spikes if self.accumulates is None else self.accumulates
        return allocate(graph, plan, budget, context)


def allocate(graph: Graph, plan: Plan, budget: float | None, context: PassContext) -> bool:
    """Share out a budget (None: what the graph costs), by a plan for the graph as it is.

    Return whether anything changed. Whether a step is taken depends on the graph in front of it alone, and
    the last one tried was not.
    """
    changed = False
    while (after := step(graph, plan, plan.now if budget is None else budget, context)) is not None:
        plan, changed = after, True
    return changed


def step(graph: Graph, plan: Plan, budget: float, context: PassContext) -> Plan | None:
    """Give all quanta their factors; return the plan for the result, or None if the graph is better as is."""
    assert context.calibration is not None
    factors = plan.factors(budget)
    if factors is None:
        return None
    neurons = adjustable_neurons(graph)
    before = [{name: node.attributes[name] for name in COARSENED} for node in neurons]
    rewriter = Rewriter(graph, context, AllocateLevels.name)
    for node, factor in zip(neurons, factors, strict=True):
        coarsen(node, factor, rewriter)
    after = plan.measured_anew(graph, context.calibration)
    taken = after.improves(plan, budget)
    if not taken:
        for node, attributes in zip(neurons, before, strict=True):
            graph.set_attributes(node, **attributes)
    graph.drop_unused_tensors()
    return after if taken else None


def adjustable_neurons(graph: Graph) -> list[Node]:
    return [node for node in graph if adjustable(node)]


def adjustable(node: Node) -> bool:
    """Tell whether a node is a multi-spike neuron with a threshold that still has its scale."""
    return threshold_chosen(node) and isinstance(node.attributes["codebook"], MultiSpike)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of every site: sensitivity, accumulates if each neuron sends a unit spike, quanta."""

    errors: NDArray[np.float64]
    costs: NDArray[np.float64]
    quanta: list[NDArray[np.float64]]
    tables: list[UnitSpikeTable]
    values: list[float]

    @classmethod
    def of(cls, graph: Graph, calibration: Calibration, *, alike: bool = False) -> Plan:
        """Measure a graph; `alike` takes the share of all neurons for the costs."""
        neurons = adjustable_neurons(graph)
        # Every unit spike also resets its membrane once.
        fan_outs = [1 + mean_fan_out(node.result, graph) for node in neurons]
        sizes = np.array([per_sample(node.result.type.shape) for node in neurons], np.float64)
        costs = sizes / sizes.sum() if alike else sizes * np.array(fan_outs)
        return cls._measured(costs, graph, calibration)

    def measured_anew(self, graph: Graph, calibration: Calibration) -> Plan:
        """Return the plan for the graph with its quanta changed since, which change what neurons read."""
        return self._measured(self.costs, graph, calibration)

    @classmethod
    def _measured(cls, costs: NDArray[np.float64], graph: Graph, calibration: Calibration) -> Plan:
        neurons = adjustable_neurons(graph)
        statistics = calibration.measure(graph, [site_of(node, graph) for node in neurons])
        return cls(
            errors=sensitivities(graph, calibration),
            costs=costs,
            quanta=quanta_of(graph),
            tables=[
                UnitSpikeTable(codebook_of(node), found)
                for node, found in zip(neurons, statistics, strict=True)
            ],
            values=[max(float(found.counts.sum(dtype=np.float64)), 1.0) for found in statistics],
        )

    @property
    def now(self) -> float:
        return self.cost(np.ones(len(self.costs)))

    def cost(self, factors: NDArray[np.float64]) -> float:
        """Return the accumulates per sample that unit spikes cause when every quantum takes its factor."""
        sites = zip(self.costs, self.tables, self.quanta, self.values, factors, strict=True)
        return float(
            sum(
                cost * table.expected(quantum * factor) / values
                for cost, table, quantum, values, factor in sites
            )
        )

    def factors(self, budget: float) -> NDArray[np.float64] | None:
        """Return the factor of every site's quanta, or None if they are as good as they are."""
        if not self.errors.any():
            return None
        shape = np.sqrt(self.costs / self.errors)
        low, high = -np.log(shape).max() - 12, -np.log(shape).min() + 12
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.cost(np.exp(middle) * shape) > budget else (low, middle)
        found = np.exp((low + high) / 2) * shape
        better = np.sqrt(np.sum(self.errors * found**2)) < (1 - LEAST_GAIN) * np.sqrt(self.errors.sum())
        return found if better or self.off(budget) > BUDGET_TOLERANCE else None

    def off(self, budget: float) -> float:
        return abs(self.now - budget) / budget

    def improves(self, before: Plan, budget: float) -> bool:
        """Tell whether this is clearly better: nearer to a budget that was missed, else of less error."""
        if before.off(budget) > MISSED:
            return self.off(budget) < (1 - LEAST_GAIN) * before.off(budget)
        lower = self.errors.sum() < (1 - LEAST_GAIN) ** 2 * before.errors.sum()
        return bool(lower) and self.off(budget) <= MISSED


def codebook_of(node: Node) -> MultiSpike:
    codebook = node.attributes["codebook"]
    assert isinstance(codebook, MultiSpike)
    return codebook


def sensitivities(graph: Graph, calibration: Calibration) -> NDArray[np.float64]:
    found = np.array(calibration.sensitivity(graph, adjustable_neurons(graph)), np.float64)
    return np.asarray(np.maximum(found, found.max() * LEAST_SENSITIVITY))


def quanta_of(graph: Graph) -> list[NDArray[np.float64]]:
    neurons = adjustable_neurons(graph)
    return [graph.resolve(node)["quantum"].astype(np.float64).reshape(-1) for node in neurons]


def site_of(node: Node, graph: Graph) -> Site:
    """Return a neuron's operand as a site whose channels are those its quantum tells apart."""
    quantum = graph.resolve(node)["quantum"]
    axes = tuple(axis for axis, size in enumerate(quantum.shape) if size > 1)
    given = node.attributes
    low, high, site = given.get("low"), given.get("high"), given.get("site")
    assert low is None or isinstance(low, float)
    assert high is None or isinstance(high, float)
    return Site(node.operands[0], axes, low, high, str(site or node.op.name))


def coarsen(node: Node, factor: float, rewriter: Rewriter) -> None:
    """Multiply a neuron's quanta by a factor; its codebook reaches as far as before."""
    given = rewriter.graph.resolve(node)
    codebook, quantum = given["codebook"], given["quantum"]
    reach = max(-codebook.lo, codebook.hi)
    factor = float(np.clip(factor, reach / MAX_PAYLOAD, reach))
    bounds = {end: abs(given[side] or 0.0) for side, end in (("low", -codebook.lo), ("high", codebook.hi))}
    bounded = max(bounds, key=lambda end: bounds[end])
    if bounds[bounded]:
        # The end of the codebook is the bound of the activation: a whole number of quanta.
        factor = bounded / max(1, round(bounded / factor))
    if abs(factor - 1) < NO_CHANGE:
        return
    lo, hi = (min(MAX_PAYLOAD, int(np.ceil(end / factor - 1e-6))) for end in (-codebook.lo, codebook.hi))
    stored = rewriter.graph.add_tensor(f"{given['site'] or 'neuron'}.quantum", quantum * np.float32(factor))
    codebook = replace(codebook, lo=-lo, hi=hi)
    rewriter.set_attributes(node, codebook=codebook, quantum=stored, scale=stored, unit=stored)
