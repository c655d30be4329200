"""Models of a few bytes that ask for terabytes, or for years: refused, in little memory and time."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from snnc.frontend import import_onnx
from snnc.frontend.budget import FREELY, TIMES
from snnc.frontend.functions import MAX_NODES
from snnc.ir.errors import ModelError, SnncError, UnsupportedOpError
from tests.harness import onnx_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.kernel_types import Array

MEMORY = 64 * 2**20
"""Bytes that an import which is refused may take on the way."""

SECONDS = 20
"""Far more than each of these takes, far less than what it asks for."""


def refusal(model: onnx.ModelProto) -> SnncError:
    """Return how the import is refused, having held its memory and time against the limits."""
    started = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(SnncError) as caught:
            import_onnx(model)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    assert time.perf_counter() - started < SECONDS
    return caught.value


def adds_to_a_constant(nodes: Sequence[onnx.NodeProto], constants: dict[str, Array]) -> onnx.ModelProto:
    """The input plus the constant `big`, which the nodes compute from the constants."""
    add = helper.make_node("Add", ["x", "big"], ["y"], name="add")
    model = onnx_model([*nodes, add], {"x": ["N", 4]}, [], constants)
    model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    return model


def node(op_type: str, inputs: str, **attributes: object) -> onnx.NodeProto:
    operands = [name.strip("-") for name in inputs.split()]
    return helper.make_node(op_type, operands, ["big"], name="greedy", **attributes)


ONE, MANY = np.ones((1, 1), np.float32), np.array([2**20, 2**20])
CONSTANTS: dict[str, Array] = {
    "one": ONE,
    "many": MANY,
    "huge": np.array([2**40]),
    "pads": np.array([0, 0, 2**20, 2**20]),
    "start": np.array(0),
    "limit": np.array(2**40),
    "step": np.array(1),
    "table": np.ones((2, 2**18), np.float32),
    "indices": np.zeros(2**15, np.int64),
    "tall": np.ones((2**16, 1), np.float32),
    "wide": np.ones((1, 2**16), np.float32),
    "block": np.ones((2**16, 16), np.float32),
}


@pytest.mark.parametrize(
    "greedy",
    [
        node("ConstantOfShape", "many"),
        node("ConstantOfShape", "huge"),
        node("Expand", "one many"),
        node("Tile", "one many"),
        node("Pad", "one pads"),
        node("Resize", "one - - many", mode="nearest"),
        node("Range", "start limit step"),
        node("Gather", "table indices"),
        node("MatMul", "tall wide"),
        node("Add", "tall wide"),
        node("Concat", "block " * 200, axis=0),
        node("Einsum", "tall wide", equation="ij,jk->ik"),
    ],
    ids=lambda greedy: greedy.op_type,
)
def test_a_constant_that_is_too_large(greedy: onnx.NodeProto) -> None:
    constants = {name: CONSTANTS[name] for name in greedy.input if name}
    error = refusal(adds_to_a_constant([greedy], constants))
    assert isinstance(error, UnsupportedOpError)
    assert 'node "greedy"' in str(error)
    assert "it makes a constant of" in str(error)


def test_many_constants_that_are_large_together() -> None:
    """Each is within the limit; what counts is all of them."""
    count = 10
    shape = {"shape": np.array([FREELY // 4 // count * 2])}
    nodes = [helper.make_node("ConstantOfShape", ["shape"], [f"c{i}"], name=f"part{i}") for i in range(count)]
    nodes.append(node("Sum", " ".join(f"c{i}" for i in range(count))))
    model = adds_to_a_constant(nodes, shape)
    with pytest.raises(UnsupportedOpError, match='node "part5"'):
        import_onnx(model)


def test_a_model_with_weights_may_compute_more() -> None:
    """Dequantising is what weights are stored as integers for."""
    elements = 2**22
    stored = np.ones((4, elements // 4), np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["stored", "scale"], ["w"]),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    model = onnx_model(
        nodes, {"x": ["N", elements // 4]}, ["y"], {"stored": stored, "scale": np.float32(0.5)}
    )
    assert 8 * elements <= TIMES * elements
    assert import_onnx(model)


def test_a_mask_as_large_as_the_claim() -> None:
    """The stream itself is only a claim; the triangle that would cut it is a constant."""
    model = onnx_model(
        [helper.make_node("Trilu", ["x"], ["y"], name="greedy")], {"x": ["N", 2**20, 2**20]}, ["y"]
    )
    assert "it makes a constant of 1099511627776 elements" in str(refusal(model))


@pytest.mark.parametrize("parts", [2**62, 2**31, 0, -1])
def test_an_axis_split_into_absurdly_many_parts(parts: int) -> None:
    """The onnx package's own shape inference fills the memory for it."""
    split = helper.make_node("Split", ["x"], ["y", "z"], name="greedy", axis=1)
    model = onnx_model([split], {"x": ["N", 4]}, [], opset=18)
    model.graph.node[0].attribute.append(helper.make_attribute("num_outputs", parts))
    model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    assert 'node "greedy"' in str(refusal(model))


