"""Kernels of bytes beyond a layer with its neuron: shared sums, sums of sums, a host in single precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
from snnc.backends.onnx.spiking.eight_bits import plan_bytes
from snnc.backends.onnx.spiking.precision import plan_precision
from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.shapes import Batch
from tests.backends.test_onnx_integer_kernels import ENCODERS, Narrow, samples
from tests.backends.test_onnx_integers import assert_identical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Value

N = Batch()
SIGNED, UNSIGNED = MultiSpike(-128, 127, "floor"), MultiSpike(0, 255, "floor")


def attention(
    codebooks: Sequence[Codebook] = (SIGNED,) * 3, *, per_row: bool = False, real: bool = False
) -> Graph:
    """One linear layer of 5 rows; queries, keys and values of 2 heads of 3, the keys turned, each rounded."""
    net = Narrow("attention", 3)
    current = net.synapse("linear", net.encode(net.input(5, 8)), 18, 8, bias=3000)
    cut = net.add("reshape", current, shape=(N, 5, 3, 2, 3))
    turned = net.add("transpose", cut, perm=(2, 0, 3, 1, 4))
    for number, codebook in enumerate(codebooks):
        part = net.add("slice", turned, axes=(0,), starts=(number,), ends=(number + 1,), steps=(1,))
        heads = net.add("reshape", part, shape=(N, 2, 5, 3))
        shape = [1, 2, 5 if per_row else 1, 3]
        if number == 1:
            heads, shape = net.add("transpose", heads, perm=(0, 1, 3, 2)), [1, 2, 3, 1]
        if real and number == 2:
            net.answer(heads, f"y{number}")
            continue
        # Odd thresholds have no halves that would go to the even payload.
        quantum = net.random.integers(30, 450, shape).astype(np.int32) * 2 + 1
        sent = net.add("neuron", heads, codebook=codebook, quantum=quantum, initial=0.5, width=24)
        net.answer(sent, f"y{number}")
    return net.done()


@pytest.mark.parametrize("codebook", [SIGNED, UNSIGNED, MultiSpike(-5, 9), Binary()], ids=str)
def test_neurons_that_share_sums_are_one_kernel(codebook: Codebook) -> None:
    """What parts them moves bytes."""
    graph = attention([codebook] * 3)
    plan = plan_bytes(graph, 1)
    assert [len(shared.neurons) for shared in plan.shared.values()] == [3]
    assert_identical(graph, {"x": samples(graph, 4)}, 1)
    kinds = [node.op_type for node in emit_spiking(graph, 1).model.graph.node]
    assert kinds.count("QLinearConv") == 1
    assert not {"MatMulInteger", "Gemm", "MatMul", "Floor", "Round"} & set(kinds)


def test_what_shared_sums_must_have() -> None:
    """One range of payloads, a threshold per output of the layer, nothing but neurons behind it, one step."""
    assert plan_bytes(attention(), 1).shared
    assert not plan_bytes(attention(), 2).shared
    for graph in (
        attention((SIGNED, SIGNED, UNSIGNED)),
        attention(per_row=True),
        attention(real=True),
    ):
        assert not plan_bytes(graph, 1).shared
        assert_identical(graph, {"x": samples(graph, 4)}, 1)


def test_channels_of_a_convolution_are_shared_too() -> None:
    net = Narrow("halves")
    current = net.synapse(
        "conv", net.encode(net.input(4, 5, 6), ENCODERS["few"]), 6, 4, 3, 3, bias=999, pads=(1,) * 4
    )
    for number in range(2):
        part = net.add("slice", current, axes=(1,), starts=(3 * number,), ends=(3 * number + 3,), steps=(1,))
        net.answer(net.fires(part, UNSIGNED, reset="restart"), f"y{number}")
    graph = net.done()
    for steps in (1, 3):
        assert len(plan_bytes(graph, steps).shared) == 1
        assert_identical(graph, {"x": samples(graph, 3)}, steps)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_few_channels_have_some_added(channels: int, encoder: str) -> None:
    """They hold payload 0, and their weights are 0."""
    net = Narrow("image", channels)
    k = net.encode(net.input(channels, 6, 5), ENCODERS[encoder])
    current = net.synapse("conv", k, 8, channels, 3, 3, bias=999, pads=(1, 0, 1, 2), strides=(2, 1))
    net.answer(net.fires(current, UNSIGNED, initial=0.5))
    graph = net.done()
    assert_identical(graph, {"x": samples(graph, 3)}, 1)
    emitted = emit_spiking(graph, 1).model.graph
    assert [node.op_type for node in emitted.node].count("Pad") == 1
    (conv,) = (node for node in emitted.node if node.op_type == "QLinearConv")
    (weight,) = (array for array in emitted.initializer if array.name == conv.input[3])
    assert list(weight.dims) == [8, 4, 3, 3]


@given(
    codebook=st.sampled_from([SIGNED, UNSIGNED, MultiSpike(0, 127, "floor"), MultiSpike(-5, 9), Binary()]),
    initial=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=20, deadline=None)
def test_sums_of_sums_send_bytes(codebook: Codebook, initial: float, seed: int) -> None:
    """Where a connection carries sums on, the neuron is a product, rounded and saturated."""
    net = Narrow("stream", seed)
    k = net.encode(net.input(4, 3, 3), ENCODERS["few"])
    first = net.synapse("conv", k, 4, 4, 1, 1, bias=500)
    sent = net.fires(first, codebook, initial=initial)
    total = net.add("add", net.synapse("conv", sent, 4, 4, 3, 3, pads=(1,) * 4), first)
    net.answer(net.fires(total, codebook, initial=initial))
    graph = net.done()
    assert len(plan_precision(graph, 1).bytes.rescaled) == 2
    assert not plan_precision(graph, 2).bytes.rescaled
    assert_identical(graph, {"x": samples(graph, 3)}, 1)


def host(kind: str, *, exponent: int = 0) -> Graph:
    """A layer whose sums become real numbers, a function, and a neuron that reads that."""
    net = Narrow("host", len(kind))
    if kind == "image":
        k = net.encode(net.input(32, 4, 4), MultiSpike(-128, 127))
        current = net.synapse("conv", k, 130, 32, 3, 3, bias=999, exponent=exponent, pads=(1,) * 4)
        axis = 1
    else:
        shape = (40,) if kind == "vector" else (3, 40)
        k = net.encode(net.input(*shape), MultiSpike(-128, 127))
        current = net.synapse("linear", k, 112, 40, bias=999, exponent=exponent)
        axis = len(shape)
    outputs = int(current.type.shape[axis])  # type: ignore[call-overload]  # channels are a number
    scale = net.random.uniform(1e-4, 2e-4, outputs).astype(np.float32)
    real = net.add("dequantise", current, scale=scale, axis=axis)
    active = net.add("silu", real)
    along = [outputs if index == axis else 1 for index in range(len(active.type.shape))]
    quantum = net.random.uniform(0.01, 0.02, along).astype(np.float32)
    sent = net.add("neuron", active, codebook=SIGNED, quantum=quantum, initial=0.5)
    net.answer(active, "real")
    net.answer(sent, "sent")
    return net.done()


@pytest.mark.parametrize("exponent", [0, 2])
@pytest.mark.parametrize("kind", ["vector", "rows", "image"])
@pytest.mark.parametrize("steps", [1, 3])
def test_products_for_a_host_in_single_precision(kind: str, exponent: int, steps: int) -> None:
    """Their scale and bias are the kernel's; payloads behind it differ on edges alone."""
    graph = host(kind, exponent=exponent)
    inputs = samples(graph, 3) / 3
    exact = snnc.Simulator(graph).run({"x": inputs}, steps).outputs
    found = OnnxSimulator(graph, threads=1, single=True).run({"x": inputs}, steps).outputs
    np.testing.assert_allclose(found["real"], exact["real"], rtol=1e-5, atol=1e-5)
    difference = steps * np.abs(found["sent"][-1] - exact["sent"][-1])
    assert difference.max() <= 1.001
    assert (difference > 0.5).mean() < 0.01
    kinds = [node.op_type for node in emit_spiking(graph, steps, single=True).model.graph.node]
    assert ("MatMulInteger" in kinds) == (kind == "vector" and exponent > 0)
    assert kinds.count("Floor") == (0 if steps == 1 else steps)


