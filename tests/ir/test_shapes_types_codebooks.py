"""Dimensions with a symbolic batch, types, codebooks and the price of a payload."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_graphs import codebooks

from snnc.ir.codebooks import (
    CODEBOOKS,
    MAX_PAYLOAD,
    Binary,
    Codebook,
    MultiSpike,
    Payload,
    PowerOfTwo,
    Ternary,
    unit_spikes,
)
from snnc.ir.errors import ShapeError, SnncError, TypeInferenceError
from snnc.ir.limits import MAX_ELEMENTS, shape_problem
from snnc.ir.shapes import (
    Batch,
    batch_axis,
    broadcast,
    concrete,
    element_count,
    normalise_axis,
    per_sample,
    show_shape,
    static_dim,
)
from snnc.ir.types import DTYPES, SpikeType, TensorType, dtype_name

if TYPE_CHECKING:
    from collections.abc import Callable

N = Batch()


# Dimensions.


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (lambda: N * 3, Batch(3)),
        (lambda: 3 * N, Batch(3)),
        (lambda: np.int64(3) * N, Batch(3)),
        (lambda: N * 0, 0),
        (lambda: Batch(12) // 4, Batch(3)),
        (lambda: Batch(12) / 4, Batch(3)),
        (lambda: Batch(12) // Batch(4), 3),
        (lambda: N + N, Batch(2)),
        (lambda: N + 0, N),
        (lambda: 0 + N, N),
        (lambda: Batch(3) - N, Batch(2)),
        (lambda: N - N, 0),
        (lambda: N - 0, N),
        (lambda: Batch(4) % 2, 0),
        (lambda: N > 0, True),
        (lambda: N >= 1, True),
        (lambda: N < 1, False),
        (lambda: Batch(2) > N, True),
    ],
)
def test_arithmetic_that_exporters_write(result: Callable[[], Any], expected: object) -> None:
    found = result()
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    "result",
    [
        lambda: N * N,
        lambda: N * 1.5,
        lambda: N + 1,
        lambda: N - 1,
        lambda: N // 2,
        lambda: N // 0,
        lambda: N % 0,
        lambda: N // Batch(2),
        lambda: 6 // N,
        lambda: 6 / N,
        lambda: N > 1,
        lambda: N < 7,
    ],
)
def test_arithmetic_that_leaves_the_multiples_of_the_batch(result: Callable[[], Any]) -> None:
    with pytest.raises(ShapeError, match="N"):
        result()


@given(
    st.sampled_from([operator.add, operator.sub, operator.mul, operator.floordiv, operator.gt, operator.le]),
    st.one_of(st.integers(1, 20).map(Batch), st.integers(0, 20)),
    st.one_of(st.integers(1, 20).map(Batch), st.integers(0, 20)),
)
@settings(max_examples=300)
def test_symbolic_arithmetic_holds_for_every_batch(
    op: Callable[[Any, Any], Any], left: Any, right: Any
) -> None:
    """Whatever is answered symbolically is what numbers give, for several batch sizes."""

    def value(dim: Any, batch: int) -> Any:
        return dim.coefficient * batch if isinstance(dim, Batch) else dim

    try:
        result = op(left, right)
    except (ShapeError, ZeroDivisionError, TypeError):
        return
    for batch in (1, 2, 7):
        assert value(result, batch) == op(value(left, batch), value(right, batch))


def test_shapes() -> None:
    shape = (Batch(2), 3, 4)
    assert concrete(shape, 5) == (10, 3, 4)
    assert element_count(shape) == Batch(24)
    assert element_count((3, 4)) == 12
    assert element_count((N, 0)) == 0
    assert per_sample(shape) == 24
    assert batch_axis(shape) == 0
    assert batch_axis((3, N)) == 1
    assert batch_axis((3,)) is None
    assert normalise_axis(-1, 3) == 2
    assert static_dim(3, "the width") == 3
    assert [show_shape(s) for s in (shape, (N,), ())] == ["2N x 3 x 4", "N", "scalar"]


def test_broadcasting_is_numpy_s() -> None:
    assert broadcast((N, 1, 4), (3, 1), ()) == (N, 3, 4)
    assert broadcast((1, 3), (N, 1)) == (N, 3)
    with pytest.raises(ShapeError, match="shapes N x 3 and N x 2 do not broadcast"):
        broadcast((N, 3), (N, 2))
    with pytest.raises(ShapeError, match="do not broadcast"):
        broadcast((N, 3), (Batch(2), 3))


@given(st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=3))
def test_broadcasting_of_constant_shapes(shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(ShapeError):
            broadcast(*shapes)
    else:
        assert broadcast(*shapes) == expected


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="axis 3 is outside a rank-3 shape"):
        normalise_axis(3, 3)
    with pytest.raises(ShapeError, match=r"the width depends on the batch size \(2N\)"):
        static_dim(Batch(2), "the width")
    with pytest.raises(ShapeError):
        element_count((N, N))


def test_limits() -> None:
    assert shape_problem((N, 3, 0)) is None
    assert shape_problem((N, MAX_ELEMENTS)) is None
    assert "exceed the limit" in str(shape_problem((Batch(2), MAX_ELEMENTS)))
    assert "33 axes" in str(shape_problem((1,) * 33))


# Types.


def test_types_as_text() -> None:
    assert str(TensorType("f32", (N, 3))) == "tensor<f32, N x 3>"
    assert str(SpikeType(Payload(-7, 7), (N,))) == "spikes<-7..7, N>"
    assert str(SpikeType(Payload(0, 8, True), (), scaled=True)) == "spikes<0..8 pow2 scaled, scalar>"


def test_which_types_are_real() -> None:
    assert [name for name in DTYPES if TensorType(name, ()).is_real] == ["f32", "f64"]
    assert not SpikeType(Payload(0, 1), ()).is_real


def test_element_types() -> None:
    for name, dtype in DTYPES.items():
        assert dtype_name(np.zeros(1, dtype)) == name
    with pytest.raises(TypeInferenceError, match="arrays of float16 have no type"):
        dtype_name(np.zeros(1, np.float16))
    with pytest.raises(TypeInferenceError, match="unknown element type 'f16'"):
        TensorType("f16", ())
    assert TensorType("f32", (3,)).with_shape((N,)) == TensorType("f32", (N,))


def test_errors_belong_to_both_families() -> None:
    for kind, builtin in ((ShapeError, ValueError), (TypeInferenceError, TypeError)):
        assert issubclass(kind, SnncError)
        assert issubclass(kind, builtin)


# Payloads and codebooks.


def test_payload_ranges() -> None:
    assert Payload(-1, 2).hull(Payload(0, 7)) == Payload(-1, 7)
    assert Payload(-4, 4, True).hull(Payload(0, 8, True)) == Payload(-4, 8, True)
    assert Payload(-4, 4, True).hull(Payload(0, 8)) == Payload(-4, 8)
    assert Payload(-4, 4, True).plus(Payload(0, 8, True)) == Payload(-4, 12)
    with pytest.raises(ValueError, match=r"payload range 1\.\.0 is empty"):
        Payload(1, 0)


@pytest.mark.parametrize(
    ("codebook", "u", "payloads"),
    [
        (Binary(), [-2, 0.99, 1, 5], [0, 0, 1, 1]),
        (Ternary(), [-5, -1, -0.99, 0.99, 1, 5], [-1, -1, 0, 0, 1, 1]),
        (MultiSpike(0, 3), [-1, 0.5, 0.51, 1.5, 2.5, 3.6], [0, 0, 1, 2, 2, 3]),
        (MultiSpike(-2, 2), [-9, -1.5, -0.5, 0.5, 9], [-2, -2, 0, 0, 2]),
        (MultiSpike(-8, 7, "burst"), [-9, -2.6, 0.74, 0.75, 2.74, 2.8], [-8, -2, 0, 1, 2, 3]),
        (MultiSpike(-2, 2, "floor"), [-9, -0.01, 0, 0.99, 1, 9], [-2, -1, 0, 0, 1, 2]),
    ],
)
def test_quantisers(codebook: Codebook, u: list[float], payloads: list[int]) -> None:
    membrane = np.array(u, np.float32)
    kept = membrane.copy()
    assert codebook.quantise(membrane).tolist() == payloads
    assert np.array_equal(membrane, kept)
    assert codebook.quantise(membrane).dtype == np.float32


@given(codebooks, st.lists(st.floats(-200, 200, width=32), min_size=1))
def test_a_quantiser_selects_from_its_codebook(codebook: Codebook, u: list[float]) -> None:
    membrane = np.array(u, np.float64)
    payloads = codebook.quantise(membrane)
    members = np.arange(codebook.payload.lo, codebook.payload.hi + 1)
    if isinstance(codebook, PowerOfTwo):
        assert np.isin(payloads, [0, *codebook.members]).all()
        return
    assert np.isin(payloads, members).all()
    # Inside the codebook's reach the residual stays below one quantum: what the membrane keeps is bounded.
    inside = (membrane >= codebook.payload.lo) & (membrane <= codebook.payload.hi)
    assert (np.abs(membrane - payloads)[inside] <= 1).all()
    if isinstance(codebook, MultiSpike) and codebook.rounding == "nearest":
        distance = np.abs(membrane[:, None] - members)
        assert np.array_equal(np.abs(membrane - payloads), distance.min(axis=1))


def test_codebooks_that_cannot_be() -> None:
    for lo, hi in ((1, 3), (-3, -1), (0, 0)):
        with pytest.raises(ValueError, match="must hold zero and one more payload"):
            MultiSpike(lo, hi)
    with pytest.raises(ValueError, match="exceeds the largest payload 32767"):
        MultiSpike(0, MAX_PAYLOAD + 1)
    with pytest.raises(ValueError, match="rounds 'nearest', 'floor' or 'burst', not 'up'"):
        MultiSpike(0, 1, "up")  # type: ignore[arg-type]  # the mistake under test


def test_the_table_of_codebooks_is_by_name() -> None:
    assert list(CODEBOOKS) == ["binary", "ternary", "multi", "pow2"]
    assert all(CODEBOOKS[name].name == name for name in CODEBOOKS)


def non_adjacent_form(k: int) -> list[int]:
    """The signed digits of k, least first, by the textbook's division (Reitwiesner 1960)."""
    digits = []
    while k:
        digit = 2 - k % 4 if k % 2 else 0
        digits.append(digit)
        k = (k - digit) // 2
    return digits


def test_unit_spikes_are_the_digits_of_the_non_adjacent_form() -> None:
    payloads = np.arange(-(2**16) + 1, 2**16)
    expected = [sum(digit != 0 for digit in non_adjacent_form(abs(int(k)))) for k in payloads]
    assert unit_spikes(payloads).tolist() == expected


def test_unit_spikes_by_hand() -> None:
    """0, 1, 2, 3 = 4-1, 7 = 8-1, 11 = 8+4-1, -7, 2^15."""
    payloads = np.array([[0, 1, 2, 3], [7, 11, -7, 2**15]], np.float32)
    assert unit_spikes(payloads).tolist() == [[0, 1, 1, 2], [2, 3, 2, 1]]
    assert unit_spikes(np.zeros((0, 3))).shape == (0, 3)
    assert unit_spikes(np.array([2**16, 2**16 - 1, 2**23 + 3])).tolist() == [1, 2, 3]
