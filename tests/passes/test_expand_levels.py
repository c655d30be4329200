"""`expand-levels` makes every event a binary spike and changes no decoded value, membrane or count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.backends.reference import Simulator
from snnc.energy import ActivityMeter, count_step
from snnc.ir.codebooks import MultiSpike, PowerOfTwo
from snnc.passes.dce import Dce
from snnc.passes.expand_levels import ExpandLevels
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.normalise_thresholds import NormaliseThresholds
from tests.passes.build import Builder, N, applied, assert_close, decoded, only, ops, random_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

STEPS = 5


def dyadic(*shape: int) -> Array:
    """Weights whose sums are exact in any order."""
    return (np.random.default_rng(sum(shape)).integers(-8, 9, shape) / 8).astype(np.float32)


def neuron(b: Builder, x: Value, *, negative: Array | None = None, **attributes: Any) -> Value:
    given: dict[str, Any] = {
        "codebook": PowerOfTwo(4),
        "quantum": np.full([1] * len(x.type.shape), 0.25, "f4"),
    }
    given |= {} if negative is None else {"negative": negative}
    return b("neuron", x, name="neuron", **(given | attributes))


def ratios(rank: int, axis: int) -> Array:
    """Negative quanta of four channels, dyadic."""
    shape = [1] * rank
    shape[axis] = 4
    return np.array([0.5, 1, 2, 0.25], np.float32).reshape(shape)


LAYERS: dict[str, Callable[[Builder], Value]] = {
    "conv": lambda b: b(
        "conv", neuron(b, b.x), weight=dyadic(3, 4, 3, 3), bias=dyadic(3), pads=(1, 1, 1, 1), strides=(2, 2)
    ),
    "conv, uneven sides": lambda b: b(
        "conv", neuron(b, b.x, negative=ratios(4, 1)), weight=dyadic(3, 4, 2, 2)
    ),
    "grouped conv": lambda b: b(
        "conv", neuron(b, b.x, negative=ratios(4, 1)), weight=dyadic(6, 2, 2, 2), group=2
    ),
    "depthwise conv": lambda b: b(
        "conv", neuron(b, b.x, negative=ratios(4, 1)), weight=dyadic(4, 1, 2, 2), group=4
    ),
    "linear": lambda b: b(
        "linear", neuron(b, b.x, negative=ratios(4, 3)), weight=dyadic(5, 4), bias=dyadic(5)
    ),
    "one ratio for all": lambda b: b(
        "linear", neuron(b, b.x, negative=np.full((1, 1, 1, 1), 0.5, np.float32)), weight=dyadic(5, 4)
    ),
    "no negative side": lambda b: b(
        "linear", neuron(b, b.x, codebook=PowerOfTwo(5, False), low=0.0), weight=dyadic(5, 4)
    ),
    "two readers": lambda b: b(
        "add",
        b("linear", shared := neuron(b, b.x, negative=ratios(4, 3)), weight=dyadic(5, 4)),
        b("linear", shared, weight=dyadic(4, 4)[:1]),
    ),
}


def build(layer: Callable[[Builder], Value]) -> Graph:
    b = Builder(N, 4, 4, 4)
    return b.outputs(y=layer(b))


def inputs_of(graph: Graph) -> dict[str, Array]:
    """Multiples of 1/64, so that membranes meet the edges between levels."""
    return {name: np.round(64 * x) / np.float32(64) for name, x in random_inputs(graph, samples=4).items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_spike_is_binary_and_nothing_else_changes(layer: str) -> None:
    graph = build(LAYERS[layer])
    after, notes = applied(graph, ExpandLevels())
    assert notes == []
    spikes = only(after, "neuron").result.type
    assert str(spikes).startswith("spikes<0..1, N x ")
    inputs = inputs_of(graph)
    runs = [Simulator(each).run(inputs, STEPS, record=["neuron"]) for each in (graph, after)]
    np.testing.assert_array_equal(runs[1].outputs["y"], runs[0].outputs["y"])
    np.testing.assert_array_equal(runs[1].membranes["neuron"], runs[0].membranes["neuron"])
    assert set(np.unique(runs[1].spikes["neuron"])) == {0, 1}
    assert np.count_nonzero(runs[1].spikes["neuron"]) == np.count_nonzero(runs[0].spikes["neuron"])


@pytest.mark.parametrize("layer", LAYERS)
def test_operations_are_counted_alike(layer: str) -> None:
    graph = build(LAYERS[layer])
    after, _ = applied(graph, ExpandLevels())
    assert count_step(after) == count_step(graph)
    meters = [ActivityMeter(each, STEPS) for each in (graph, after)]
    for meter in meters:
        Simulator(meter.graph).run(inputs_of(graph), STEPS, observers=[meter])
    np.testing.assert_array_equal(meters[1].unit_spikes, meters[0].unit_spikes)
    np.testing.assert_array_equal(meters[1].accumulates, meters[0].accumulates)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_identity_law_holds_on_lines(layer: str) -> None:
    graph = build(LAYERS[layer])
    after, _ = applied(graph, ExpandLevels(), IdentityNeurons())
    wanted, _ = applied(graph, IdentityNeurons())
    assert "neuron" not in ops(after)
    inputs = random_inputs(graph)
    assert_close(decoded(after, inputs, 3), decoded(wanted, inputs, 3), 1e-5, 1e-6)


def test_a_whole_chain_expands_after_normalisation() -> None:
    """Scales fold into the weights first; what differs between the sides ends in the weights as well."""
    b = Builder(N, 4)
    scale = np.array([[0.5, 0.25, 1.0, 2.0]], np.float32)
    hidden = b("linear", b.x, weight=dyadic(4, 4), bias=dyadic(4))
    first = neuron(b, hidden, quantum=scale, scale=scale, negative=ratios(2, 1))
    second = neuron(b, b("linear", first, weight=dyadic(4, 4)), scale=scale[:, :1])
    graph = b.outputs(y=b("linear", second, weight=dyadic(3, 4)))
    after, _ = applied(graph, NormaliseThresholds(), Dce(), ExpandLevels(), Dce())
    assert ops(after) == ["linear", "neuron", "linear", "neuron", "linear"]
    assert [str(node.result.type) for node in after if node.op.name == "neuron"] == [
        "spikes<0..1, N x 32>"
    ] * 2
    inputs = random_inputs(graph)
    assert_close(decoded(after, inputs, STEPS), decoded(graph, inputs, STEPS), 1e-5, 1e-5)


def test_lines_of_the_negative_side_have_mirrored_weights() -> None:
    b = Builder(N, 2)
    spikes = neuron(b, b.x, codebook=PowerOfTwo(2), negative=np.array([[0.5, 3]], np.float32))
    graph = b.outputs(y=b("linear", spikes, weight=np.array([[1, 10]], np.float32)))
    after, _ = applied(graph, ExpandLevels())
    weight = after.resolve(only(after, "linear"))["weight"]
    assert weight.tolist() == [[1, 2, -0.5, -1, 10, 20, -30, -60]]


DECLINED: dict[str, Callable[[Builder], Value]] = {
    "its codebook is multi, not pow2": (
        lambda b: b("linear", neuron(b, b.x, codebook=MultiSpike(-7, 7)), weight=dyadic(5, 4))
    ),
    "it has a scale; run normalise-thresholds first": (
        lambda b: b("linear", neuron(b, b.x, scale=np.full((1, 1, 1, 1), 0.25, "f4")), weight=dyadic(5, 4))
    ),
    "its spikes are an output of the network": lambda b: neuron(b, b.x),
    "expect.matmul reads it; only linear and conv can read lines": (
        lambda b: b("matmul", neuron(b, b.x), b.input("k", N, 4, 4, 2), expect=True)
    ),
    "its negative quanta vary along another axis than the synapse's inputs": (
        lambda b: b("linear", neuron(b, b.x, negative=ratios(4, 1)), weight=dyadic(5, 4))
    ),
    "the synapses that read it have their channels along different axes": (
        lambda b: b(
            "concat",
            b("linear", shared := neuron(b, b.x), weight=dyadic(4, 4)),
            b("conv", shared, weight=dyadic(4, 4, 1, 1)),
            axis=1,
        )
    ),
}


@pytest.mark.parametrize("reason", DECLINED)
def test_what_stays_says_why(reason: str) -> None:
    graph = build(DECLINED[reason])
    after, notes = applied(graph, ExpandLevels())
    assert {note.reason for note in notes} == {reason}
    assert ops(after) == ops(graph)
