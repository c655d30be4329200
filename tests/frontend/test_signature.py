"""Inputs: which dimension is the batch, what must be pinned."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from snnc.frontend import import_onnx
from snnc.ir.errors import ModelError, ShapeError
from tests.harness import onnx_model


def types(inputs: dict[str, object], shapes: dict[str, tuple[int | str, ...]] | None = None) -> list[str]:
    """Return the input types of a model that passes its inputs on."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
    model = onnx_model(nodes, inputs, [f"{name}_out" for name in inputs])  # type: ignore[arg-type]  # any signature
    return [str(value.type) for value in import_onnx(model, shapes=shapes).inputs]


def test_the_leading_dynamic_dimension_is_the_batch() -> None:
    assert types({"x": ("batch", 3)}) == ["tensor<f32, N x 3>"]
    assert types({"x": (None, 3)}) == ["tensor<f32, N x 3>"]
    assert types({"x": ("batch", 3), "y": ("other", 4)}) == ["tensor<f32, N x 3>", "tensor<f32, N x 4>"]


def test_its_name_means_the_batch_everywhere() -> None:
    assert types({"x": ("b", 3), "y": (5, "b")}) == ["tensor<f32, N x 3>", "tensor<f32, 5 x N>"]


def test_a_batch_behind_the_tokens() -> None:
    assert types({"x": (7, "batch", 3)}) == ["tensor<f32, 7 x N x 3>"]


def test_a_fixed_batch_becomes_symbolic() -> None:
    assert types({"x": (1, 3)}) == ["tensor<f32, N x 3>"]
    assert types({"x": (4, 3)}) == ["tensor<f32, N x 3>"]


def test_integers_and_booleans_stay() -> None:
    found = types({"i": (TensorProto.INT64, ("N", 3)), "m": (TensorProto.BOOL, ("N", 3))})
    assert found == ["tensor<i64, N x 3>", "tensor<bool, N x 3>"]


def test_text_is_refused() -> None:
    with pytest.raises(ModelError, match="input 's' holds STRING elements"):
        types({"s": (TensorProto.STRING, ("N",))})


def test_other_dynamic_dimensions_are_listed() -> None:
    with pytest.raises(ShapeError) as refusal:
        types({"ids": ("batch", "tokens"), "image": ("batch", 3, "height", "width")})
    assert str(refusal.value) == (
        "dimensions other than the batch are unknown:\n"
        "  - input 'ids': batch x tokens\n"
        "  - input 'image': batch x 3 x height x width\n"
        "  help: pin them, for example --shape tokens=N,128; "
        "here: --shape ids=N,<size> --shape image=N,3,<size>,<size>"
    )


def test_pins() -> None:
    inputs: dict[str, object] = {"ids": ("batch", "tokens"), "mask": ("batch", "tokens")}
    assert types(inputs, {"ids": ("N", 8)}) == ["tensor<f32, N x 8>", "tensor<f32, N x 8>"]
    assert types(inputs, {"ids": (1, 8)}) == ["tensor<f32, 1 x 8>", "tensor<f32, 1 x 8>"]
    assert types({"x": (1, 3)}, {"x": (1, 3)}) == ["tensor<f32, 1 x 3>"]
    assert types({"x": (1, 3)}, {"x": ("N", 3)}) == ["tensor<f32, N x 3>"]


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"idz": ("N", 8)}, "given for 'idz', which is no input\n  help: did you mean 'ids'"),
        ({"ids": ("N",)}, "has 1 dimensions, the model's has 2"),
        ({"ids": ("N", 0)}, "0 in the shape given for input 'ids' is no positive integer"),
        ({"ids": ("N", "M")}, "'M' in the shape given"),
        ({"ids": ("N", 8), "mask": ("N", 9)}, "dimension 'tokens' is given as 8 and as 9"),
        ({"fixed": ("N", 4)}, "has 4 where the model fixes 3"),
    ],
)
def test_pins_that_do_not_fit(pins: dict[str, tuple[int | str, ...]], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        types({"ids": ("batch", "tokens"), "mask": ("batch", "tokens"), "fixed": ("batch", 3)}, pins)


def test_an_input_without_a_shape() -> None:
    model = onnx_model([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", 3)}, ["y"])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ShapeError, match="input 'x' has no shape\n  help: give it with --shape x=N"):
        import_onnx(model)
    assert [str(value.type) for value in import_onnx(model, shapes={"x": ("N", 3)}).inputs] == [
        "tensor<f32, N x 3>"
    ]
