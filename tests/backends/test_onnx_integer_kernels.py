"""Integer kernels of ONNX models: every byte is the payload that the reference simulator sends."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
from snnc.backends.onnx.spiking.eight_bits import plan_bytes
from snnc.backends.onnx.spiking.requantise import find_rescaling, payload_edges
from snnc.ir.codebooks import Binary, MultiSpike, Ternary
from tests.backends.test_integers import select
from tests.backends.test_onnx_integers import assert_identical
from tests.lava import networks

if TYPE_CHECKING:
    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
CODEBOOKS: tuple[Codebook, ...] = (
    MultiSpike(0, 255),
    MultiSpike(0, 255, "floor"),
    MultiSpike(0, 127, "floor"),
    MultiSpike(-128, 127, "floor"),
    MultiSpike(-127, 127),
    MultiSpike(-5, 9),
    Binary(),
)


@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
@given(theta=st.integers(1, 2**20))
def test_an_edge_is_the_least_sum_that_sends_more(codebook: Codebook, theta: int) -> None:
    found = payload_edges(codebook, np.array([theta]))
    assert found is not None
    for payload, edge in enumerate(found[0].tolist(), start=codebook.payload.lo + 1):
        assert select(codebook, edge, theta) >= payload > select(codebook, edge - 1, theta)


@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
@given(theta=st.integers(1, 2**17), added=st.integers(-(2**20), 2**20), data=st.data())
def test_a_rescaled_sum_is_the_payload(
    codebook: Codebook, theta: int, added: int, data: st.DataObject
) -> None:
    """Sums anywhere within the bounds, edges among them, against fractions."""
    edges = payload_edges(codebook, np.array([theta]))
    assert edges is not None
    lo, hi = codebook.payload.lo, codebook.payload.hi
    reach = data.draw(st.integers(1, 2**23))
    found = find_rescaling(
        edges - added, lo + 1 + 128, np.array([float(theta)]), (np.array([-reach]), np.array([reach]))
    )
    if found is None:
        ties = codebook == MultiSpike(lo, hi) and theta % 2 == 0  # halves to even
        assert ties or theta * (hi + 128) >= 2**21  # below, neighbours of an edge are far enough apart
        return
    near = [int(edge) - added + step for edge in edges[0] for step in (-1, 0, 1)]
    sums = [s for s in (*near[:200], *near[-200:]) if abs(s) <= reach]
    sums += data.draw(st.lists(st.integers(-reach, reach), max_size=20))
    for s in sums:
        product = np.float32(s + int(found.shift[0])) * found.factor[0]
        byte = min(max(int(np.rint(product)), lo + 128), hi + 128)
        assert byte - 128 == select(codebook, s + added, theta), s


def test_bursts_and_powers_have_no_rescaling() -> None:
    assert payload_edges(MultiSpike(0, 15, "burst"), np.array([7])) is None
    assert payload_edges(Ternary(), np.array([7])) is None


class Narrow(networks.Builder):
    """Weights of 7 bits, extremes included, as processors without VNNI need them."""

    def weights(self, *shape: int) -> Array:
        weight = self.random.integers(-63, 64, shape)
        weight.flat[0], weight.flat[-1] = 63, -63
        return weight.astype(np.int8)

    def fires(self, current: Value, codebook: Codebook, **more: Any) -> Value:
        """Add a neuron with thresholds that meet all payloads; odd ones where halves go to even."""
        most = 63 * 255 * 12 // max(codebook.payload.hi, 1)
        channels = int(current.type.shape[1])  # type: ignore[call-overload]  # channels are a number
        quantum = self.random.integers(max(most // 8, 16), most + 16, channels)
        if codebook in (MultiSpike(0, 255), MultiSpike(-127, 127), MultiSpike(-5, 9)):
            quantum |= 1
        quantum[0], quantum[-1] = 256, 257
        full = quantum.reshape(1, -1, *(1,) * (len(current.type.shape) - 2)).astype(np.int32)
        return self.add("neuron", current, codebook=codebook, quantum=full, width=24, **more)


GEOMETRIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"pads": (1, 1, 1, 1)},
    "uneven": {"pads": (2, 0, 1, 1), "strides": (2, 1)},
    "dilated": {"dilations": (2, 2), "pads": (2, 2, 2, 2)},
    "grouped": {"group": 2, "pads": (1, 1, 1, 1)},
    "depthwise": {"group": 4, "pads": (1, 1, 1, 1)},
}
ENCODERS = {"signed": MultiSpike(-127, 127), "unsigned": MultiSpike(0, 255), "few": MultiSpike(-3, 9)}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolutions_with_their_neurons(geometry: str, encoder: str, steps: int) -> None:
    """Every codebook behind every geometry, for signed payloads, whose 0 a border is filled with, too."""
    net, reset = Narrow("conv", len(geometry)), "subtract" if steps == 1 else "restart"
    x = net.encode(net.input(4, 6, 5), ENCODERS[encoder])
    for number, codebook in enumerate(CODEBOOKS):
        more = {"initial": 0.5} if number % 2 else {}
        inputs = 4 // GEOMETRIES[geometry].get("group", 1)
        current = net.synapse("conv", x, 8, inputs, 3, 3, bias=3000, **GEOMETRIES[geometry])
        net.answer(net.fires(current, codebook, reset=reset, **more), f"y{number}")
    graph = net.done()
    assert len(plan_bytes(graph, steps).fused) == len(CODEBOOKS)
    assert_identical(graph, {"x": samples(graph, 5)}, steps)


def samples(graph: Graph, count: int) -> Array:
    """Return inputs over and beyond the range of the encoders."""
    shape = [count, *graph.inputs[0].type.shape[1:]]
    return np.random.default_rng(3).normal(0, 3, shape).astype(np.float32)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("shape", [(40,), (3, 40)], ids=["vectors", "rows"])
def test_linear_layers(shape: tuple[int, ...], encoder: str, steps: int) -> None:
    """One step: with the neuron. More: as a product of integers, whose sums a membrane adds up."""
    net = Narrow("linear")
    k = net.encode(net.input(*shape), ENCODERS[encoder])
    current = net.synapse("linear", k, 112, 40, bias=20000)
    quantum = np.arange(301, 525, 2, dtype=np.int32).reshape((1,) * len(shape) + (112,))
    sent = net.add("neuron", current, codebook=MultiSpike(-128, 127), quantum=quantum, width=24)
    net.answer(net.synapse("linear", sent, 50, 112, bias=999, exponent=3))
    graph = net.done()
    plan = plan_bytes(graph, steps)
    assert len(plan.fused) == (steps == 1)
    assert len(plan.products) == (2 if steps > 1 else 1)
    assert_identical(graph, {"x": samples(graph, 5)}, steps)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("kernel", "geometry"),
    [
        ((3, 3), {"pads": (1, 1, 1, 1)}),
        ((3, 2), {"pads": (2, 0, 1, 1), "strides": (2, 1), "dilations": (1, 3)}),
        ((1, 1), {}),
        ((1, 1), {"strides": (2, 3)}),
    ],
    ids=["padded", "uneven", "pointwise", "pointwise strided"],
)
def test_convolutions_of_several_steps(
    kernel: tuple[int, int], geometry: dict[str, Any], encoder: str
) -> None:
    """Windows, channels last, times a matrix of integers; a membrane adds the sums up."""
    net = Narrow("windows", kernel[1])
    k = net.encode(net.input(32, 6, 7), ENCODERS[encoder])
    current = net.synapse("conv", k, 130, 32, *kernel, bias=5000, exponent=2, **geometry)
    net.answer(net.fires(current, MultiSpike(0, 255, "floor"), initial=0.5), "y")
    net.answer(current, "sums")
    graph = net.done()
    assert len(plan_bytes(graph, 3).products) == 1
    assert_identical(graph, {"x": samples(graph, 3)}, 3)


@given(
    theta=st.lists(st.integers(1, 2**12).map(lambda half: 2 * half), min_size=4, max_size=4),
    bias=st.integers(0, 2**14),
    hi=st.sampled_from([1, 30, 127]),
    padded=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_residual_connections(theta: list[int], bias: int, hi: int, padded: bool) -> None:
    """floor((S + q k) / q + 1/2): the branch is rounded to bytes alone, saturates, and k is added."""
    net = Narrow("residual")
    k = net.encode(net.input(4 - 2 * padded, 4, 4), MultiSpike(0, hi), 1 / 16)
    skip, channels = k, np.array(theta, np.int64)
    if padded:  # two channels of zeros, whose weights may be anything
        skip = net.add("pad", k, pads=(0, 1, 0, 0, 0, 1, 0, 0))
    exponent = next(e for e in range(8) if (channels // 2**e <= 127).all())
    worth = channels // 2**exponent
    weight = np.where(padded & np.array([True, False, False, True]), 5, worth)
    through = net.add(
        "conv", skip, weight=weight.astype(np.int8).reshape(4, 1, 1, 1), exponent=exponent or None, group=4
    )
    branch = net.synapse("conv", k, 4, 4 - 2 * padded, 3, 3, bias=bias, pads=(1, 1, 1, 1))
    quantum = np.maximum(worth * 2**exponent, 1).astype(np.int32).reshape(1, 4, 1, 1)
    total = net.add("add", branch, through)
    sent = net.add(
        "neuron", total, codebook=MultiSpike(0, hi, "floor"), quantum=quantum, initial=0.5, width=24
    )
    net.answer(sent)
    if (worth == 0).any():
        return
    graph = net.done()
    (fused,) = plan_bytes(graph, 1).fused.values()
    assert fused.skip is skip
    for integers in (True, False):
        assert_identical(graph, {"x": samples(graph, 3)}, 1, integers=integers)
    assert not plan_bytes(graph, 2).fused


def test_what_a_residual_connection_must_have() -> None:
    """Payloads worth one of the neuron's each, rounding that commutes with them, and a branch in bytes."""

    def fused(worth: int = 64, last: int = 127, hi: int = 127, *, floor: bool = True) -> bool:
        net = Narrow("residual")
        k = net.encode(net.input(2, 3, 3), MultiSpike(0, hi), 1 / 16)
        weight, codebook = np.full((2, 1, 1, 1), worth, np.int8), MultiSpike(0, last)
        codebook = MultiSpike(0, last, "floor") if floor else codebook
        total = net.add(
            "add",
            net.synapse("conv", k, 2, 2, 3, 3, pads=(1,) * 4),
            net.add("conv", k, weight=weight, group=2),
        )
        quantum = np.full((1, 2, 1, 1), 64, np.int32)
        net.answer(net.add("neuron", total, codebook=codebook, quantum=quantum, width=24))
        return bool(plan_bytes(net.done(), 1).fused)

    assert fused()
    assert not fused(worth=63)
    assert not fused(floor=False)
    assert not fused(last=128)
    assert not fused(hi=129)


