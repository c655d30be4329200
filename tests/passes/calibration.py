"""Stand-ins for calibration data: the same known values at every site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.passes.statistics import SiteStatistics
from tests.harness import run_analog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Site


def statistics_of(site: Site, batches: Sequence[Array]) -> SiteStatistics:
    """Return the statistics of a site that showed these batches."""
    statistics = SiteStatistics.of(site)
    for batch in batches:
        statistics.update(batch)
    return statistics


@dataclass(frozen=True)
class ArrayCalibration:
    """Measures sites over given inputs with the kernels of the op table."""

    inputs: Mapping[str, Array]

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        observed = graph.copy()
        twins = dict(zip([node.result for node in graph], [node.result for node in observed], strict=True))
        twins |= dict(zip(graph.inputs, observed.inputs, strict=True))
        observed.outputs.clear()
        for node in observed:
            # The analog meaning of a neuron is the clip it absorbed.
            if node.op.name == "neuron":
                bounds = {key: node.attributes.get(key) for key in ("low", "high")}
                clipped = observed.insert(node, "clip", node.operands, bounds)
                observed.replace_uses(node.result, clipped)
        for index, site in enumerate(sites):
            observed.add_output(twins[site.value], str(index))
        for node in reversed(list(observed)):
            if node.op.name == "neuron":
                observed.erase(node)
        found = run_analog(observed, self.inputs)
        return [statistics_of(site, [found[str(index)]]) for index, site in enumerate(sites)]


class RampCalibration:
    """Measures the graph over inputs whose channel c (last axis) runs from -(c + 1) to c + 1."""

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        inputs = {}
        for value in graph.inputs:
            shape = [65 if not isinstance(dim, int) else dim for dim in value.type.shape]
            ramp = np.linspace(-1, 1, shape[0], dtype=np.float32)
            channel = np.arange(1, shape[-1] + 1, dtype=np.float32)
            full = ramp.reshape(-1, *[1] * (len(shape) - 1)) * channel
            inputs[value.name or ""] = np.broadcast_to(full, shape)
        return ArrayCalibration(inputs).measure(graph, sites)
