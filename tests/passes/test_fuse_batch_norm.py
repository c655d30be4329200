"""Batch norm folded into weights and into thresholds computes what the unfused graph computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.ir.codebooks import Codebook, MultiSpike, Ternary
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.normalise_thresholds import NormaliseThresholds
from snnc.passes.simplify import Simplify
from tests.passes.build import Builder, N, applied, assert_same_function, decoded, only, ops, random_inputs

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

# Powers of two as gains, thresholds and variances: the two orders of operations then round alike.
GAMMA = np.array([2.0, -1.0, 0.5, -4.0], np.float32)
CHANNELS = len(GAMMA)


def parameters(random: np.random.Generator, gamma: Array) -> dict[str, Any]:
    channels = len(gamma)
    return {
        "gamma": gamma,
        "beta": random.standard_normal(channels).astype(np.float32),
        "mean": random.standard_normal(channels).astype(np.float32),
        "variance": random.random(channels).astype(np.float32) + np.float32(0.1),
    }


def conv(b: Builder, random: np.random.Generator) -> Value:
    weight = random.standard_normal((4, 4, 3, 3)).astype(np.float32)
    bias = random.standard_normal(4).astype(np.float32)
    return b("conv", b.x, weight=weight, bias=bias, pads=(1, 0, 1, 1), strides=(2, 1))


def grouped(b: Builder, random: np.random.Generator) -> Value:
    return b("conv", b.x, weight=random.standard_normal((4, 2, 2, 2)).astype(np.float32), group=2)


def transposed(b: Builder, random: np.random.Generator) -> Value:
    weight = random.standard_normal((4, 2, 2, 2)).astype(np.float32)
    return b("conv_transpose", b.x, weight=weight, strides=(2, 2), group=2)


def transposed_with_bias(b: Builder, random: np.random.Generator) -> Value:
    weight = random.standard_normal((4, 4, 2, 2)).astype(np.float32)
    bias = random.standard_normal(4).astype(np.float32)
    return b("conv_transpose", b.x, weight=weight, bias=bias)


def dense(b: Builder, random: np.random.Generator) -> Value:
    flat = b("reshape", b.x, shape=(N, 4 * 5 * 5))
    return b("linear", flat, weight=random.standard_normal((4, 100)).astype(np.float32) / np.float32(10))


LAYERS = {
    "conv": conv,
    "grouped conv": grouped,
    "grouped conv_transpose": transposed,
    "conv_transpose with bias": transposed_with_bias,
    "linear": dense,
}


def network(layer: str, gamma: Array, codebook: Codebook | None = None, seed: int = 0) -> Graph:
    """layer -> batch norm [-> neuron], one channel each with its own threshold."""
    random = np.random.default_rng(seed)
    b = Builder(N, 4, 5, 5)
    value = b("batch_norm", LAYERS[layer](b, random), name="bn", **parameters(random, gamma))
    if codebook is not None:
        shape = (1, -1) + (1,) * (len(value.type.shape) - 2)
        quantum = np.array([0.25, 0.5, 0.125, 0.25], np.float32).reshape(shape)
        value = b(
            "neuron", value, name="neuron", codebook=codebook, quantum=quantum, scale=quantum, initial=0.25
        )
    return b.outputs(y=value)


@pytest.mark.parametrize("gamma", [GAMMA, np.zeros(4, np.float32), np.array([1, 0, -1, 0], np.float32)])
@pytest.mark.parametrize("layer", LAYERS)
def test_into_weights(layer: str, gamma: Array) -> None:
    graph = network(layer, gamma)
    fused, _ = applied(graph, FuseBatchNorm())
    assert "batch_norm" not in ops(fused)
    assert only(fused, ops(graph)[-2]).origin[-1] == "bn"
    assert_same_function(graph, fused, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("codebook", [MultiSpike(0, 15), MultiSpike(-7, 7), Ternary()], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_into_thresholds_sends_the_same_spikes(layer: str, codebook: Codebook) -> None:
    """Payload for payload at every step; a membrane on the edge between two payloads may round either way."""
    graph = network(layer, GAMMA, codebook)
    fused, _ = applied(graph, FuseBatchNorm(into="thresholds"))
    assert "batch_norm" not in ops(fused)
    assert only(fused, "neuron").origin == ("bn", "neuron")
    inputs = random_inputs(graph, samples=8)
    found, wanted = decoded(fused, inputs, 5)["y"], decoded(graph, inputs, 5)["y"]
    assert np.mean(np.abs(found - wanted) > 1e-5) < 1e-3
    assert np.abs(wanted).max() > 0


@pytest.mark.parametrize("layer", LAYERS)
def test_both_ways_send_the_same_spikes(layer: str) -> None:
    graph = network(layer, GAMMA, MultiSpike(0, 31))
    weights, _ = applied(graph, FuseBatchNorm(), NormaliseThresholds())
    thresholds, _ = applied(graph, FuseBatchNorm(into="thresholds"), NormaliseThresholds())
    inputs = random_inputs(graph, samples=8)
    found, wanted = decoded(thresholds, inputs, 4)["y"], decoded(weights, inputs, 4)["y"]
    assert np.mean(np.abs(found - wanted) > 1e-5) < 1e-3


def test_a_negative_gain_mirrors_the_neuron() -> None:
    fused, _ = applied(network("conv", GAMMA, MultiSpike(0, 15)), FuseBatchNorm(into="thresholds"))
    quantum = fused.resolve(only(fused, "neuron"))["quantum"].ravel()
    np.testing.assert_array_equal(np.sign(quantum), np.sign(GAMMA))


def test_a_neuron_that_has_a_bias_keeps_it() -> None:
    b = Builder(N, 2)
    random = np.random.default_rng(3)
    normalised = b("batch_norm", b.x, **parameters(random, np.array([2.0, -0.5], np.float32)))
    quantum, bias = np.full((1, 2), 0.25, np.float32), np.array([[0.5, -1.0]], np.float32)
    neuron = b("neuron", normalised, codebook=MultiSpike(-15, 15), quantum=quantum, scale=quantum, bias=bias)
    graph = b.outputs(y=neuron)
    fused, _ = applied(graph, FuseBatchNorm(into="thresholds"))
    inputs = random_inputs(graph, samples=200)
    np.testing.assert_allclose(decoded(fused, inputs, 3)["y"], decoded(graph, inputs, 3)["y"], atol=1e-5)


def test_zero_gamma_stays_out_of_thresholds() -> None:
    graph = network("conv", np.array([1, 0, -1, 0], np.float32), MultiSpike(0, 15))
    fused, notes = applied(graph, FuseBatchNorm(into="thresholds"))
    assert "batch_norm" in ops(fused)
    assert [note.reason for note in notes] == ["gamma is 0 in 2 channels"]


@pytest.mark.parametrize("reader", ["output", "second layer"])
def test_a_layer_that_is_read_elsewhere_is_declined(reader: str) -> None:
    b = Builder(N, 3)
    layer = b("linear", b.x, weight=np.eye(3, dtype=np.float32))
    normalised = b("batch_norm", layer, **parameters(np.random.default_rng(0), np.ones(3, np.float32)))
    other = layer if reader == "output" else b("relu", layer)
    graph = b.outputs(y=normalised, z=other)
    fused, notes = applied(graph, FuseBatchNorm())
    assert "batch_norm" in ops(fused)
    assert [note.reason for note in notes] == ["the layer before it is read elsewhere too"]


def test_a_linear_layer_over_a_sequence_has_its_channels_elsewhere() -> None:
    b = Builder(N, 3, 4)
    layer = b("linear", b.x, weight=np.ones((3, 4), np.float32))
    graph = b.outputs(
        y=b("batch_norm", layer, **parameters(np.random.default_rng(0), np.ones(3, np.float32)))
    )
    fused, notes = applied(graph, FuseBatchNorm())
    assert "batch_norm" in ops(fused)
    assert notes[0].reason == "its channel axis is not the linear layer's output axis"


def tokens(b: Builder, gamma: Array) -> Value:
    """Batch norm over the channels of tokens [N, 3, 4], as exporters write it: between two transposes."""
    random = np.random.default_rng(1)
    weight = random.standard_normal((len(gamma), 4)).astype(np.float32)
    channels_first = b("transpose", b("linear", b.x, weight=weight), perm=(0, 2, 1))
    return b("transpose", b("batch_norm", channels_first, **parameters(random, gamma)), perm=(0, 2, 1))


def test_a_layer_before_a_transpose_takes_the_batch_norm() -> None:
    b = Builder(N, 3, 4)
    graph = b.outputs(y=b("relu", tokens(b, np.array([0.5, 0.0, -3.0], np.float32))))
    fused, _ = applied(graph, FuseBatchNorm(), Simplify())
    assert ops(fused) == ["linear", "relu"]
    assert_same_function(graph, fused, atol=1e-5)


def test_a_layer_before_a_transpose_that_is_read_elsewhere_is_declined() -> None:
    b = Builder(N, 3, 4)
    moved = tokens(b, np.ones(3, np.float32))
    (first, *_) = [node for node in b.graph if node.op.name == "transpose"]
    graph = b.outputs(y=moved, z=b("relu", first.result))
    fused, notes = applied(graph, FuseBatchNorm())
    assert "batch_norm" in ops(fused)
    assert [note.reason for note in notes] == ["the layer before it is read elsewhere too"]


@pytest.mark.parametrize("trained", [{}, {"gain": np.full((1, 1), 0.5, np.float32)}], ids=["plain", "gain"])
def test_a_lif_neuron_takes_the_batch_norm_into_gain_and_bias(trained: dict[str, Any]) -> None:
    b = Builder(N, 4)
    given = {**parameters(np.random.default_rng(2), np.array([2, 0, -0.5, 1], np.float32)), "epsilon": 0.0}
    given["variance"] = np.full(4, 0.25, np.float32)
    threshold, leak = np.ones((1, 1), np.float32), np.full((1, 1), 0.5, np.float32)
    normalised = b("batch_norm", b.x, **given)
    graph = b.outputs(y=b("lif", normalised, threshold=threshold, leak=leak, **trained))
    fused, _ = applied(graph, FuseBatchNorm(into="thresholds"))
    assert ops(fused) == ["lif"]
    inputs = random_inputs(graph, samples=200)
    np.testing.assert_array_equal(decoded(fused, inputs, 4)["y"], decoded(graph, inputs, 4)["y"])


@settings(max_examples=30, deadline=None)
@given(
    gamma=st.lists(st.sampled_from([-3.0, -0.1, 0.0, 0.1, 1.0, 7.5]), min_size=4, max_size=4),
    layer=st.sampled_from(sorted(LAYERS)),
    seed=st.integers(0, 99),
)
def test_any_gain_folds_into_any_layer(gamma: list[float], layer: str, seed: int) -> None:
    graph = network(layer, np.array(gamma, np.float32), seed=seed)
    fused, _ = applied(graph, FuseBatchNorm())
    assert "batch_norm" not in ops(fused)
    assert_same_function(graph, fused, rtol=1e-3, atol=1e-3)
