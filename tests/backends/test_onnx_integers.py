"""Networks of integers as ONNX models: every payload and every output is the reference simulator's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import snnc
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
from snnc.backends.onnx.spiking.exact import Digits
from snnc.backends.onnx.spiking.precision import (
    DOUBLE,
    EXACT,
    SINGLE,
    Range,
    judges_exactly,
    membrane_bound,
    plan_precision,
)
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import BackendError
from tests.backends.test_integers import CODEBOOKS, layer, scalar_neuron
from tests.lava import networks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits"
NETWORKS = (networks.every_neuron, networks.every_synapse, networks.every_path, networks.host_nodes)


class Streams:
    """What every neuron of the reference sends, step by step."""

    def __init__(self) -> None:
        self.of: dict[Node, list[Array]] = {}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        if node.op.neuron:
            self.of.setdefault(node, []).append(value.copy())


def assert_identical(graph: Graph, inputs: Mapping[str, Array], steps: int, *, integers: bool = True) -> None:
    """Compare all payloads and the decoded outputs with the reference's.

    `integers`: with the optimisations of a model known to be one of integers.
    """
    neurons = [node for node in graph if node.op.neuron]
    timed = frozenset(v.name or "" for v in graph.inputs if inputs[v.name or ""].ndim > len(v.type.shape))
    emitted = emit_spiking(graph, steps, timed=timed, sites=[node.result for node in neurons])
    onnx.checker.check_model(emitted.embedded(), full_check=True)
    model = RuntimeModel(emitted, "spiking", threads=1, packed=True, integers=integers)
    found = model.run([*emitted.outputs, *emitted.sites], inputs)
    streams = Streams()
    run = Simulator(graph, threads=1, group=2**30).run(inputs, steps, observers=[streams])
    for node, payloads in zip(neurons, found[len(emitted.outputs) :], strict=True):
        # What never varies is sent once.
        wanted = np.broadcast_to(np.stack(streams.of[node]), payloads.shape)
        np.testing.assert_array_equal(payloads, wanted, err_msg=", ".join(node.origin))
    for output, array in zip(graph.outputs, found, strict=False):
        assert array.dtype == run.outputs[output.name].dtype
        np.testing.assert_array_equal(array, run.outputs[output.name], err_msg=output.name)


@pytest.mark.parametrize("varying", [False, True], ids=["constant", "varying"])
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_networks_that_use_everything_once(network: Callable[[], Graph], steps: int, varying: bool) -> None:
    graph = network()
    assert_identical(graph, networks.samples(graph, 3, steps if varying else None), steps)


@pytest.mark.parametrize("reset", ["subtract", "zero", "restart"])
@pytest.mark.parametrize("name", CODEBOOKS)
@settings(max_examples=12, deadline=None)
@given(
    theta=st.lists(st.integers(1, 2**20), min_size=3, max_size=3),
    bias=st.integers(-(2**16), 2**16),
    initial=st.sampled_from([0.0, 0.5, 1.0]),
    width=st.sampled_from([8, 16, 23, 24, 25, 32]),
    exponent=st.integers(0, 7),
    inputs=st.lists(st.integers(-32767, 32767), min_size=4, max_size=4),
)
def test_every_neuron_at_every_width(
    name: str, reset: str, theta: list[int], inputs: list[int], **given: Any
) -> None:
    if reset == "zero" and name not in ("binary", "ternary"):
        return  # refused: it would lose what rounding left
    graph = layer([127, -1, -77], name, theta, reset=reset, **given)
    assert_identical(graph, {"x": np.array(inputs, np.float32).reshape(4, 1, 1)}, 4)


@pytest.mark.parametrize("theta", [1, 2, 3, 255, 2**14 + 1, 2**17 - 1, 2**20 + 7, 2**22, 2**23 - 1])
@pytest.mark.parametrize("name", CODEBOOKS)
def test_edges_are_decided_on_rational_numbers(name: str, theta: int) -> None:
    """Membranes at every edge of the codebook, one short of it and one beyond."""
    codebook = CODEBOOKS[name]
    edges = [Fraction(i * theta, 4) for i in range(4 * codebook.payload.lo - 4, 4 * codebook.payload.hi + 5)]
    near = sorted({int(edge) + step for edge in edges for step in (-1, 0, 1) if abs(edge) < 2**23 - 2})
    membranes = np.array(near[:: max(1, len(near) // 2000)] + near[-9:])
    graph = layer([1], name, [theta])
    graph.tensors["bias"] = np.zeros((1, 1), np.int32)
    given = {"x": np.zeros((1, 1), np.float32)}
    sent = []
    for start in range(0, len(membranes), 500):
        wide = membranes[start : start + 500]
        graph = layer([0] * len(wide), name, [theta] * len(wide))
        graph.tensors["bias"] = wide.astype(np.int32).reshape(1, -1)
        sent += OnnxSimulator(graph, threads=1).run(given, 1).outputs["k"].ravel().tolist()
    wanted = [scalar_neuron([int(m)], codebook, theta, 0, 0, "subtract", 24)[0] for m in membranes]
    assert sent == wanted


@given(
    theta=st.integers(1, 2**23),
    parts=st.sampled_from([1, 2, 4]),
    payload=st.integers(1, 2**15 - 1),
    data=st.data(),
)
@example(theta=2**23 - 1, parts=1, payload=1, data=None)
def test_a_quotient_in_single_precision_stays_on_its_side_of_an_edge(
    theta: int, parts: int, payload: int, data: st.DataObject | None
) -> None:
    """What `judges_exactly` claims: m / q in float32 is below i / p where the fraction is, and above too."""
    if parts * theta * payload >= EXACT:
        return
    i = parts * payload if data is None else data.draw(st.integers(1, parts * payload))
    edge = Fraction(i, parts)
    for m in {i * theta // parts + step for step in (-1, 0, 1)}:
        quotient = Fraction(float(np.float32(m) / np.float32(theta)))
        assert (quotient > edge) - (quotient < edge) == (Fraction(m, theta) > edge) - (
            Fraction(m, theta) < edge
        )


def test_what_could_round_is_computed_in_double_precision() -> None:
    graph = layer([1], "multi(-7, 7)", [1000])
    neuron = list(graph)[-1]
    assert plan_precision(graph, 2).computes[neuron] == SINGLE
    given, x, any_membrane = graph.resolve(neuron), Range(-1000, 1000), np.inf
    assert judges_exactly(given, x, any_membrane)
    assert judges_exactly(given | {"width": 30}, x, 2**20)
    for name, value in {
        "width": 25,
        "initial": 2.0**14,
        "quantum": np.array([[2**21]], np.int32),
        "codebook": MultiSpike(-32767, 32767),
    }.items():
        assert not judges_exactly(given | {name: value}, x, any_membrane), name
    assert not judges_exactly(given, Range(-(2**23) - 1, 0), any_membrane)


@given(
    theta=st.integers(1, 500),
    initial=st.integers(-3, 3),
    bias=st.integers(-300, 300),
    inputs=st.lists(st.integers(-300, 300), min_size=5, max_size=5),
    name=st.sampled_from(list(CODEBOOKS)),
)
def test_no_membrane_exceeds_its_bound(
    theta: int, initial: int, bias: int, inputs: list[int], name: str
) -> None:
    """A membrane that cannot saturate within the run is not clipped."""
    graph = layer([1], name, [theta], bias=bias, initial=float(initial))
    given, x, v = graph.resolve(list(graph)[-1]), Range(-300, 300), initial * theta
    for t, current in enumerate(inputs, start=1):
        m = v + current + bias
        assert abs(m) <= membrane_bound(given, x, t)
        v = m - theta * scalar_neuron([m], CODEBOOKS[name], theta, 0, 0, "subtract", 24)[0]
    neuron = list(graph)[-1]
    assert neuron in plan_precision(graph, 1).unsaturated
    assert neuron not in plan_precision(graph, 1000).unsaturated


@pytest.mark.parametrize("op", ["conv", "conv_transpose", "linear"])
@pytest.mark.parametrize("exponent", [0, 3])
def test_sums_beyond_24_bits_are_exact(op: str, exponent: int) -> None:
    """Payloads of 16 bits and a thousand weights: 2^35, sums that single precision rounds."""
    net = networks.Builder("wide")
    shape = (1000,) if op == "linear" else (1000, 1, 2)
    spikes = net.encode(net.input(*shape), MultiSpike(-32767, 32767), 2**-13)
    weight = {"linear": (3, 1000), "conv": (3, 1000, 1, 1), "conv_transpose": (1000, 3, 1, 1)}[op]
    sums = net.synapse(op, spikes, *weight, bias=999, exponent=exponent)
    net.answer(sums)
    graph = net.done()
    synapse = next(node for node in graph if node.op.name == op)
    plan = plan_precision(graph, 2)
    assert plan.computes[synapse] == DOUBLE
    assert (synapse in plan.digits) == (op != "linear")
    assert_identical(graph, networks.samples(graph, 2), 2)


@pytest.mark.parametrize("exponent", [None, 3])
@pytest.mark.parametrize(
    ("kernel", "geometry"),
    [
        ((1, 1), {}),
        ((2, 2), {"strides": (2, 2)}),
        ((2, 4), {"strides": (1, 2), "pads": (1, 0, 0, 3)}),
        ((3, 2), {}),
        ((2, 2), {"dilations": (2, 1)}),
    ],
    ids=["factor", "average", "padded", "six elements", "dilated"],
)
def test_factors_and_averages(
    kernel: tuple[int, int], geometry: dict[str, Any], exponent: int | None
) -> None:
    """Residual connections and pooling: a product, and a mean over 2^n elements, per channel; else Conv."""
    net = networks.Builder("depthwise")
    spikes = net.encode(net.input(3, 6, 7))
    weight = np.array([127, -1, 60], np.int8)[:, None, None, None]
    bias = np.array([5, -70000, 0], np.int32)
    given = {"weight": np.broadcast_to(weight, (3, 1, *kernel)).copy(), "exponent": exponent, "bias": bias}
    current = net.add("conv", spikes, group=3, **given, **geometry)
    net.answer(current)
    graph = net.done()
    assert_identical(graph, networks.samples(graph, 3), 2)
    kinds = {node.op_type for node in emit_spiking(graph, 2).model.graph.node}
    plain = kernel == (3, 2) or "dilations" in geometry
    assert ("Conv" in kinds) == plain
    assert ("AveragePool" in kinds) == (not plain and kernel != (1, 1))


@given(x=st.integers(-(2**31), 2**31 - 1), most=st.integers(2, 2**20))
def test_digits_hold_a_number(x: int, most: int) -> None:
    digits = Digits.of(2**31, most)
    assert digits is not None
    base, rest, found = 2**digits.bits, x, []
    for _ in range(digits.count - 1):
        found.append(rest - base * ((rest + base // 2) // base))
        rest = (rest + base // 2) // base
    found.append(rest)
    assert sum(digit * base**j for j, digit in enumerate(found)) == x
    assert max(abs(digit) for digit in found) <= most


def compiled(model: Path, **options: Any) -> Graph:
    """Return a digits network for integer hardware."""
    calibration = snnc.load_data(
        DIGITS / "digits_calibration.npz", normalise=snnc.Normalise(1 / 16), limit=48
    )
    return snnc.compile(model, calibration, target="loihi2", **options)


@pytest.mark.parametrize("method", ["multi-spike", "if", "ternary"])
def test_the_digits_network(method: str, images: Array) -> None:
    graph = compiled(DIGITS / "digits_cnn.onnx", method=method)
    assert_identical(graph, {"image": images}, 4)


def test_a_transformer_with_host_nodes(images: Array) -> None:
    graph = compiled(DIGITS / "digits_vit.onnx", host_nodes=True)
    assert_identical(graph, {"image": images}, 3)


def test_a_transformer_without_real_numbers(images: Array) -> None:
    graph = compiled(EXAMPLES / "saformer" / "digits_saformer.onnx")
    assert_identical(graph, {graph.inputs[0].name or "": images}, 4)


@pytest.mark.shared
def test_resnet20(shared_models: Path) -> None:
    normalise = snnc.Normalise(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    calibration = snnc.load_data(shared_models / "cifar10_calibration.npz", normalise=normalise, limit=32)
    graph = snnc.compile(shared_models / "cifar10_resnet20.onnx", calibration, target="loihi2")
    data = snnc.load_data(shared_models / "cifar10_test.npz", normalise=normalise, limit=3)
    inputs, _ = next(data.batches(graph, 3))
    assert_identical(graph, inputs, 2)


def test_the_file_holds_weights_of_8_bits_and_takes_any_batch_size(images: Array) -> None:
    graph = compiled(DIGITS / "digits_cnn.onnx")
    model = emit_spiking(graph, 2).embedded()
    weights = [tensor for tensor in model.graph.initializer if ".weight" in tensor.name]
    assert {tensor.data_type for tensor in weights} == {TensorProto.INT8}
    plan = plan_precision(graph, 4)
    assert {plan.computes[node] for node in graph if node.op.synaptic} == {SINGLE}
    assert {opset.domain for opset in model.opset_import} == {""}
    simulator = OnnxSimulator(graph, threads=1)
    all_at_once = simulator.run(images, 2).outputs["logits"]
    one = simulator.run(images[:1], 2).outputs["logits"]
    np.testing.assert_array_equal(one, all_at_once[:, :1])


HOST: dict[str, dict[str, Any]] = {
    "relu": {}, "sigmoid": {}, "silu": {}, "tanh": {}, "exp": {}, "erf": {},
    "gelu": {"approximate": "none"}, "gelu tanh": {"approximate": "tanh"}, "softmax": {"axis": -1},
    "layer_norm": {"axis": -1, "epsilon": 1e-5}, "rms_norm": {"axis": -1, "epsilon": 1e-5},
    "reduce_mean": {"axes": (1,), "keepdims": False},
}  # fmt: skip


@pytest.mark.parametrize("name", HOST)
def test_host_nodes_compute_in_double_precision(name: str) -> None:
    net = networks.Builder("host")
    scale = np.array([1e-3, 1e-4, 2e-3, 1e-2], np.float32)
    sums = net.synapse("linear", net.encode(net.input(4)), 4, 4)
    real = net.add("dequantise", sums, scale=scale, axis=-1)
    net.answer(net.add(name.split(maxsplit=1)[0], real, expect=name != "reduce_mean", **HOST[name]))
    graph = net.done()
    inputs = networks.samples(graph, 5)
    found = OnnxSimulator(graph, threads=1).run(inputs, 3).outputs["y"]
    wanted = Simulator(graph, threads=1).run(inputs, 3).outputs["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_what_onnxruntime_has_in_single_precision_only_is_named() -> None:
    net = networks.Builder("host")
    real = net.add(
        "dequantise", net.synapse("linear", net.encode(net.input(4)), 4, 4), scale=np.ones(1, np.float32)
    )
    net.answer(net.add("mish", real, expect=True, name="/act/Mish"))
    with pytest.raises(BackendError, match="/act/Mish: onnxruntime has no mish in double precision"):
        emit_spiking(net.done(), 2)
