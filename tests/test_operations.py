"""What operations are: spikes of which payload, or multiplications; counted one by one on small layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.data import Normalise, load_data
from snnc.driver import compile_model
from snnc.energy import ActivityMeter, count_step, count_steps, estimate
from snnc.evaluation import evaluate
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary, unit_spikes
from snnc.ir.coding import CODINGS
from snnc.operations import Operations, coverage, operations
from snnc.passes.expand_levels import ExpandLevels
from tests.passes.build import Builder, N, applied
from tests.test_energy import LAYERS, RANDOM, SHAPE, STEPS, measured, ones, spiking, synapses_by_counting

if TYPE_CHECKING:
    from snnc.ir.coding import Coding
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[1] / "examples" / "digits"


def counted(graph: Graph, inputs: dict[str, Array], steps: int = STEPS) -> tuple[Operations, list[Array]]:
    """Return the operations per sample of a run and the payloads of every step."""
    meter, payloads = measured(graph, inputs, steps)
    meter.samples = len(next(iter(inputs.values())))
    return operations(graph, meter)[-1], payloads


def noise(*shape: int) -> Array:
    return (4 * RANDOM.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("name", LAYERS)
def test_every_accumulate_belongs_to_the_payload_that_causes_it(name: str) -> None:
    """Payload by payload, synapse by synapse: 1; 2, 3, …; -1, -2, …"""
    graph, samples = spiking(LAYERS[name]), 3
    done, payloads = counted(graph, {value.name or "": noise(samples, *SHAPE) for value in graph.inputs})
    synapses = np.broadcast_to(synapses_by_counting(LAYERS[name]), (samples, *SHAPE))
    expected = {"binary": 0, "multi": 0, "negative": 0}
    for payload in payloads:
        for k, drives in zip(payload.ravel(), synapses.ravel(), strict=True):
            kind = "negative" if k < 0 else "multi" if k > 1 else "binary"
            expected[kind] += int(unit_spikes(np.array([k]))[0]) * int(drives)
    for kind, total in expected.items():
        assert getattr(done, kind) * samples == pytest.approx(total), kind


@pytest.mark.parametrize("coding", CODINGS)
def test_the_kinds_add_up_to_what_is_priced(coding: Coding) -> None:
    """Accumulates and multiply-accumulates of the estimate, nothing left out, nothing twice."""
    b = Builder(N, 3, 4)
    b.graph.coding = coding
    first = b("linear", b.x, weight=ones(4, 4), bias=ones(4))
    q, k = (b("neuron", first, codebook=MultiSpike(-7, 7), quantum=ones(1, 1, 1)) for _ in range(2))
    scores = b("matmul", q, b("transpose", k, perm=(0, 2, 1)), expect=True)
    graph = b.outputs(y=b("softmax", b("mul", scores, 0.5), axis=2, expect=True))
    meter, _ = measured(graph, {"x": noise(2, 3, 4)})
    meter.samples = 2
    steps, accumulates = count_steps(graph), meter.accumulates.cumsum() / 2
    for t, done in enumerate(operations(graph, meter), 1):
        priced = estimate(steps.first, steps.until(t), float(accumulates[t - 1]))
        assert done.accumulates == pytest.approx(priced.accumulates)
        assert done.multiplications == pytest.approx(priced.multiply_accumulates)
        # In differential coding the analog layer runs once, and later every neuron scales its membrane.
        analog, neurons = (t, 0) if coding == "rate" else (1, t - 1)
        assert done.analog_synapses == analog * 3 * 4 * 4
        assert done.other_multiplications == t * 3 * 3 + neurons * 2 * 3 * 4
        # Sums over t, and whatever softmax multiplies.
        assert done.expectation > t * 3 * 3
        assert sum(done.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("codebook", "kinds"),
    [
        (Binary(), {"binary"}),
        (Ternary(), {"binary", "negative"}),
        (MultiSpike(0, 7), {"binary", "multi"}),
        (PowerOfTwo(3), {"binary", "multi", "negative"}),
    ],
)
def test_codebooks_decide_which_kinds_there_are(codebook: object, kinds: set[str]) -> None:
    b = Builder(N, 50)
    spikes = b("neuron", b.x, codebook=codebook, quantum=ones(1, 1))
    done, _ = counted(b.outputs(y=b("linear", spikes, weight=ones(3, 50))), {"x": noise(4, 50)})
    assert {name for name, share in done.shares.items() if share} == kinds


def test_expanded_levels_are_binary_throughout() -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=PowerOfTwo(3), quantum=ones(1, 1))
    graph = b.outputs(y=b("linear", spikes, weight=noise(3, 6)))
    expanded, _ = applied(graph, ExpandLevels())
    x = {"x": noise(4, 6)}
    assert counted(graph, x)[0].shares["binary"] < 1
    assert counted(expanded, x)[0].shares["binary"] == 1


def test_a_scale_changes_no_kind() -> None:
    """-0.25 times payload 5 is a multi-spike, 0.5 times -1 a negative one."""
    b = Builder(N, 3)
    scale = np.array([[0.5, -0.25, 0.5]], np.float32)
    spikes = b("neuron", b.x, codebook=MultiSpike(-31, 31), quantum=np.abs(scale), scale=scale)
    graph = b.outputs(y=b("linear", spikes, weight=ones(2, 3)))
    done, _ = counted(graph, {"x": np.array([[0.5, 1.25, -0.5]], np.float32)}, 1)
    assert (done.binary, done.multi, done.negative) == (2, 2 * 2, 2)


@pytest.mark.parametrize(
    ("op", "left", "right", "dense"),
    [("matmul", (3, 4), (4, 5), 3 * 4 * 5), ("mul", (3, 5), (3, 5), 3 * 5)],
)
def test_a_product_with_a_real_factor_multiplies(
    op: str, left: tuple[int, int], right: tuple[int, int], dense: int
) -> None:
    """K(t) = A(t)B(t) + A(t)S_B(t-1) + S_A(t-1)B(t): where B is real, the last term has no spike."""
    b = Builder(N, *left)
    other = b.input("other", N, *right)
    a, c = (
        b("neuron", stream, codebook=MultiSpike(-31, 31), quantum=ones(1, 1, 1)) for stream in (b.x, other)
    )
    outputs = 3 * 5
    for factor, multiplied in ((c, outputs), (b("abs", other, expect=True), outputs + dense)):
        product = b(op, a, factor, expect=True).node
        assert product is not None
        graph = product.graph
        assert graph is not None
        before = count_step(graph).multiply_accumulates
        b.graph.erase(product)
        assert before - count_step(graph).multiply_accumulates == multiplied


# What spikes reach.


def attention(b: Builder, *, spiking_softmax: bool) -> Graph:
    """softmax(q kᵀ) v over streams of shape [N, 3, 4]."""

    def neuron(x: object) -> object:
        return b("neuron", x, codebook=MultiSpike(-7, 7), quantum=ones(1, 1, 1))  # type: ignore[arg-type]

    q, k, v = (neuron(b("linear", b.x, weight=ones(4, 4))) for _ in range(3))
    scores = b("mul", b("matmul", q, b("transpose", k, perm=(0, 2, 1)), expect=True), 0.5)  # type: ignore[arg-type]
    weights = b("softmax", scores, axis=2, expect=True)
    sent = b("reshape", neuron(weights) if spiking_softmax else weights, shape=(N, 3, 3))  # type: ignore[arg-type]
    return b.outputs(y=b("linear", b("matmul", sent, v, expect=True), weight=ones(2, 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize("spiking_softmax", [True, False])
def test_coverage_of_attention(spiking_softmax: bool) -> None:
    found = coverage(attention(Builder(N, 3, 4), spiking_softmax=spiking_softmax))
    assert (found.synapses, found.spiking_synapses) == (4, 0)
    assert (found.products, found.spiking_products) == (2, 1 + spiking_softmax)
    assert (found.attentions, found.spiking_attentions) == (1, int(spiking_softmax))
    assert (
        found.sentences()[-1] == f"q, k, v and softmax send spikes in {int(spiking_softmax)} of 1 attentions"
    )


def test_a_network_without_attention_does_not_speak_of_it() -> None:
    found = coverage(spiking(LAYERS["conv"]))
    assert found.sentences() == ["1 of 1 synaptic layers read spikes"]


def test_a_vision_transformer_attends_in_spikes() -> None:
    """q, k, v and post-softmax of all three blocks; only the patch embedding reads the image itself."""
    data = load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16), limit=8)
    graph = compile_model(DIGITS / "digits_vit.onnx", data).graph
    result = evaluate(graph, DIGITS / "digits_vit.onnx", data, 2)
    found = result.coverage
    assert (found.synapses - found.spiking_synapses, found.spiking_products, found.products) == (1, 6, 6)
    assert (found.spiking_attentions, found.attentions) == (3, 3)
    for step in result.steps:
        assert step.operations.accumulates == pytest.approx(step.energy.accumulates)
        assert step.operations.multiplications == pytest.approx(step.energy.multiply_accumulates)
        assert 0 < step.operations.shares["multiplications"] < 0.1
    plain = json.loads(json.dumps(result.to_json()))
    assert plain["coverage"]["spiking_attentions"] == 3
    assert plain["steps"][0]["operations"]["shares"].keys() == {
        "binary", "multi", "negative", "multiplications",
    }  # fmt: skip


def test_a_long_and_branched_way_to_a_softmax_is_gone_once() -> None:
    """2 to the 2000 ways lead back from it, and as many on."""
    b = Builder(N, 4)
    x = b.x
    for _ in range(2000):
        x = b("add", x, x)
    weights = b("softmax", x, axis=1, expect=True)
    for _ in range(2000):
        weights = b("add", weights, weights)
    assert coverage(b.outputs(y=weights)).attentions == 0


def test_a_network_that_does_nothing_has_no_shares() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=b("reshape", b.x, shape=(N, 2, 2)))
    meter = ActivityMeter(graph, 1, samples=1)
    assert set(operations(graph, meter)[0].shares.values()) == {0.0}
