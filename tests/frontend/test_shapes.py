"""Constants and the shape computations that exporters write fold away, with a symbolic batch in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from snnc.frontend import import_onnx
from snnc.ir.errors import UnsupportedOpError
from snnc.ir.shapes import Batch
from tests.harness import assert_matches_onnxruntime, onnx_model

N = Batch()
node = helper.make_node


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def counting(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 3


def check(
    nodes: list[Any], sizes: tuple[int, ...], arrays: dict[str, Any] | None = None, opset: int = 17
) -> Any:
    """Compare a model that reads x [N, *sizes] and gives y with onnxruntime; return the graph."""
    model = onnx_model(nodes, {"x": ("N", *sizes)}, ["y"], arrays or {})
    for batch in (1, 3):
        graph = assert_matches_onnxruntime(model, {"x": counting(batch, *sizes)})
    return graph


def ops_of(graph: Any) -> list[str]:
    return [op.full_name for op in graph]


def refusal(nodes: list[Any], arrays: dict[str, Any] | None = None) -> str:
    with pytest.raises(UnsupportedOpError) as caught:
        import_onnx(onnx_model(nodes, {"x": ("N", 4, 4)}, ["y"], arrays or {}))
    return str(caught.value)


# What exporters write.


def test_flatten_as_torchscript_writes_it() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "axis"], ["n1"]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    graph = check(nodes, (2, 3), {"zero": np.array(0), "axis": ints(0), "rest": ints(-1)})
    assert ops_of(graph) == ["reshape"]


def test_heads_as_torchscript_writes_them() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Gather", ["s", "one"], ["l"], axis=0),
        node("Mul", ["n", "heads"], ["nh"]),
        node("Unsqueeze", ["nh", "axis"], ["nh1"]),
        node("Unsqueeze", ["l", "axis"], ["l1"]),
        node("Concat", ["l1", "nh1", "rest"], ["target"], axis=0),
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("Reshape", ["xt", "target"], ["y"]),
    ]
    arrays = {
        "zero": np.array(0),
        "one": np.array(1),
        "heads": np.array(2),
        "axis": ints(0),
        "rest": ints(-1),
    }
    graph = check(nodes, (5, 6), arrays)
    assert ops_of(graph) == ["transpose", "reshape"]
    assert graph.outputs[0].value.type.shape == (5, Batch(2), 3)


def test_class_token_expands_to_the_batch() -> None:
    # token.expand(N, -1, -1) goes through ConstantOfShape, Equal and Where on the shape vector.
    nodes = [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Concat", ["n", "open", "open"], ["wanted"], axis=0),
        node("ConstantOfShape", ["three"], ["ones"], value=numpy_helper.from_array(ints(1))),
        node("Mul", ["ones", "minus"], ["minuses"]),
        node("Equal", ["wanted", "minuses"], ["is_open"]),
        node("Where", ["is_open", "ones", "wanted"], ["target"]),
        node("Expand", ["token", "target"], ["tokens"]),
        node("Concat", ["tokens", "x"], ["y"], axis=1),
    ]
    arrays = {"open": ints(-1), "three": ints(3), "minus": np.array(-1), "token": counting(1, 1, 4)}
    graph = check(nodes, (2, 4), arrays)
    assert ops_of(graph) == ["constant", "expand", "concat"]


def test_constant_of_the_batch() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["two"], value=numpy_helper.from_array(np.array([2.0], np.float32))),
        node("Mul", ["x", "two"], ["y"]),
    ]
    graph = check(nodes, (3,))
    assert ops_of(graph) == ["constant", "expand", "mul"]


def test_size_and_division() -> None:
    nodes = [
        node("Size", ["x"], ["count"]),
        node("Div", ["count", "four"], ["quarter"]),
        node("Concat", ["quarter", "four"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    graph = check(nodes, (2, 4), {"four": ints(4)})
    assert graph.outputs[0].value.type.shape == (Batch(2), 4)


def test_resize_to_a_computed_shape() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "zero", "two"], ["lead"]),
        node("Concat", ["lead", "target"], ["sizes"], axis=0),
        node("Resize", ["x", "", "", "sizes"], ["y"]),
    ]
    check(nodes, (2, 3, 3), {"zero": ints(0), "two": ints(2), "target": ints(6, 6)})


# Constants.


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("value", numpy_helper.from_array(counting(4))),
        ("value_float", 1.5),
        ("value_floats", [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_constant(form: str, value: Any) -> None:
    check([node("Constant", [], ["c"], **{form: value}), node("Add", ["x", "c"], ["y"])], (4,))


@pytest.mark.parametrize(("form", "value"), [("value_int", 2), ("value_ints", [2])])
def test_integer_constant(form: str, value: Any) -> None:
    nodes = [
        node("Constant", [], ["i"], **{form: value}),
        node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        node("Mul", ["x", "c"], ["y"]),
    ]
    check(nodes, (4,))


def test_constant_text_is_refused() -> None:
    assert "its value is a string" in refusal([node("Constant", [], ["y"], value_string="a")])


def test_range_and_nonzero() -> None:
    nodes = [
        node("Range", ["start", "limit", "delta"], ["r"]),
        node("Cast", ["r"], ["b"], to=TensorProto.BOOL),
        node("NonZero", ["b"], ["i"]),
        node("Gather", ["x", "i"], ["y"], axis=1),
    ]
    check(nodes, (6,), {"start": np.array(-2), "limit": np.array(4), "delta": np.array(2)})


def test_range_over_the_batch_is_refused() -> None:
    nodes = [
        node("Size", ["x"], ["limit"]),
        node("Range", ["start", "limit", "delta"], ["y"]),
    ]
    told = refusal(nodes, {"start": np.array(0), "delta": np.array(1)})
    assert '"Range_y" (Range): its result for one sample depends on the others' in told
    told = refusal(nodes, {"start": np.array(2), "delta": np.array(1)})
    assert "it counts from 2 to 16N by 1; only counts from 0 up can be compiled" in told


@pytest.mark.parametrize("axis", [0, 1])
def test_a_table_repeated_for_every_sample(axis: int) -> None:
    """As DeBERTa writes its relative positions: axes of the table and the batch merge."""
    nodes = [
        node("Shape", ["x"], ["s"], end=1),
        node("Concat", ["s", "one"] if axis == 0 else ["one", "s"], ["repeats"], axis=0),
        node("Tile", ["table", "repeats"], ["copies"]),
        node("Reshape", ["copies", "apart"], ["each"]),
        node("Add", ["x", "each"], ["y"]) if axis == 0 else node("Identity", ["copies"], ["y"]),
    ]
    arrays = {"one": ints(1), "table": counting(4, 3), "apart": ints(-1, 4, 3)}
    check(nodes, (4, 3), arrays)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("offset", [None, -1, 2])
def test_trilu(upper: int, offset: int | None) -> None:
    arrays = {} if offset is None else {"k": np.array(offset)}
    check([node("Trilu", ["x", *arrays], ["y"], upper=upper)], (4, 5), arrays)
    masked = [node("Trilu", ["m", *arrays], ["t"], upper=upper), node("Add", ["x", "t"], ["y"])]
    graph = check(masked, (3, 3), {"m": counting(3, 3), **arrays})
    assert ops_of(graph) == ["constant", "add"]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("EyeLike", ["x"], ["y"])], "an identity matrix"),
        ([node("NonZero", ["x"], ["y"])], "is computed at run time"),
        (
            [node("ConstantOfShape", ["i"], ["y"]), node("Cast", ["x"], ["i"], to=7)][::-1],
            "is computed at run time",
        ),
    ],
)
def test_refusals(nodes: list[Any], reason: str) -> None:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(ints(1), "i")] if nodes[0].output[0] != "i" else [],
    )
    with pytest.raises(UnsupportedOpError, match=reason):
        import_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