@pytest.mark.parametrize(("weight", "payload", "fits"), [(64, 255, True), (65, 255, False), (127, 128, True)])
def test_no_pair_of_products_exceeds_16_bits(weight: int, payload: int, fits: bool) -> None:
    """Processors without VNNI add two products in 16 bits, where they would saturate."""
    assert (2 * weight * payload < 2**15) == fits
    net = Narrow("pair")
    k = net.encode(net.input(64), MultiSpike(0, payload))
    current = net.add("linear", k, weight=np.full((64, 64), weight, np.int8))
    quantum = np.full((1, 64), 9999, np.int32)
    net.answer(net.add("neuron", current, codebook=MultiSpike(0, 100), quantum=quantum, width=24))
    assert bool(plan_bytes(net.done(), 1).fused) == fits


def test_an_odd_threshold_starts_from_a_rounded_half() -> None:
    """v(0) = q / 2 is a whole number too, halves to even; in real numbers 1 + 3 / 2 would stay silent."""
    net = Narrow("odd")
    current = net.add("linear", net.encode(net.input(1)), weight=np.ones((2, 1), np.int8))
    quantum = np.array([[3, 5]], np.int32)
    sent = net.add(
        "neuron", current, codebook=MultiSpike(0, 600, "floor"), quantum=quantum, initial=0.5, width=24
    )
    net.answer(sent)
    graph = net.done()
    inputs = np.arange(-4, 40, dtype=np.float32).reshape(-1, 1) / 32
    assert_identical(graph, {"x": inputs}, 3)
    wanted = [max(Fraction(m + round(Fraction(3, 2)), 3).__floor__(), 0) for m in range(-4, 40)]
    assert OnnxSimulator(graph, threads=1).run(inputs, 1).outputs["y"][0, :, 0].tolist() == wanted


