"""`normalise-thresholds` moves scales and quanta into weights and changes no decoded value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.ir.codebooks import MultiSpike
from snnc.ir.types import SpikeType
from snnc.passes.dce import Dce
from snnc.passes.normalise_thresholds import NormaliseThresholds
from tests.passes.build import Builder, N, applied, assert_close, decoded, only, ops, random_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

STEPS = 4


def weight(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def powers_of_two(shape: tuple[int, ...]) -> Array:
    """Thresholds whose products are exact, so that both graphs round alike."""
    count = int(np.prod(shape))
    return (2.0 ** -(np.arange(count) % 5 - 1)).astype(np.float32).reshape(shape)


def neuron(b: Builder, x: Value, *shape: int, lo: int = 0, hi: int = 31, name: str = "neuron") -> Value:
    """A neuron whose thresholds vary along the axes of `shape` that are not 1."""
    quantum = powers_of_two(shape or (1,) * len(x.type.shape))
    return b(
        "neuron", x, name=name, codebook=MultiSpike(lo, hi), quantum=quantum, scale=quantum, unit=quantum
    )


def images(b: Builder) -> Value:
    return neuron(b, b.x, 1, 4, 1, 1)


def signed_images(b: Builder) -> Value:
    return neuron(b, b.x, 1, 4, 1, 1, lo=-15, hi=15)


def conv(b: Builder, x: Value) -> Value:
    channels = x.type.shape[1]
    assert isinstance(channels, int)
    return b("conv", x, weight=weight(3, channels, 2, 2), bias=weight(3))


def dense(b: Builder, x: Value) -> Value:
    features = x.type.shape[-1]
    assert isinstance(features, int)
    return b("linear", x, weight=weight(3, features), bias=weight(3))


def flatten(b: Builder, x: Value, size: int) -> Value:
    return b("reshape", x, shape=(N, size))


def halved(b: Builder) -> Value:
    return b("avg_pool", images(b), kernel=(2, 2), strides=(2, 2))


# Every scale disappears into a synapse: no factor is left.
FOLDED: dict[str, Callable[[Builder], Value]] = {
    "conv": lambda b: conv(b, images(b)),
    "grouped conv": lambda b: b("conv", images(b), weight=weight(6, 2, 2, 2), group=2),
    "depthwise conv": lambda b: b("conv", images(b), weight=weight(4, 1, 3, 3), group=4, pads=(1, 1, 1, 1)),
    "conv_transpose": lambda b: b("conv_transpose", images(b), weight=weight(4, 3, 2, 2), strides=(2, 2)),
    "grouped conv_transpose": lambda b: b("conv_transpose", images(b), weight=weight(4, 3, 2, 2), group=2),
    "flatten, linear": lambda b: dense(b, flatten(b, images(b), 64)),
    "tokens, linear": lambda b: dense(
        b, b("transpose", b("reshape", images(b), shape=(N, 4, 16)), perm=(0, 2, 1))
    ),
    "max_pool, conv": lambda b: conv(b, b("max_pool", images(b), kernel=(2, 2), strides=(2, 2), expect=True)),
    "slice, pad, conv": lambda b: conv(
        b,
        b(
            "pad",
            b("slice", images(b), axes=(2, 3), starts=(0, 0), ends=(4, 4), steps=(2, 2)),
            pads=(0, 2, 0, 0, 0, 2, 0, 0),
            mode="constant",
        ),
    ),
    "padded positions, conv": lambda b: conv(
        b, b("pad", images(b), pads=(0, 0, 1, 1, 0, 0, 1, 1), mode="constant")
    ),
    "concat, conv": lambda b: conv(
        b, b("concat", images(b), neuron(b, b.x, 1, 1, 1, 1, lo=-7, hi=7), axis=1)
    ),
    "gather a token, linear": lambda b: dense(
        b,
        b(
            "gather",
            b("transpose", b("reshape", images(b), shape=(N, 4, 16)), perm=(0, 2, 1)),
            axis=1,
            indices=np.array(3),
        ),
    ),
    "space to depth, conv": lambda b: conv(b, b("space_to_depth", images(b), block=2)),
    "depth to space, conv": lambda b: b(
        "conv", b("depth_to_space", neuron(b, b.x, 1, 1, 1, 1), block=2), weight=weight(3, 1, 2, 2)
    ),
    "average pool, conv": lambda b: conv(b, halved(b)),
    "average pool, flatten, linear": lambda b: dense(b, flatten(b, halved(b), 16)),
    "tile, conv": lambda b: conv(b, b("tile", images(b), repeats=(1, 2, 1, 1))),
}


# The scale meets something that is no synapse: it stays as one explicit factor.
LEFT: dict[str, Callable[[Builder], Value]] = {
    "residual": lambda b: b("add", images(b), b("conv", signed_images(b), weight=weight(4, 4, 1, 1))),
    "output": images,
    "average pool": lambda b: b("avg_pool", images(b), kernel=(2, 2), strides=(2, 2)),
    "padded average pool": lambda b: b(
        "avg_pool", images(b), kernel=(3, 3), pads=(1, 1, 1, 1), count_include_pad=False
    ),
    "global average": lambda b: b("reduce_mean", images(b), axes=(2, 3), keepdims=False),
    "sum over positions": lambda b: b("reduce_sum", images(b), axes=(-1,)),
    "scaled by a constant": lambda b: b("mul", images(b), 3.0),
    "softmax": lambda b: b("softmax", images(b), axis=1, expect=True),
}

# A scale that varies along an axis where it cannot be moved: the factor stays in front, with a reason.
STUCK: dict[str, tuple[Callable[[Builder], Value], str]] = {
    "conv, scale per position": (
        lambda b: conv(b, neuron(b, b.x, 1, 1, 4, 4)),
        "the scale before it varies along another axis than its inputs",
    ),
    "pool, scale per position": (
        lambda b: b("avg_pool", neuron(b, b.x, 1, 1, 4, 4), kernel=(2, 2)),
        "the scale before it varies over positions",
    ),
    "mean over channels": (
        lambda b: b("reduce_mean", images(b), axes=(1,)),
        "the scale before it varies along the reduced axes",
    ),
    "pad with a value": (
        lambda b: b("pad", images(b), pads=(0, 0, 1, 1, 0, 0, 1, 1), mode="constant", value=1.0),
        "it pads with a value that is not a spike",
    ),
    "concat with a real stream": (
        lambda b: b("concat", images(b), b.x, axis=1),
        "not every operand is spikes",
    ),
    "channels folded into the batch": (
        lambda b: b("linear", b("reshape", images(b), shape=(4 * N, 16)), weight=weight(3, 16)),
        "the scale would vary along the batch axis",
    ),
}


def build(case: Callable[[Builder], Value]) -> Graph:
    b = Builder(N, 4, 4, 4)
    return b.outputs(y=case(b))


def factors(graph: Graph) -> int:
    return ops(graph).count("mul")


def assert_same_decoded(before: Graph, after: Graph) -> None:
    inputs = random_inputs(before, samples=5, spread=4.0)
    assert_close(decoded(after, inputs, STEPS), decoded(before, inputs, STEPS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("label", FOLDED)
def test_scales_fold_into_the_synapse(label: str) -> None:
    graph = build(FOLDED[label])
    after, _ = applied(graph, NormaliseThresholds(), Dce())
    assert factors(after) == 0
    assert ops(after) == ops(graph)
    assert not any(isinstance(node.result.type, SpikeType) and node.result.type.scaled for node in after)
    assert_same_decoded(graph, after)


@pytest.mark.parametrize("label", LEFT)
def test_what_meets_no_synapse_stays_one_factor(label: str) -> None:
    graph = build(LEFT[label])
    after, _ = applied(graph, NormaliseThresholds(), Dce())
    assert factors(after) == 1
    assert_same_decoded(graph, after)


@pytest.mark.parametrize("label", STUCK)
def test_a_scale_that_cannot_move_says_why(label: str) -> None:
    case, reason = STUCK[label]
    graph = build(case)
    after, notes = applied(graph, NormaliseThresholds(fold_quanta=False), Dce())
    assert factors(after) == 1
    assert {note.reason for note in notes} == {reason}
    assert_same_decoded(graph, after)


# Products.


def attention(b: Builder, per_key: tuple[int, ...]) -> Value:
    """Heads 2, tokens 4, features 8: scores = q kᵀ, mix = scores v."""
    heads = b("reshape", b.x, shape=(N, 2, 4, 8))
    query = neuron(b, heads, 1, 2, 1, 1, lo=-7, hi=7, name="q")
    keys = b("transpose", neuron(b, heads, *per_key, lo=-7, hi=7, name="k"), perm=(0, 1, 3, 2))
    values = neuron(b, heads, 1, 1, 1, 8, lo=-7, hi=7, name="v")
    scores = b("matmul", query, keys, expect=True)
    weights = neuron(b, b("softmax", scores, axis=-1, expect=True), 1, 2, 1, 1, name="p")
    return b("matmul", weights, values, expect=True)


def test_scales_of_a_product_multiply() -> None:
    graph = build(lambda b: attention(b, (1, 2, 1, 1)))
    after, _ = applied(graph, NormaliseThresholds(), Dce())
    assert factors(after) == 2
    for product in (node for node in after if node.op.name == "matmul"):
        assert all(isinstance(operand.type, SpikeType) for operand in product.operands)
    assert_same_decoded(graph, after)


def test_a_scale_along_the_contracted_axis_stays() -> None:
    graph = build(lambda b: attention(b, (1, 2, 1, 8)))
    after, notes = applied(graph, NormaliseThresholds(), Dce())
    assert "a scale varies along the contracted axis" in {note.reason for note in notes}
    assert factors(after) == 3
    assert_same_decoded(graph, after)


# Quanta.


def chain(b: Builder, *shape: int, layer: str = "conv", read_twice: bool = False) -> Graph:
    layers: dict[str, Any] = {
        "conv": lambda: b("conv", b.x, weight=weight(4, 4, 2, 2), bias=weight(4)),
        "grouped conv": lambda: b("conv", b.x, weight=weight(4, 2, 2, 2), group=2),
        "conv_transpose": lambda: b(
            "conv_transpose", b.x, weight=weight(4, 2, 2, 2), bias=weight(4), group=2
        ),
        "linear": lambda: b("linear", b.x, weight=weight(4, 4)),
    }
    first = layers[layer]()
    fired = neuron(b, first, *shape, hi=255)
    return b.outputs(y=fired, **({"z": first} if read_twice else {}))


@pytest.mark.parametrize("layer", ["conv", "grouped conv", "conv_transpose", "linear"])
def test_quanta_fold_into_the_layer_before(layer: str) -> None:
    shape = (1, 1, 1, 4) if layer == "linear" else (1, 4, 1, 1)
    graph = chain(Builder(N, 4, 4, 4), *shape, layer=layer)
    after, _ = applied(graph, NormaliseThresholds())
    given = after.resolve(only(after, "neuron"))
    assert (given["quantum"] == 1).all()
    assert given["quantum"].size == 1
    np.testing.assert_array_equal(given["unit"], powers_of_two(shape))
    assert_same_decoded(graph, after)


def test_quanta_stay_with_fold_quanta_off() -> None:
    graph = chain(Builder(N, 4, 4, 4), 1, 4, 1, 1)
    after, _ = applied(graph, NormaliseThresholds(fold_quanta=False))
    np.testing.assert_array_equal(
        after.resolve(only(after, "neuron"))["quantum"], powers_of_two((1, 4, 1, 1))
    )
    assert_same_decoded(graph, after)


@pytest.mark.parametrize(
    ("shape", "read_twice", "reason"),
    [
        ((1, 1, 3, 3), False, "its quantum varies along another axis than the synapse's outputs"),
        ((1, 4, 1, 1), True, "the synapse before it is read elsewhere too"),
    ],
)
def test_quanta_that_cannot_move_say_why(shape: tuple[int, ...], read_twice: bool, reason: str) -> None:
    graph = chain(Builder(N, 4, 4, 4), *shape, read_twice=read_twice)
    after, notes = applied(graph, NormaliseThresholds())
    assert {note.reason for note in notes} == {reason}
    assert_same_decoded(graph, after)


def test_a_negative_quantum_folds_as_well() -> None:
    b = Builder(N, 4, 4, 4)
    quantum = np.array([0.5, -0.25, 1.0, -2.0], np.float32).reshape(1, 4, 1, 1)
    bias = np.array([0.25, 0.5, -1.0, 2.0], np.float32).reshape(1, 4, 1, 1)
    first = b("conv", b.x, weight=weight(4, 4, 1, 1))
    graph = b.outputs(
        y=b("neuron", first, codebook=MultiSpike(0, 31), quantum=quantum, bias=bias, scale=abs(quantum))
    )
    after, _ = applied(graph, NormaliseThresholds())
    assert_same_decoded(graph, after)


def test_neurons_in_a_row_fold_on_both_sides() -> None:
    b = Builder(N, 4, 4, 4)
    hidden = neuron(b, b("conv", b.x, weight=weight(4, 4, 1, 1), bias=weight(4)), 1, 4, 1, 1, hi=63)
    second = neuron(b, b("conv", hidden, weight=weight(4, 4, 2, 2), bias=weight(4)), 1, 4, 1, 1, hi=63)
    graph = b.outputs(y=conv(b, second))
    after, _ = applied(graph, NormaliseThresholds(), Dce())
    assert ops(after) == ["conv", "neuron", "conv", "neuron", "conv"]
    quanta = [after.resolve(node)["quantum"] for node in after if node.op.name == "neuron"]
    assert all((quantum == 1).all() for quantum in quanta)
    assert_same_decoded(graph, after)
