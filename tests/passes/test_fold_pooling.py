"""Average pooling composed with the linear layer behind it: the same function, fewer roundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.passes import fold_pooling
from snnc.passes.fold_pooling import FoldPooling
from snnc.passes.insert_neurons import InsertNeurons
from tests.passes.build import Builder, N, applied, assert_same_function, ops

if TYPE_CHECKING:
    from snnc.ir.graph import Graph


def pooled(kernel: tuple[int, int]) -> Graph:
    """relu, avg_pool, flatten, linear on N x 3 x 6 x 8."""
    b = Builder(N, 3, 6, 8)
    windows = (6 // kernel[0], 8 // kernel[1])
    inputs = 3 * windows[0] * windows[1]
    random = np.random.default_rng(0)
    mean = b("avg_pool", b("relu", b.x), kernel=kernel, strides=kernel, pads=(0, 0, 0, 0))
    flat = b("reshape", mean, shape=(N, inputs))
    weight, bias = random.standard_normal((5, inputs)), random.standard_normal(5)
    return b.outputs(y=b("linear", flat, weight=weight.astype(np.float32), bias=bias.astype(np.float32)))


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (1, 4), (6, 8)])
def test_the_function_stays(kernel: tuple[int, int]) -> None:
    before = pooled(kernel)
    after, _ = applied(before, FoldPooling())
    assert ops(after) == ["relu", "reshape", "linear"]
    assert_same_function(before, after)


def test_one_neuron_is_left_where_there_were_two() -> None:
    neurons = InsertNeurons(codebook="binary")
    assert ops(applied(pooled((2, 2)), neurons)[0]).count("neuron") == 2
    assert ops(applied(pooled((2, 2)), FoldPooling(), neurons)[0]) == ["neuron", "reshape", "linear"]


def test_a_layer_that_would_become_too_large_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_pooling, "LARGEST_WEIGHT", 500)
    _, notes = applied(pooled((6, 8)), FoldPooling())
    assert [note.reason for note in notes] == ["the composed layer would have more than 500 weights"]


def convolved(kernel: tuple[int, int], **given: tuple[int, ...] | int) -> Graph:
    """relu, avg_pool, conv on N x 4 x 6 x 8."""
    b = Builder(N, 4, 6, 8)
    random = np.random.default_rng(1)
    group = given.get("group", 1)
    assert isinstance(group, int)
    mean = b("avg_pool", b("relu", b.x), kernel=kernel, strides=kernel, pads=(0, 0, 0, 0))
    weight = random.standard_normal((6, 4 // group, 2, 2)).astype(np.float32)
    bias = random.standard_normal(6).astype(np.float32)
    return b.outputs(y=b("conv", mean, weight=weight, bias=bias, **given))


@pytest.mark.parametrize(
    ("kernel", "given"),
    [
        ((2, 2), {}),
        ((2, 4), {"strides": (1, 1), "pads": (1, 0, 0, 1)}),
        ((1, 2), {"strides": (2, 1), "pads": (1, 1, 1, 1)}),
        ((3, 2), {"group": 2}),
    ],
    ids=str,
)
def test_a_convolution_takes_pooling_in(kernel: tuple[int, int], given: dict[str, tuple[int, ...]]) -> None:
    before = convolved(kernel, **given)
    after, _ = applied(before, FoldPooling())
    assert ops(after) == ["relu", "conv"]
    assert_same_function(before, after)


def test_a_convolution_with_taps_apart_stays() -> None:
    graph = convolved((2, 2), dilations=(2, 2))
    after, notes = applied(graph, FoldPooling())
    assert ops(after) == ["relu", "avg_pool", "conv"]
    assert [note.reason for note in notes] == ["the taps of the convolution behind it are apart"]
