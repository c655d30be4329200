"""Which cores read what: the rule of every op against the op itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.placement.grouping import group
from snnc.placement.layers import Connection, Tangle
from tests.harness import run_analog
from tests.passes.build import Builder, N, only
from tests.placement.networks import fire, one_layer, ones, taps

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Value
    from snnc.placement.layers import Box

OPS: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "conv": ((3, 7, 6), "conv", {"weight": ones(4, 3, 3, 3), "pads": (1, 1, 1, 1)}),
    "strided": ((2, 9, 8), "conv", {"weight": ones(3, 2, 3, 2), "strides": (2, 3), "pads": (1, 0, 0, 1)}),
    "dilated": ((2, 9), "conv", {"weight": ones(2, 2, 3), "dilations": (3,), "pads": (2, 2)}),
    "groups": ((6, 5, 5), "conv", {"weight": ones(4, 3, 3, 3), "group": 2}),
    "depthwise": ((4, 6, 6), "conv", {"weight": ones(4, 1, 3, 3), "group": 4, "pads": (1, 1, 1, 1)}),
    "transposed": (
        (2, 4, 3),
        "conv_transpose",
        {"weight": ones(2, 3, 3, 2), "strides": (2, 1), "pads": (1, 0, 0, 1), "output_padding": (1, 0)},
    ),
    "linear": ((5,), "linear", {"weight": ones(3, 5)}),
    "tokens": ((4, 5), "linear", {"weight": ones(3, 5)}),
    "average": ((3, 6, 5), "avg_pool", {"kernel": (2, 3), "strides": (2, 2), "pads": (0, 1, 0, 1)}),
    "mean": ((3, 4, 4), "reduce_mean", {"axes": (2, 3), "keepdims": False}),
    "sum": ((3, 4, 4), "reduce_sum", {"axes": (2,), "keepdims": True}),
}


def draw_box(data: st.DataObject, shape: tuple[int, ...]) -> Box:
    spans = [st.tuples(st.integers(0, size - 1), st.integers(1, size)) for size in shape]
    return tuple(data.draw(span.filter(lambda ends: ends[0] < ends[1])) for span in spans)


@pytest.mark.parametrize("name", OPS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_core_reads_and_stores_what_its_neurons_need(name: str, data: st.DataObject) -> None:
    shape, op, attributes = OPS[name]
    graph = one_layer(op, *shape, **attributes)
    (layer,) = group(graph).layers
    box = draw_box(data, layer.shape)
    synapses = taps(only(graph, op), graph)
    inside = np.arange(layer.elements).reshape(layer.shape)[tuple(slice(*span) for span in box)].ravel()
    (connection,) = layer.connections
    assert isinstance(connection, Connection)
    # The input's elements are the numbers from 1 on.
    assert sorted(connection.sources(box)) == (1 + np.flatnonzero(synapses[:, inside].any(axis=1))).tolist()
    assert layer.bytes(box, shared=False) == synapses[:, inside].sum()


def test_shared_weights_are_stored_once_per_core() -> None:
    (conv,) = group(one_layer(*["conv"], 3, 7, 6, weight=ones(4, 3, 3, 3), pads=(1, 1, 1, 1))).layers
    whole, half = conv.whole, ((0, 1), (0, 2), (0, 7), (0, 6))
    assert conv.bytes(whole, shared=True) == 4 * 3 * 9
    assert conv.bytes(half, shared=True) == 2 * 3 * 9
    (tokens,) = group(one_layer("linear", 4, 5, weight=ones(3, 5))).layers
    assert tokens.bytes(tokens.whole, shared=True) == 3 * 5
    (pool,) = group(one_layer("avg_pool", 3, 6, 6, kernel=(2, 2), strides=(2, 2))).layers
    assert pool.bytes(pool.whole, shared=True) == 1  # all weights are equal


@pytest.mark.parametrize("stream", [0, 1])
def test_a_product_with_a_constant_is_a_synapse(stream: int) -> None:
    b = Builder(N, 4, 5)
    operands = (b.x, ones(5, 3)) if stream == 0 else (ones(3, 4), b.x)
    (layer,) = group(b.outputs(y=fire(b, b("matmul", *operands), "layer"))).layers
    assert layer.shape == ((1, 4, 3) if stream == 0 else (1, 3, 5))
    first = ((0, 1), (0, 1), (0, 1))
    row, column = [1, 2, 3, 4, 5], [1, 6, 11, 16]
    assert sorted(layer.connections[0].sources(first)) == (row if stream == 0 else column)
    assert layer.bytes(layer.whole, shared=True) == (15 if stream == 0 else 12)


def test_moved_streams_are_read_where_they_came_from() -> None:
    b = Builder(N, 4)
    first = fire(b, b("linear", b.x, weight=ones(6, 4)), "first")
    cut = b("slice", first, axes=(1,), starts=(2,), ends=(6,), steps=(1,))
    joined = b("concat", cut, b("transpose", cut, perm=(0, 1)), axis=1)
    graph = b.outputs(
        y=fire(b, b("conv", b("reshape", joined, shape=(N, 8, 1)), weight=ones(8, 1, 1), group=8), "y")
    )
    first_layer, second = group(graph).layers
    numbers = first_layer.numbers.ravel()
    for channel, neuron in enumerate([2, 3, 4, 5, 2, 3, 4, 5]):
        box = ((0, 1), (channel, channel + 1), (0, 1))
        assert sorted(second.connections[0].sources(box)) == [numbers[neuron]]
    assert second.axons(second.whole) == 4  # one axon per neuron, although each is read twice


def heads(b: Builder, x: Value) -> Value:
    split = b("reshape", b("linear", x, weight=ones(12, 5)), shape=(N, 4, 3, 2, 2))
    return b("transpose", b("gather", split, axis=2, indices=np.array(1)), perm=(0, 2, 1, 3))


def image(b: Builder, x: Value) -> Value:
    return b("reshape", b("transpose", b("linear", x, weight=ones(3, 5)), perm=(0, 2, 1)), shape=(N, 3, 2, 2))


def cropped(b: Builder, x: Value) -> Value:
    whole = b("transpose", b("linear", x, weight=ones(3, 5)), perm=(0, 2, 1))
    return b("slice", whole, axes=(2,), starts=(1,), ends=(3,), steps=(1,))


def pooled(b: Builder, x: Value) -> Value:
    return b("reduce_sum", b("reshape", x, shape=(N, 2, 2, 5)), axes=(1,), keepdims=False)


def repeated(b: Builder, x: Value) -> Value:
    return b(
        "expand", b("reshape", b("linear", x, weight=ones(3, 5)), shape=(N, 4, 3, 1)), shape=(N, 4, 3, 2)
    )


@pytest.mark.parametrize("move", [heads, image, cropped, pooled, repeated])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_results_may_be_moved_on_their_way_to_neurons(
    move: Callable[[Builder, Value], Value], data: st.DataObject
) -> None:
    b, alone = Builder(N, 4, 5), Builder(N, 4, 5)
    (layer,) = group(b.outputs(y=fire(b, move(b, b.x), "layer"))).layers
    (connection,) = layer.connections
    assert isinstance(connection, Connection)
    # What one input element alone changes, [in, neurons]: all weights are 1.
    batch = np.eye(20, dtype=np.float32).reshape(20, 4, 5)
    results = run_analog(alone.outputs(moved=move(alone, alone.x)), {"x": batch})
    synapses = np.rint(results["moved"]).reshape(20, -1).astype(int)
    box = draw_box(data, layer.shape)
    inside = layer.numbers[tuple(slice(*span) for span in box)].ravel() - layer.numbers.min()
    assert sorted(connection.sources(box)) == (1 + np.flatnonzero(synapses[:, inside].any(axis=1))).tolist()
    assert layer.bytes(box, shared=False) == synapses[:, inside].sum()


def test_what_is_no_product_of_axes_is_bounded_from_above() -> None:
    b = Builder(N, 4, 5)
    flat = b("reshape", b("linear", b.x, weight=ones(3, 5)), shape=(N, 12))
    some = b("gather", flat, axis=1, indices=np.array([0, 4, 11, 5]))
    (layer,) = group(b.outputs(y=fire(b, some, "layer"))).layers
    assert isinstance(layer.connections[0], Tangle)
    one = ((0, 1), (1, 2))
    assert layer.bytes(one, shared=False) == layer.axons(one) == 5
    assert layer.axons(layer.whole) == 20  # in truth 15: rows 0, 1 and 3
    assert layer.bytes(layer.whole, shared=True) == 15
