"""Networks that branch on their own activity compile and equal the source at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.passes.expectation_compensation import ExpectationCompensation
from snnc.passes.raise_patterns import RaisePatterns
from tests.harness import run_analog
from tests.passes.build import Builder, N, applied, assert_same_function, decoded, ops, random_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Value

NETWORKS: dict[str, Callable[[Builder], Value]] = {
    "leaky": lambda b: b("where", b("greater", b.x, 0.0), b.x, b("mul", b.x, 0.1)),
    "hard shrink": lambda b: b(
        "where", b("logical_or", b("greater", b.x, 0.5), b("less", b.x, -0.5)), b.x, 0.0
    ),
    "step": lambda b: b("cast", b("greater_equal", b.x, 0.25), to="f32"),
    "not zero": lambda b: b("cast", b("cast", b("relu", b.x), to="bool"), to="f32"),
    "equal": lambda b: b("where", b("equal", b("relu", b.x), 0.0), -1.0, b.x),
    "between": lambda b: b(
        "where", b("logical_and", b("less_equal", b.x, 1.0), b("logical_not", b("less", b.x, -1.0))), b.x, 9.0
    ),
    "differ": lambda b: b(
        "where", b("logical_xor", b("greater", b.x, 0.0), b("greater", b("neg", b.x), 1.0)), b.x, 2.0
    ),
    "moved": lambda b: b(
        "where",
        b("transpose", b("greater", b.x, 0.0), perm=(0, 2, 1)),
        b("transpose", b.x, perm=(0, 2, 1)),
        0.0,
    ),
    "hidden scores": lambda b: b("softmax", b("where", b("less", b.x, -0.3), float("-inf"), b.x), axis=-1),
    "two streams": lambda b: b("where", b("greater", b.x, b("sin", b.x)), b.x, b("sin", b.x)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_branch_equals_the_source_at_every_step(name: str) -> None:
    b = Builder(N, 6, 5)
    graph = b.outputs(y=NETWORKS[name](b))
    raised, _ = applied(graph, RaisePatterns())
    assert all(node.result.type.dtype != "bool" for node in raised)
    assert_same_function(graph, raised)
    inputs = random_inputs(graph)
    expected = run_analog(graph, inputs)["y"]
    for step in decoded(applied(raised, ExpectationCompensation())[0], inputs, 4)["y"]:
        np.testing.assert_allclose(step, expected, rtol=1e-5, atol=1e-6)


def test_a_static_truth_joins_a_moving_one() -> None:
    b = Builder(N, 4)
    mask = b("cast", b.input("mask", N, 4, dtype="i64"), to="bool")
    both = b("logical_and", mask, b("greater", b.x, 0.0))
    raised, _ = applied(b.outputs(y=b("where", both, b.x, 0.0)), RaisePatterns())
    assert ops(raised)[-1] == "select"
    assert_same_function(b.graph, raised)


def test_static_truths_stay_as_they_are() -> None:
    b = Builder(N, 4)
    mask = b("greater", b.input("mask", N, 4, dtype="i64"), b.graph.constant_value(np.array(1), "one"))
    raised, _ = applied(b.outputs(y=b("where", mask, b.x, 0.0)), RaisePatterns())
    assert ops(raised) == ["greater", "where"]
