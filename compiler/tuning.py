"""The budget of `allocate-levels` that meets an energy ratio or a loss of accuracy, by simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.inputs import split_batches
from snnc.backends.onnx.session import AnalogSession
from snnc.backends.reference import Simulator
from snnc.energy import AC_FP32, ActivityMeter, count_step, estimate
from snnc.evaluation import Scores
from snnc.ir.errors import DataError, OptionError
from snnc.passes.allocate_levels import Plan, adjustable, allocate
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.data import Dataset
    from snnc.ir.graph import Graph
    from snnc.passes.base import Pass

ENERGY_SAMPLES = 32
# An energy is met from below, to within 1 %, or after so many attempts.
CLOSE, ATTEMPTS = 0.01, 5
# A loss is met within these multiples of the accumulates of the thresholds as chosen, in so many bisections.
LEAST, MOST, BISECTIONS = 0.25, 4.0, 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One allocation: its budget, the accumulates that spikes really caused, and what came of it at T=1.

    `energy` is the all-in ratio to the source network in float32; `loss` is in points of accuracy, or of
    agreement with the source network where there are no labels.
    """

    budget: float
    accumulates: float
    energy: float
    loss: float


class Tuner:
    """Tries budgets on a graph whose thresholds are chosen; `source` is the analog graph it came from."""

    def __init__(
        self, graph: Graph, source: Graph, rest: Sequence[Pass], context: PassContext, data: Dataset
    ) -> None:
        if any(node.op.name == "fake_quantise" for node in source):
            raise OptionError(
                "the network carries trained quantisers: their levels are not to be shared out",
                help="leave out --energy and --max-loss",
            )
        if not any(adjustable(node) for node in graph):
            raise OptionError(
                "no neuron has levels to share out", help="use --method multi-spike with --energy, --max-loss"
            )
        self.graph, self.source, self.rest, self.context, self.data = graph, source, rest, context, data
        self.ann = count_step(source)
        self.analog = AnalogSession(source)
        assert context.calibration is not None
        self.plan = Plan.of(graph, context.calibration)

    def energy(self, target: float) -> Trial:
        """Return the allocation of least error within an energy; `OptionError` if none is."""
        plain = self.trial(None)
        fixed = plain.energy - plain.accumulates * AC_FP32 / self._ann_pj
        if fixed >= target:
            raise OptionError(
                f"an energy ratio of {target:g} cannot be met: without a single spike the network takes "
                f"{fixed:.3f} for analog layers, expectation nodes and neurons",
                help="give a larger --energy",
            )
        wanted = (target - fixed) * (1 - CLOSE / 2)
        budget, met = wanted * self._ann_pj / AC_FP32, None
        for _ in range(ATTEMPTS):
            trial = self.trial(budget)
            if trial.energy <= target and (met is None or trial.energy > met.energy):
                met = trial
            if met is not None and met.energy > target * (1 - CLOSE):
                return met
            budget *= wanted / (trial.energy - fixed)
        if met is None:
            raise OptionError(
                f"an energy ratio of {target:g} cannot be met: the least tried takes {trial.energy:.3f}",
                help="give a larger --energy",
            )
        return met

    def loss(self, most: float) -> Trial:
        """Return the cheapest allocation found that loses at most so many points; a warning if none does."""
        now = self.trial(None).accumulates
        low, high = math.log(LEAST * now), math.log(MOST * now)
        best = self.trial(math.exp(high))
        if best.loss > most:
            self.context.warnings.append(
                f"no allocation tried loses at most {most:g} points; this one loses {best.loss:.2f}"
            )
            return best
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            trial = self.trial(math.exp(middle))
            if trial.loss <= most:
                best, high = trial, middle
            else:
                low = middle
        return best

    def trial(self, budget: float | None) -> Trial:
        """Allocate (None: leave the thresholds), finish the pipeline, simulate one step."""
        graph = self.graph.copy()
        context = PassContext(self.context.calibration)
        if budget is not None:
            allocate(graph, self.plan, budget, context)
        PassManager(self.rest, context).run(graph)
        simulator, meter, scores = Simulator(graph), ActivityMeter(graph, 1), Scores(1)
        name = graph.outputs[0].name
        for inputs, labels in self.data.batches(graph, simulator.group):
            expected = self.analog.run(inputs).outputs[name]
            scores.add(expected, simulator.run(inputs, 1, observers=[meter]).outputs[name], labels)
        accumulates = float(meter.accumulates[0] / scores.samples)
        result = estimate(self.ann, count_step(graph), accumulates)
        kept = float(scores.agree[0]), float(scores.samples)
        if self.data.labels is not None:
            kept = float(scores.correct[0]), float(scores.ann_correct[0])
        return Trial(
            budget or accumulates, accumulates, result.ratio_fp32, 100 * (kept[1] - kept[0]) / scores.samples
        )

    @property
    def _ann_pj(self) -> float:
        return estimate(self.ann, self.ann, 0.0).ann_fp32_pj


def halves(dataset: Dataset, graph: Graph) -> tuple[Dataset, Dataset]:
    """Return the samples to choose thresholds from, and those to measure what they lose."""
    total = dataset.count(graph)
    if total < 2:
        raise DataError(
            "--max-loss needs two samples at least: some to calibrate on, others to measure the loss on",
            where=dataset.source,
        )
    middle = math.ceil(total / 2)
    first, second = split_batches(graph, dataset.checked(graph), middle)
    labels = (None, None) if dataset.targets is None else np.split(dataset.targets, [middle])
    whole = replace(dataset, limit=None)
    return replace(whole, arrays=first, labels=labels[0]), replace(whole, arrays=second, labels=labels[1])


def first_samples(dataset: Dataset, graph: Graph) -> Dataset:
    """Return the samples that an energy is estimated on."""
    few = next(split_batches(graph, dataset.checked(graph), ENERGY_SAMPLES))
    return replace(dataset, arrays=few, labels=None, limit=None)
