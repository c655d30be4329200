"""Calibration: the analog graph runs in onnxruntime over the data, every neuron site observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnc.backends.inputs import batch_size_of
from snnc.backends.onnx.session import AnalogSession
from snnc.ir.shapes import per_sample
from snnc.passes.statistics import SiteStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.data import Dataset
    from snnc.ir.graph import Graph
    from snnc.passes.base import Site

BATCH_BYTES = 256 * 2**20  # of observed streams held at a time
LARGEST_BATCH = 64


@dataclass(slots=True)
class DatasetCalibration:
    """Measures sites over a dataset, batch by batch; never holds more than one batch of activations."""

    dataset: Dataset
    progress: Callable[[int, int], None] | None = None

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        """Return the statistics of every site; `DataError` if the data do not fit or hold NaN."""
        session = AnalogSession(graph, [site.value for site in sites])
        found = [SiteStatistics.of(site) for site in sites]
        total, done = self.dataset.count(graph), 0
        for inputs, _ in self.dataset.batches(graph, batch_samples(sites)):
            for statistics, array in zip(found, session.run(inputs).values, strict=True):
                statistics.update(array)
            done += batch_size_of(graph, inputs)
            if self.progress is not None:
                self.progress(done, total)
        return found


def batch_samples(sites: Sequence[Site]) -> int:
    """Return how many samples to run at a time, so that the observed streams fit their budget."""
    one = sum(4 * per_sample(site.value.type.shape) for site in sites)
    return int(max(1, min(LARGEST_BATCH, BATCH_BYTES // max(1, one))))