@pytest.fixture(scope="module")
def digits() -> Graph:
    data = snnc.load_data(DIGITS / "digits_calibration.npz", normalise=snnc.Normalise(1 / 16))
    return snnc.compile(DIGITS / "digits_cnn.onnx", data, target="int8")


def test_the_digits_network_runs_on_integer_kernels(digits: Graph) -> None:
    """All neurons behind one synapse, pooling among these, and both residual connections."""
    plan = plan_bytes(digits, 1)
    assert len(plan.fused) == 8
    assert sum(fused.skip is not None for fused in plan.fused.values()) == 2
    images = np.asarray(np.load(DIGITS / "digits_test.npz")["x"][:40], np.float32) / 16
    for steps in (1, 3):
        assert_identical(digits, {"image": images}, steps)
    kinds = [node.op_type for node in emit_spiking(digits, 1).model.graph.node]
    assert kinds.count("QLinearConv") == 8
    assert "Conv" not in kinds


def test_it_loses_no_accuracy(digits: Graph) -> None:
    test = np.load(DIGITS / "digits_test.npz")
    images = np.asarray(test["x"], np.float32) / 16
    logits = OnnxSimulator(digits, threads=1).run(images, 1).outputs["logits"][-1]
    assert (logits.argmax(axis=1) == test["y"]).mean() >= 0.99


