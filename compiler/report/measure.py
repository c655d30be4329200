"""What the page shows, measured: one evaluation on all samples, layers on the first of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from snnc.backends.inputs import split_batches
from snnc.evaluation import evaluate
from snnc.report.histograms import Histograms
from snnc.verification import layer_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from snnc.data import Dataset
    from snnc.evaluation import Evaluation, Metric
    from snnc.ir.graph import Graph, Node
    from snnc.report.histograms import Distribution
    from snnc.verification import LayerError

LAYER_SAMPLES = 128


@dataclass(frozen=True, slots=True)
class Layer:
    """One neuron node: its error and rates, its payloads and membranes."""

    node: Node
    error: LayerError
    distribution: Distribution

    @property
    def name(self) -> str:
        return self.error.site or ", ".join(self.error.origin) or "unnamed"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page; `layers` in execution order, measured on the first `layer_samples` samples."""

    graph: Graph
    network: str
    model: str
    data: str
    normalise: str
    steps: int
    evaluation: Evaluation
    layers: list[Layer]
    layer_samples: int


def measure_report(
    graph: Graph,
    network: Path,
    model: Path,
    dataset: Dataset,
    steps: int,
    *,
    normalise: str = "",
    metric: Metric | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    stage: Callable[[str], None] = lambda label: None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Evaluate the network and look into its layers; `stage` is told what comes next."""
    stage("evaluating")
    evaluation = evaluate(
        graph, model, dataset, steps, metric=metric, shapes=shapes, memory=True, progress=progress
    )
    stage("looking into layers")
    few = first(dataset, graph, LAYER_SAMPLES)
    histograms = Histograms(graph, steps)
    errors = layer_errors(graph, model, few, steps, observers=[histograms], progress=progress)
    layers = [Layer(node, error, histograms.found[node]) for node, error in errors.items()]
    return Report(
        graph,
        network.name,
        model.name,
        dataset.source,
        normalise,
        steps,
        evaluation,
        layers,
        few.count(graph),
    )


def first(dataset: Dataset, graph: Graph, count: int) -> Dataset:
    """Return the first samples without their labels."""
    few = next(split_batches(graph, dataset.checked(graph), count))
    return replace(dataset, arrays=few, labels=None, limit=None)
