"""Attention masks stay finite over time; rows they hide whole give what the source network gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.passes.expectation_compensation import ExpectationCompensation
from snnc.passes.raise_patterns import RaisePatterns
from tests.harness import run_analog
from tests.passes.build import Builder, N, applied, decoded, ops

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

INFINITY = float("inf")
LOWEST = float(np.finfo(np.float32).min)
KEYS = 5
FORMS = ("added", "chosen", "moved", "two")


def scores(b: Builder, form: str, hidden: float) -> Value:
    """x with the positions of the mask hidden, the ways networks write it."""
    visible = b("cast", b.input("mask", N, 1, KEYS, dtype="i64"), to="bool")
    mask = b("where", visible, 0.0, hidden)
    match form:
        case "added":
            return b("add", b.x, mask)
        case "chosen":
            return b("where", visible, b.x, hidden)
        case "moved":
            flat = b("reshape", b("add", b.x, mask), shape=(N, KEYS * KEYS))
            return b("reshape", flat, shape=(N, KEYS, KEYS))
        case _:
            causal = np.triu(np.full((KEYS, KEYS), hidden, np.float32), 1)
            return b("add", b("add", b.x, mask), causal)


def attention(form: str, hidden: float, *, guarded: bool) -> Graph:
    b = Builder(N, KEYS, KEYS)
    weights = b("softmax", scores(b, form, hidden), axis=-1)
    return b.outputs(y=b("where", b("is_nan", weights), 0.0, weights) if guarded else weights)


def inputs() -> dict[str, Array]:
    mask = np.ones((3, 1, KEYS), np.int64)
    mask[1, :, 3:] = 0
    mask[2] = 0  # everything is hidden from the last sample
    x = np.random.default_rng(0).standard_normal((3, KEYS, KEYS)).astype(np.float32)
    return {"x": x, "mask": mask}


@pytest.mark.parametrize("form", FORMS)
def test_a_guard_becomes_a_question_to_the_mask(form: str) -> None:
    graph = attention(form, -INFINITY, guarded=True)
    raised, _ = applied(graph, RaisePatterns())
    assert "is_nan" not in ops(raised)
    expected = run_analog(graph, inputs())["y"]
    assert (expected[2] == 0).all()
    np.testing.assert_allclose(run_analog(raised, inputs())["y"], expected, rtol=1e-6)


def spiking(graph: Graph) -> Graph:
    return applied(graph, RaisePatterns(), ExpectationCompensation())[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("hidden", "guarded"), [(-INFINITY, True), (LOWEST, False), (-1e4, False)])
def test_masked_attention_equals_the_source_at_every_step(form: str, hidden: float, guarded: bool) -> None:
    graph = attention(form, hidden, guarded=guarded)
    found = decoded(spiking(graph), inputs(), 4)["y"]
    expected = run_analog(graph, inputs())["y"]
    known = np.isfinite(expected)  # two of the lowest numbers make -∞, and a row of them is no number
    assert known.all() or (form, hidden) == ("two", LOWEST)
    for step in found:
        assert np.isfinite(step).all()
        np.testing.assert_allclose(step[known], expected[known], rtol=1e-5, atol=1e-6)


def test_moderate_masks_are_left_alone() -> None:
    graph = attention("added", -1e4, guarded=False)
    assert ops(spiking(graph)) == ["cast", "where", "add", "expect.softmax"]


def test_a_bound_is_shared_by_all_layers() -> None:
    b = Builder(N, KEYS, KEYS)
    mask = b("where", b("cast", b.input("mask", N, 1, KEYS, dtype="i64"), to="bool"), 0.0, LOWEST)
    first = b("softmax", b("add", b.x, mask), axis=-1)
    second = b("softmax", b("add", first, mask), axis=-1)
    assert ops(spiking(b.outputs(y=second))).count("clip") == 1
