"""From real weights to integers: what quantise-weights rounds and keeps, what integerise refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import snnc
from snnc.backends.reference import Simulator
from snnc.hardware import get_machine
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import PassError
from snnc.ir.types import SpikeType
from snnc.passes.currents import find_currents
from snnc.passes.integerise import Integerise
from snnc.passes.quantise_weights import QuantiseWeights
from snnc.passes.spell_out import PATTERNS, SYNAPSES
from snnc.passes.units import choose_units, rows_of, unit_for_factor
from tests.passes.build import Builder, N, applied, only, ops, rewritten
from tests.passes.calibration import RampCalibration

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Value

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SAFORMER = Path(__file__).parents[2] / "examples" / "saformer"


def digits(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(DIGITS / f"digits_{name}.npz") as file:
        return file["x"][:count].astype(np.float32) / 16, file["y"][:count]


@pytest.fixture(scope="module")
def calibration() -> np.ndarray:
    return digits("calibration", 128)[0]


@pytest.fixture(scope="module")
def cnn(calibration: np.ndarray) -> Graph:
    return snnc.compile(DIGITS / "digits_cnn.onnx", calibration)


@pytest.fixture(scope="module")
def cnn_integers(calibration: np.ndarray) -> Graph:
    return snnc.compile(DIGITS / "digits_cnn.onnx", calibration, target="loihi2")


def accuracy(graph: Graph, steps: int, count: int) -> float:
    x, y = digits("test", count)
    (outputs,) = Simulator(graph).run(x, steps).outputs.values()
    return float((outputs[-1].argmax(axis=-1) == y).mean())


# Whole networks.


def test_integers_lose_no_more_than_half_a_point(cnn: Graph, cnn_integers: Graph) -> None:
    assert accuracy(cnn_integers, 4, 600) >= accuracy(cnn, 4, 600) - 0.005


def test_no_multiplication_and_no_real_number_is_left(cnn_integers: Graph) -> None:
    assert "mul" not in ops(cnn_integers)
    real = [
        node
        for node in cnn_integers
        if not isinstance(node.result.type, SpikeType) and node.result.type.is_real
    ]
    assert [node.op.name for node in real] == ["dequantise"]
    for node in cnn_integers:
        if node.op.name in SYNAPSES:
            assert cnn_integers.resolve(node)["weight"].dtype == np.int8


def test_integerise_rounds_nothing(cnn: Graph, calibration: np.ndarray) -> None:
    """The graph of whole floats sends the same payloads as the graph of integers, and answers the same."""
    from snnc.calibration import DatasetCalibration
    from snnc.data import Dataset

    whole, _ = applied(
        cnn, QuantiseWeights(), calibration=DatasetCalibration(Dataset({"image": calibration}))
    )
    integers, _ = applied(whole, Integerise())
    sites = [
        str(node.attributes["site"])
        for node in whole
        if node.op.name == "neuron" and "site" in node.attributes
    ]
    x, _ = digits("test", 20)
    first, second = (Simulator(graph).run(x, 8, record=sites) for graph in (whole, integers))
    for site in sites:
        np.testing.assert_array_equal(first.spikes[site], second.spikes[site], err_msg=site)
    np.testing.assert_allclose(first.outputs["logits"], second.outputs["logits"], rtol=1e-5, atol=1e-5)


def test_fewer_bits_cost_more(cnn: Graph, calibration: np.ndarray) -> None:
    x, _ = digits("test", 100)
    reference = Simulator(cnn).run(x, 4).outputs["logits"][-1]

    def error(pass_: QuantiseWeights) -> float:
        from snnc.calibration import DatasetCalibration
        from snnc.data import Dataset

        graph, _ = applied(cnn, pass_, calibration=DatasetCalibration(Dataset({"image": calibration})))
        return float(((Simulator(graph).run(x, 4).outputs["logits"][-1] - reference) ** 2).mean())

    eight, five, four = (error(QuantiseWeights(bits=bits)) for bits in (8, 5, 4))
    assert eight < five < four
    assert four < error(QuantiseWeights(bits=4, rounding="nearest")), "it is the output's error that counts"


def test_a_network_that_spikes_already_keeps_its_accuracy_in_integers(calibration: np.ndarray) -> None:
    model = SAFORMER / "digits_saformer.onnx"
    real, integers = snnc.compile(model), snnc.compile(model, calibration, target="loihi2")
    assert "dequantise" in ops(integers)
    assert accuracy(integers, 4, 300) >= accuracy(real, 4, 300) - 0.01


def test_a_softmax_transformer_is_refused_by_type_with_every_node(calibration: np.ndarray) -> None:
    with pytest.raises(PassError) as refusal:
        snnc.compile(DIGITS / "digits_vit.onnx", calibration, target="loihi2")
    text = str(refusal.value)
    for kind in ("expect.layer_norm", "expect.softmax", "expect.gelu", "expect.matmul"):
        assert kind in text
    assert "--host-nodes" in text
    assert "SAFormer" in text


def test_with_host_nodes_only_synapses_are_integers(calibration: np.ndarray) -> None:
    real = snnc.compile(DIGITS / "digits_vit.onnx", calibration)
    hosted = snnc.compile(DIGITS / "digits_vit.onnx", calibration, target="loihi2", host_nodes=True)
    assert accuracy(hosted, 2, 200) >= accuracy(real, 2, 200) - 0.01
    for node in hosted:
        if node.op.name in SYNAPSES:
            assert hosted.resolve(node)["weight"].dtype == np.int8


WAYS = {
    "if": {"method": "if", "thresholds": "mse"},  # membranes start charged, which whole numbers round
    "qcfs": {"method": "qcfs"},
    "ternary": {"method": "ternary"},
    "ecmt-top": {"method": "ecmt-top"},
    "batch norm in thresholds": {"batch_norm": "thresholds"},
    "restart": {"reset": "restart"},
}


@pytest.mark.parametrize("name", WAYS)
def test_networks_of_every_method_become_integers(name: str, calibration: np.ndarray) -> None:
    real = snnc.compile(DIGITS / "digits_cnn.onnx", calibration, **WAYS[name])
    integers = snnc.compile(DIGITS / "digits_cnn.onnx", calibration, target="loihi2", **WAYS[name])
    assert accuracy(integers, 8, 100) >= accuracy(real, 8, 100) - 0.03
    assert "batch_norm" not in ops(integers)


# Units.


@pytest.mark.parametrize(
    ("value", "unit", "threshold"), [(3.0, 0.031, 1.0), (0.7, 0.5, 0.11), (1.0, 0.9, np.inf)]
)
def test_a_factor_becomes_whole_exactly_and_no_unit_finer(
    value: float, unit: float, threshold: float
) -> None:
    found = unit_for_factor(value, unit, threshold)
    assert found >= unit * (1 - 1e-9)
    assert value / found == pytest.approx(round(value / found), abs=1e-9)


def test_a_factor_smaller_than_the_unit_leaves_the_unit_alone() -> None:
    assert unit_for_factor(0.1, 1.0, 5.0) == 1.0


def residual(skip: float, weight: float, hi: int = 15) -> Graph:
    b = Builder(N, 4)
    spikes = b("neuron", b.x, codebook=MultiSpike(0, hi), quantum=np.ones((1, 4), np.float32), name="in")
    random = np.random.default_rng(0)
    rows = (weight * random.standard_normal((4, 4))).astype(np.float32)
    branch = b("linear", spikes, weight=rows, bias=np.full(4, 0.3, np.float32), name="branch")
    shortcut = b("mul", spikes, np.full((1, 4), skip, np.float32), name="skip")
    quantum = np.array([[0.2, 0.3, 0.5, 0.7]], np.float32)
    out = b("neuron", b("add", branch, shortcut), codebook=MultiSpike(0, 15), quantum=quantum, name="out")
    return b.outputs(y=out)


@pytest.mark.parametrize("skip", [0.01, 0.37, 1.0, 30.0])
def test_what_is_added_has_one_unit_and_the_factor_stays_exact(skip: float) -> None:
    graph = rewritten(residual(skip, 0.1), PATTERNS)
    currents = find_currents(graph)
    units = choose_units(graph, currents, limit=127, width=24)
    branch, shortcut = currents.first
    np.testing.assert_array_equal(currents.channels(branch), currents.channels(shortcut))
    unit = units.unit[currents.channels(shortcut)] * 2.0 ** units.exponents[shortcut]
    counts = rows_of(shortcut, graph).peak / unit
    assert np.abs(counts).max() <= 127 + 1e-9
    if (counts >= 1).all():
        np.testing.assert_allclose(counts, np.rint(counts), rtol=1e-9)


def test_sums_of_any_spikes_fit_the_width() -> None:
    """Large payloads make units coarser than 8-bit weights would need."""
    graph = rewritten(residual(1.0, 0.1, hi=32767), PATTERNS)
    for width in (24, 20):
        currents = find_currents(graph)
        units = choose_units(graph, currents, limit=127, width=width)
        worst = sum(
            rows_of(node, graph).worst / units.unit[currents.channels(node)] for node in currents.first
        )
        assert worst.max() <= 2 ** (width - 1) - 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_negative_threshold_turns_the_weights_round(sign: int) -> None:
    """It mirrors a neuron; in units of the other sign it is positive, and payloads are the same."""
    b = Builder(N, 3)
    spikes = b("neuron", b.x, codebook=MultiSpike(-7, 7), quantum=np.ones((1, 3), np.float32), name="in")
    current = b("linear", spikes, weight=np.array([[1, 1, -1], [0, 3, 3]], np.float32) / 2, name="sum")
    quantum = np.array([[1.5, sign * 2.5]], np.float32)
    graph = b.outputs(k=b("neuron", current, codebook=MultiSpike(-7, 7), quantum=quantum, name="out"))
    integers, _ = applied(
        graph, QuantiseWeights(rounding="nearest"), Integerise(), calibration=RampCalibration()
    )
    x = np.random.default_rng(2).normal(0, 4, (20, 3)).astype(np.float32)
    first, second = (Simulator(one).run(x, 5, record=["out"]).spikes["out"] for one in (graph, integers))
    np.testing.assert_array_equal(first, second)


# Spelling out.


def test_factors_and_averages_become_synapses_that_compute_the_same() -> None:
    b = Builder(N, 2, 4, 4)
    spikes = b(
        "neuron", b.x, codebook=MultiSpike(-7, 7), quantum=np.ones((1, 1, 1, 1), np.float32), name="in"
    )
    pooled = b("avg_pool", spikes, kernel=(2, 2), strides=(2, 2), name="pool")
    factor = b("mul", pooled, np.array([0.5, -2.0], np.float32).reshape(1, 2, 1, 1), name="factor")
    mean = b("reduce_mean", factor, axes=(2, 3), keepdims=False, name="mean")
    direct = b("reduce_mean", spikes, axes=(2, 3), keepdims=False, name="direct")
    before = b.outputs(a=factor, b=direct, c=mean)
    after = rewritten(before, PATTERNS)
    assert "avg_pool" not in ops(after)
    x = np.random.default_rng(1).normal(0, 3, (5, 2, 4, 4)).astype(np.float32)
    expected, found = (Simulator(graph).run(x, 3).outputs for graph in (before, after))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def neuron(b: Builder, x: Value, channels: int, name: str) -> Value:
    quantum = np.linspace(0.3, 0.6, channels, dtype=np.float32)
    quantum = quantum.reshape(1, channels, *(1,) * (len(x.type.shape) - 2))
    return b("neuron", x, codebook=MultiSpike(0, 31), quantum=quantum, name=name)


def norm(b: Builder, x: Value, channels: int, name: str, sign: float = 1) -> Value:
    random = np.random.default_rng(5)
    gain = sign * random.uniform(0.5, 1.5, channels).astype(np.float32)
    shift = random.standard_normal(channels).astype(np.float32)
    zero, one = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    return b("batch_norm", x, gamma=gain, beta=shift, mean=zero, variance=one, epsilon=0.0, name=name)


def kernel(outputs: int, inputs: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((outputs, inputs, 1, 1)) / 2).astype(np.float32)


def dense_block(sign: float) -> Graph:
    """A block of a DenseNet: the joined currents are read again, so no weight can take the batch norm."""
    b = Builder(N, 3, 4, 4)
    first = b("conv", neuron(b, b.x, 3, "in"), weight=kernel(4, 3, 0), name="first")
    inner = neuron(b, norm(b, first, 4, "norm", sign), 4, "inner")
    joined = b(
        "concat", first, b("conv", inner, weight=kernel(2, 4, 1), name="second"), axis=1, name="joined"
    )
    out = neuron(b, joined, 6, "out")
    return b.outputs(y=b("conv", out, weight=kernel(5, 6, 2), name="head"))


def test_a_batch_norm_behind_what_is_joined_goes_into_thresholds() -> None:
    check_lowered(dense_block(1), tolerance=0.02)


def test_neurons_that_mirror_one_sum_are_refused_without_a_host() -> None:
    with pytest.raises(PassError, match='neuron from "out": thresholds on its sum have different signs'):
        check_lowered(dense_block(-1), tolerance=0.02)
    check_lowered(dense_block(-1), tolerance=0.02, host_nodes=True)


def test_a_maximum_of_sums_is_one_of_integers() -> None:
    b = Builder(N, 4, 4, 4)
    spikes = neuron(b, b.x, 4, "in")
    branch = b("conv", spikes, weight=kernel(4, 4, 3), name="branch")
    scale = np.array([0.3, 0.5, 0.7, 0.9], np.float32).reshape(1, 4, 1, 1)
    added = b("add", branch, b("mul", spikes, scale, name="skip"), name="sum")
    pooled = b("max_pool", added, kernel=(2, 2), strides=(2, 2), expect=True, name="pool")
    out = neuron(b, pooled, 4, "out")
    graph = check_lowered(b.outputs(y=b("conv", out, weight=kernel(3, 4, 4), name="head")), tolerance=0.02)
    assert str(only(graph, "max_pool").result.type) == "tensor<i32, N x 4 x 2 x 2>"


def test_a_mean_over_positions_without_their_axes_is_a_synapse() -> None:
    b = Builder(N, 4, 4, 4)
    mean = b("reduce_mean", neuron(b, b.x, 4, "in"), axes=(2, 3), keepdims=False, name="mean")
    scaled = b("mul", mean, np.array([[0.3, 0.5, 0.7, 0.9]], np.float32), name="scale")
    out = neuron(b, scaled, 4, "out")
    head = b("linear", out, weight=np.eye(4, dtype=np.float32) / 3, name="head")
    check_lowered(b.outputs(y=head), tolerance=0.02)


def check_lowered(graph: Graph, *, tolerance: float, host_nodes: bool = False) -> Graph:
    """Lower a graph; its answers stay close."""
    integers, _ = applied(
        graph, *get_machine("loihi2").passes(host_nodes=host_nodes), calibration=RampCalibration()
    )
    x = np.random.default_rng(9).normal(0, 2, (40, *graph.inputs[0].type.shape[1:])).astype(np.float32)
    wanted, found = (Simulator(one).run(x, 16).outputs["y"][-1] for one in (graph, integers))
    assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)
    return integers


# Refusals.


def test_integerise_names_what_is_not_whole() -> None:
    graph = residual(0.5, 0.1)
    with pytest.raises(PassError, match=re.escape('linear from "branch": weights')) as refusal:
        applied(graph, Integerise())
    assert "quantise-weights" in str(refusal.value)


def test_neurons_without_a_whole_form_are_refused_by_name() -> None:
    b = Builder(N, 2)
    one, twice = np.ones((1, 2), np.float32), np.full((1, 2), 2, np.float32)
    spikes = b("neuron", b.x, codebook=MultiSpike(-7, 7), quantum=one, name="lopsided", negative=twice)
    graph = b.outputs(y=b("linear", spikes, weight=np.eye(2, dtype=np.float32)))
    with pytest.raises(PassError, match=r"lopsided.*a quantum of their own") as refused:
        applied(graph, QuantiseWeights(), calibration=RampCalibration())
    assert "--thresholds mse" in (refused.value.help or "")


def test_whole_networks_are_left_alone() -> None:
    graph, _ = applied(residual(0.5, 0.1), QuantiseWeights(rounding="nearest"), calibration=RampCalibration())
    assert only(graph, "add")
    first, _ = applied(graph, Integerise())
    second, _ = applied(first, Integerise())
    assert ops(first) == ops(second)
