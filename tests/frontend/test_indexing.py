"""Indices computed at run time: how exporters read attention masks, sample by sample, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from snnc.frontend import import_onnx
from snnc.ir.errors import DataError, UnsupportedOpError
from snnc.passes.analysis import passes_mean, static_values
from tests.harness import assert_matches_onnxruntime, onnx_model, run_analog, run_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = 4
Dims = tuple[Any, ...]


def node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [output], **attributes)


def model(nodes: list[onnx.NodeProto], inputs: dict[str, Dims], **arrays: Any) -> onnx.ModelProto:
    integers = {name: (TensorProto.INT64, shape) for name, shape in inputs.items() if name != "x"}
    real: Any = {"x": inputs["x"]} if "x" in inputs else {}
    tensors = {name: np.asarray(array, np.int64) for name, array in arrays.items()}
    return onnx_model(nodes, {**real, **integers}, ["y"], tensors)


def ints(*shape: int, below: int = 2) -> Any:
    return np.random.default_rng(shape).integers(0, below, shape)


def refusal(given: onnx.ModelProto) -> str:
    with pytest.raises(UnsupportedOpError) as caught:
        import_onnx(given)
    return str(caught.value)


# Masks.

COUNT = [
    node("Shape", ["mask"], "size"),
    node("Gather", ["size", "zero"], "batch"),
    node("Range", ["zero", "batch", "one"], "samples"),
    node("Reshape", ["samples", "column"], "sample"),
]
SHAPE = {"zero": 0, "one": 1, "column": [-1, 1, 1, 1]}


def torchscript_mask(positions: Any = (0, 1, 2, 3)) -> onnx.ModelProto:
    """mask[n, k] as Gather(Flatten(mask), n L + k), cast to bool and back."""
    nodes = [
        *COUNT,
        node("Mul", ["sample", "length"], "row"),
        node("Add", ["row", "positions"], "index"),
        node("Cast", ["mask"], "hidden", to=TensorProto.BOOL),
        node("Reshape", ["hidden", "all"], "flat"),
        node("Gather", ["flat", "index"], "picked"),
        node("Cast", ["picked"], "y", to=TensorProto.FLOAT),
    ]
    rest = {"length": LENGTH, "positions": np.reshape(positions, (1, 1, 1, -1)), "all": [-1]}
    return model(nodes, {"mask": ("N", LENGTH)}, **SHAPE, **rest)


def dynamo_mask() -> onnx.ModelProto:
    """mask[n, k] as GatherND(mask, [n, k])."""
    nodes = [
        *COUNT,
        node("Expand", ["sample", "wide"], "row"),
        node("Shape", ["row"], "shape"),
        node("Expand", ["positions", "shape"], "column_index"),
        node("Unsqueeze", ["row", "last"], "n"),
        node("Unsqueeze", ["column_index", "last"], "k"),
        node("Concat", ["n", "k"], "index", axis=-1),
        node("GatherND", ["mask", "index"], "y"),
    ]
    rest = {"wide": [1, 1, 1, LENGTH], "positions": np.arange(LENGTH), "last": [-1]}
    return model(nodes, {"mask": ("N", LENGTH)}, **SHAPE, **rest)


@pytest.mark.parametrize("make", [torchscript_mask, dynamo_mask])
def test_a_mask_indexed_by_sample(make: Any) -> None:
    for batch in (1, 3):
        graph = assert_matches_onnxruntime(make(), {"mask": ints(batch, LENGTH)})
    assert graph.outputs[0].value in static_values(graph)


def flat_index(batch: int) -> Any:
    return np.arange(batch * LENGTH).reshape(batch, 1, LENGTH)


def pairs(batch: int) -> Any:
    index = flat_index(batch)
    return np.stack([index // LENGTH, index % LENGTH], -1)


FIXED: dict[str, tuple[list[onnx.NodeProto], Callable[[int], Any]]] = {
    "flattened": (
        [node("Reshape", ["mask", "all"], "flat"), node("Gather", ["flat", "index"], "y")],
        flat_index,
    ),
    "by pairs": ([node("GatherND", ["mask", "index"], "y")], pairs),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("form", FIXED)
def test_a_fixed_batch_in_the_indices_becomes_symbolic(form: str, batch: int) -> None:
    nodes, index = FIXED[form]
    fixed = model(nodes, {"mask": (batch, LENGTH)}, index=index(batch), all=[-1])
    graph = import_onnx(fixed)
    assert str(graph.outputs[0].value.type) == "tensor<i64, N x 1 x 4>"
    masks = ints(3 * batch, LENGTH, below=99)
    expected = [run_onnxruntime(fixed, {"mask": part})["y"] for part in np.split(masks, 3)]
    np.testing.assert_array_equal(run_analog(graph, {"mask": masks})["y"], np.concatenate(expected))


def test_a_fixed_batch_looks_up_one_table_for_all_samples() -> None:
    nodes = [node("GatherElements", ["table", "mask"], "y", axis=1)]
    graph = import_onnx(model(nodes, {"mask": (1, LENGTH)}, table=[[7, 8, 9]]))
    masks = ints(3, LENGTH, below=3)
    np.testing.assert_array_equal(run_analog(graph, {"mask": masks})["y"], masks + 7)


# Real data.


def test_real_data_picked_by_integer_inputs_is_linear() -> None:
    nodes = [
        *COUNT[:3],
        node("Unsqueeze", ["samples", "last"], "n"),
        node("Concat", ["n", "mask"], "index", axis=-1),
        node("GatherND", ["x", "index"], "picked"),
        node("Relu", ["picked"], "y"),
    ]
    given = model(nodes, {"x": ("N", LENGTH, 5), "mask": ("N", 1)}, zero=0, one=1, last=[-1])
    x = np.random.default_rng(0).standard_normal((3, LENGTH, 5)).astype(np.float32)
    graph = assert_matches_onnxruntime(given, {"x": x, "mask": ints(3, 1, below=LENGTH)})
    pick = next(one for one in graph if one.op.name == "gather_nd")
    assert passes_mean(pick, static_values(graph))


@pytest.mark.parametrize("axis", [1, -1])
def test_gather_elements_by_integer_inputs(axis: int) -> None:
    given = model([node("GatherElements", ["x", "i"], "y", axis=axis)], {"x": ("N", 6), "i": ("N", 3)})
    x = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    assert_matches_onnxruntime(given, {"x": x, "i": ints(3, 3, below=6)})


def test_gather_along_an_inner_axis_by_integer_inputs() -> None:
    given = model([node("Gather", ["x", "i"], "y", axis=1)], {"x": ("N", 6, 2), "i": (3,)})
    x = np.random.default_rng(0).standard_normal((3, 6, 2)).astype(np.float32)
    assert_matches_onnxruntime(given, {"x": x, "i": ints(3, below=6)})


# Refusals.


def test_a_neighbouring_sample_is_refused() -> None:
    told = refusal(torchscript_mask(positions=[1, 2, 3, 4]))
    assert "its result for one sample depends on the others" in told


def test_the_number_of_a_sample_as_data_is_refused() -> None:
    nodes = [*COUNT[:3], node("Gather", ["table", "samples"], "y")]
    told = refusal(model(nodes, {"mask": ("N", LENGTH)}, table=np.arange(20), zero=0, one=1))
    assert '"Gather_y" (Gather): its result for one sample depends on the others' in told


def test_samples_picked_by_an_input_are_refused() -> None:
    told = refusal(model([node("Gather", ["x", "i"], "y")], {"x": ("N", 3), "i": ("N",)}))
    assert '"Gather_y" (Gather): its result for one sample depends on the others' in told


@pytest.mark.parametrize("op", ["Gather", "GatherElements", "GatherND"])
def test_an_index_out_of_range_is_blamed_on_the_data(op: str) -> None:
    given: dict[str, Dims] = {"x": ("N", 6), "i": ("N", 2)}
    attributes = {"GatherElements": {"axis": 1}, "GatherND": {"batch_dims": 1}}.get(op, {})
    inputs = ["table", "i"] if op == "Gather" else ["x", "i"]
    if op == "GatherND":
        given["i"] = ("N", 2, 1)
    graph = import_onnx(model([node(op, inputs, "y", **attributes)], given, table=np.arange(6)))
    with pytest.raises(DataError, match="a computed index or token id is too large"):
        run_analog(graph, {"x": np.zeros((3, 6), np.float32), "i": np.full((3, *given["i"][1:]), 6)})
