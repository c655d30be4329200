"""`simplify`, `expectation-compensation`, `identity-neurons` and `dce` keep what a graph computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import UnsupportedOpError
from snnc.ir.shapes import Batch
from snnc.passes.dce import Dce
from snnc.passes.expectation_compensation import ExpectationCompensation
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.normalise_thresholds import NormaliseThresholds
from snnc.passes.simplify import Simplify
from tests.harness import run_analog
from tests.passes.build import (
    Builder,
    N,
    applied,
    assert_close,
    assert_same_function,
    decoded,
    only,
    ops,
    random_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array


def weight(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def channel(*values: float, rank: int = 4) -> Array:
    return np.array(values, np.float32).reshape(1, -1, *[1] * (rank - 2))


# A step by a constant that a layer can take over, and what is left.
STEPS: dict[str, tuple[Callable[[Builder], Value], list[str]]] = {
    "conv + c": (lambda b: b("add", b("conv", b.x, weight=weight(3, 2, 2, 2)), channel(1, 2, 3)), ["conv"]),
    "c + conv": (lambda b: b("add", channel(1, 2, 3), b("conv", b.x, weight=weight(3, 2, 2, 2))), ["conv"]),
    "conv - c": (
        lambda b: b("sub", b("conv", b.x, weight=weight(3, 2, 2, 2), bias=weight(3)), channel(1, 2, 3)),
        ["conv"],
    ),
    "conv · c": (
        lambda b: b("mul", b("conv", b.x, weight=weight(3, 2, 2, 2), bias=weight(3)), channel(1, -2, 0)),
        ["conv"],
    ),
    "conv / c": (lambda b: b("div", b("conv", b.x, weight=weight(3, 2, 2, 2)), channel(1, -2, 4)), ["conv"]),
    "grouped conv_transpose · c": (
        lambda b: b("mul", b("conv_transpose", b.x, weight=weight(2, 2, 2, 2), group=2), channel(1, 2, 3, 4)),
        ["conv_transpose"],
    ),
    "linear · scalar + vector": (
        lambda b: b("add", b("mul", b("linear", b.x, weight=weight(5, 4)), 3.0), weight(5)),
        ["linear"],
    ),
    "conv / zero": (
        lambda b: b("div", b("conv", b.x, weight=weight(3, 2, 2, 2)), channel(1, 2, 0)),
        ["conv", "div"],
    ),
    "conv / a number without reciprocal": (
        lambda b: b("div", b("conv", b.x, weight=weight(3, 2, 2, 2)), channel(1, 2, 1e-40)),
        ["conv", "div"],
    ),
    "conv + a map": (
        lambda b: b("add", b("conv", b.x, weight=weight(3, 2, 1, 1)), weight(3, 4, 4)),
        ["conv", "add"],
    ),
    "a constant that adds an axis": (
        lambda b: b("add", b("linear", b.x, weight=weight(5, 4)), weight(2, 1, 1, 1, 1)),
        ["linear", "add"],
    ),
    "c - x": (lambda b: b("sub", 1.0, b.x), ["sub"]),
    "c / x": (lambda b: b("div", 1.0, b("add", b("abs", b.x), 1.0)), ["abs", "add", "div"]),
}


@pytest.mark.parametrize("label", STEPS)
def test_constant_steps_merge_into_the_layer(label: str) -> None:
    step, left = STEPS[label]
    b = Builder(N, 2, 4, 4)
    graph = b.outputs(y=step(b))
    after, _ = applied(graph, Simplify(), Dce())
    assert ops(after) == left
    inputs = random_inputs(graph)
    assert_close(run_analog(after, inputs), run_analog(graph, inputs), rtol=1e-4, atol=1e-5)


def test_constants_fold_to_the_last_node_that_needs_no_input() -> None:
    b = Builder(N, 4)
    table = b("reshape", b("exp", b("mul", np.arange(4), 0.5)), shape=(1, 4))
    graph = b.outputs(y=b("mul", b.x, table))
    after, _ = applied(graph, Simplify(), Dce())
    assert ops(after) == ["mul"]
    assert_same_function(graph, after)


def test_what_depends_on_the_batch_is_not_folded() -> None:
    b = Builder(N, 4)
    token = b("expand", np.ones((1, 4), np.float32), shape=(N, 4))
    graph = b.outputs(y=b("concat", token, b.x, axis=1))
    after, _ = applied(graph, Simplify())
    assert ops(after) == ["expand", "concat"]
    for samples in (1, 5):
        inputs = random_inputs(graph, samples=samples)
        assert_close(run_analog(after, inputs), run_analog(graph, inputs), 0, 0)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("transpose", {"perm": (0, 1, 2)}),
        ("tile", {"repeats": (1, 1, 1)}),
        ("reshape", {"shape": (N, 3, 4)}),
        ("expand", {"shape": (N, 3, 4)}),
        ("cast", {"to": "f32"}),
        ("slice", {"axes": (1,), "starts": (0,), "ends": (99,), "steps": (1,)}),
        ("pad", {"pads": (0,) * 6, "mode": "constant"}),
        ("concat", {"axis": 1}),
    ],
)
def test_what_does_nothing_goes(op: str, attributes: dict[str, Any]) -> None:
    b = Builder(N, 3, 4)
    after, _ = applied(b.outputs(y=b("relu", b(op, b.x, **attributes))), Simplify())
    assert ops(after) == ["relu"]


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("transpose", {"perm": (0, 2, 1)}),
        ("slice", {"axes": (1,), "starts": (-1,), "ends": (-99,), "steps": (-1,)}),
        ("tile", {"repeats": (1, 2, 1)}),
        ("reshape", {"shape": (N, 12)}),
    ],
)
def test_what_moves_stays(op: str, attributes: dict[str, Any]) -> None:
    b = Builder(N, 3, 3) if op != "reshape" else Builder(N, 3, 4)
    graph = b.outputs(y=b(op, b.x, **attributes))
    after, _ = applied(graph, Simplify())
    assert ops(after) == [op]
    assert_same_function(graph, after)


def test_transposes_and_reshapes_in_a_row_are_one() -> None:
    b = Builder(N, 2, 3, 4)
    turned = b("transpose", b("transpose", b.x, perm=(0, 2, 3, 1)), perm=(0, 2, 1, 3))
    graph = b.outputs(y=b("reshape", b("reshape", turned, shape=(N, 12, 2)), shape=(4 * Batch(), 6)))
    after, _ = applied(graph, Simplify())
    assert ops(after) == ["transpose", "reshape"]
    assert_same_function(graph, after)


def test_weights_of_a_layer_that_is_an_output_stay() -> None:
    b = Builder(N, 4)
    layer = b("linear", b.x, weight=weight(4, 4))
    graph = b.outputs(y=layer, z=b("mul", layer, 2.0))
    after, notes = applied(graph, Simplify())
    assert ops(after) == ["linear", "mul"]
    assert [note.reason for note in notes] == ["the synapse before it is read elsewhere too"]
    assert_same_function(graph, after)


# expectation-compensation: the mean of O over steps 1..t is F of the mean of the input.

FUNCTIONS: dict[str, Callable[[Builder, Value], Value]] = {
    "relu": lambda b, x: b("relu", x),
    "gelu": lambda b, x: b("gelu", x),
    "softmax": lambda b, x: b("softmax", x, axis=-1),
    "layer_norm": lambda b, x: b("layer_norm", x, axis=-1),
    "clip": lambda b, x: b("clip", x, low=-0.5, high=0.5),
    "square": lambda b, x: b("mul", x, x),
    "cube": lambda b, x: b("mul", b("mul", x, x), x),
    "gram matrix": lambda b, x: b("matmul", x, b("transpose", x, perm=(0, 2, 1))),
    "division": lambda b, x: b("div", x, b("add", b("abs", x), 1.0)),
    "largest of two": lambda b, x: b("max", x, b("neg", x)),
    "row maximum": lambda b, x: b("reduce_max", x, axes=(-1,)),
    "where": lambda b, x: b("where", np.array([True, False, True, True]), x, 0.25),
    "chain": lambda b, x: b("tanh", b("softplus", b("mul", x, b("sigmoid", x)))),
}


@pytest.mark.parametrize("label", FUNCTIONS)
def test_the_mean_of_the_output_is_the_function_of_the_mean(label: str) -> None:
    """A coarse neuron makes the stream vary in time; the function behind it must not notice."""

    def network(function: Callable[[Builder, Value], Value]) -> Graph:
        b = Builder(N, 3, 4)
        quantum = np.full((1, 1, 1), 0.5, np.float32)
        spikes = b("neuron", b.x, codebook=MultiSpike(-1, 1), quantum=quantum, scale=quantum)
        return b.outputs(y=function(b, spikes))

    graph, _ = applied(network(FUNCTIONS[label]), ExpectationCompensation())
    inputs = random_inputs(graph, spread=0.6)
    found = decoded(graph, inputs, 8)["y"]
    rates = decoded(network(lambda b, x: x), inputs, 8)["y"]
    assert (rates[0] != rates[1]).any()
    b = Builder(N, 3, 4)
    analog = b.outputs(y=FUNCTIONS[label](b, b.x))
    for t in range(8):
        wanted = run_analog(analog, {"x": rates[t]})["y"]
        np.testing.assert_allclose(found[t], wanted, rtol=2e-4, atol=2e-5)


def test_truth_values_of_spiking_activity_are_refused_all_at_once() -> None:
    b = Builder(N, 4)
    spikes = b("neuron", b.x, name="n", codebook=MultiSpike(-7, 7), quantum=np.ones((1, 1), np.float32))
    first = b("where", b("less", spikes, 0.0, name="first"), b.x, b.x)
    second = b("cast", b("greater", spikes, 1.0, name="second"), to="f32")
    with pytest.raises(UnsupportedOpError, match="compute integers or truth values") as caught:
        applied(b.outputs(y=first, z=second), ExpectationCompensation())
    assert '"first"' in caught.value.message
    assert '"second"' in caught.value.message


# identity-neurons: y = clip((x + bias) unit / quantum, low, high) scale / unit.


@pytest.mark.parametrize("bounds", [(None, None), (0.0, None), (0.0, 1.5), (-1.0, 1.0), (None, 0.5)])
@pytest.mark.parametrize("normalised", [False, True])
def test_identity_neurons_are_the_activation(bounds: tuple[Any, Any], normalised: bool) -> None:
    low, high = bounds
    b = Builder(N, 4)
    quantum = np.array([[0.5, 0.25, 1.0, 2.0]], np.float32)
    first = b("linear", b.x, weight=weight(4, 4), bias=weight(4))
    neuron = b(
        "neuron",
        first,
        codebook=MultiSpike(-15, 15),
        quantum=quantum,
        scale=quantum,
        unit=quantum,
        low=low,
        high=high,
    )
    graph = b.outputs(y=b("linear", neuron, weight=weight(3, 4)))
    identity, _ = applied(graph, *([NormaliseThresholds()] if normalised else []), IdentityNeurons(), Dce())
    b = Builder(N, 4)
    clipped = b("clip", b("linear", b.x, weight=weight(4, 4), bias=weight(4)), low=low, high=high)
    analog = b.outputs(y=b("linear", clipped, weight=weight(3, 4)))
    inputs = random_inputs(analog)
    wanted = run_analog(analog, inputs)["y"]
    for found in decoded(identity, inputs, 4)["y"]:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_identity_neurons_undo_a_mirrored_threshold() -> None:
    """fuse-batch-norm{into=thresholds} divides the quantum by g; the identity multiplies by it again."""
    b = Builder(N, 3)
    gamma = np.array([2.0, -1.5, 0.5], np.float32)
    given: dict[str, Any] = {
        "gamma": gamma,
        "beta": weight(3),
        "mean": weight(3),
        "variance": np.ones(3, np.float32),
    }
    quantum = np.full((1, 3), 0.25, np.float32)
    normalised = b("batch_norm", b.x, **given)
    neuron = b(
        "neuron",
        normalised,
        codebook=MultiSpike(0, 31),
        quantum=quantum,
        scale=quantum,
        unit=quantum,
        low=0.0,
    )
    fused, _ = applied(b.outputs(y=neuron), FuseBatchNorm(into="thresholds"), IdentityNeurons())
    b = Builder(N, 3)
    analog = b.outputs(y=b("relu", b("batch_norm", b.x, **given)))
    inputs = random_inputs(analog)
    for found in decoded(fused, inputs, 3)["y"]:
        np.testing.assert_allclose(found, run_analog(analog, inputs)["y"], rtol=1e-5, atol=1e-6)


# dce


def test_only_what_is_read_stays() -> None:
    b = Builder(N, 4)
    b("relu", b("linear", b.x, weight=weight(9, 4)))
    after, _ = applied(b.outputs(y=b("neg", b.x)), Dce())
    assert only(after, "neg")
    assert ops(after) == ["neg"]
    assert after.tensors == {}
