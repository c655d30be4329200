"""Accuracy, agreement, activity and energy of a spiking network against its source, at every time step."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from snnc.backends.inputs import batch_size_of
from snnc.energy import ActivityMeter, Counts, EnergyEstimate, count_step, count_steps, estimate
from snnc.frontend.nir.reader import is_nir_file
from snnc.frontend.source import import_network
from snnc.ir.errors import DataError
from snnc.memory import MemoryStep, SpikeTraffic, memory_steps
from snnc.methods.base import analog_pipeline
from snnc.nir_model import NirModel
from snnc.operations import Coverage, Operations, coverage, operations
from snnc.passes.manager import PassManager
from snnc.simulation import open_runner
from snnc.source_answer import answers
from snnc.source_model import SourceModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from snnc.backends.reference.program import Observer
    from snnc.data import Dataset
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

Metric: TypeAlias = Literal["accuracy", "relative_error", "cosine"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """The spiking network after t steps, averaged over all samples.

    `value` is the metric, `ann` the source network's after as many steps; `agreement` the share of samples
    with the ANN's arg max; `relative_error` is ‖snn - ann‖ / ‖ann‖ over the whole data set; rates are per
    neuron and step.
    """

    t: int
    value: float
    ann: float
    agreement: float
    relative_error: float
    unit_spikes_per_neuron: float
    spike_rate: float
    energy: EnergyEstimate
    operations: Operations

    def to_json(self) -> dict[str, object]:
        return {
            "t": self.t,
            "value": self.value,
            "ann": self.ann,
            "agreement": self.agreement,
            "relative_error": self.relative_error,
            "unit_spikes_per_neuron": self.unit_spikes_per_neuron,
            "spike_rate": self.spike_rate,
            "energy": self.energy.to_json(),
            "operations": self.operations.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `snnc eval` prints.

    `ann` is the source network's metric after the last step. If the source is `stepped`, being one time step
    with states, its energy after t steps is that of t dense runs, no use made of its spikes. `planned_bytes`
    is what the backend planned to take for streams, sums and membranes, if it plans.
    """

    samples: int
    metric: Metric
    ann: float
    steps: list[StepResult]
    coverage: Coverage
    seconds: float
    stepped: bool = False
    memory: list[MemoryStep] | None = None
    planned_bytes: int | None = None

    def costlier(self, than: Literal["fp32", "int8"]) -> list[int]:
        """Return the steps after which the spiking network needed more energy than the source network."""
        ratios = {
            step.t: step.energy.ratio_fp32 if than == "fp32" else step.energy.ratio_int8
            for step in self.steps
        }
        return [t for t, ratio in ratios.items() if ratio > 1]

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "samples": self.samples,
            "metric": self.metric,
            "ann": self.ann,
            "steps": [step.to_json() for step in self.steps],
            "seconds": self.seconds,
            "coverage": self.coverage.to_json(),
            "stepped": self.stepped,
        }
        if self.memory is not None:
            found["memory"] = [{"t": step.t, **step.to_json()} for step in self.memory]
        return found


