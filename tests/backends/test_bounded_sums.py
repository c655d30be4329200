"""Neurons with bounds = sum: what they have sent is a function of all they received, in every backend."""

from __future__ import annotations

import importlib.util
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.backends.fast import FastSimulator
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
from snnc.backends.onnx.spiking import simulator as simulator_module
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import MultiSpike, unit_spikes
from snnc.ir.errors import OptionError, TypeInferenceError
from snnc.passes.analysis import answers_by_averages
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

STEPS = 6
TORCH = pytest.param(
    "torch",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("torch") is None, reason='needs PyTorch: pip install -e ".[torch]"'
    ),
)
BACKENDS = ["reference", "fast", "onnx", TORCH]


def simulator(backend: str, graph: Graph) -> Any:
    if backend == "torch":
        from snnc.backends.torch.simulator import TorchSimulator

        return TorchSimulator(graph)
    return {"reference": Simulator, "fast": FastSimulator, "onnx": OnnxSimulator}[backend](graph)


def currents(steps: int = STEPS, seed: int = 0) -> Array:
    """Return x(1) … x(T) of 3 samples, 2 channels: multiples of 1/8, so sums are exact, edges included."""
    noise = np.random.default_rng(seed).normal(0, 3, (steps, 3, 2, 5))
    return (np.round(8 * noise) / 8).astype(np.float32)


def scalar_neuron(xs: list[float], lo: int, hi: int, q: float, b: float, v: float, s: float) -> list[float]:
    """Return y(1) … y(T) of one neuron, step by step: nothing is kept but the membrane and what was sent."""
    sent, outputs = 0, []
    membrane = v * q
    for t, x in enumerate(xs, start=1):
        membrane += x + b
        k = min(max(round(membrane / q + sent), t * lo), t * hi) - sent
        membrane -= q * k
        sent += k
        outputs.append(s * k)
    return outputs


FORMS: dict[str, dict[str, float]] = {
    "plain": {},
    "quanta": {"quantum": 0.5},
    "mirrored": {"quantum": -2.0},
    "biased": {"bias": 0.25},
    "charged": {"initial": 0.375},
    "scaled": {"quantum": 0.5, "scale": 4.0},
    "all": {"quantum": 0.5, "bias": -0.375, "initial": 0.25, "scale": 0.5},
}


def bounded(codebook: MultiSpike, **given: float) -> Graph:
    b = Builder(N, 2, 5)
    arrays = {
        name: value if name == "initial" else np.full((1, 2, 1), value, np.float32)
        for name, value in ({"quantum": 1.0} | given).items()
    }
    return b.outputs(y=b("neuron", b.x, codebook=codebook, bounds="sum", name="n", **arrays))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("codebook", [MultiSpike(0, 3), MultiSpike(-2, 5)], ids=str)
@pytest.mark.parametrize("varying", [True, False], ids=["varying input", "constant input"])
def test_every_backend_sends_what_one_neuron_would(
    backend: str, form: str, codebook: MultiSpike, varying: bool
) -> None:
    graph, given = bounded(codebook, **FORMS[form]), FORMS[form]
    steps = currents() if varying else np.repeat(currents(1), STEPS, axis=0)
    found = simulator(backend, graph).run({"x": steps if varying else steps[0]}, STEPS).outputs["y"]
    for index in np.ndindex(3, 2, 5):
        outputs = scalar_neuron(
            [float(x) for x in steps[:, *index]], codebook.lo, codebook.hi,
            given.get("quantum", 1.0), given.get("bias", 0.0), given.get("initial", 0.0),
            given.get("scale", 1.0),
        )  # fmt: skip
        means = np.cumsum(outputs) / np.arange(1, STEPS + 1)
        np.testing.assert_allclose(found[:, *index], means, rtol=1e-6, atol=1e-6)


def test_what_was_sent_too_early_is_taken_back() -> None:
    graph = bounded(MultiSpike(0, 7))
    first = np.full((1, 2, 5), 5, np.float32)
    inputs = np.stack([first, -3 * first, 4 * first])
    run = Simulator(graph).run({"x": inputs}, 3, record=["n"])
    assert run.spikes["n"][:, 0, 0, 0].tolist() == [5, -5, 10]  # 5, -10 and 10 were received in all


def test_floor_rounds_what_was_received() -> None:
    graph = bounded(MultiSpike(0, 7, "floor"), initial=0.5)
    found = Simulator(graph).run({"x": currents()}, STEPS).outputs["y"] * np.arange(1, 7).reshape(-1, 1, 1, 1)
    received = np.cumsum(currents(), axis=0) + 0.5
    wanted = np.clip(np.floor(received), 0, 7 * np.arange(1, 7).reshape(-1, 1, 1, 1))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


