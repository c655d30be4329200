"""`allocate-levels`: sensitivities against an independent count, the optimum, budgets and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.energy import ActivityMeter
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import OptionError, PassError
from snnc.ir.text import print_graph
from snnc.passes.allocate_levels import AllocateLevels, Plan, adjustable_neurons
from snnc.passes.base import PassContext
from snnc.passes.fan_out import mean_fan_out
from snnc.passes.manager import PassManager
from tests.harness import run_analog
from tests.passes.build import Builder, N
from tests.passes.calibration import ArrayCalibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Graph, Node, Value

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((40, 3, 6, 6)).astype(np.float32)


def weights(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(len(shape) + shape[0]).standard_normal(shape).astype(np.float32)


def network() -> Graph:
    """Three neurons: a convolution of two on one input, and one of the strided result."""
    b = Builder(N, 3, 6, 6)

    def neuron(x: Value, quantum: float, channels: int, **given: Any) -> Value:
        q = np.linspace(1, 2, channels, dtype=np.float32).reshape(1, channels, 1, 1) * np.float32(quantum)
        stored = b.graph.add_tensor("q", q)
        codebook = given.pop("codebook", MultiSpike(-255, 255))
        return b("neuron", x, codebook=codebook, quantum=stored, scale=stored, unit=stored, **given)

    first = b("conv", neuron(b.x, 0.3, 3), weight=weights(4, 3, 3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    hidden = neuron(first, 0.2, 4, codebook=MultiSpike(0, 255), low=0.0)
    second = b("conv", hidden, weight=weights(5, 4, 1, 1))
    side = b("conv", neuron(b.x, 0.05, 3), weight=weights(5, 3, 2, 2) * np.float32(0.02), strides=(2, 2))
    return b.outputs(y=b("add", second, side))


def accumulates(graph: Graph) -> float:
    meter = ActivityMeter(graph, 1)
    Simulator(graph).run({"x": X}, 1, observers=[meter])
    return float(meter.accumulates[0]) / len(X)


def output_error(graph: Graph) -> float:
    exact = network()
    for node in list(exact):
        if node.op.name == "neuron":
            clip = exact.insert(node, "clip", node.operands, {"low": node.attributes.get("low")})
            exact.replace_uses(node.result, clip)
            exact.erase(node)
    exact.retype()
    wanted = run_analog(exact, {"x": X})["y"]
    found = Simulator(graph).run({"x": X}, 1).outputs["y"][0]
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def allocated(graph: Graph, budget: float | None = None) -> Graph:
    PassManager([AllocateLevels(budget)], PassContext(ArrayCalibration({"x": X}))).run(graph)
    return graph


def test_sensitivities_are_those_of_one_quantiser_at_a_time() -> None:
    """One onnxruntime session with gates against the kernels of the op table, a graph for each neuron."""
    graph = network()
    before = print_graph(graph, inline_limit=None)
    few = {"x": X[:32]}
    found = DatasetCalibration(Dataset({"x": X})).sensitivity(graph, adjustable_neurons(graph))
    wanted = ArrayCalibration(few).sensitivity(graph, adjustable_neurons(graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    assert print_graph(graph, inline_limit=None) == before


def test_a_unit_spike_reaches_every_synapse_on_its_way() -> None:
    """Through a slice and a transposition into a linear layer, and into a strided, padded convolution."""
    b = Builder(N, 3, 6, 6)
    stored = b.graph.add_tensor("q", np.ones((1, 1, 1, 1), np.float32))
    neuron = b("neuron", b.x, codebook=MultiSpike(-1, 1), quantum=stored, scale=stored)
    conv = b("conv", neuron, weight=np.ones((2, 3, 3, 3), np.float32), strides=(2, 2), pads=(1, 1, 1, 1))
    part = b("slice", neuron, axes=(2,), starts=(0,), ends=(2,), steps=(1,))
    moved = b("transpose", part, perm=(0, 2, 3, 1))
    linear = b("linear", moved, weight=np.ones((7, 3), np.float32))
    b.outputs(conv=conv, linear=linear)
    reached = []
    for index in np.ndindex(3, 6, 6):
        x = np.zeros((1, 3, 6, 6), np.float32)
        x[(0, *index)] = 1
        found = Simulator(b.graph).run({"x": x}, 1).outputs
        reached.append(sum(int(np.count_nonzero(array)) for array in found.values()))
    assert mean_fan_out(neuron, b.graph) == pytest.approx(np.mean(reached))


def test_the_same_accumulates_give_a_smaller_error() -> None:
    graph = network()
    before = output_error(graph), accumulates(graph)
    after = allocated(network())
    assert accumulates(after) == pytest.approx(before[1], rel=0.04)
    assert output_error(after) < 0.9 * before[0]


@pytest.mark.parametrize("ratio", [0.6, 1.3])
def test_the_budget_is_met_by_what_neurons_really_send(ratio: float) -> None:
    budget = ratio * accumulates(network())
    assert accumulates(allocated(network(), budget)) == pytest.approx(budget, rel=0.04)


def test_a_budget_of_unit_spikes_is_met_too() -> None:
    graph = network()
    context = PassContext(ArrayCalibration({"x": X}))
    PassManager([AllocateLevels(unit_spikes=1.2)], context).run(graph)
    meter = ActivityMeter(graph, 1)
    Simulator(graph).run({"x": X}, 1, observers=[meter])
    neurons = 2 * 3 * 6 * 6 + 4 * 3 * 3
    assert float(meter.unit_spikes[0]) / (neurons * len(X)) == pytest.approx(1.2, rel=0.04)


def test_no_other_allocation_of_the_budget_is_better() -> None:
    graph = network()
    plan = Plan.of(graph, ArrayCalibration({"x": X}))
    found = plan.factors(plan.now)
    assert found is not None
    assert plan.cost(found) == pytest.approx(plan.now, rel=1e-3)
    best = float(np.sum(plan.errors * found**2))
    for _ in range(50):
        other = found * np.exp(0.4 * RANDOM.standard_normal(len(found)))
        scales = np.geomspace(0.2, 5, 400)
        scale = scales[np.argmin([abs(plan.cost(other * factor) - plan.now) for factor in scales])]
        assert float(np.sum(plan.errors * (other * scale) ** 2)) > 0.95 * best


def test_errors_measured_alone_add_up() -> None:
    graph = network()
    plan = Plan.of(graph, ArrayCalibration({"x": X}))
    assert np.sqrt(plan.errors.sum()) == pytest.approx(output_error(graph), rel=0.1)


def test_codebooks_reach_as_far_as_before() -> None:
    before, after = network(), allocated(network())
    for old, new in zip(before, after, strict=True):
        if old.op.name == "neuron":
            reach = [
                graph.resolve(node)["quantum"].max() * graph.resolve(node)["codebook"].hi
                for graph, node in ((before, old), (after, new))
            ]
            coarsest = float(after.resolve(new)["quantum"].max())
            assert reach[0] - 1e-4 <= reach[1] <= reach[0] + 3 * coarsest


def test_a_network_that_is_exact_already_is_left_alone() -> None:
    b = Builder(N, 2)
    stored = b.graph.add_tensor("q", np.ones((1, 1), np.float32))
    spikes = b("neuron", b.x, codebook=MultiSpike(-3, 3), quantum=stored, scale=stored, unit=stored)
    b.outputs(y=b("linear", spikes, weight=weights(3, 2)))
    whole = {"x": RANDOM.integers(-3, 4, (20, 2)).astype(np.float32)}
    (run,) = PassManager([AllocateLevels()], PassContext(ArrayCalibration(whole))).run(b.graph)
    assert not run.changed


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PassError, match="needs calibration"):
        AllocateLevels().run(network(), PassContext())
    for budget in (0.0, -1.0, float("nan")):
        with pytest.raises(OptionError, match="budget"):
            AllocateLevels(budget)
        with pytest.raises(OptionError, match="budget"):
            AllocateLevels(unit_spikes=budget)
    with pytest.raises(OptionError, match="one budget"):
        AllocateLevels(1.0, 1.0)


@pytest.mark.parametrize(
    "pass_",
    [AllocateLevels(), *(AllocateLevels(unit_spikes=budget) for budget in (0.05, 0.8, 1.5, 4.0))],
    ids=str,
)
def test_a_second_run_finds_nothing_and_another_budget_does(pass_: AllocateLevels) -> None:
    graph, context = network(), PassContext(ArrayCalibration({"x": X}))
    (first,) = PassManager([pass_], context).run(graph)
    text = print_graph(graph, inline_limit=None)
    (second,) = PassManager([pass_], context).run(graph)
    assert first.changed
    assert not second.changed
    assert print_graph(graph, inline_limit=None) == text
    (other,) = PassManager([AllocateLevels(unit_spikes=2.5)], context).run(graph)
    assert other.changed


def test_a_step_that_was_to_gain_and_does_not_is_taken_back() -> None:
    """Calibration that says another site matters each time it is asked: every step looks like a gain."""

    class Fickle(ArrayCalibration):
        def sensitivity(self, graph: Graph, neurons: Sequence[Node]) -> list[float]:
            as_it_was = graph.resolve(neurons[0])["quantum"].max() == original
            return [1.0, 1e-4, 1e-4] if as_it_was else [1e-4, 1.1, 1e-4]

    graph = network()
    original = graph.resolve(adjustable_neurons(graph)[0])["quantum"].max()
    text = print_graph(graph, inline_limit=None)
    (run,) = PassManager([AllocateLevels()], PassContext(Fickle({"x": X}))).run(graph)
    assert not run.changed
    assert print_graph(graph, inline_limit=None) == text
