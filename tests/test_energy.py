"""Operation counts against counting synapses one by one, and the energy they add up to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.energy import (
    AC_FP32,
    AC_INT8,
    MAC_FP32,
    MAC_INT8,
    ActivityMeter,
    Counts,
    StepCounts,
    count_step,
    estimate,
    rescaled,
    unscaled,
)
from snnc.ir.codebooks import MultiSpike, PowerOfTwo, unit_spikes
from snnc.ir.types import SpikeType
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

Layer: TypeAlias = Callable[[Builder, "Value"], "Value"]

SHAPE = (4, 5, 6)  # of one sample
STEPS = 3
RANDOM = np.random.default_rng(0)


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


LAYERS: dict[str, Layer] = {
    "conv": lambda b, x: b("conv", x, weight=ones(3, 4, 2, 3)),
    "conv with borders": lambda b, x: b("conv", x, weight=ones(3, 4, 3, 3), pads=(1, 1, 1, 1)),
    "conv with asymmetric borders": lambda b, x: b("conv", x, weight=ones(3, 4, 3, 3), pads=(0, 2, 1, 0)),
    "conv with strides": lambda b, x: b("conv", x, weight=ones(3, 4, 2, 2), strides=(2, 3)),
    "conv with dilations": lambda b, x: b(
        "conv", x, weight=ones(3, 4, 2, 2), dilations=(2, 3), pads=(1, 0, 1, 0)
    ),
    "grouped conv": lambda b, x: b("conv", x, weight=ones(6, 2, 3, 3), group=2, pads=(1, 1, 1, 1)),
    "depthwise conv": lambda b, x: b("conv", x, weight=ones(4, 1, 3, 3), group=4, strides=(2, 2)),
    "conv_transpose": lambda b, x: b(
        "conv_transpose", x, weight=ones(4, 3, 3, 3), strides=(2, 2), pads=(1, 1, 1, 1)
    ),
    "grouped conv_transpose": lambda b, x: b("conv_transpose", x, weight=ones(4, 3, 2, 2), group=2),
    "linear": lambda b, x: b("linear", x, weight=ones(7, 6)),
    "avg_pool": lambda b, x: b("avg_pool", x, kernel=(2, 2), strides=(2, 2)),
    "overlapping avg_pool": lambda b, x: b("avg_pool", x, kernel=(3, 3), strides=(1, 2), pads=(1, 1, 1, 1)),
    "global average": lambda b, x: b("reduce_mean", x, axes=(2, 3)),
    "scale": lambda b, x: b("mul", x, 0.5),
    "residual": lambda b, x: b("add", x, b.input("real", N, *SHAPE)),
}
SYNAPSES = [name for name in LAYERS if name.startswith(("conv", "grouped", "depth", "linear"))]


def spiking(layer: Layer) -> Graph:
    """neuron -> layer."""
    b = Builder(N, *SHAPE)
    spikes = b("neuron", b.x, codebook=MultiSpike(-31, 31), quantum=ones(1, 1, 1, 1))
    return b.outputs(y=layer(b, spikes))


def measured(graph: Graph, inputs: dict[str, Array], steps: int = STEPS) -> tuple[ActivityMeter, list[Array]]:
    """Run and return the meter and the payloads of every step."""
    meter = ActivityMeter(graph, steps)
    payloads: list[Array] = []

    class Keep:
        def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
            if node.op.name == "neuron":
                payloads.append(value.copy())

    Simulator(graph).run(inputs, steps, observers=[meter, Keep()])
    return meter, payloads


def synapses_by_counting(layer: Layer) -> Array:
    """For every element of one sample, count the outputs that change when it does."""
    b = Builder(N, *SHAPE)
    graph = b.outputs(y=layer(b, b.x))
    count = int(np.prod(SHAPE))
    probes = np.eye(count, dtype=np.float32).reshape(count, *SHAPE)
    inputs = {value.name or "": probes if value is b.x else np.zeros_like(probes) for value in graph.inputs}
    outputs = Simulator(graph).run(inputs, 1).outputs["y"][0]
    return np.asarray(np.count_nonzero(outputs.reshape(count, -1), axis=1)).reshape(SHAPE)


@pytest.mark.parametrize("name", LAYERS)
def test_accumulates_are_unit_spikes_times_the_synapses_they_drive(name: str) -> None:
    graph = spiking(LAYERS[name])
    inputs = {
        value.name or "": (4 * RANDOM.standard_normal((3, *SHAPE))).astype(np.float32)
        for value in graph.inputs
    }
    meter, payloads = measured(graph, inputs)
    synapses = synapses_by_counting(LAYERS[name])
    for t, payload in enumerate(payloads):
        units = unit_spikes(payload)
        resets = int(units.sum())
        assert meter.unit_spikes[t] == resets
        assert meter.spikes[t] == np.count_nonzero(payload)
        assert meter.accumulates[t] == pytest.approx(float((units * synapses).sum()) + resets)


@pytest.mark.parametrize("name", SYNAPSES)
def test_a_layer_fed_by_a_real_stream_costs_one_multiplication_per_synapse(name: str) -> None:
    b = Builder(N, *SHAPE)
    graph = b.outputs(y=LAYERS[name](b, b.x))
    assert count_step(graph).multiply_accumulates == synapses_by_counting(LAYERS[name]).sum()
    assert count_step(graph).synaptic_multiply_accumulates == synapses_by_counting(LAYERS[name]).sum()


def test_a_layer_fed_by_spikes_costs_no_multiplication() -> None:
    graph = spiking(LAYERS["conv"])
    assert count_step(graph).multiply_accumulates == 0
    assert count_step(graph).synaptic_multiply_accumulates == 0


def test_seven_is_eight_minus_one() -> None:
    """Unit spikes are the non-zero signed digits: 7 costs two, 5 two, 8 one, 0 none."""
    b = Builder(N, 4)
    spikes = b("neuron", b.x, codebook=MultiSpike(-31, 31), quantum=ones(1, 1))
    meter, _ = measured(b.outputs(y=spikes), {"x": np.array([[7, -5, 8, 0]], np.float32)}, 1)
    assert meter.unit_spikes[0] == 2 + 2 + 1
    assert meter.spikes[0] == 3


def test_a_scaled_neuron_is_counted_by_its_payload() -> None:
    b = Builder(N, 2)
    scale = np.array([[0.5, -0.25]], np.float32)
    spikes = b("neuron", b.x, codebook=MultiSpike(-31, 31), quantum=np.abs(scale), scale=scale)
    meter, _ = measured(b.outputs(y=spikes), {"x": np.array([[3.5, 1.25]], np.float32)}, 1)
    assert meter.unit_spikes[0] == 2 + 2  # 7 and 5


@pytest.mark.parametrize("negative", [None, np.array([[[0.3]]], np.float32)])
def test_powers_of_two_cost_one_unit_spike_wherever_they_move(negative: Array | None) -> None:
    """Whatever a negative spike counts: 1, 4, -0.3 · 2 and 0, each read by the three rows of W."""
    b = Builder(N, 2, 2)
    given = {} if negative is None else {"negative": negative}
    spikes = b("neuron", b.x, codebook=PowerOfTwo(4), quantum=ones(1, 1, 1), **given)
    turned = b("transpose", spikes, perm=(0, 2, 1))
    graph = b.outputs(y=b("linear", turned, weight=ones(3, 2)))
    ratio = 1.0 if negative is None else 0.3
    meter, _ = measured(graph, {"x": np.array([[[1, 4], [-2 * ratio, 0]]], np.float32)}, 1)
    assert meter.unit_spikes[0] == meter.spikes[0] == 3
    assert meter.accumulates[0] == 3 * 3 + 3


def test_a_product_keeps_scaled_sums_for_an_operand_with_uneven_sides() -> None:
    """A [3, 4] and B [4, 5]: the division by t, and a second copy of S_B for the negative spikes of A."""
    b = Builder(N, 3, 4)
    even = b("neuron", b.input("other", N, 4, 5), codebook=PowerOfTwo(4), quantum=ones(1, 1, 1))
    for ratio, copies in ((None, 0), (ones(1, 1, 1) / 2, 4 * 5)):
        given = {} if ratio is None else {"negative": ratio}
        spikes = b("neuron", b.x, codebook=PowerOfTwo(4), quantum=ones(1, 1, 1), **given)
        b("matmul", spikes, even, expect=True)
        counted = [n for n in b.graph if n.op.name == "matmul"][-1]
        assert rescaled(counted) == copies
    assert count_step(b.graph).multiply_accumulates == 2 * 3 * 5 + 4 * 5


def test_the_quanta_of_every_kind_of_neuron_are_known() -> None:
    """Scaled, with uneven sides, on binary lines: what its spikes stand for, in quanta."""
    codebook, x = PowerOfTwo(3), np.array([[4.0, -1.0, -0.125, 0.25]], np.float32)
    quantum, ratio = np.array([[1, 0.25, 0.125, 0.5]], np.float32), np.array([[0.5]], np.float32)
    expected = {None: [4, -4, -1, 1], "uneven": [4, -2, -1, 1]}
    for sides, wanted in expected.items():
        for form in ({}, {"scale": quantum}, {"level_axis": 1}):
            b = Builder(N, 4)
            given = form if sides is None else {**form, "negative": ratio}
            neuron = b("neuron", b.x, codebook=codebook, quantum=quantum, **given)
            graph = b.outputs(y=neuron)
            value = Simulator(graph).run({"x": x}, 1).outputs["y"][0]
            assert neuron.node is not None
            assert unscaled(neuron.node, value, graph).tolist() == [wanted]


def test_a_product_accumulates_each_factor_along_the_others_free_axis() -> None:
    """A(t) B(t) at first; then A(t) S_B(t-1) + S_A(t) B(t), with A [M, K], B [K, L]."""
    b = Builder(N, 3, 4)
    other = b.input("other", N, 4, 5)
    left = b("neuron", b.x, codebook=MultiSpike(-31, 31), quantum=ones(1, 1, 1))
    right = b("neuron", other, codebook=MultiSpike(-31, 31), quantum=ones(1, 1, 1))
    graph = b.outputs(y=b("matmul", left, right, expect=True))
    inputs = {
        "x": (3 * RANDOM.standard_normal((2, 3, 4))).astype(np.float32),
        "other": (3 * RANDOM.standard_normal((2, 4, 5))).astype(np.float32),
    }
    meter, payloads = measured(graph, inputs)
    for t in range(STEPS):
        a, c = (int(unit_spikes(payload).sum()) for payload in payloads[2 * t : 2 * t + 2])
        products = a * 5 + (c * 3 if t else 0)
        assert meter.accumulates[t] == products + a + c
    # Dividing the accumulated product by t.
    assert count_step(graph).multiply_accumulates == 3 * 5


def test_a_product_of_real_streams_multiplies() -> None:
    b = Builder(N, 2, 3, 4)
    graph = b.outputs(y=b("matmul", b.x, b.input("other", N, 2, 4, 5)))
    assert count_step(graph).multiply_accumulates == 2 * 3 * 4 * 5


def test_spikes_that_are_moved_cost_nothing_until_they_arrive() -> None:
    b = Builder(N, *SHAPE)
    spikes = b("neuron", b.x, codebook=MultiSpike(-31, 31), quantum=ones(1, 1, 1, 1))
    moved = b("transpose", b("reshape", spikes, shape=(N, 4, 30)), perm=(0, 2, 1))
    graph = b.outputs(y=b("linear", moved, weight=ones(7, 4)))
    meter, payloads = measured(graph, {"x": RANDOM.standard_normal((2, *SHAPE)).astype(np.float32)}, 1)
    units = int(unit_spikes(payloads[0]).sum())
    assert meter.accumulates[0] == units * 7 + units


def test_pooled_spikes_cost_comparisons_and_stay_spikes() -> None:
    b = Builder(N, *SHAPE)
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 31), quantum=ones(1, 1, 1, 1))
    graph = b.outputs(y=b("max_pool", spikes, kernel=(2, 2), strides=(2, 2), expect=True))
    (pool,) = [node for node in graph if node.op.name == "max_pool"]
    assert isinstance(pool.result.type, SpikeType)
    neurons, comparisons = 4 * 5 * 6, 4 * 2 * 3 * 4
    assert count_step(graph).accumulates == neurons + comparisons
    assert count_step(graph).multiply_accumulates == 0


def test_biases_and_neurons_are_updated_at_every_step() -> None:
    b = Builder(N, 4)
    first = b("linear", b.x, weight=ones(5, 4), bias=ones(5))
    spikes = b("neuron", first, codebook=MultiSpike(0, 7), quantum=ones(1, 1), bias=ones(1, 5))
    graph = b.outputs(y=b("linear", spikes, weight=ones(3, 5), bias=ones(3)))
    counts = count_step(graph)
    assert counts.neurons == 5
    assert counts.multiply_accumulates == 4 * 5  # the first layer reads the analog input
    assert counts.accumulates == 5 * (1 + 1) + 3


def test_special_functions_are_counted_apart() -> None:
    b = Builder(N, 6)
    counts = count_step(b.outputs(y=b("softmax", b.x, axis=-1, expect=True)))
    assert counts.special > 0
    assert counts.multiply_accumulates > 0


def test_the_batch_may_lie_anywhere() -> None:
    def counted(*shape: object) -> tuple[float, float]:
        b = Builder(*shape)  # type: ignore[arg-type]
        spikes = b("neuron", b.x, codebook=MultiSpike(-31, 31), quantum=ones(1, 1, 1))
        graph = b.outputs(y=b("linear", spikes, weight=ones(7, 4)))
        tokens_first = isinstance(shape[0], int)
        x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        meter, _ = measured(graph, {"x": x.transpose(1, 0, 2) if tokens_first else x}, 2)
        return meter.accumulates.sum(), count_step(graph).accumulates

    assert counted(N, 3, 4) == counted(3, N, 4)


# From counts to energy.


def test_the_estimate_prices_every_count() -> None:
    ann = Counts(multiply_accumulates=100, accumulates=0, special=5, neurons=0)
    step = Counts(
        multiply_accumulates=10, accumulates=20, special=3, neurons=7, synaptic_multiply_accumulates=4
    )
    found = estimate(ann, StepCounts(step, step).until(2), accumulates=50)
    assert found.ann_fp32_pj == pytest.approx(100 * MAC_FP32)
    assert found.ann_int8_pj == pytest.approx(100 * MAC_INT8)
    assert found.accumulates == 20 * 2 + 50
    assert found.multiply_accumulates == 10 * 2
    assert found.snn_pj == pytest.approx(20 * MAC_FP32 + 90 * AC_FP32)
    assert found.snn_int8_pj == pytest.approx(20 * MAC_INT8 + 90 * AC_INT8)
    assert found.snn_synapses_pj == pytest.approx(8 * MAC_FP32 + 50 * AC_FP32)
    assert found.ratio_fp32 == pytest.approx(found.snn_pj / found.ann_fp32_pj)
    assert found.ratio_int8 == pytest.approx(found.snn_pj / found.ann_int8_pj)
    assert found.special_functions == 6


def test_what_is_not_priced_is_said() -> None:
    ann, snn = Counts(100, 0, 5, 0), Counts(10, 20, 6, 7)
    listed = " ".join(estimate(ann, snn, 0).not_priced)
    assert "5 special functions of the ANN" in listed
    assert "6 of the SNN" in listed
    assert "memory" in listed


def test_prices_are_those_of_the_source() -> None:
    """Horowitz, ISSCC 2014: float32 multiply 3.7 and add 0.9 pJ, int8 0.2 and 0.03 pJ."""
    assert pytest.approx(3.7 + 0.9) == MAC_FP32
    assert AC_FP32 == 0.9
    assert pytest.approx(0.2 + 0.03) == MAC_INT8
    assert AC_INT8 == 0.03