def test_a_host_in_single_precision_differs_on_edges_alone() -> None:
    """Whole numbers stay exact. Behind the first host node next to none differs, by one; then it spreads."""
    data = snnc.load_data(DIGITS / "digits_calibration.npz", normalise=snnc.Normalise(1 / 16), limit=48)
    graph = snnc.compile(DIGITS / "digits_vit.onnx", data, target="int8", host_nodes=True)
    images = np.asarray(np.load(DIGITS / "digits_test.npz")["x"][:40], np.float32) / 16
    neurons = [node for node in graph if node.op.neuron]
    sent = []
    for single in (False, True):
        emitted = emit_spiking(graph, 1, sites=[node.result for node in neurons], single=single)
        model = RuntimeModel(emitted, "spiking", threads=1, packed=True, integers=True)
        logits, *payloads = model.run([*emitted.outputs, *emitted.sites], {"image": images})
        assert logits.dtype == (np.float32 if single else np.float64)
        sent.append(payloads)
    encoder, first, *others = (np.abs(exact - found) for exact, found in zip(*sent, strict=True))
    assert not encoder.any()
    assert (first > 0).mean() < 1e-4
    assert first.max() <= 1
    assert np.mean([(difference > 0).mean() for difference in others]) < 0.01
    assert len(plan_bytes(graph, 1, single=True).encoders) > len(plan_bytes(graph, 1).encoders)


def test_a_network_without_a_host_is_the_same_in_single_precision(digits: Graph) -> None:
    images = np.asarray(np.load(DIGITS / "digits_test.npz")["x"][:8], np.float32) / 16
    for steps in (1, 3):
        exact, single = (
            OnnxSimulator(digits, threads=1, single=single).run(images, steps).outputs["logits"]
            for single in (False, True)
        )
        np.testing.assert_allclose(single, exact, rtol=1e-5, atol=1e-5)