def test_the_threshold_of_a_hosts_neuron_is_taken_into_what_is_in_front() -> None:
    """A layer norm's weights, and a gate rather than what it multiplies."""
    net = Narrow("host")
    x = net.input(20, 40)
    normed = net.add("layer_norm", x, gamma=np.full(40, 2.0, np.float32), beta=np.ones(40, np.float32))
    gate = net.add("sigmoid", net.add("reduce_mean", x, axes=(1,), keepdims=True))
    quantum = net.random.uniform(0.01, 0.02, (1, 1, 40)).astype(np.float32)

    def linear(value: Value) -> Value:
        sent = net.add("neuron", value, codebook=SIGNED, quantum=quantum, initial=0.5)
        return net.synapse("linear", sent, 110, 40)

    net.answer(linear(normed), "normed")
    gated = net.add("layer_norm", x, gamma=np.full(40, 2.0, np.float32), beta=np.zeros(40, np.float32))
    net.answer(linear(net.add("mul", net.add("gelu", gated), gate)), "gated")
    graph = net.done()
    inputs = {"x": samples(graph, 4)}
    exact = snnc.Simulator(graph).run(inputs, 1).outputs
    emitted = emit_spiking(graph, 1, single=True)
    found = RuntimeModel(emitted, "spiking", threads=1, packed=True, integers=True).run(
        emitted.outputs, inputs
    )
    for array, wanted in zip(found, exact.values(), strict=True):
        np.testing.assert_allclose(array, wanted, atol=0.02 * float(np.abs(wanted).max()))
    products = [node for node in emitted.model.graph.node if node.op_type in ("Mul", "Div")]
    assert [node.input[0].split(":")[-1] for node in products] == ["Sigmoid", "Gelu"]


