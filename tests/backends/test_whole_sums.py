"""Neurons of whole numbers whose bounds hold for the sum of their payloads: lowering and every backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import snnc
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
from snnc.backends.reference import Simulator
from snnc.hardware import get_machine
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import BackendError, OptionError
from snnc.ir.text.codebooks import show_codebook
from snnc.ir.text.parser import parse_graph
from snnc.ir.types import SpikeType
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.intervals import Interval
from snnc.passes.quantise_weights import QuantiseWeights
from snnc.passes.saturation import neuron_saturates
from snnc.passes.tie_residuals import TieResiduals
from snnc.passes.widths import prove_widths
from tests.backends.test_bounded_sums import BACKENDS, simulator
from tests.passes.build import Builder, N, applied
from tests.passes.calibration import RampCalibration

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
STEPS = 5


def whole_layer(codebook: str, width: int = 30) -> Graph:
    """Three neurons with odd and even thresholds, a bias and half a quantum to start from, and an encoder."""
    any_spikes = "spikes<-16777216..16777216, N x"
    return parse_graph(
        f"""sir 1
graph @layer(%x: tensor<f32, N x 1>) {{
  %0 = neuron(%x) {{codebook = multi(-63, 63), quantum = @unit, bounds = "sum"}} : {any_spikes} 1>
  %1 = linear(%0) {{weight = @w}} : tensor<i32, N x 3>
  %2 = neuron(%1) {{codebook = {codebook}, quantum = @theta, bias = @bias, initial = 0.5, bounds = "sum",
    width = {width}, site = "k"}} : {any_spikes} 3>
  return %2 as "k"
}}
tensor @unit : tensor<f32, 1 x 1> = [1.0]
tensor @w : tensor<i8, 3 x 1> = [3, -7, 1]
tensor @theta : tensor<i32, 1 x 3> = [5, 8, 1]
tensor @bias : tensor<i32, 1 x 3> = [-2, 3, 0]
"""
    )


def scalar_sums(x: int, codebook: MultiSpike, weight: int, theta: int, bias: int) -> list[int]:
    """Return K(1) … K(T) of one neuron, in Python's whole numbers: halves of a quantum go up."""
    start = round(theta / 2)
    sums = [start + t * (weight * x + bias) for t in range(1, STEPS + 1)]
    return [min(max(s // theta, t * codebook.lo), t * codebook.hi) for t, s in enumerate(sums, start=1)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("codebook", [MultiSpike(0, 15, "floor"), MultiSpike(-15, 15, "floor")], ids=str)
def test_every_backend_sends_what_whole_numbers_say(backend: str, codebook: MultiSpike) -> None:
    inputs = np.arange(-9, 10)
    found = simulator(backend, whole_layer(show_codebook(codebook))).run(
        {"x": inputs[:, None].astype(np.float32)}, STEPS
    )
    sums = found.outputs["k"] * np.arange(1, STEPS + 1)[:, None, None]
    for n, x in enumerate(inputs.tolist()):
        for channel, (weight, theta, bias) in enumerate([(3, 5, -2), (-7, 8, 3), (1, 1, 0)]):
            wanted = scalar_sums(x, codebook, weight, theta, bias)
            np.testing.assert_allclose(sums[:, n, channel], wanted, rtol=1e-6)


def test_what_was_sent_too_early_is_taken_back_in_whole_numbers() -> None:
    x = np.array([9, -27, 36], np.float32).reshape(3, 1, 1)
    run = Simulator(whole_layer("multi(0, 15, floor)")).run({"x": x}, 3, record=["k"])
    assert run.spikes["k"][:, 0, 2].tolist() == [9, -9, 15 + 3]  # 9, 9 - 27 and 18 were received in all


# Widths.


@given(
    theta=st.integers(1, 40),
    hi=st.integers(1, 20),
    bias=st.integers(-30, 30),
    least=st.integers(-50, 0),
    largest=st.integers(0, 50),
    averages=st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_no_membrane_saturates_before_it_is_said_to(
    theta: int, hi: int, bias: int, least: int, largest: int, averages: list[float]
) -> None:
    """Inputs whose average stays within bounds never take a membrane beyond the width said to hold."""
    given = {
        "quantum": np.array([theta]), "bias": np.array([bias]), "initial": 0.5, "charge": None,
        "codebook": MultiSpike(0, hi, "floor"), "bounds": "sum", "reset": "subtract",
    }  # fmt: skip
    x = Interval(np.array([float(least)]), np.array([float(largest)]))
    limits = (-200, 199)
    first = neuron_saturates(given, x, limits)
    start, sent = round(theta / 2), 0
    for t, share in enumerate(averages, start=1):
        received = start + t * bias + round(t * (least + share * (largest - least)))
        membrane = received - theta * sent
        if t < first:
            assert limits[0] <= membrane <= limits[1], t
        sent = min(max(received // theta, 0), t * hi)


def test_a_proof_says_for_how_many_steps_sums_fit() -> None:
    proof = prove_widths(whole_layer("multi(0, 15, floor)", width=24))
    assert proof.holds
    assert proof.steps is not None
    assert proof.steps > STEPS


# Lowering.


def summing(bounds: str) -> Graph:
    b = Builder(N, 2)
    weight, one = np.array([[0.5, -0.25], [0.75, 1]], np.float32), np.ones((1, 2), np.float32)
    first = b("linear", b.x, weight=weight)
    spikes = b("neuron", first, codebook=MultiSpike(0, 63), quantum=one, bounds=bounds, name="first")
    return b.outputs(y=b("linear", spikes, weight=weight))


def test_units_are_those_for_single_steps_and_inputs_are_encoded_alike() -> None:
    lowered = {
        bounds: applied(summing(bounds), QuantiseWeights(), calibration=RampCalibration())[0]
        for bounds in ("step", "sum")
    }
    for bounds, graph in lowered.items():
        neurons = [node for node in graph if node.op.name == "neuron"]
        assert [graph.resolve(node)["bounds"] for node in neurons] == [bounds, bounds]
    arrays = [{name: array.tolist() for name, array in one.tensors.items()} for one in lowered.values()]
    assert arrays[0] == arrays[1]


def test_a_machine_without_such_neurons_says_so_before_and_after_calibration() -> None:
    machine = get_machine("loihi2")
    with pytest.raises(OptionError, match="loihi2 has no neuron that takes back") as refused:
        machine.conversion([InsertNeurons(bounds="sum", rounding="nearest")], None, 4)
    assert "--target int8" in (refused.value.help or "")
    with pytest.raises(OptionError, match=r"loihi2 has no neuron that takes back.*\n  first"):
        machine.passes(host_nodes=False, sums=["first"])


@pytest.mark.parametrize(("steps", "bits", "largest"), [(1, 8, 127), (2, 7, 63), (4, 6, 31), (5, 5, 25)])
def test_the_sum_over_the_steps_asked_for_has_8_bits(steps: int, bits: int, largest: int) -> None:
    neurons = InsertNeurons(codebook="multi", bounds="sum", rounding="nearest")
    inserted, _, _, tied = get_machine("int8").conversion([neurons, ChooseThresholds()], None, steps)
    assert inserted == replace(neurons, levels=bits)
    assert tied == TieResiduals(largest=largest)
    lowered = get_machine("int8").passes(host_nodes=False, sums=["first"], steps=steps)
    assert [one.input_bits for one in lowered if isinstance(one, QuantiseWeights)] == [bits]


# The digits CNN, in 8 bits.


@pytest.fixture(scope="module")
def images() -> Array:
    with np.load(DIGITS / "digits_test.npz") as file:
        return np.asarray(file["x"][:40] / 16, np.float32)


@pytest.fixture(scope="module")
def digits() -> Graph:
    return compiled()


def compiled(**options: Any) -> Graph:
    with np.load(DIGITS / "digits_calibration.npz") as file:
        calibration = (file["x"][:128] / 16).astype(np.float32)
    given = {"method": "signed-memory", "target": "int8"} | options
    return snnc.compile(DIGITS / "digits_cnn.onnx", calibration, **given)


@pytest.mark.parametrize("steps", [1, 3, 4, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_answers_alike(backend: str, steps: int, digits: Graph, images: Array) -> None:
    found = simulator(backend, digits).run(images, steps).outputs["logits"]
    np.testing.assert_array_equal(found, Simulator(digits).run(images, steps).outputs["logits"])


def test_every_step_is_one_of_integer_kernels(digits: Graph) -> None:
    """Where t payloads fit a byte: 63 in 4 steps, not in 5."""
    kernels = {
        steps: [node.op_type for node in emit_spiking(digits, steps).model.graph.node].count("QLinearConv")
        for steps in (1, 4, 5)
    }
    assert kernels[1] >= 7
    assert kernels[4] == 4 * kernels[1]
    assert kernels[5] < 5 * kernels[1]


def test_every_spike_is_observed(digits: Graph, images: Array) -> None:
    watched, wanted = ({} for _ in range(2))

    class Watch:
        def __init__(self, seen: dict[tuple[str, int], Array]) -> None:
            self.seen = seen

        def observe(self, node: Any, t: int, payload: Array, membrane: Array | None) -> None:
            if isinstance(node.result.type, SpikeType):
                self.seen[node.result.name or str(node.origin), t] = payload.copy()

    few = images[:8]
    OnnxSimulator(digits, threads=1).run(few, 4, observers=[Watch(watched)])
    Simulator(digits, group=len(few)).run({"image": few}, 4, observers=[Watch(wanted)])
    assert watched.keys() == wanted.keys()
    for key, payload in wanted.items():
        np.testing.assert_array_equal(watched[key], payload, err_msg=str(key))


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
def test_outputs_are_decoded_in_every_way(decode: Any) -> None:
    graph = whole_layer("multi(-15, 15, floor)")
    graph.decode_outputs(decode)
    x = np.arange(-9, 10, dtype=np.float32)[:, None]
    found = OnnxSimulator(graph).run(x, 4).outputs["k"]
    np.testing.assert_allclose(found, Simulator(graph).run(x, 4).outputs["k"], rtol=1e-12)


def test_steps_of_one_sample_are_shared_by_the_cores(
    digits: Graph, images: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnc.backends.onnx.spiking import simulator as module

    monkeypatch.setattr(module, "SHARED_ELEMENTS", 0)
    shared = OnnxSimulator(digits, threads=2)
    found = shared.run(images[:1], 4).outputs["logits"]
    assert len(shared._models) == 2
    np.testing.assert_array_equal(found, Simulator(digits).run(images[:1], 4).outputs["logits"])


# What is refused.


def test_inputs_that_vary_in_time_are_refused_by_name(digits: Graph, images: Array) -> None:
    with pytest.raises(BackendError, match="'image' varies in time") as refused:
        OnnxSimulator(digits).run(np.stack([images, images]), 2)
    assert refused.value.help == "run it with --backend fast"


def test_membranes_that_might_saturate_are_refused_by_name() -> None:
    graph = whole_layer("multi(0, 15, floor)", width=10)
    emit_spiking(graph, 1)
    with pytest.raises(BackendError, match=r"might saturate.*\n  neuron"):
        emit_spiking(graph, 40)


def test_more_steps_than_payloads_can_be_added_up_are_refused_by_name(digits: Graph) -> None:
    with pytest.raises(BackendError, match="600 payloads of 63 exceed") as refused:
        emit_spiking(digits, 600)
    assert refused.value.help == "run fewer steps, or with --backend fast"


def test_what_remembers_otherwise_is_refused_by_name() -> None:
    graph = whole_layer("multi(0, 15, floor)")
    first = next(iter(graph))
    graph.set_attributes(first, bounds="step")
    graph.retype()
    with pytest.raises(BackendError, match=r"cannot be merged:\n  neuron.*its bounds hold for every step"):
        emit_spiking(graph, 2)
