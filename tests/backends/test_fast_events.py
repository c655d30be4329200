"""Linear layers of the fast backend that add up weights of spikes: when, and that sums are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.ir.codebooks import Binary, MultiSpike
from tests.backends.test_onnx_spiking import dyadic
from tests.passes.build import Builder, N

pytest.importorskip("numba", reason='needs numba: pip install -e ".[fast]"')

from snnc.backends.fast import FastSimulator
from snnc.backends.fast.events import LONGEST_PAUSE, EventLayer, EventUnit, event_layer
from snnc.backends.fast.partition import Stretch, partition
from snnc.backends.reference.program import invariant_values

if TYPE_CHECKING:
    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

INPUTS, OUTPUTS = 256, 257


def network(codebook: Codebook, *, inputs: int = INPUTS, weight: Array | None = None) -> Graph:
    """neuron, reshape, linear, neuron"""
    b = Builder(N, 4, inputs // 4)
    one = np.ones((1, 1, 1), np.float32)
    spikes = b("neuron", b.x, codebook=codebook, quantum=one)
    flat = b("reshape", spikes, shape=(N, inputs))
    weight = dyadic(OUTPUTS, inputs) if weight is None else weight
    sums = b("linear", flat, weight=weight, bias=dyadic(OUTPUTS))
    return b.outputs(y=b("neuron", sums, codebook=codebook, quantum=one[0]))


def layers(graph: Graph) -> list[EventLayer | None]:
    units = partition(graph, invariant_values(graph), watched=False).repeated
    return [event_layer(graph, unit) for unit in units if isinstance(unit, Stretch)]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.3, 1.0])
@pytest.mark.parametrize("codebook", [Binary(), MultiSpike(-7, 7)])
def test_exact_sums_are_the_reference_simulators(codebook: Codebook, share: float, samples: int) -> None:
    graph, random = network(codebook), np.random.default_rng(0)
    active = random.random((6, samples, 4, INPUTS // 4)) < share
    x = (active * random.integers(-3, 4, active.shape)).astype(np.float32)
    found = FastSimulator(graph, threads=1).run({"x": x}, 6).outputs["y"]
    np.testing.assert_array_equal(found, Simulator(graph).run({"x": x}, 6).outputs["y"])


def test_only_large_layers_of_spikes_with_finite_weights_can_be_driven_by_events() -> None:
    (layer,) = layers(network(Binary()))
    assert layer is not None
    assert (layer.inputs, layer.rows.shape) == (INPUTS, (INPUTS, OUTPUTS))
    assert layers(network(Binary(), inputs=128)) == [None]
    infinite = dyadic(OUTPUTS, INPUTS)
    infinite[3, 5] = np.inf
    assert layers(network(Binary(), weight=infinite)) == [None]


def test_what_else_a_stretch_does_keeps_it_dense() -> None:
    b = Builder(N, INPUTS)
    spikes = b("neuron", b.x, codebook=Binary(), quantum=np.ones((1, 1), np.float32))
    sums = b("linear", spikes, weight=dyadic(OUTPUTS, INPUTS), bias=None)
    graph = b.outputs(y=b("mul", sums, 0.5))
    assert layers(graph) == [None]


class Dense:
    """Counts its steps instead of computing."""

    membrane = None

    def __init__(self) -> None:
        self.steps = 0

    def step(self, t: int, last: bool) -> None:
        self.steps += 1


def unit(rows: int) -> tuple[Any, Dense, Array, Array]:
    layer, dense = EventLayer(dyadic(3, 64), dyadic(3)), Dense()
    x, y = np.zeros((rows, 64), np.float32), np.zeros((rows, 3), np.float32)
    return EventUnit(layer, dense, x, y), dense, x, y


@pytest.mark.parametrize(("rows", "most"), [(1, 32), (4, 16)])
def test_many_spikes_take_the_dense_layer(rows: int, most: int) -> None:
    layer, dense, x, y = unit(rows)
    x.reshape(-1)[:most] = 2
    layer.step(1, False)
    assert dense.steps == 0
    np.testing.assert_array_equal(y, x @ dyadic(3, 64).T + dyadic(3))
    x.reshape(-1)[most] = 1
    layer.step(2, False)
    assert dense.steps == 1


def test_after_too_many_spikes_steps_go_by_without_counting() -> None:
    layer, dense, x, _ = unit(1)
    x[:] = 1
    for t in range(1, 4):  # too many, one pause, too many
        layer.step(t, False)
    x[:] = 0
    for _ in range(2):  # two pauses
        layer.step(4, False)
    assert dense.steps == 5
    layer.step(6, False)
    assert dense.steps == 5, "counted again"
    x[:] = 1
    for t in range(500):
        layer.step(t, False)
    x[:] = 0
    before = dense.steps
    for t in range(LONGEST_PAUSE + 1):
        layer.step(t, False)
    assert dense.steps - before <= LONGEST_PAUSE
