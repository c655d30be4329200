"""Neurons with bounds = sum in the fast backend: a step in a kernel, or any steps of any samples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.backends.reference.state import SumNeuronState
from snnc.ir.codebooks import MultiSpike
from tests.backends.against_reference import assert_identical, run_both
from tests.backends.test_onnx_spiking import dyadic
from tests.backends.test_onnx_spiking_networks import compiled, in_steps_of
from tests.passes.build import Builder, N

pytest.importorskip("numba", reason='needs numba: pip install -e ".[fast]"')

from snnc.backends.fast import FastSimulator
from snnc.backends.fast.averages import takes_averages
from snnc.backends.fast.partition import Stretch, partition
from snnc.backends.fast.simulator import even_parts
from snnc.backends.fast.sums import FastSumState
from snnc.backends.reference.program import invariant_values

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

STEPS = 8
# Of averages, a third of a whole number is rounded; halves, quarters and eighths are not.
EXACT = [0, 1, 3, 7]


def attributes_of(**given: Any) -> dict[str, Any]:
    absent = dict.fromkeys(("bias", "scale", "negative", "level_axis", "charge", "width"))
    chosen = {"codebook": MultiSpike(-3, 9), "quantum": np.ones((1, 1, 1), np.float32), "bounds": "sum"}
    return {**absent, **chosen, "initial": 0.0, "reset": "subtract", **given}


def per_channel(*values: float) -> Array:
    return np.array(values, np.float32).reshape(1, -1, 1)


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "floor": {"codebook": MultiSpike(0, 9, "floor"), "initial": 0.5},
    "all at once": {
        "quantum": per_channel(0.3, -2.0),
        "bias": per_channel(0.7, -0.1),
        "scale": per_channel(0.3, 5.0),
        "charge": per_channel(0.2, 0.4),
        "initial": 0.25,
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(3, 2, 40), (3, 2, 5)], ids=["rows", "elements"])
def test_a_step_is_the_references_bit_by_bit(form: str, shape: tuple[int, ...]) -> None:
    currents = np.random.default_rng(0).normal(0, 6, (6, *shape)).astype(np.float32)
    ours = FastSumState(attributes_of(**FORMS[form]), "x", shape, currents.dtype)
    theirs = SumNeuronState(attributes_of(**FORMS[form]), "x")
    in_place = FastSumState(attributes_of(**FORMS[form]), "x", shape, currents.dtype)
    for t, x in enumerate(currents, start=1):
        found, wanted = ours.step(t, [x], False), theirs.step(t, [x.copy()], False)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(ours.membrane, theirs.membrane)
        in_place.step_into(t, x, x, False)
        np.testing.assert_array_equal(x, wanted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(3, 2, 40), (3, 2, 5)], ids=["rows", "elements"])
@pytest.mark.parametrize("alike", [True, False], ids=["one current", "a current per step"])
def test_any_steps_at_once_are_what_one_after_the_other_sent(
    form: str, shape: tuple[int, ...], alike: bool
) -> None:
    times = [1, 2, 4, 8]
    x = dyadic(*(shape if alike else (4, *shape)), spread=6)
    state = FastSumState(attributes_of(**FORMS[form]), "x", (4 * shape[0], *shape[1:]), x.dtype)
    y = np.empty((4, *shape), np.float32)
    state.averaged(x, y, np.array(times, np.float32))()
    for index, t in enumerate(times):
        current, sent = x if alike else x[index], np.zeros(shape, np.float32)
        neuron = SumNeuronState(attributes_of(**FORMS[form]), "x")
        for step in range(1, t + 1):
            sent += neuron.step(step, [current.copy()], False)
        np.testing.assert_allclose(y[index], sent / t, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "steps", "largest", "threads", "split", "parts"),
    [
        (100, 4, 32, 2, True, (8, 4)),  # samples with all their steps
        (1, 4, 32, 2, True, (1, 2)),  # one sample: threads share its steps out,
        (1, 4, 32, 2, False, (1, 4)),  # unless waking another takes longer
        (1, 1000, 32, 1, True, (1, 32)),
        (3, 2, 1, 8, True, (1, 1)),
        (2, 3, 100, 1, True, (2, 3)),
    ],
)
def test_parts_are_small_and_as_many_for_every_thread(
    samples: int, steps: int, largest: int, threads: int, split: bool, parts: tuple[int, int]
) -> None:
    assert even_parts(samples, steps, largest, threads, split=split) == parts


# Networks.


def residual(bounds: str = "sum") -> Graph:
    """A layer's current goes to a neuron, and around two layers and a softmax; a constant leaves too."""
    b = Builder(N, 4)
    w = dyadic(4, 4)
    one = {"codebook": MultiSpike(-7, 7), "quantum": np.full((1, 1), 0.25, np.float32)}
    current = b("linear", b.x, weight=w, bias=dyadic(4, seed=1))
    spikes = b("neuron", current, bounds="sum", **one)
    mixed = b("mul", b("linear", spikes, weight=w), b("softmax", spikes, axis=-1, expect=True), expect=True)
    again = b("neuron", mixed, bounds=bounds, **one)
    return b.outputs(y=b("add", again, current), z=spikes, constant=b("mul", b.x, 2.0))