# Local functions.


def calls(functions: int, callee: str) -> onnx.ModelProto:
    """Functions that call another two times each; `callee` formats the number of the one that calls."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    model = onnx_model(
        [helper.make_node(f"f{functions - 1}", ["x"], ["y"], domain="local")], {"x": ["N", 4]}, ["y"]
    )
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    for number in range(functions):
        op_type, domain = ("Relu", "") if callee == "before" and number == 0 else (f"f{number - 1}", "local")
        if callee == "circle" and number == 0:
            op_type = f"f{functions - 1}"
        nodes = [
            helper.make_node(op_type, ["a"], ["b"], domain=domain),
            helper.make_node(op_type, ["b"], ["c"], domain=domain),
        ]
        model.functions.append(helper.make_function("local", f"f{number}", ["a"], ["c"], nodes, opsets))
    return model


@pytest.mark.parametrize("functions", [1, 2, 50])
def test_functions_that_call_each_other_in_a_circle(functions: int) -> None:
    assert "call each other in a circle" in str(refusal(calls(functions, "circle")))


@pytest.mark.parametrize("functions", [21, 64, 2000])
def test_functions_that_become_too_many_nodes(functions: int) -> None:
    error = refusal(calls(functions, "before"))
    assert isinstance(error, ModelError)
    assert f"the limit is {MAX_NODES}" in str(error)


def test_functions_within_the_limit() -> None:
    assert len(import_onnx(calls(6, "before"))) == 64


# Graphs.


def test_a_circle_of_nodes() -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
    ]
    model = onnx_model(nodes, {"x": ["N", 4]}, ["b"])
    assert "'b' is read before anything gives it" in str(refusal(model))


@pytest.mark.parametrize("count", [20_000])
def test_many_nodes_of_one_name(count: int) -> None:
    """Telling them apart takes no longer for the last than for the first."""
    started = time.perf_counter()
    nodes = [helper.make_node("Relu", ["x"], [f"t{i}"], name="a") for i in range(count)]
    outputs = [helper.make_empty_tensor_value_info(f"t{i}") for i in range(count)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])], outputs
    )
    imported = import_onnx(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    )
    assert len({node.origin for node in imported}) == count
    assert time.perf_counter() - started < SECONDS


def test_a_version_that_cannot_be() -> None:
    model = onnx_model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 4]}, ["y"])
    for version in (-1, 2**31, 2**62):
        model.ir_version = version
        assert f"the model is in version {version} of ONNX" in str(refusal(model))


@pytest.mark.parametrize("op_type", ["Neg", "Sign", "Relu", "Exp"])
def test_truths_where_numbers_are_wanted(op_type: str) -> None:
    model = onnx_model([helper.make_node(op_type, ["x"], ["y"])], {"x": (TensorProto.BOOL, [1, 4])}, [])
    model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    assert "holds truths" in str(refusal(model))


@pytest.mark.parametrize("dims", [(2**62, 2**62), (2**40, 2**40, 2**40), (2**63 - 1,), (-1, -1)])
def test_a_shape_that_overflows(dims: tuple[int, ...]) -> None:
    """The product of these sizes is 0, or small, in 64 bits."""
    model = onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, [], {"w": ONE})
    model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    assert "tensor 'w'" in str(refusal(model))


# What is only claimed takes no memory, but has a limit.


def test_an_input_beyond_every_limit() -> None:
    model = onnx_model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 2**31, 2**31]}, ["y"])
    assert "input 'x' is too large: 4611686018427387904 elements per sample exceed" in str(refusal(model))


@pytest.mark.parametrize(
    ("greedy", "constant"),
    [
        (node("Tile", "r many"), [1, 2**21, 2**21]),
        (node("Expand", "r many"), [1, 2**21, 2**21]),
        (node("Pad", "r many"), [0, 2**21, 0, 0, 0, 2**21]),
        (node("Resize", "r - - many", mode="nearest"), [1, 2**21, 2**21]),
        (node("Resize", "r - many", mode="nearest"), np.array([1, 2**21, 2**21], np.float32)),
    ],
    ids=["Tile", "Expand", "Pad", "Resize to sizes", "Resize by scales"],
)
def test_a_stream_beyond_every_limit(greedy: onnx.NodeProto, constant: Sequence[int] | Array) -> None:
    relu = helper.make_node("Relu", ["x"], ["r"], name="relu")
    model = onnx_model([relu, greedy], {"x": [1, 1, 1]}, [], {"many": np.asarray(constant)})
    model.graph.output.append(helper.make_empty_tensor_value_info("big"))
    assert 'node "greedy"' in str(refusal(model))
    assert "its result is too large" in str(refusal(model))