def test_a_host_rounds_between_convolutions_in_their_layout() -> None:
    """Behind a function, and behind a gate; the payloads are those of a quantiser. Not in front of bytes."""
    net = Narrow("images", 2)
    k = net.encode(net.input(3, 9, 9), MultiSpike(-128, 127))

    def fires(current: Value) -> Value:
        scale = net.random.uniform(1e-3, 2e-3, 16).astype(np.float32)
        active = net.add("silu", net.add("dequantise", current, scale=scale, axis=1))
        mean = net.add("reduce_mean", active, axes=(2, 3), keepdims=True)
        gated = net.add("mul", active, net.add("sigmoid", mean))
        quantum = net.random.uniform(0.02, 0.05, (1, 16, 1, 1)).astype(np.float32)
        return net.add("neuron", gated, codebook=SIGNED, quantum=quantum, initial=0.5)

    first = fires(net.synapse("conv", k, 16, 3, 3, 3, bias=99, pads=(1,) * 4))
    second = fires(net.synapse("conv", first, 16, 1, 3, 3, bias=99, group=16))
    current = net.synapse("conv", second, 5, 16, 1, 1)
    sent = net.add(
        "neuron",
        current,
        codebook=SIGNED,
        quantum=np.full((1, 5, 1, 1), 999, np.int32),
        initial=0.5,
        width=24,
    )
    net.answer(sent)
    graph = net.done()
    blocks = plan_precision(graph, 1, single=True, blocks=True).bytes.blocks
    assert [node.result for node in blocks.neurons] == [first]
    assert first.node is not None
    assert [node.result for node in blocks.gates] == [first.node.operands[0]]
    assert not plan_precision(graph, 1, single=True).bytes.blocks.neurons
    assert not plan_precision(graph, 1, blocks=True).bytes.blocks.neurons

    inputs, payloads = {"x": samples(graph, 3)}, []
    for in_blocks in (True, False):
        emitted = emit_spiking(graph, 1, sites=[first, second], single=True, blocks=in_blocks)
        model = RuntimeModel(emitted, "spiking", threads=1, packed=True, integers=True)
        payloads.append(model.run(emitted.sites, inputs))
    for one, other in zip(*payloads, strict=True):
        assert len(np.unique(one)) > 20
        assert np.abs(one - other).max() <= 1
        assert (one != other).mean() < 0.01