def test_only_neurons_come_between_stretches_of_averages() -> None:
    graph = residual()
    assert takes_averages(graph)
    units = partition(graph, invariant_values(graph), False, averages=True).repeated
    names = [[n.op.name for n in unit.nodes] if isinstance(unit, Stretch) else unit.op.name for unit in units]
    assert names == ["neuron", ["linear", "softmax", "mul"], "neuron", ["add"]]


@pytest.mark.parametrize("decode", ["mean", "sum"])
@pytest.mark.parametrize(("group", "threads"), [(1, 1), (3, 2), (100, 1)])
def test_answers_are_the_references(decode: Any, group: int, threads: int) -> None:
    graph, x = residual(), dyadic(5, 4)
    graph.decode_outputs(decode)
    found = FastSimulator(graph, group=group, threads=threads).run(x, STEPS).outputs
    wanted = Simulator(graph, threads=1).run(x, STEPS).outputs
    assert list(found) == ["y", "z", "constant"]
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def layers() -> Graph:
    b = Builder(N, 4)
    one = {"codebook": MultiSpike(-7, 7), "quantum": np.full((1, 1), 0.25, np.float32), "bounds": "sum"}
    spikes = b("neuron", b.x, **one)
    sums = b("linear", spikes, weight=dyadic(4, 4))
    return b.outputs(y=b("neuron", sums, **one), constant=b("mul", b.x, 2.0))


def test_the_last_step_is_a_difference_of_sums() -> None:
    graph = layers()
    graph.decode_outputs("last")
    found, wanted = run_both("fast", graph, {"x": dyadic(5, 4)}, STEPS)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=1e-4, err_msg=name)


def test_what_varies_in_time_runs_step_by_step() -> None:
    assert_identical("fast", layers(), {"x": dyadic(STEPS, 5, 4)}, STEPS)


def test_who_watches_is_told_exactly_the_references_payloads() -> None:
    ours, theirs = Payloads(), Payloads()
    FastSimulator(layers()).run(dyadic(5, 4), STEPS, observers=[ours])
    Simulator(layers()).run(dyadic(5, 4), STEPS, observers=[theirs])
    assert len(theirs.told) == 2 * STEPS
    assert ours.told.keys() == theirs.told.keys()
    for key, pair in theirs.told.items():
        np.testing.assert_array_equal(ours.told[key], pair)


class Payloads:
    """Keeps payloads and membranes."""

    def __init__(self) -> None:
        self.told: dict[tuple[tuple[str, ...], int], Array] = {}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if node.op.neuron:
            assert membrane is not None
            self.told[node.origin, t] = np.stack([value, membrane])


def test_a_neuron_of_another_kind_or_samples_behind_run_step_by_step() -> None:
    mixed = residual(bounds="step")
    assert not takes_averages(mixed)
    assert_identical("fast", mixed, {"x": dyadic(5, 4)}, 1)
    b = Builder(3, N, 4)
    one = {"codebook": MultiSpike(-7, 7), "quantum": np.full((1, 1, 1), 0.25, np.float32), "bounds": "sum"}
    behind = b.outputs(y=b("linear", b("neuron", b.x, **one), weight=dyadic(4, 4)))
    assert not takes_averages(behind)
    assert_identical("fast", behind, {"x": dyadic(3, 5, 4)}, STEPS)


def test_more_steps_take_no_more_memory(images: Array) -> None:
    simulator = FastSimulator(compiled("digits_vit", method="signed-memory"), group=16, threads=1)
    simulator.run(images[:1], 16)
    planned = simulator.planned_bytes
    simulator.run(images[:1], 64)
    assert simulator.planned_bytes == planned


@pytest.mark.parametrize("model", ["digits_cnn", "digits_vit"])
def test_compiled_networks_answer_as_the_reference_does(model: str, images: Array) -> None:
    graph = compiled(model, method="signed-memory")
    assert takes_averages(graph)
    if model == "digits_cnn":
        graph = in_steps_of(graph, 2**-8)
    found, wanted = (one["logits"] for one in run_both("fast", graph, {"image": images}, STEPS, None))
    if model == "digits_cnn":
        np.testing.assert_array_equal(found[EXACT], wanted[EXACT])
    off = np.abs(found - wanted) > 1e-3 * np.abs(wanted).max()
    assert off.mean() < 0.1
