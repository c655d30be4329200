"""`raise-patterns` recognises functions however they were written out, and nothing that is merely close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from snnc.ir.graph import Value
from snnc.passes.raise_patterns import RaisePatterns
from snnc.passes.simplify import Simplify
from tests.harness import run_analog
from tests.passes.build import Builder, N, applied, assert_same_function, only, ops

Spelling: TypeAlias = Callable[[Builder, Value], Value]

ROOT_2 = float(np.sqrt(2))
TANH_FACTOR = float(np.sqrt(2 / np.pi))


def cube(b: Builder, x: Value) -> Value:
    return b("mul", b("mul", x, x), x)


def tanh_gelu(b: Builder, x: Value, power: Value) -> Value:
    inner = b("mul", b("add", x, b("mul", power, 0.044715)), TANH_FACTOR)
    return b("mul", b("mul", x, 0.5), b("add", b("tanh", inner), 1.0))


ACTIVATIONS: dict[str, tuple[str, Spelling]] = {
    "gelu: x (1 + erf(x / √2)) / 2": (
        "gelu",
        lambda b, x: b("mul", b("mul", x, b("add", b("erf", b("div", x, ROOT_2)), 1.0)), 0.5),
    ),
    "gelu: x/2 (1 + erf(x · 0.7071))": (
        "gelu",
        lambda b, x: b("mul", b("mul", x, 0.5), b("add", b("erf", b("mul", x, 1 / ROOT_2)), 1.0)),
    ),
    "gelu: x ((1 + erf) / 2)": (
        "gelu",
        lambda b, x: b("mul", x, b("mul", b("add", b("erf", b("div", x, ROOT_2)), 1.0), 0.5)),
    ),
    "gelu: (erf · 0.5 + 0.5) x": (
        "gelu",
        lambda b, x: b("mul", b("add", b("mul", b("erf", b("div", x, ROOT_2)), 0.5), 0.5), x),
    ),
    "tanh gelu: pow": ("gelu", lambda b, x: tanh_gelu(b, x, b("pow", x, 3.0))),
    "tanh gelu: x·x·x": ("gelu", lambda b, x: tanh_gelu(b, x, cube(b, x))),
    "silu: x sigmoid(x)": ("silu", lambda b, x: b("mul", x, b("sigmoid", x))),
    "silu: sigmoid(x) x": ("silu", lambda b, x: b("mul", b("sigmoid", x), x)),
    "silu: x / (1 + exp(-x))": (
        "silu",
        lambda b, x: b("div", x, b("add", b("exp", b("neg", x)), 1.0)),
    ),
    "mish: x tanh(softplus(x))": ("mish", lambda b, x: b("mul", x, b("tanh", b("softplus", x)))),
    "mish: x tanh(log(1 + exp(x)))": (
        "mish",
        lambda b, x: b("mul", x, b("tanh", b("log", b("add", b("exp", x), 1.0)))),
    ),
    "hard swish: x clip(x + 3, 0, 6) / 6": (
        "hard_swish",
        lambda b, x: b("div", b("mul", x, b("clip", b("add", x, 3.0), low=0.0, high=6.0)), 6.0),
    ),
    "hard swish: x hard_sigmoid(x)": (
        "hard_swish",
        lambda b, x: b("mul", x, b("hard_sigmoid", x, alpha=1 / 6, beta=0.5)),
    ),
    "hard sigmoid: clip(x + 3, 0, 6) / 6": (
        "hard_sigmoid",
        lambda b, x: b("div", b("clip", b("add", x, 3.0), low=0.0, high=6.0), 6.0),
    ),
    "sigmoid: 1 / (1 + exp(-x))": (
        "sigmoid",
        lambda b, x: b("reciprocal", b("add", b("exp", b("neg", x)), 1.0)),
    ),
}


@pytest.mark.parametrize("first", [[], [Simplify()]], ids=["as written", "after simplify"])
@pytest.mark.parametrize("label", ACTIVATIONS)
def test_activations_are_raised(label: str, first: list[Any]) -> None:
    name, spelling = ACTIVATIONS[label]
    b = Builder(N, 4)
    graph = b.outputs(y=spelling(b, b.x))
    raised, _ = applied(graph, *first, RaisePatterns())
    assert ops(raised) == [name]
    assert_same_function(graph, raised)


def test_the_two_gelus_are_told_apart() -> None:
    for label, kind in (("gelu: x ((1 + erf) / 2)", "none"), ("tanh gelu: pow", "tanh")):
        b = Builder(N, 4)
        raised, _ = applied(b.outputs(y=ACTIVATIONS[label][1](b, b.x)), RaisePatterns())
        assert raised.resolve(only(raised, "gelu"))["approximate"] == kind


# Norms and softmax.


def variance(b: Builder, centred: Value, axes: tuple[int, ...]) -> Value:
    return b("reduce_mean", b("pow", centred, 2.0), axes=axes)


def layer_norm(b: Builder, x: Value, axes: tuple[int, ...] = (-1,), epsilon: float = 1e-5) -> Value:
    centred = b("sub", x, b("reduce_mean", x, axes=axes))
    return b("div", centred, b("sqrt", b("add", variance(b, centred, axes), epsilon)))


def layer_norm_by_two_differences(b: Builder, x: Value) -> Value:
    mean = b("reduce_mean", x, axes=(-1,))
    first, second = b("sub", x, mean), b("sub", x, mean)
    return b("div", first, b("sqrt", b("add", variance(b, second, (-1,)), 1e-6)))


def layer_norm_by_moments(b: Builder, x: Value) -> Value:
    mean = b("reduce_mean", x, axes=(-1,))
    spread = b("sub", b("reduce_mean", b("mul", x, x), axes=(-1,)), b("mul", mean, mean))
    return b("mul", b("sub", x, mean), b("reciprocal", b("sqrt", b("add", b("clip", spread, low=0.0), 1e-2))))


def rms_norm(b: Builder, x: Value) -> Value:
    square = b("reduce_mean", b("mul", x, x), axes=(-1,))
    return b("mul", x, b("reciprocal", b("sqrt", b("add", square, 1e-6))))


def rms_norm_by_division(b: Builder, x: Value) -> Value:
    square = b("reduce_mean", b("pow", x, 2.0), axes=(-1,))
    return b("div", x, b("sqrt", b("add", square, 1e-3)))


def softmax(b: Builder, x: Value, axis: int = -1) -> Value:
    shifted = b("exp", b("sub", x, b("reduce_max", x, axes=(axis,))))
    return b("div", shifted, b("reduce_sum", shifted, axes=(axis,)))


def log_softmax(b: Builder, x: Value) -> Value:
    shifted = b("sub", x, b("reduce_max", x, axes=(-1,)))
    return b("sub", shifted, b("log", b("reduce_sum", b("exp", shifted), axes=(-1,))))


NORMS: dict[str, tuple[str, dict[str, Any], Spelling]] = {
    "layer norm": ("layer_norm", {"axis": -1, "epsilon": 1e-5}, layer_norm),
    "layer norm over two axes": (
        "layer_norm",
        {"axis": -2, "epsilon": 1e-3},
        lambda b, x: layer_norm(b, x, (-2, -1), 1e-3),
    ),
    "layer norm, x - mean twice": ("layer_norm", {"epsilon": 1e-6}, layer_norm_by_two_differences),
    "rms norm": ("rms_norm", {"axis": -1, "epsilon": 1e-6}, rms_norm),
    "rms norm by division": ("rms_norm", {"epsilon": 1e-3}, rms_norm_by_division),
    "softmax": ("softmax", {"axis": 2}, softmax),
    "softmax over rows": ("softmax", {"axis": 1}, lambda b, x: softmax(b, x, 1)),
    "log softmax": ("log_softmax", {"axis": 2}, log_softmax),
}


@pytest.mark.parametrize("label", NORMS)
def test_norms_are_raised(label: str) -> None:
    name, attributes, spelling = NORMS[label]
    b = Builder(N, 3, 8)
    graph = b.outputs(y=spelling(b, b.x))
    raised, _ = applied(graph, RaisePatterns())
    assert ops(raised) == [name]
    found = raised.resolve(only(raised, name))
    assert {key: found[key] for key in attributes} == pytest.approx(attributes)
    assert_same_function(graph, raised)


@pytest.mark.parametrize("rank", [1, 3])
def test_gain_and_offset_join_the_norm(rank: int) -> None:
    shape = (1,) * (rank - 1) + (8,)
    gain = np.arange(1, 9, dtype=np.float32).reshape(shape)
    offset = np.linspace(-1, 1, 8, dtype=np.float32).reshape(shape)
    b = Builder(N, 3, 8)
    graph = b.outputs(y=b("add", b("mul", layer_norm(b, b.x), gain), offset))
    raised, _ = applied(graph, RaisePatterns())
    assert ops(raised) == ["layer_norm"]
    assert_same_function(graph, raised)


def test_a_gain_that_widens_the_norm_stays() -> None:
    b = Builder(N, 1)
    graph = b.outputs(y=b("mul", b("rms_norm", b.x), np.arange(1, 6, dtype=np.float32)))
    raised, _ = applied(graph, RaisePatterns())
    assert ops(raised) == ["rms_norm", "mul"]
    assert_same_function(graph, raised)


def test_a_gain_after_an_offset_is_declined() -> None:
    b = Builder(N, 4)
    c = np.arange(1, 5, dtype=np.float32)
    graph = b.outputs(y=b("mul", b("add", b("layer_norm", b.x), c), c))
    raised, notes = applied(graph, RaisePatterns())
    assert ops(raised) == ["layer_norm", "mul"]
    assert [note.reason for note in notes] == ["the norm before it already adds an offset"]
    assert_same_function(graph, raised)


def test_origins_and_names_survive() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=b("mul", b.x, b("sigmoid", b.x, name="gate"), name="out"))
    raised, _ = applied(graph, RaisePatterns())
    node = only(raised, "silu")
    assert node.origin == ("gate", "out")
    assert node.result.name == "out_out"


def test_what_others_read_inside_a_region_stays() -> None:
    b = Builder(N, 4)
    gate = b("sigmoid", b.x)
    graph = b.outputs(gate=gate, y=b("mul", b.x, gate))
    raised, _ = applied(graph, RaisePatterns())
    assert ops(raised) == ["sigmoid", "silu"]
    assert_same_function(graph, raised)


# What is close, and something else.


def layer_norm_with_ddof(b: Builder, x: Value) -> Value:
    centred = b("sub", x, b("reduce_mean", x, axes=(-1,)))
    unbiased = b("div", b("reduce_sum", b("mul", centred, centred), axes=(-1,)), 7.0)
    return b("div", centred, b("sqrt", b("add", unbiased, 1e-5)))


def unit_length(b: Builder, x: Value) -> Value:
    """x / max(‖x‖/√n, 1e-12): like RMS norm, but 0 at 0."""
    square = b("reduce_mean", b("mul", x, x), axes=(-1,))
    return b("div", x, b("clip", b("sqrt", square), low=1e-12))


NEAR_MISSES: dict[str, Spelling] = {
    "gelu with 1/√2 off by a percent": lambda b, x: b(
        "mul", b("mul", x, 0.5), b("add", b("erf", b("mul", x, 0.714)), 1.0)
    ),
    "gelu with tanh and the wrong cubic": lambda b, x: b(
        "mul",
        b("mul", x, 0.5),
        b("add", b("tanh", b("mul", b("add", x, b("mul", cube(b, x), 0.0449)), TANH_FACTOR)), 1.0),
    ),
    "x sigmoid(1.702 x)": lambda b, x: b("mul", x, b("sigmoid", b("mul", x, 1.702))),
    "x sigmoid(x) + x": lambda b, x: b("add", b("mul", x, b("tanh", x)), x),
    "hard swish with 5": lambda b, x: b(
        "div", b("mul", x, b("clip", b("add", x, 3.0), low=0.0, high=6.0)), 5.0
    ),
    "silu of a clipped stream": lambda b, x: b("mul", b("clip", x, low=-50.0, high=50.0), b("sigmoid", x)),
    "layer norm with ddof": layer_norm_with_ddof,
    "unit length": unit_length,
    "softmax without its sum's last axis": lambda b, x: b(
        "div", b("exp", x), b("reduce_sum", b("exp", x), axes=(1, 2))
    ),
    "softmax to base 2": lambda b, x: softmax(b, b("mul", x, float(np.log(2)))),
}


@pytest.mark.parametrize("label", NEAR_MISSES)
def test_near_misses_keep_their_meaning(label: str) -> None:
    b = Builder(N, 3, 8)
    graph = b.outputs(y=NEAR_MISSES[label](b, b.x))
    raised, _ = applied(graph, RaisePatterns())
    assert_same_function(graph, raised)
    zero = {"x": np.zeros((2, 3, 8), np.float32)}
    far = {"x": np.full((2, 3, 8), 80, np.float32) * np.linspace(-1, 1, 8, dtype=np.float32)}
    for inputs in (zero, far):
        np.testing.assert_allclose(
            run_analog(raised, inputs)["y"], run_analog(graph, inputs)["y"], rtol=1e-5, atol=1e-5
        )


def test_a_mean_by_a_wrong_count_is_no_norm() -> None:
    """Probe data are short along other axes; a count that fits those must not pass for a mean."""
    b = Builder(N, 4, 2, 2, 2)
    axes = (1, 2, 3, 4)
    square = b("mul", b("reduce_sum", b("mul", b.x, b.x), axes=axes), 1 / 16)
    graph = b.outputs(y=b("div", b.x, b("sqrt", b("add", square, 1e-5))))
    raised, _ = applied(graph, RaisePatterns())
    assert_same_function(graph, raised)


def test_a_reduction_that_drops_its_axis_is_left_alone() -> None:
    """x - mean(x) broadcasts along another axis than the one reduced: [3, 3] - [3]."""
    b = Builder(3, 3)
    mean = b("reduce_mean", b.x, axes=(1,), keepdims=False)
    graph = b.outputs(y=b("mul", b("sub", b.x, mean), b.x))
    raised, _ = applied(graph, RaisePatterns())
    assert_same_function(graph, raised)


def test_two_streams_are_no_activation() -> None:
    b = Builder(N, 4)
    other = b.input("other", N, 4)
    graph = b.outputs(y=b("mul", b.x, b("sigmoid", other)))
    raised, _ = applied(graph, RaisePatterns())
    assert ops(raised) == ["sigmoid", "mul"]


# Guards.


def test_the_guard_against_rows_masked_whole_goes() -> None:
    b = Builder(N, 4)
    weights = b("softmax", b.x, axis=-1)
    graph = b.outputs(y=b("where", b("is_nan", weights), 0.0, weights))
    raised, _ = applied(graph, RaisePatterns())
    assert ops(raised) == ["softmax"]
