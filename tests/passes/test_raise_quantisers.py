"""`raise-quantisers` finds quantisers in every order of factors and bounds, and nothing else that rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from snnc.ir.graph import Value
from snnc.passes.raise_quantisers import RaiseQuantisers
from tests.harness import run_analog
from tests.passes.build import Builder, N, applied, assert_same_function, only, ops

Spelling: TypeAlias = Callable[[Builder, Value], Value]


def chain(b: Builder, x: Value, *steps: tuple[Any, ...]) -> Value:
    """Apply ops one after the other: ("mul", 2.0), ("clip", {"low": 0.0}), ("floor",)."""
    for op, *rest in steps:
        x = b(op, x, **rest[0]) if rest and isinstance(rest[0], dict) else b(op, x, *rest)
    return x


def bounded(low: float, high: float) -> tuple[str, dict[str, float]]:
    return "clip", {"low": float(low), "high": float(high)}


CHANNELS = np.array([0.5, 0.25, 2.0], np.float32).reshape(1, 3, 1)

# What is written, and (scale, lo, hi, rounding) of what it computes.
SPELLINGS: dict[str, tuple[list[tuple[Any, ...]], tuple[Any, int, int, str]]] = {
    "PolarityQuant": (
        [("div", 0.25), ("add", 0.5), ("floor",), bounded(-3, 12), ("mul", 0.25)],
        (0.25, -3, 12, "floor"),
    ),
    "per channel": (
        [("div", CHANNELS), ("add", 0.5), ("floor",), bounded(-8, 7), ("mul", CHANNELS)],
        (CHANNELS, -8, 7, "floor"),
    ),
    "QCFS as published": (
        [("div", 2.0), bounded(0, 1), ("mul", 8.0), ("add", 0.5), ("floor",), ("div", 8.0), ("mul", 2.0)],
        (0.25, 0, 8, "floor"),
    ),
    "QCFS as its equation": (
        [("mul", 8.0), ("div", 2.0), ("add", 0.5), ("floor",), ("div", 8.0), bounded(0, 1), ("mul", 2.0)],
        (0.25, 0, 8, "floor"),
    ),
    "behind a ReLU": (
        [("relu",), ("mul", 4.0), ("add", 0.5), ("floor",), bounded(-8, 7), ("mul", 0.25)],
        (0.25, 0, 7, "floor"),
    ),
    "behind a ReLU6, bounds first": (
        [bounded(0, 6), ("div", 0.4), ("add", 0.5), ("floor",), ("mul", 0.4)],
        (0.4, 0, 15, "floor"),
    ),
    "halves to even": ([("div", 0.5), ("round",), bounded(-4, 3), ("mul", 0.5)], (0.5, -4, 3, "nearest")),
    "bounds after the scale": (
        [("div", 0.5), ("round",), ("mul", 0.5), bounded(-2, 1.5)],
        (0.5, -4, 3, "nearest"),
    ),
    "integers": ([("add", 0.5), ("floor",), bounded(0, 15)], (1.0, 0, 15, "floor")),
}


@pytest.mark.parametrize("label", SPELLINGS)
def test_spellings(label: str) -> None:
    steps, (scale, lo, hi, rounding) = SPELLINGS[label]
    b = Builder(N, 3, 8)
    graph = b.outputs(y=chain(b, b.x, *steps))
    raised, notes = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["fake_quantise"]
    assert notes == []
    found = raised.resolve(only(raised, "fake_quantise"))
    np.testing.assert_allclose(found["scale"], np.broadcast_to(scale, found["scale"].shape), rtol=1e-6)
    assert found["scale"].ndim == 3
    assert (found["lo"], found["hi"], found["rounding"]) == (lo, hi, rounding)
    assert_same_function(graph, raised)


@pytest.mark.parametrize("label", SPELLINGS)
def test_every_half_goes_where_the_spelling_sends_it(label: str) -> None:
    """Exact in binary, so that no rounding decides: halves of the quantum, and the bounds."""
    steps, (scale, *_) = SPELLINGS[label]
    if np.any(np.log2(scale) % 1):
        pytest.skip("its quantum is no power of two")
    b = Builder(N, 3, 81)
    graph = b.outputs(y=chain(b, b.x, *steps))
    raised, _ = applied(graph, RaiseQuantisers())
    x = (np.arange(-40, 41, dtype=np.float32) / 2)[None, None] * np.broadcast_to(scale, (1, 3, 1))
    inputs = {"x": x.astype(np.float32)}
    np.testing.assert_array_equal(run_analog(raised, inputs)["y"], run_analog(graph, inputs)["y"])


NEAR_MISSES: dict[str, tuple[list[tuple[Any, ...]], str]] = {
    "rounds down": ([("div", 0.5), ("floor",), bounded(0, 7), ("mul", 0.5)], "does not round to the nearest"),
    "no bounds": ([("div", 0.5), ("round",), ("mul", 0.5)], "no bounds"),
    "one bound": ([("div", 0.5), ("round",), ("relu",), ("mul", 0.5)], "no bounds"),
    "bounds between levels": ([("div", 0.5), ("round",), ("mul", 0.5), bounded(0, 1.2)], "no bounds"),
    "without zero": ([("div", 0.5), ("round",), bounded(1, 7), ("mul", 0.5)], "levels 1..7"),
    "one level": ([("div", 0.5), ("round",), bounded(0, 0), ("mul", 0.5)], "levels 0..0"),
}


@pytest.mark.parametrize("label", NEAR_MISSES)
def test_near_misses_are_declined(label: str) -> None:
    steps, reason = NEAR_MISSES[label]
    b = Builder(N, 3, 8)
    graph = b.outputs(y=chain(b, b.x, *steps))
    raised, notes = applied(graph, RaiseQuantisers())
    assert "fake_quantise" not in ops(raised)
    assert any(reason in note.reason for note in notes)
    assert_same_function(graph, raised)


def test_a_factor_that_belongs_to_what_comes_before_stays_there() -> None:
    """GELU written out ends in a factor of 1/2, which the quantiser does not undo."""
    b = Builder(N, 4)
    half = b("mul", b("tanh", b.x), 0.5)
    steps = [("div", 0.25), ("add", 0.5), ("floor",), bounded(-2, 2), ("mul", 0.25)]
    graph = b.outputs(y=chain(b, half, *steps))
    raised, _ = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["tanh", "mul", "fake_quantise"]
    assert_same_function(graph, raised)


def test_integers_scaled_back_by_another_factor_are_quantised_as_integers() -> None:
    b = Builder(N, 4)
    graph = b.outputs(y=chain(b, b.x, ("div", 0.5), ("round",), bounded(-4, 3), ("mul", 0.25)))
    raised, _ = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["div", "fake_quantise", "mul"]
    assert_same_function(graph, raised)


def test_what_others_read_inside_a_quantiser_stays() -> None:
    b = Builder(N, 4)
    code = chain(b, b.x, ("div", 0.5), ("round",), bounded(-4, 3))
    graph = b.outputs(code=code, y=b("mul", code, 0.5))
    raised, _ = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["div", "fake_quantise", "mul"]
    assert [output.name for output in raised.outputs] == ["code", "y"]
    assert_same_function(graph, raised, rtol=0, atol=0)


def test_a_factor_that_widens_the_tensor_is_no_quantiser() -> None:
    b = Builder(N, 1)
    wide = np.array([[0.5, 0.25]], np.float32)
    graph = b.outputs(y=chain(b, b.x, ("div", wide), ("round",), bounded(-4, 3), ("mul", wide)))
    raised, _ = applied(graph, RaiseQuantisers())
    assert "fake_quantise" not in ops(raised)


# Pairs.


def pair(b: Builder, x: Value, scale: Any, zero: Any) -> Value:
    scale, zero = np.asarray(scale, np.float32), np.asarray(zero)
    quantised = b("quantise", x, scale=scale, zero_point=zero, axis=1)
    return b("dequantise", quantised, scale=scale, zero_point=zero, axis=1)


def test_quantisers_with_a_scale_per_channel() -> None:
    b = Builder(N, 2, 3)
    graph = b.outputs(y=pair(b, b.x, [0.25, 0.5], np.array([3, 3], np.int8)))
    raised, _ = applied(graph, RaiseQuantisers())
    node = only(raised, "fake_quantise")
    assert (node.attributes["lo"], node.attributes["hi"]) == (-131, 124)
    assert_same_function(graph, raised, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_zero_points_that_differ_between_channels_bound_the_stream(dtype: type) -> None:
    b = Builder(N, 3, 4)
    graph = b.outputs(y=pair(b, b.x, [0.01, 0.02, 0.05], np.array([0, 7, 100], dtype)))
    raised, _ = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["max", "min", "fake_quantise"]
    assert_same_function(graph, raised, rtol=1e-6, atol=0)


def test_a_pair_that_changes_the_scale_leaves_a_factor() -> None:
    b = Builder(N, 2, 3)
    zero = np.array(3, np.int8)
    levels = b("quantise", b.x, scale=np.array([0.25, 0.5], np.float32), zero_point=zero.repeat(2), axis=1)
    real = b("dequantise", levels, scale=np.array(1, np.float32), zero_point=zero, axis=1)
    graph = b.outputs(y=real)
    raised, _ = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["fake_quantise", "mul"]
    assert_same_function(graph, raised, rtol=1e-6, atol=0)


def test_a_synapse_takes_the_factor_of_a_pair_that_changes_the_scale() -> None:
    """MatMulInteger reads integers: they dequantise by 1, and the scale comes behind the product."""
    b = Builder(N, 4)
    scale, zero = np.array(0.02, np.float32), np.array(3, np.int8)
    levels = b("quantise", b.x, scale=scale, zero_point=zero)
    real = b("dequantise", levels, scale=np.array(1, np.float32), zero_point=zero)
    graph = b.outputs(y=b("linear", real, weight=np.arange(8, dtype=np.float32).reshape(2, 4)))
    raised, _ = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["fake_quantise", "linear"]
    assert_same_function(graph, raised)


def test_quantisers_of_16_bits_are_declined() -> None:
    b = Builder(N, 2, 3)
    raised, notes = applied(b.outputs(y=pair(b, b.x, 0.25, np.array(0, np.int16))), RaiseQuantisers())
    assert ops(raised) == ["quantise", "dequantise"]
    assert ["16 bits" in note.reason for note in notes] == [True]


@pytest.mark.parametrize(
    ("before", "levels"),
    [
        (("relu",), (0, 155)),
        (bounded(0, 6), (0, 60)),
        (bounded(-1, 1), (-10, 10)),
        (bounded(0, 99), (0, 155)),
    ],
)
def test_bounds_before_a_pair_join_its_levels(before: tuple[Any, ...], levels: tuple[int, int]) -> None:
    b = Builder(N, 2, 3)
    graph = b.outputs(y=pair(b, chain(b, b.x, before), 0.1, np.array(100, np.uint8)))
    raised, _ = applied(graph, RaiseQuantisers())
    node = only(raised, "fake_quantise")
    assert ops(raised) == ["fake_quantise"]
    assert (node.attributes["lo"], node.attributes["hi"]) == levels
    assert_same_function(graph, raised, rtol=1e-6, atol=0)


def test_quantising_again_what_only_moved_is_dropped() -> None:
    b = Builder(N, 4, 4, 4)
    zero = np.array(0, np.uint8)
    pooled = b("max_pool", pair(b, b.x, 0.1, zero), kernel=(2, 2), strides=(2, 2))
    flat = b("reshape", pair(b, pooled, 0.1, zero), shape=(N, 16))
    graph = b.outputs(same=pair(b, flat, 0.1, zero), other=pair(b, flat, 0.2, zero))
    raised, _ = applied(graph, RaiseQuantisers())
    assert ops(raised) == ["fake_quantise", "max_pool", "reshape", "fake_quantise"]
    assert_same_function(graph, raised, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("readers", [1, 2])
def test_levels_that_are_only_moved_become_reals_that_are(readers: int) -> None:
    """The quantiser comes before what moves its levels, unless something else reads them."""
    b = Builder(N, 4, 4, 4)
    scale, zero = np.float32(0.1), np.array(90, np.uint8)
    levels = b("quantise", b.x, scale=np.asarray(scale), zero_point=zero, axis=1)
    pooled = b("max_pool", levels, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    flat = b("reshape", pooled, shape=(N, 16))
    outputs = {
        f"y{reader}": b("dequantise", flat, scale=np.asarray(scale * (1 + reader)), zero_point=zero, axis=1)
        for reader in range(readers)
    }
    graph = b.outputs(**outputs)
    raised, _ = applied(graph, RaiseQuantisers())
    moved = ["fake_quantise", "max_pool", "reshape"]
    assert ops(raised) == (moved if readers == 1 else ops(graph))
    assert_same_function(graph, raised, rtol=1e-6, atol=0)