# Networks of such neurons in ONNX.


BATCH_NORM = {"gamma": 0.5, "beta": -1.0, "mean": 0.25, "variance": 1.0}


def bounded_layers() -> Graph:
    """Two neurons in a row, with a layer in front of each."""
    b = Builder(N, 4)
    weight, one = np.eye(4, dtype=np.float32) / 3, {"quantum": np.ones((1, 1), np.float32)}
    spikes = b(
        "neuron", b("linear", b.x, weight=weight, bias=None), codebook=MultiSpike(0, 7), bounds="sum", **one
    )
    again = b("linear", spikes, weight=weight, bias=np.ones(4, np.float32))
    return b.outputs(
        y=b(
            "linear",
            b("neuron", again, codebook=MultiSpike(0, 7), bounds="sum", **one),
            weight=weight,
            bias=None,
        )
    )


def network(batch_in_front: bool = True) -> Graph:
    """Two layers with a softmax between them, weights in multiples of 1/16."""
    weights = np.random.default_rng(1)
    w1, w2 = ((np.round(weights.normal(0, 8, (4, 4))) / 16).astype(np.float32) for _ in range(2))
    b = Builder(N, 4) if batch_in_front else Builder(3, N, 4)
    ones = {"quantum": np.full((1,) * (2 if batch_in_front else 3), 0.25, np.float32)}
    first = b("linear", b.x, weight=w1, bias=np.array([0.5, 0, -0.25, 1], np.float32))
    spikes = b("neuron", first, codebook=MultiSpike(0, 15), bounds="sum", **ones)
    gated = b("softmax", b("linear", spikes, weight=w2, bias=None), axis=-1, expect=True)
    again = b("neuron", gated, codebook=MultiSpike(-15, 15), bounds="sum", **ones)
    return b.outputs(y=b("linear", again, weight=w1, bias=None), z=gated)


@pytest.mark.parametrize("batch_in_front", [True, False])
@pytest.mark.parametrize("decode", ["mean", "sum"])
@pytest.mark.parametrize("threads", [1, 8], ids=["many samples", "fewer samples than cores"])
def test_a_network_follows_from_averages(batch_in_front: bool, decode: str, threads: int) -> None:
    graph = network(batch_in_front)
    graph.decode_outputs(decode)
    assert answers_by_averages(graph)
    shape = (5, 4) if batch_in_front else (3, 5, 4)
    x = np.random.default_rng(2).normal(0, 2, shape).astype(np.float32)
    found, wanted = (kind(graph, threads=threads).run(x, 4).outputs for kind in (OnnxSimulator, Simulator))
    for name in ("y", "z"):
        assert found[name].shape == wanted[name].shape
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["fast", "onnx"])
@pytest.mark.parametrize("samples", [1, 6], ids=["averages", "sums"])
@pytest.mark.parametrize("steps", [2, 5])
def test_constants_behind_a_neuron_count_at_every_step(backend: str, samples: int, steps: int) -> None:
    """The filler of a padding and the offset of a batch norm: t times in a sum, once in an average."""
    b, one = Builder(N, 4), {"quantum": np.ones((1, 1), np.float32)}
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 7), bounds="sum", **one)
    padded = b("pad", spikes, pads=(0, 1, 0, 1), value=0.75, mode="constant")
    numbers = {name: np.linspace(low, 2, 6, dtype=np.float32) for name, low in BATCH_NORM.items()}
    normal = b("batch_norm", padded, epsilon=1e-5, **numbers)
    graph = b.outputs(y=b("neuron", normal, codebook=MultiSpike(-7, 7), bounds="sum", **one), z=normal)
    x = np.random.default_rng(0).normal(0, 3, (samples, 4)).astype(np.float32)
    found, wanted = (simulator(kind, graph).run(x, steps).outputs for kind in (backend, "reference"))
    for name in ("y", "z"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4)


