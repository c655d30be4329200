"""What NIR can say is said exactly: a hand-written interpreter of NIR, and our own import, send the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, just

from snnc.backends.nir import Timing, remedies
from snnc.backends.nir.emit import EMITTERS, emit_nir, nir_bytes
from snnc.backends.nir.remedies import ONNX, remedy
from snnc.backends.reference import Simulator
from snnc.frontend.source import import_network
from snnc.ir.codebooks import Binary, MultiSpike, Ternary
from snnc.ir.errors import BackendError
from snnc.ir.ops import FAMILIES, op_table
from tests.nir_exchange.interpreter import Interpreter
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

STEPS, SAMPLES = 7, 3


def grid(*shape: int, seed: int = 0) -> Array:
    """Return eighths: their sums and products are exact, and membranes do meet thresholds."""
    return (np.random.default_rng(seed).integers(-8, 13, shape) / 8).astype(np.float32)


def ones(value: float, rank: int = 4) -> Array:
    return np.full((1,) * rank, value, np.float32)


def conv(b: Builder, x: Value, weight: Array, **given: Any) -> Value:
    rank = weight.ndim - 2
    plain = {"strides": (1,) * rank, "pads": (0,) * 2 * rank, "dilations": (1,) * rank}
    return b("conv", x, weight=weight, **(plain | given))


def image(build: Callable[[Builder], Value], *sizes: int) -> Graph:
    b = Builder(N, *(sizes or (2, 5, 6)))
    return b.outputs(y=build(b))


def binary(b: Builder, quantum: Array, *, reset: str = "zero", **given: Array) -> Value:
    return b("neuron", b.x, codebook=Binary(), quantum=quantum, reset=reset, **given)


GRAPHS: dict[str, tuple[Graph, set[str]]] = {
    "conv": (
        image(lambda b: conv(b, b.x, grid(3, 2, 3, 3), pads=(1, 1, 1, 1), strides=(2, 1), bias=grid(3))),
        {"Conv2d"},
    ),
    "conv, dilated": (image(lambda b: conv(b, b.x, grid(1, 2, 2, 2), dilations=(2, 3))), {"Conv2d"}),
    "conv, one axis": (image(lambda b: conv(b, b.x, grid(3, 2, 3), pads=(1, 1)), 2, 7), {"Conv1d"}),
    "conv, in groups": (image(lambda b: conv(b, b.x, grid(4, 1, 3, 3), group=2)), {"Conv2d"}),
    "conv, kernel not square": (
        image(lambda b: conv(b, b.x, grid(2, 2, 1, 3), pads=(0, 1, 0, 1))),
        {"Conv2d"},
    ),
    "conv, padded on one side": (
        image(lambda b: conv(b, b.x, grid(2, 2, 2, 2), pads=(0, 0, 1, 1), strides=(2, 2))),
        {"Conv2d"},
    ),
    "windows added up": (
        image(lambda b: conv(b, b.x, np.ones((2, 1, 2, 2), np.float32), group=2, strides=(2, 2))),
        {"SumPool2d"},
    ),
    "average pooling": (
        image(lambda b: b("avg_pool", b.x, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))),
        {"AvgPool2d"},
    ),
    "average pooling, padding counted": (
        image(
            lambda b: b(
                "avg_pool", b.x, kernel=(2, 4), strides=(1, 2), pads=(1, 1, 1, 1), count_include_pad=True
            )
        ),
        {"AvgPool2d"},
    ),
    "linear": (image(lambda b: b("linear", b.x, weight=grid(3, 4)), 4), {"Linear"}),
    "linear with a bias": (image(lambda b: b("linear", b.x, weight=grid(3, 4), bias=grid(3)), 4), {"Affine"}),
    "flatten": (image(lambda b: b("reshape", b.x, shape=(N, 60))), {"Flatten"}),
    "flatten the last axes": (image(lambda b: b("reshape", b.x, shape=(N, 2, 30))), {"Flatten"}),
    "flatten the first axes": (image(lambda b: b("reshape", b.x, shape=(N, 10, 6))), {"Flatten"}),
    "a factor per channel": (image(lambda b: b("mul", b.x, b.constant(grid(2, 1, 1)))), {"Scale"}),
    "delay": (image(lambda b: b("delay", b.x, steps=2)), {"Delay"}),
    "a sum of streams": (
        image(lambda b: b("add", b.x, conv(b, b.x, grid(2, 2, 1, 1)))),
        {"Conv2d"},
    ),
    "binary neuron": (image(lambda b: binary(b, ones(1.0))), {"IF"}),
    "binary neurons, some mirrored": (
        image(lambda b: binary(b, np.array([0.5, -0.5], np.float32).reshape(1, 2, 1, 1))),
        {"IF"},
    ),
    "binary neuron with a scale": (image(lambda b: binary(b, ones(0.5), scale=ones(2.5))), {"IF", "Scale"}),
    "binary neuron that restarts": (image(lambda b: binary(b, ones(0.5), reset="restart")), {"Threshold"}),
    "IF": (image(lambda b: b("lif", b.x, threshold=ones(1.0), gain=ones(0.5))), {"IF"}),
    "IF, above its threshold": (image(lambda b: b("lif", b.x, threshold=ones(0.5), strict=True)), {"IF"}),
    "IF that resets elsewhere": (
        image(lambda b: b("lif", b.x, threshold=ones(0.5), rest=ones(-0.25), initial=-0.25)),
        {"IF"},
    ),
    "LIF": (
        image(
            lambda b: b("lif", b.x, threshold=ones(0.5), leak=ones(0.75), gain=ones(0.5), bias=ones(0.125))
        ),
        {"LIF"},
    ),
    "LIF with a leak per channel": (
        image(
            lambda b: b(
                "lif", b.x, threshold=ones(1.0), leak=np.array([0.5, 0.25], np.float32).reshape(1, 2, 1, 1)
            )
        ),
        {"LIF"},
    ),
    "LIF that forgets all": (
        image(lambda b: b("lif", b.x, threshold=ones(0.5), leak=ones(0), bias=ones(0.25))),
        {"LIF"},
    ),
    "threshold": (
        image(lambda b: b("lif", b.x, threshold=ones(0.5), leak=ones(0), reset="none")),
        {"Threshold"},
    ),
}  # fmt: skip


def inputs_of(graph: Graph) -> Array:
    """Return [T, N, …]: one input per step."""
    sizes = [size for size in graph.inputs[0].type.shape[1:] if isinstance(size, int)]
    return grid(STEPS, SAMPLES, *sizes, seed=9)


def streams(graph: Graph, x: Array) -> Array:
    """Return what the output sends at every step."""
    graph.decode_outputs("last")
    (y,) = Simulator(graph).run({graph.inputs[0].name or "": x}, STEPS).outputs.values()
    return y


def by_hand(nir_graph: Any, x: Array, dt: float = 1e-4) -> Array:
    runs = []
    for sample in range(x.shape[1]):
        interpreter = Interpreter(nir_graph, dt)
        runs.append([interpreter.step(step[sample]) for step in x])
    return np.array(runs).swapaxes(0, 1)


def written(graph: Graph, folder: Path, **options: Any) -> Path:
    path = folder / "net.nir"
    path.write_bytes(nir_bytes(emit_nir(graph, **options)))
    return path


@pytest.mark.parametrize("name", GRAPHS)
def test_nir_says_exactly_what_the_graph_does(name: str, tmp_path: Path) -> None:
    graph, kinds = GRAPHS[name]
    x = inputs_of(graph)
    path = written(graph, tmp_path)
    nir_graph = nir.read(path)
    found = {type(node).__name__ for node in nir_graph.nodes.values()}
    assert found == kinds | {"Input", "Output"}
    expected = streams(graph, x)
    np.testing.assert_allclose(by_hand(nir_graph, x), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(streams(import_network(path), x), expected, rtol=1e-6, atol=1e-6)


def test_neurons_that_meet_their_threshold_fire_and_so_they_do_in_nir(tmp_path: Path) -> None:
    graph = image(lambda b: binary(b, ones(1.0, 2)), 1)
    x = np.ones((STEPS, SAMPLES, 1), np.float32)
    assert streams(graph, x).all()
    assert by_hand(nir.read(written(graph, tmp_path)), x).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_reset_by_subtraction_is_feedback(sign: float, tmp_path: Path) -> None:
    graph = image(lambda b: binary(b, ones(sign * 0.75), reset="subtract"))
    x = sign * inputs_of(graph)
    path = written(graph, tmp_path, feedback=True)
    nir_graph = nir.read(path)
    kinds = {type(node).__name__ for node in nir_graph.nodes.values()}
    assert kinds == {"Input", "I", "Threshold", "Scale", "Output"}
    expected = streams(graph, x)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(by_hand(nir_graph, x), expected)
    back = import_network(path)
    assert [node.op.name for node in back] == ["lif"]
    np.testing.assert_array_equal(streams(back, x), expected)


@pytest.mark.parametrize("integration", ["euler", "exponential"])
@pytest.mark.parametrize("dt", [1e-4, 1.0, 3e-3])
def test_any_time_step_says_the_same(dt: float, integration: Any, tmp_path: Path) -> None:
    graph = GRAPHS["LIF"][0]
    path = written(graph, tmp_path, timing=Timing(dt, integration))
    back = import_network(path)  # the file says how
    (before,), (after,) = ([node for node in g if node.op.name == "lif"] for g in (graph, back))
    for name in ("leak", "gain", "bias"):
        assert graph.resolve(before)[name].ravel() == back.resolve(after)[name].ravel(), name


@settings(deadline=None)
@given(
    leak=just(0.0) | floats(2.0**-28, 1, width=32, exclude_max=True),
    gain=floats(2.0**-20, 2.0**20, width=32),
    dt=floats(1e-6, 10),
)
def test_time_constants_keep_every_bit_of_a_leak_and_a_gain(leak: float, gain: float, dt: float) -> None:
    timing = Timing(dt)
    tau = timing.tau(np.float64(leak))
    share = timing.decay(tau)
    assert np.float32(1 - share) == np.float32(leak)
    assert np.float32(share * (np.float64(gain) / (1 - np.float64(leak)))) == np.float32(gain)


REFUSED: dict[str, tuple[Callable[[Builder], Value], str]] = {
    "payloads": (
        lambda b: b("neuron", b.x, codebook=MultiSpike(0, 3, "nearest"), quantum=ones(1)),
        r"payloads \(multi\).*--method if --reset zero",
    ),
    "payloads taken back": (
        lambda b: b("neuron", b.x, codebook=MultiSpike(0, 3), quantum=ones(1), bounds="sum"),
        r"payloads \(multi\).*--method if --reset zero",
    ),
    "ternary": (lambda b: b("neuron", b.x, codebook=Ternary(), quantum=ones(1)), r"payloads \(ternary\)"),
    "subtraction": (lambda b: binary(b, ones(1), reset="subtract"), "--feedback"),
    "a charge": (
        lambda b: b("neuron", b.x, codebook=Binary(), quantum=ones(1), reset="zero", initial=0.5),
        "starts charged",
    ),
    "a current": (lambda b: binary(b, ones(1), bias=ones(0.5)), "--batch-norm weights"),
    "no threshold": (lambda b: b("neuron", b.x, codebook=Binary(), reset="zero"), "no threshold yet"),
    "no reset": (lambda b: b("lif", b.x, threshold=ones(1), reset="none"), "reset when they fire"),
    "a late reset": (lambda b: b("lif", b.x, threshold=ones(1), delayed=True), "reset at once"),
    "a start elsewhere": (lambda b: b("lif", b.x, threshold=ones(1), initial=0.5), "where a membrane starts"),
    "a leak that grows": (lambda b: b("lif", b.x, threshold=ones(1), leak=ones(1.5)), "0 to 1 of its"),
    "a leak next to none": (
        lambda b: b("lif", b.x, threshold=ones(1), leak=ones(1e-12)),
        "to the last bit",
    ),
    "a leak and subtraction": (
        lambda b: b("lif", b.x, threshold=ones(1), leak=ones(0.5), reset="soft"),
        "this one by subtraction",
    ),
    "max pooling": (
        lambda b: b("max_pool", b.x, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0)),
        "max_pool.*average pooling",
    ),
    "an activation": (lambda b: b("relu", b.x), "compile the network first"),
    "a product": (lambda b: b("mul", b.x, b("relu", b.x)), "not by another stream"),
    "a constant": (lambda b: b("add", b.x, b.constant(ones(1, 3))), "presents no constants"),
    "a stream twice": (lambda b: b("add", b.x, b.x), "cannot add a stream to itself"),
    "a reshape": (lambda b: b("reshape", b.x, shape=(N, 5, 12)), "does not reshape"),
    "vectors side by side": (lambda b: b("linear", b.x, weight=grid(3, 6)), "one vector per sample"),
    "integers": (
        lambda b: conv(b, b("lif", b.x, threshold=ones(1)), np.ones((1, 2, 1, 1), np.int8), exponent=3),
        "weight holds int8.*before it is lowered to integers",
    ),
    "a ceiling": (
        lambda b: b("avg_pool", b.x, kernel=(2, 4), strides=(2, 4), pads=(0, 0, 0, 0), ceil=True),
        "reaches beyond the padding",
    ),
    "padding left out": (
        lambda b: b("avg_pool", b.x, kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1)),
        "counts the padding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_nir_has_no_words_for_is_refused(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(BackendError, match=re.compile(message, re.DOTALL)) as caught:
        emit_nir(image(build))
    assert "\n    help: " in str(caught.value)


def test_everything_is_refused_at_once_and_every_reason_once() -> None:
    b = Builder(N, 4)
    x: Value = b.x
    for number in range(5):
        x = b("neuron", x, codebook=MultiSpike(0, 3, "nearest"), quantum=ones(1, 2), name=f"n{number}")
        x = b("linear", x, weight=grid(4, 4))
    with pytest.raises(BackendError) as caught:
        emit_nir(b.outputs(y=b("softmax", x, axis=1)))
    lines = str(caught.value).splitlines()
    assert lines[0] == "NIR has no exact words for this network:"
    assert lines[1].startswith("  n0, n1, n2 and 2 more: it sends payloads")
    assert "NIR has no primitive for softmax" in lines[3]
    assert len(lines) == 5


def test_whatever_is_refused_is_named_with_what_would_help() -> None:
    """A node that stands for nothing in the source has the number it has in the SIR text."""
    b = Builder(N, 2, 5, 6)
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 3), quantum=ones(1))
    joined = b("concat", spikes, b("conv_transpose", spikes, weight=grid(2, 2, 1, 1)), axis=1)
    graph = b.outputs(y=joined)
    for node in graph:
        node.origin = ()
    with pytest.raises(BackendError) as caught:
        emit_nir(graph)
    lines = str(caught.value).splitlines()[1:]
    assert lines[0].startswith("  neuron %0 behind the input 'x': it sends payloads")
    assert [line.partition(":")[0] for line in lines[2::2]] == ["  conv_transpose %1", "  concat %2"]
    assert all(line.startswith("    help: ") for line in lines[1::2])


def test_there_is_a_remedy_for_every_op_that_is_refused() -> None:
    refused = [op for name, op in op_table().items() if name not in EMITTERS]
    without = {op.name for op in refused if remedy(op) == ONNX}
    assert without == {"range", "embedding", "take", "gather_elements", "gather_nd"}  # nothing better
    known = set(op_table())
    assert set(remedies.BY_OP) <= known - set(EMITTERS)
    assert set(remedies.BY_FAMILY) <= set(FAMILIES)


def test_equal_graphs_give_equal_bytes() -> None:
    first, second = (nir_bytes(emit_nir(GRAPHS["LIF"][0])) for _ in range(2))
    assert first == second
