"""Per-layer errors of a spiking network against its source: which neuron loses the accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.inputs import batch_size_of
from snnc.backends.reference import Simulator
from snnc.energy import unit_spikes_of, unscaled
from snnc.ir.errors import DataError
from snnc.ir.shapes import per_sample
from snnc.source_answer import mean_tensors
from snnc.source_model import SourceModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from snnc.backends.reference.program import Observer
    from snnc.data import Dataset
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True, slots=True)
class LayerError:
    """One neuron node: ‖decoded - tensor‖ / ‖tensor‖ against the source tensor it stands for, and its rates.

    `relative_error` is None where the source has no tensor of that name and shape any more, infinite where
    the tensor is 0 throughout and the neurons are not.
    """

    site: str
    origin: tuple[str, ...]
    neurons: int
    relative_error: float | None
    spike_rate: float
    unit_spikes: float


class LayerMeter:
    """Adds up the decoded value of every neuron over one run."""

    def __init__(self, graph: Graph, steps: int) -> None:
        self.graph = graph
        self.steps = steps
        self.sums: dict[Node, Array] = {}
        self.units: dict[Node, float] = {}
        self.events: dict[Node, float] = {}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if not node.op.neuron:
            return
        payload = unscaled(node, value, self.graph)
        share = payload if self.graph.coding == "rate" else payload / np.float32(t)
        self.sums[node] = payload.copy() if t == 1 else self.sums[node] + share
        units = unit_spikes_of(node, value, self.graph)
        self.units[node] = self.units.get(node, 0.0) + float(units.sum(dtype=np.float64))
        self.events[node] = self.events.get(node, 0.0) + float(np.count_nonzero(payload))

    def decoded(self, node: Node) -> Array:
        """Return the decoded payload in units of the source tensor."""
        unit = self.graph.resolve(node).get("unit")
        mean = self.sums[node]
        if self.graph.coding == "rate":
            mean = mean / np.float32(self.steps)
        return mean if unit is None else np.asarray(mean * unit)


def verify_layers(
    graph: Graph,
    model: str | Path,
    dataset: Dataset,
    steps: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerError]:
    """Compare every neuron's decoded stream after `steps` steps with the source tensor; worst first."""
    if not any(node.op.neuron for node in graph):
        raise DataError("the network has no neurons", help="verify a compiled network")
    rows = list(layer_errors(graph, model, dataset, steps, progress=progress).values())
    if all(row.relative_error is None for row in rows):
        raise DataError(
            "the model has none of the tensors the neurons stand for",
            where=str(model),
            help="give the model the network was compiled from",
        )
    return sorted(rows, key=lambda row: -(row.relative_error if row.relative_error is not None else -1.0))


def layer_errors(
    graph: Graph,
    model: str | Path,
    dataset: Dataset,
    steps: int,
    *,
    observers: Sequence[Observer] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[Node, LayerError]:
    """Return the error of every neuron node, in execution order; observers watch the same run."""
    neurons = [node for node in graph if node.op.neuron]
    sites = [str(node.attributes["site"]) for node in neurons if "site" in node.attributes]
    source, simulator = SourceModel(model, sites), Simulator(graph)
    meter = LayerMeter(graph, steps)
    errors: dict[Node, float] = {}
    norms: dict[Node, float] = {}
    done, total = 0, dataset.count(graph)
    for inputs, _ in dataset.batches(graph, simulator.group):
        expected = mean_tensors(source, graph, inputs, steps)
        simulator.run(inputs, steps, observers=[meter, *observers])
        for node in neurons:
            compare(node, meter, expected, errors, norms)
        done += batch_size_of(graph, inputs)
        if progress is not None:
            progress(done, total)
    return {node: layer_error(node, meter, errors, norms, done) for node in neurons}


def compare(
    node: Node,
    meter: LayerMeter,
    expected: Mapping[str, Array],
    errors: dict[Node, float],
    norms: dict[Node, float],
) -> None:
    """Add one batch's squared error and norm of a neuron."""
    wanted = expected.get(str(node.attributes.get("site")))
    decoded = meter.decoded(node)
    if wanted is None or wanted.shape != decoded.shape:
        return
    low, high = node.attributes.get("low"), node.attributes.get("high")
    if isinstance(low, float) or isinstance(high, float):
        wanted = np.clip(wanted, low, high)  # type: ignore[arg-type]  # float or None by kind
    errors[node] = errors.get(node, 0.0) + float(((decoded - wanted).astype(np.float64) ** 2).sum())
    norms[node] = norms.get(node, 0.0) + float((wanted.astype(np.float64) ** 2).sum())


def layer_error(
    node: Node, meter: LayerMeter, errors: Mapping[Node, float], norms: Mapping[Node, float], samples: int
) -> LayerError:
    neurons = per_sample(node.operands[0].type.shape)
    slots = neurons * samples * meter.steps
    error = None
    if node in norms:
        silent = math.inf if errors[node] else 0.0
        error = math.sqrt(errors[node] / norms[node]) if norms[node] else silent
    return LayerError(
        str(node.attributes.get("site", "")),
        node.origin,
        neurons,
        error,
        meter.events[node] / slots,
        meter.units[node] / slots,
    )
