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
