"""Stand-ins for calibration data: the same known values at every site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, cast

import numpy as np

from snnc.backends.reference import Simulator
from snnc.ir.codebooks import MultiSpike
from snnc.passes.moments import Moments
from snnc.passes.statistics import SiteStatistics
from tests.harness import run_analog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from snnc.ir.graph import Graph, Node
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

    def sensitivity(self, graph: Graph, neurons: Sequence[Node]) -> list[float]:
        """Run the graph with no neuron quantised, then with each alone."""
        exact = run_analog(with_quantisers(graph, []), self.inputs)
        errors = []
        for neuron in neurons:
            found = run_analog(with_quantisers(graph, [neuron]), self.inputs)
            errors.append(
                sum(float(((found[key] - exact[key]) ** 2).sum() / (exact[key] ** 2).sum()) for key in exact)
            )
        return errors

    def walk(
        self, graph: Graph, neurons: Mapping[Node, tuple[int, ...]], steps: int
    ) -> Iterator[tuple[Node, Callable[[], Array]]]:
        """Simulate the whole graph anew for every measurement."""
        plain = with_quantisers(graph, [])
        plain.outputs.clear()
        # A neuron's clip stands where the neuron stood.
        clips = [twin for twin in plain if twin.op.name == "clip"]
        standing = [node for node in graph if node.op.name in ("neuron", "clip")]
        for node, clip in zip(standing, clips, strict=True):
            if node in neurons:
                plain.add_output(clip.result, str(standing.index(node)))
        activations = run_analog(plain, self.inputs)
        for node, channels in neurons.items():
            axes = tuple(axis for axis in range(len(node.result.type.shape)) if axis not in channels)
            wanted = activations[str(standing.index(node))].mean(axis=axes, keepdims=True)
            yield node, partial(self._error, graph, node, steps, wanted, axes)

    def _error(self, graph: Graph, node: Node, steps: int, wanted: Array, axes: tuple[int, ...]) -> Array:
        other = graph.copy()
        twin = list(other)[list(graph).index(node)]
        other.outputs.clear()
        other.add_output(twin.result, "sent")
        sent = Simulator(other).run(self.inputs, steps).outputs["sent"][-1]
        return np.asarray(wanted - sent.mean(axis=axes, keepdims=True))

    def moments(self, graph: Graph, nodes: Sequence[Node]) -> list[Moments | None]:
        """Simulate one step; read off what every output of every node is made of."""
        found: list[Moments | None] = []
        for node in nodes:
            other = graph.copy()
            other.outputs.clear()
            other.add_output(list(other)[list(graph).index(node)].operands[0], "read")
            rows = inputs_of_outputs(node, graph, Simulator(other).run(self.inputs, 1).outputs["read"][0])
            covariance = np.stack([np.cov(rows[:, group].T, bias=True) for group in range(rows.shape[1])])
            found.append(Moments(rows.mean(axis=0), covariance.reshape(*rows.shape[1:], -1)))
        return found


def inputs_of_outputs(node: Node, graph: Graph, x: Array) -> Array:
    """Return what each output of a 2-D conv or linear node weighs, [outputs, groups, K]."""
    if node.op.name == "linear":
        return x.reshape(-1, 1, x.shape[-1]).astype(np.float64)
    given = graph.resolve(node)
    weight, group = given["weight"], given["group"]
    (stride, _), (dilation, _) = given["strides"] or (1, 1), given["dilations"] or (1, 1)
    top, left, *_ = given["pads"] or (0, 0)
    _, _, *sizes = node.result.type.shape
    rows = []
    for sample, p, q in product(x, *(range(cast("int", size)) for size in sizes)):
        row = []
        for channel, i, j in product(range(len(sample)), *(range(size) for size in weight.shape[2:])):
            y, z = p * stride + i * dilation - top, q * stride + j * dilation - left
            inside = 0 <= y < sample.shape[1] and 0 <= z < sample.shape[2]
            row.append(sample[channel, y, z] if inside else 0.0)
        rows.append(np.reshape(row, (group, -1)))
    return np.array(rows, np.float64)


def with_quantisers(graph: Graph, quantised: Sequence[Node]) -> Graph:
    """Return the graph with a quantiser for each of these neurons, and a clip for the others."""
    other = graph.copy()
    for node, twin in zip(list(graph), list(other), strict=True):
        if node.op.name != "neuron":
            continue
        value = other.insert(twin, "clip", twin.operands, {key: twin.attributes.get(key) for key in BOUNDS})
        if node in quantised:
            codebook = twin.attributes["codebook"]
            assert isinstance(codebook, MultiSpike)
            levels = {"scale": twin.attributes["quantum"], "lo": codebook.lo, "hi": codebook.hi}
            value = other.insert(twin, "fake_quantise", [value], levels)
        other.replace_uses(twin.result, value)
        other.erase(twin)
    other.retype()
    return other


BOUNDS = ("low", "high")


class RampCalibration:
    """Measures the graph over inputs whose channel c (last axis) runs from -(c + 1) to c + 1."""

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        return self._over(graph).measure(graph, sites)

    def sensitivity(self, graph: Graph, neurons: Sequence[Node]) -> list[float]:
        return self._over(graph).sensitivity(graph, neurons)

    def walk(
        self, graph: Graph, neurons: Mapping[Node, tuple[int, ...]], steps: int
    ) -> Iterator[tuple[Node, Callable[[], Array]]]:
        return self._over(graph).walk(graph, neurons, steps)

    def moments(self, graph: Graph, nodes: Sequence[Node]) -> list[Moments | None]:
        return self._over(graph).moments(graph, nodes)

    def _over(self, graph: Graph) -> ArrayCalibration:
        inputs = {}
        for value in graph.inputs:
            shape = [65 if not isinstance(dim, int) else dim for dim in value.type.shape]
            ramp = np.linspace(-1, 1, shape[0], dtype=np.float32)
            channel = np.arange(1, shape[-1] + 1, dtype=np.float32)
            full = ramp.reshape(-1, *[1] * (len(shape) - 1)) * channel
            inputs[value.name or ""] = np.broadcast_to(full, shape)
        return ArrayCalibration(inputs)