class Scores:
    """Running sums of every metric; the first axis of SNN outputs is the step."""

    def __init__(self, steps: int) -> None:
        self.samples = 0
        self.ann_correct, self.correct = np.zeros(steps), np.zeros(steps)
        self.agree, self.cosine = np.zeros(steps), np.zeros(steps)
        self.squared_error, self.squared_norm = np.zeros(steps), np.zeros(steps)

    def add(self, ann: Array, snn: Array, labels: Array | None) -> None:
        """Add one batch: snn [T, N, …]; ann the same, or [N, …] where it answers the same at every step."""
        steps, count = snn.shape[:2]
        ann = ann if ann.ndim == snn.ndim else ann[None]
        self.samples += count
        classes = class_axis(ann.ndim - 1)
        guess, guesses = ann.argmax(axis=classes), snn.argmax(axis=classes)
        same = (guesses == guess).reshape(steps, count, -1)
        self.agree += same.mean(axis=2).sum(axis=1)
        if labels is not None:
            self.ann_correct += (guess == labels).sum(axis=1)
            self.correct += (guesses == labels).sum(axis=1)
        flat_ann = ann.reshape(len(ann), count, -1).astype(np.float64)
        flat_snn = snn.reshape(steps, count, -1).astype(np.float64)
        self.squared_error += ((flat_snn - flat_ann) ** 2).sum(axis=(1, 2))
        self.squared_norm += (flat_ann**2).sum(axis=(1, 2))
        norms = np.linalg.norm(flat_snn, axis=2) * np.linalg.norm(flat_ann, axis=2)
        dots = (flat_snn * flat_ann).sum(axis=2)
        self.cosine += np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0).sum(axis=1)

    @property
    def relative_error(self) -> NDArray[np.float64]:
        return np.sqrt(self.squared_error / np.maximum(self.squared_norm, 1e-300))

    def values(self, metric: Metric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the metric of the ANN and of the SNN at every step."""
        if metric == "accuracy":
            return self.ann_correct / self.samples, self.correct / self.samples
        if metric == "cosine":
            return np.ones_like(self.cosine), self.cosine / self.samples
        return np.zeros_like(self.relative_error), self.relative_error


def class_axis(rank: int) -> int:
    """Return the axis of the classes, counted from the end: the channels of images, else the last."""
    return 1 - rank if rank >= 4 else -1


def evaluate(
    graph: Graph,
    model: str | Path,
    dataset: Dataset,
    steps: int,
    *,
    metric: Metric | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    memory: bool = False,
    backend: str = "reference",
    device: str | None = None,
    compiled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run the source model (ONNX in onnxruntime) and the spiking graph, by a backend, on the same data.

    Without labels the metric is the relative error of the first output. Energy is per sample; the ANN's is
    counted on its own graph with batch norm folded, by the same rules. A model that is one time step with
    states is stepped beside the spiking graph.
    """
    started = time.perf_counter()
    simulator = open_runner(graph, backend, device, compiled=compiled)
    source = NirModel(model, graph) if is_nir_file(model) else SourceModel(model)
    analog = analog_graph(model, shapes)
    ann_counts = count_step(analog, dense=True)
    meter, scores, moved = ActivityMeter(graph, steps), Scores(steps), SpikeTraffic(graph, steps)
    observers: list[Observer] = [meter, moved] if memory else [meter]
    chosen = choose_metric(metric, dataset, graph)
    total = dataset.count(graph)
    for inputs, labels in dataset.batches(graph, simulator.group):
        expected = answers(source, graph, inputs, steps, graph.outputs[0])
        run = simulator.run(inputs, steps, observers=observers)
        snn = run.outputs[graph.outputs[0].name]
        refuse_other_shapes(expected, snn, model)
        scores.add(expected, snn, labels if chosen == "accuracy" else None)
        meter.samples += batch_size_of(graph, inputs)
        if progress is not None:
            progress(meter.samples, total)
    stepped = isinstance(source, NirModel) or bool(source.states)
    results = summarise(graph, meter, scores, chosen, ann_counts, stepped=stepped)
    moved.samples = meter.samples
    return Evaluation(
        meter.samples,
        chosen,
        results[-1].ann,
        results,
        coverage(graph),
        time.perf_counter() - started,
        stepped,
        memory_steps(analog, moved, stepped=stepped) if memory else None,
        getattr(simulator, "planned_bytes", None),
    )


def refuse_other_shapes(ann: Array, snn: Array, model: str | Path) -> None:
    """Refuse a source [N, …] or [T, N, …] whose answers are not shaped as the network's [T, N, …]."""
    expected = ann.shape[ann.ndim == snn.ndim :]
    if expected != snn.shape[1:]:
        raise DataError(
            f"the model answers with {list(expected)}, the network with {list(snn.shape[1:])}; "
            "is it the one the .sir was compiled from?",
            where=str(model),
        )


def choose_metric(metric: Metric | None, dataset: Dataset, graph: Graph) -> Metric:
    """Return the metric to use; `DataError` if accuracy was asked for and cannot be had."""
    labels = dataset.targets
    labelled = labels is not None and len(graph.outputs[0].value.type.shape) == 2
    if metric == "accuracy" and not labelled:
        raise DataError(
            "accuracy needs labels and class scores",
            where=dataset.source,
            help="store labels as 'y' beside 'x', or use --metric relative_error",
        )
    chosen = metric or ("accuracy" if labelled else "relative_error")
    if chosen == "accuracy" and labels is not None:
        check_labels(labels, graph, dataset.source)
    return chosen


def check_labels(labels: Array, graph: Graph, source: str) -> None:
    """Refuse labels that are not indices of the first output's classes."""
    classes = graph.outputs[0].value.type.shape[-1]
    assert isinstance(classes, int)
    known = (labels == np.floor(labels)) & (labels >= 0) & (labels < classes)
    if not known.all():
        first = int(np.argmin(known))
        raise DataError(
            f"label {labels[first]:g} is none of the network's {classes} classes",
            where=f"{source}, sample {first}",
            help="labels are class indices from 0; for other targets use --metric relative_error",
        )


def analog_counts(model: str | Path, shapes: Mapping[str, Sequence[int | str]] | None = None) -> Counts:
    """Count the operations of the source network, batch norm folded, its own spikes as any other number."""
    return count_step(analog_graph(model, shapes), dense=True)


def analog_graph(model: str | Path, shapes: Mapping[str, Sequence[int | str]] | None = None) -> Graph:
    """Return the source network's own graph, batch norm folded."""
    graph = import_network(model, shapes=shapes)
    PassManager(analog_pipeline()).run(graph)
    return graph


def summarise(
    graph: Graph,
    meter: ActivityMeter,
    scores: Scores,
    metric: Metric,
    ann: Counts,
    *,
    stepped: bool,
) -> list[StepResult]:
    """Return one result per step, from sums over all samples; `stepped` sources spend `ann` at every step."""
    ann_values, values = scores.values(metric)
    snn = count_steps(graph)
    accumulates = meter.accumulates.cumsum() / meter.samples
    slots = max(1, snn.first.neurons) * meter.samples
    counted = operations(graph, meter)
    results = []
    for index in range(meter.steps):
        t = index + 1
        results.append(
            StepResult(
                t=t,
                value=float(values[index]),
                ann=float(ann_values[index]),
                agreement=float(scores.agree[index] / scores.samples),
                relative_error=float(scores.relative_error[index]),
                unit_spikes_per_neuron=float(meter.unit_spikes[:t].sum() / (slots * t)),
                spike_rate=float(meter.spikes[:t].sum() / (slots * t)),
                energy=estimate(ann.times(t) if stepped else ann, snn.until(t), float(accumulates[index])),
                operations=counted[index],
            )
        )
    return results
