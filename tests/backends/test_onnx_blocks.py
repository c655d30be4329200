"""Neurons that round in onnxruntime's layout of images: the payloads of the reference, and no reordering."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
from snnc.backends.onnx.spiking import simulator as simulator_module
from snnc.backends.onnx.spiking.blocks import in_blocks
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import MultiSpike
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

CHANNELS = 16
CONV: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1)}


def weights(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


def conv(b: Builder, x: Value, seed: int, outputs: int, *, kernel: int = 1, group: int = 1) -> Value:
    inputs = x.type.shape[1]
    assert isinstance(inputs, int)
    return b(
        "conv",
        x,
        weight=weights(seed, outputs, inputs // group, kernel, kernel),
        bias=weights(seed + 1, outputs),
        pads=(kernel // 2,) * 4,
        group=group,
        **CONV,
    )


def neuron(b: Builder, x: Value, codebook: MultiSpike, quantum: Array | float = 1.0, **given: Any) -> Value:
    array = np.broadcast_to(np.asarray(quantum, np.float32).reshape(1, -1, 1, 1), (1, np.size(quantum), 1, 1))
    return b("neuron", x, codebook=codebook, bounds="sum", quantum=np.ascontiguousarray(array), **given)


def one_neuron(codebook: MultiSpike, quantum: Array | float = 1.0, **given: Any) -> Graph:
    """A neuron in front of a convolution that returns what it reads."""
    b = Builder(N, CHANNELS, 2, 3)
    same = np.eye(CHANNELS, dtype=np.float32).reshape(CHANNELS, CHANNELS, 1, 1)
    spikes = neuron(b, b.x, codebook, quantum, **given)
    return b.outputs(y=b("conv", spikes, weight=same, bias=None, pads=(0,) * 4, group=1, **CONV))


def network() -> Graph:
    """Layers of an image network: depthwise, a gate per channel, a residual connection, a pool."""
    b = Builder(N, 3, 8, 8)
    quanta = np.geomspace(0.3, 3, CHANNELS)
    x = neuron(b, conv(b, b.x, 1, CHANNELS, kernel=3), MultiSpike(0, 15), quanta)
    y = b("silu", conv(b, x, 3, CHANNELS, kernel=3, group=CHANNELS), expect=True)
    mean = neuron(b, b("reduce_mean", y, axes=(2, 3), keepdims=True), MultiSpike(-31, 31), 0.23)
    gate = b("sigmoid", conv(b, mean, 5, CHANNELS), expect=True)
    y = neuron(b, b("mul", y, gate, expect=True), MultiSpike(-7, 7), 0.26)
    residual = b("mul", x, quanta.astype(np.float32).reshape(1, -1, 1, 1))
    y = neuron(b, b("add", conv(b, y, 7, CHANNELS), residual), MultiSpike(0, 31), 0.49)
    pairs = {"kernel": (2, 2), "strides": (2, 2), "dilations": (1, 1), "pads": (0,) * 4, "ceil": False}
    pooled = b("max_pool", y, expect=True, **pairs)
    return b.outputs(y=conv(b, pooled, 9, 32))


def run(graph: Graph, x: Array, steps: int, **given: Any) -> Array:
    """Return the outputs of the model with neurons in blocks."""
    emitted = emit_spiking(graph, steps, blocks=True, **given)
    onnx.checker.check_model(emitted.embedded(), full_check=True)
    (found,) = RuntimeModel(emitted, "spiking", threads=1, packed=True).run(emitted.outputs, {"x": x})
    return found


@pytest.mark.parametrize(
    "codebook", [MultiSpike(0, 7), MultiSpike(-3, 5), MultiSpike(-(2**15) + 1, 2**15 - 1)], ids=str
)
@pytest.mark.parametrize("quantum", [1.0, 0.25, -2.0, "per channel"])
def test_every_number_is_rounded_and_clipped(codebook: MultiSpike, quantum: Any) -> None:
    """K(t)/t of one number after the other: ties, ends of the codebook, numbers far beyond."""
    quanta = 2.0 ** (np.arange(CHANNELS) % 5 - 2) if quantum == "per channel" else np.full(CHANNELS, quantum)
    graph = one_neuron(codebook, quanta if quantum == "per channel" else quantum)
    numbers = np.concatenate([
        np.arange(-24, 24) / 8,
        [codebook.hi - 0.5, codebook.hi + 0.5, codebook.lo - 0.5, codebook.lo + 0.5, -0.0],
        [3e6, -3e6, 3e9, -3e9, 3e38, -3e38, np.inf, -np.inf],
    ]).astype(np.float32)  # fmt: skip
    x = np.resize(numbers, (13, CHANNELS, 2, 3))
    found = run(graph, x, 12)
    for index in np.ndindex(*x.shape):
        for t in range(1, 13):
            u = t * float(x[index]) / float(quanta[index[1]])
            wanted = np.float32(round(min(max(u, t * codebook.lo), t * codebook.hi)) / t)
            # 1/3 is no number of single precision: K(3)/3 may differ in its last bit.
            slack = 0 if t & (t - 1) == 0 else np.spacing(abs(wanted))
            assert abs(found[t - 1, *index] - wanted) <= slack, (u, t)


@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize("decode", ["mean", "sum"])
def test_a_network_answers_as_the_reference(steps: int, decode: Any) -> None:
    graph = network()
    graph.decode_outputs(decode)
    x = np.random.default_rng(0).normal(0, 1, (5, 3, 8, 8)).astype(np.float32)
    wanted = Simulator(graph).run(x, steps).outputs["y"]
    np.testing.assert_allclose(run(graph, x, steps), wanted, rtol=1e-4, atol=1e-4)


def test_steps_can_be_left_out() -> None:
    graph = network()
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(graph, x, 7, times=(3, 6)), run(graph, x, 7)[[2, 5]])


def test_nothing_is_reordered_between_the_layers(tmp_path: Path) -> None:
    """onnxruntime reads and returns images, and keeps its own layout in between."""
    path = tmp_path / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    model = emit_spiking(network(), 1, blocks=True).embedded()
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(path).graph.node
    if not any(node.domain.endswith("nchwc") for node in nodes):
        pytest.skip("onnxruntime has no layout of its own for this processor")
    kinds = Counter(node.op_type for node in nodes)
    assert kinds["ReorderOutput"] == 1
    assert kinds["ReorderInput"] == kinds["Round"] == kinds["Clip"] == 0
    assert kinds["Mul"] == 1  # the gate: the residual connection adds up in its own unit


def test_neurons_that_stay_as_they_are() -> None:
    """A start, another rounding, few channels, no convolution near, sums out of reach."""
    assert len(in_blocks(network(), 1).neurons) == 4
    for graph in (
        one_neuron(MultiSpike(0, 7), initial=0.5),
        one_neuron(MultiSpike(0, 7, "floor")),
        one_neuron(MultiSpike(0, 2**15 - 1)),
    ):
        assert not in_blocks(graph, 129).neurons
    assert in_blocks(one_neuron(MultiSpike(0, 2**15 - 1)), 128).neurons
    b = Builder(N, 4, 2, 2)
    few = conv(b, neuron(b, b.x, MultiSpike(0, 7)), 1, CHANNELS)
    assert not in_blocks(b.outputs(y=few), 5).neurons
    b = Builder(N, CHANNELS, 2, 2)
    assert not in_blocks(b.outputs(y=neuron(b, b.x, MultiSpike(0, 7))), 5).neurons


def test_thresholds_that_round_are_divided_by_where_sums_are_exact() -> None:
    """1.5 / 3 is an edge; 1.5 times a third of single precision lies above it."""
    x = np.full((1, CHANNELS, 2, 3), 1.5, np.float32)
    found = run(one_neuron(MultiSpike(0, 7), 3.0), x, 1)
    np.testing.assert_array_equal(found, Simulator(one_neuron(MultiSpike(0, 7), 3.0)).run(x, 1).outputs["y"])
    assert not found.any()


@pytest.mark.parametrize("samples", [1, 9])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_simulator_writes_them(samples: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator_module, "BLOCK_ELEMENTS", 1)
    monkeypatch.setattr(simulator_module, "SHARED_ELEMENTS", 1)
    graph = network()
    x = np.random.default_rng(0).normal(0, 1, (samples, 3, 8, 8)).astype(np.float32)
    ours = OnnxSimulator(graph, threads=2)
    found, wanted = ours.run({"x": x}, steps).outputs["y"], Simulator(graph).run(x, steps).outputs["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    for emitted, _ in ours._models.values():
        assert "Round" not in {node.op_type for node in emitted.model.graph.node}


def test_a_tiny_network_runs_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waking another core takes longer than a node of some thousand elements."""
    threads = []

    class Spy(RuntimeModel):
        def __init__(self, *given: Any, **options: Any) -> None:
            threads.append(options["threads"])
            super().__init__(*given, **options)

    monkeypatch.setattr(simulator_module, "RuntimeModel", Spy)
    graph = network()
    x = np.zeros((3, 3, 8, 8), np.float32)
    OnnxSimulator(graph, threads=4).run({"x": x[:1]}, 1)  # 16 x 8 x 8 elements
    OnnxSimulator(graph, threads=4).run({"x": x}, 1)  # 3 times as many
    assert threads == [1, 4]