def test_the_last_step_is_a_difference_of_sums() -> None:
    graph = bounded(MultiSpike(-2, 5), quantum=0.5, scale=0.5)
    graph.decode_outputs("last")
    found, wanted = (
        kind(graph).run(currents(1)[0], STEPS).outputs["y"] for kind in (OnnxSimulator, Simulator)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_all_steps_are_one_batch() -> None:
    """As many nodes for any number of steps, and none that waits for an earlier step."""
    few, many = (Counter(n.op_type for n in emit_spiking(network(), t).model.graph.node) for t in (2, 16))
    assert few == many
    assert few["Sub"] == few["Split"] == 0


@pytest.mark.parametrize("steps", [2, 5, 8])
@pytest.mark.parametrize("decode", ["mean", "sum"])
def test_the_cores_share_the_steps_of_one_sample(
    steps: int, decode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator_module, "SHARED_ELEMENTS", 1)
    graph = network()
    graph.decode_outputs(decode)
    x = np.random.default_rng(2).normal(0, 2, (1, 4)).astype(np.float32)
    ours = OnnxSimulator(graph, threads=3)
    found, wanted = ours.run(x, steps).outputs, Simulator(graph).run(x, steps).outputs
    assert len(ours._models) == min(3, steps)
    for name in ("y", "z"):
        assert found[name].shape == wanted[name].shape
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4)


def test_sums_need_no_products_with_the_step() -> None:
    """Written step by step for large batches, a neuron's only operations are to clip and to round."""
    counts = Counter(n.op_type for n in emit_spiking(bounded_layers(), 4, many=True).model.graph.node)
    assert counts["Clip"] == counts["Round"] == 8
    assert counts["Sub"] == 0
    assert counts["Mul"] <= 4  # the first layer's currents, added up


def test_who_watches_is_told_every_payload() -> None:
    """With observers the steps are written one by one; what they are told is what was sent."""

    class Payloads:
        def __init__(self) -> None:
            self.told: dict[tuple[str, int], list[float]] = {}

        def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
            if node.op.neuron:
                self.told.setdefault((node.origin[0], t), []).extend(value.ravel())

    x = np.random.default_rng(2).normal(0, 2, (5, 4)).astype(np.float32)
    ours, theirs = Payloads(), Payloads()
    OnnxSimulator(network()).run(x, 4, observers=[ours])
    Simulator(network()).run(x, 4, observers=[theirs])
    assert len(theirs.told) == 8
    assert ours.told == theirs.told


def test_a_neuron_that_forgets_needs_its_steps() -> None:
    b = Builder(N, 4)
    one = {"quantum": np.ones((1, 1), np.float32)}
    spikes = b("neuron", b.x, codebook=MultiSpike(0, 15), bounds="sum", **one)
    graph = b.outputs(y=b("neuron", b("mul", spikes, 0.5), codebook=MultiSpike(0, 15), **one))
    assert not answers_by_averages(graph)
    x = np.random.default_rng(2).normal(0, 4, (5, 4)).astype(np.float32)
    found, wanted = (kind(graph).run(x, 4).outputs["y"] for kind in (OnnxSimulator, Simulator))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


# What is refused.


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"codebook": MultiSpike(0, 7, "burst")}, "multi, nearest or floor"),
        ({"reset": "restart"}, "resets by subtraction"),
        ({"negative": np.full((1, 1), 2, np.float32)}, "one quantum"),
    ],
)
def test_a_sum_that_is_no_function_of_what_came_is_refused(given: dict[str, Any], why: str) -> None:
    b = Builder(N, 4)
    attributes = {"codebook": MultiSpike(0, 7), "quantum": np.ones((1, 1), np.float32)} | given
    with pytest.raises(TypeInferenceError, match=why):
        b("neuron", b.x, bounds="sum", **attributes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_so_many_steps_that_sums_leave_single_precision_are_refused(backend: str) -> None:
    graph = bounded(MultiSpike(-30000, 30000))
    with pytest.raises(OptionError, match="run at most 279 steps"):
        simulator(backend, graph).run({"x": currents(1)[0]}, 280)
    with pytest.raises(OptionError, match="run at most 279 steps"):
        emit_spiking(graph, 280)


def test_a_payload_may_be_larger_than_the_codebook() -> None:
    """A neuron that saturates downwards, then makes up for all of it at once."""
    graph = bounded(MultiSpike(-30000, 30000))
    x = np.stack([np.full((1, 2, 5), value, np.float32) for value in (-30000, -30000, 150000)])
    run = Simulator(graph).run({"x": x}, 3, record=["n"])
    assert run.spikes["n"][:, 0, 0, 0].tolist() == [-30000, -30000, 150000]
    assert unit_spikes(run.spikes["n"])[2, 0, 0, 0] == np.count_nonzero(signed_digits(150000))


def signed_digits(number: int) -> list[int]:
    """Return the digits of the non-adjacent form, one after the other."""
    digits = []
    while number:
        digit = 2 - number % 4 if number % 2 else 0
        number = (number - digit) // 2
        digits.append(digit)
    return digits
