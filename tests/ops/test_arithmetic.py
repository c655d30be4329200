"""Arithmetic of several tensors against onnxruntime, with broadcasting; payloads; refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from onnx import helper

from snnc.ir.codebooks import Payload
from snnc.ir.errors import ShapeError, TypeInferenceError
from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch
from snnc.ir.types import SpikeType, TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import Type

NAMES = "abcd"


def check(op: str, arrays: Sequence[Array], constant: Sequence[int] = (), **attributes: Any) -> Graph:
    """Compare one node on arrays; those at the positions in `constant` become initialisers."""
    node = helper.make_node(op, list(NAMES[: len(arrays)]), ["y"], **attributes)
    given = {name: np.asarray(array) for name, array in zip(NAMES, arrays, strict=False)}
    initializers = {NAMES[position]: given[NAMES[position]] for position in constant}
    inputs = {name: array for name, array in given.items() if name not in initializers}
    declared = {
        name: (helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in inputs.items()
    }
    model = onnx_model([node], declared, ["y"], initializers)
    return assert_matches_onnxruntime(
        model, inputs, shapes={name: array.shape for name, array in inputs.items()}
    )


@st.composite
def operands(draw: st.DrawFn, count: int) -> tuple[list[tuple[int, ...]], np.random.Generator]:
    """Draw shapes that broadcast, and a generator for their elements."""
    shapes = draw(mutually_broadcastable_shapes(num_shapes=count, max_dims=4, max_side=4)).input_shapes
    return list(shapes), np.random.default_rng(draw(st.integers(0, 999)))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(0, 3, shape).astype(np.float32)


def integers(rng: np.random.Generator, shape: tuple[int, ...], lo: int, hi: int) -> Array:
    """Return integers other than 0."""
    return np.where((x := rng.integers(lo, hi, shape)) == 0, hi, x)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
@settings(max_examples=25, deadline=None)
@given(operands(2), st.sampled_from([(), (0,), (1,)]))
def test_binary(
    op: str, drawn: tuple[list[tuple[int, ...]], np.random.Generator], constant: tuple[int, ...]
) -> None:
    shapes, rng = drawn
    check(op, [normal(rng, shape) for shape in shapes], constant)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max", "Mod"])
@settings(max_examples=15, deadline=None)
@given(operands(2), st.sampled_from([np.int64, np.int32]))
def test_binary_of_integers(
    op: str, drawn: tuple[list[tuple[int, ...]], np.random.Generator], dtype: Any
) -> None:
    """Division rounds towards zero, the remainder has the sign of the divisor."""
    shapes, rng = drawn
    check(op, [integers(rng, shape, -9, 9).astype(dtype) for shape in shapes])


@pytest.mark.parametrize("op", ["Min", "Max", "Mean", "Sum"])
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4).flatmap(operands))
def test_variadic(op: str, drawn: tuple[list[tuple[int, ...]], np.random.Generator]) -> None:
    shapes, rng = drawn
    check(op, [normal(rng, shape) for shape in shapes])


@settings(max_examples=20, deadline=None)
@given(operands(3), st.booleans())
def test_where(drawn: tuple[list[tuple[int, ...]], np.random.Generator], constant: bool) -> None:
    shapes, rng = drawn
    condition = rng.random(shapes[0]) < 0.5
    check("Where", [condition, normal(rng, shapes[1]), normal(rng, shapes[2])], (0,) if constant else ())


@settings(max_examples=20, deadline=None)
@given(operands(2))
def test_power(drawn: tuple[list[tuple[int, ...]], np.random.Generator]) -> None:
    shapes, rng = drawn
    check("Pow", [np.abs(normal(rng, shapes[0])) + 0.1, normal(rng, shapes[1])])


@pytest.mark.parametrize("exponent", [2, 3, -1, 0])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_power_of_negative_numbers(exponent: int, dtype: Any) -> None:
    base = np.array([-2.5, -1, 0.5, 3], np.float32)
    check("Pow", [base, np.array(exponent, dtype)], (1,))


@pytest.mark.parametrize("exponent", [np.float32(2.0), np.float32(0.5), np.int64(3), np.int32(2)])
def test_power_of_integers(exponent: Any) -> None:
    check("Pow", [np.array([1, 2, 4, 9], np.int64), np.asarray(exponent)], (1,))
    check("Pow", [np.array([1, 2, 4, 9], np.int64), np.asarray(exponent)])


def test_integers_to_negative_integers() -> None:
    found = get_op("pow").kernel(np.array([1, 2, -1]), np.array([-1, -1, -3]))  # type: ignore[misc]  # it has one
    np.testing.assert_array_equal(found, [1, 0, -1])


@settings(max_examples=20, deadline=None)
@given(operands(2))
def test_mod_of_reals(drawn: tuple[list[tuple[int, ...]], np.random.Generator]) -> None:
    shapes, rng = drawn
    check("Mod", [normal(rng, shape) for shape in shapes], fmod=1)


@settings(max_examples=10, deadline=None)
@given(operands(2))
def test_mod_of_integers_with_the_sign_of_the_dividend(
    drawn: tuple[list[tuple[int, ...]], np.random.Generator],
) -> None:
    shapes, rng = drawn
    check("Mod", [integers(rng, shape, -9, 9) for shape in shapes], fmod=1)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Mean"])
@pytest.mark.parametrize("shape", [("N", 3, 4), (4,), ("N", 1, 1), (1, 3, 1), ()])
def test_symbolic_batch(op: str, shape: tuple[Any, ...]) -> None:
    rng = np.random.default_rng(0)
    sizes = tuple(2 if dim == "N" else dim for dim in shape)
    model = onnx_model(
        [helper.make_node(op, ["a", "b"], ["y"])], {"a": ("N", 3, 4), "b": shape}, ["y"]
    )  # fmt: skip
    inputs = {"a": np.abs(normal(rng, (2, 3, 4))), "b": normal(rng, sizes)}
    pins: dict[str, Any] = {"a": ("N", 3, 4), "b": shape}
    graph = assert_matches_onnxruntime(model, inputs, shapes=pins)
    assert graph.outputs[0].value.type.shape == (Batch(), 3, 4)


def test_division_by_zero_follows_ieee() -> None:
    check("Div", [np.array([1, -1, 0], np.float32), np.zeros(1, np.float32)])


UP, DOWN, POWERS = Payload(0, 7), Payload(-3, 2), Payload(-8, 8, powers_of_two=True)


@pytest.mark.parametrize(
    ("op", "x", "y", "expected"),
    [
        ("add", UP, DOWN, Payload(-3, 9)),
        ("sub", UP, DOWN, Payload(-2, 10)),
        ("max", UP, DOWN, Payload(-3, 7)),
        ("min", UP, POWERS, Payload(-8, 8)),
    ],
)
def test_spikes_stay_spikes(op: str, x: Payload, y: Payload, expected: Payload) -> None:
    types = [SpikeType(x, (4,)), SpikeType(y, (4,))]
    assert get_op(op).infer_type(types, {}) == SpikeType(expected, (4,))
    scaled = [SpikeType(x, (4,), scaled=True), types[1]]
    assert get_op(op).infer_type(scaled, {}) == TensorType("f32", (4,))
    assert get_op(op).infer_type([types[0], TensorType("f32", (4,))], {}) == TensorType("f32", (4,))


def test_quotients_and_powers_of_spikes_are_real_products_are_spikes() -> None:
    spikes = SpikeType(UP, (4,))
    for op in ("div", "pow"):
        assert get_op(op).infer_type([spikes, spikes], {}) == TensorType("f32", (4,))
    product = get_op("mul").infer_type([spikes, SpikeType(DOWN, (4,))], {})
    assert product == SpikeType(Payload(UP.hi * DOWN.lo, UP.hi * DOWN.hi), (4,))
    scaled = SpikeType(UP, (4,), scaled=True)
    assert get_op("mul").infer_type([spikes, scaled], {}) == TensorType("f32", (4,))
    assert get_op("mul").infer_expected([spikes, spikes], {}) == TensorType("f32", (4,))


def test_choice_between_spikes_is_spikes() -> None:
    condition = TensorType("bool", (1,))
    types: list[Type] = [condition, SpikeType(UP, (4,)), SpikeType(DOWN, (4,))]
    assert get_op("where").infer_type(types, {}) == SpikeType(Payload(-3, 7), (4,))
    assert get_op("where").infer_type([*types[:2], TensorType("f32", ())], {}) == TensorType("f32", (4,))


def test_operands_that_do_not_fit() -> None:
    x = TensorType("f32", (4, 3))
    with pytest.raises(TypeInferenceError, match="mix element types f32, i64"):
        get_op("add").infer_type([x, TensorType("i64", (3,))], {})
    with pytest.raises(ShapeError, match="shapes 4 x 3 and 2 do not broadcast"):
        get_op("add").infer_type([x, TensorType("f32", (2,))], {})
    with pytest.raises(TypeInferenceError, match="needs numbers, not booleans"):
        get_op("mul").infer_type([TensorType("bool", ())] * 2, {})
    with pytest.raises(TypeInferenceError, match="the condition must be boolean, not tensor<f32, 4 x 3>"):
        get_op("where").infer_type([x, x, x], {})
