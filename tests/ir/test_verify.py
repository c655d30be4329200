"""The verifier: each rule, broken once, and named by its node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from sample_graphs import graphs, small_network

from snnc.ir.codebooks import Binary, Payload
from snnc.ir.errors import VerifyError
from snnc.ir.graph import Graph, Node, Output, Value
from snnc.ir.op import TensorRef
from snnc.ir.shapes import Batch
from snnc.ir.types import SpikeType, TensorType
from snnc.ir.verify import problems, verify

REAL = TensorType("f32", (Batch(), 3))


def chain() -> tuple[Graph, Node, Node]:
    """%x -> %0 = relu from "a" -> %1 = softmax from "b", "c" -> output y."""
    graph = Graph("g")
    x = graph.add_input("x", REAL)
    first = graph.append("relu", [x], origin=["a"])
    second = graph.append("softmax", [first], origin=["b", "c"])
    graph.add_output(second, "y")
    assert first.node is not None
    assert second.node is not None
    return graph, first.node, second.node


@given(graphs())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_the_graph_builds_verifies(graph: Graph) -> None:
    assert problems(graph, values=False) == []


def test_a_network_verifies() -> None:
    verify(small_network())
    verify(Graph("nothing"))


def test_all_problems_are_listed_at_once() -> None:
    graph, first, second = chain()
    first.attributes = {"axis": 1}
    second.attributes = {"axis": "last", "axes": 1}
    graph.add_output(second.result, "y")
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert str(caught.value) == (
        "the graph @g has 4 problems\n"
        "  - %0 = relu from \"a\": relu has no attribute 'axis'; it has none\n"
        '  - %1 = softmax from "b", "c": softmax.axis must be int, not \'last\'\n'
        "  - %1 = softmax from \"b\", \"c\": softmax has no attribute 'axes'; did you mean 'axis'?\n"
        '  - 2 outputs are named "y"'
    )
    assert len(caught.value.problems) == 4


def test_operands_come_first() -> None:
    graph, first, second = chain()
    graph.move_before(second, first)
    assert problems(graph) == ['%0 = softmax from "b", "c": operand 0 (%1) is used before it is defined']


def test_operands_belong_to_the_graph() -> None:
    graph, first, _ = chain()
    stranger = Graph("other").add_input("x", REAL)
    graph.set_operand(first, 0, stranger)
    assert problems(graph) == ['%0 = relu from "a": operand 0 is not a value of this graph']


def test_an_erased_node_leaves_no_reader_behind() -> None:
    graph, first, second = chain()
    graph._unlink(first)
    assert problems(graph) == [
        '%0 = softmax from "b", "c": operand 0 is not a value of this graph',
        '%x records 1 uses by %? = relu from "a", there are 0',
    ]
    second.graph = None
    assert problems(graph)[0] == '%0 = softmax from "b", "c": it does not belong to this graph'


def test_a_result_knows_its_node() -> None:
    graph, first, second = chain()
    first.result.node = second
    assert problems(graph) == ['%0 = relu from "a": its result does not know it']


def test_use_lists() -> None:
    graph, first, second = chain()
    first.result.users[second] = 2
    graph.inputs[0].users.clear()
    assert problems(graph) == [
        '%x records 0 uses by %0 = relu from "a", there are 1',
        '%0 records 2 uses by %1 = softmax from "b", "c", there are 1',
    ]


def test_types_are_those_inferred() -> None:
    graph, first, _ = chain()
    first.result.type = TensorType("f32", (3,))
    assert problems(graph) == [
        '%0 = relu from "a": its type is tensor<f32, 3>, its operands give tensor<f32, N x 3>',
        '%1 = softmax from "b", "c": its type is tensor<f32, N x 3>, its operands give tensor<f32, 3>',
    ]


def test_operands_that_an_op_refuses() -> None:
    graph, first, second = chain()
    first.operands = (graph.inputs[0], graph.inputs[0])
    graph.inputs[0].users[first] = 2
    second.attributes = {"axis": 7}
    assert problems(graph) == [
        '%0 = relu from "a": relu takes 1 operands, not 2',
        '%1 = softmax from "b", "c": axis 7 is outside a rank-2 shape',
    ]


def test_attributes_are_complete_and_tensors_exist() -> None:
    graph = Graph("g")
    node = graph.append("constant", (), {"value": graph.add_tensor("t", np.zeros((2, 3)))}).node
    assert node is not None
    node.attributes = {}
    assert problems(graph) == ["%0 = constant: constant needs the attribute 'value' (tensor)"]
    node.attributes = {"value": TensorRef("gone")}
    assert problems(graph) == ["%0 = constant: constant.value refers to @gone, there is no such tensor"]


def test_expect_wraps_only_what_it_can() -> None:
    graph = Graph("g")
    x = graph.add_input("x", REAL)
    node = graph.append("neuron", [x], {"codebook": Binary()}, origin=["relu"]).node
    assert node is not None
    node.expect = True
    assert problems(graph) == ['%0 = expect.neuron from "relu": neuron cannot be wrapped as expect.neuron']


def test_inputs() -> None:
    graph = Graph("g")
    graph.add_input("x", REAL)
    graph.add_input("x", SpikeType(Payload(0, 1), (Batch(), 3), scaled=True))
    graph.add_input("y", TensorType("f32", (-1, Batch(0))))
    graph.inputs.append(Value(REAL))
    assert problems(graph) == [
        '2 inputs are named "x"',
        "an input has no name",
        "input %x is spikes<0..1 scaled, N x 3>: spikes that enter the graph have scale 1",
        "input %y: the dimension -1 is negative",
    ]


def test_outputs_belong_to_the_graph() -> None:
    graph, _, _ = chain()
    graph.add_output(Graph("other").add_input("x", REAL), "stranger")
    assert problems(graph) == ['output "stranger" is not a value of this graph']


def test_outputs_are_decoded_in_a_known_way() -> None:
    graph, first, _ = chain()
    graph.outputs = [Output(first.result, "y", "median")]  # type: ignore[arg-type]  # no such way
    assert problems(graph) == ["output \"y\" is decoded by 'median', which is none of mean, sum, last"]


def test_shapes_stay_within_limits() -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType("f32", (1,)))
    graph.append("expand", [x], {"shape": (2**30, 2**30)}, origin=["huge"])
    assert problems(graph) == [
        '%0 = expand from "huge": 1152921504606846976 elements per sample exceed the limit of 1099511627776'
    ]


def test_tensors_have_types() -> None:
    graph = Graph("g")
    graph.tensors["half"] = np.zeros(3, np.float16)
    graph.tensors["__metadata__"] = np.zeros(3, np.float32)
    assert problems(graph) == [
        "tensor @half holds float16, which is none of f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, bool",
        "a tensor cannot be named @__metadata__",
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_are_finite_but_constants_may_mask(bad: float) -> None:
    graph = Graph("g")
    x = graph.add_input("x", REAL)
    weight = np.ones((2, 3), np.float32)
    weight[1, 2] = bad
    ref = graph.add_tensor("w", weight)
    graph.append("linear", [x], {"weight": ref}, origin=["fc1"])
    graph.append("linear", [x], {"weight": ref}, origin=["fc2"])
    graph.append("constant", (), {"value": ref})
    assert problems(graph) == [
        '%0 = linear from "fc1": weight @w holds numbers that are not finite',
        '%1 = linear from "fc2": weight @w holds numbers that are not finite',
    ]
    assert problems(graph, values=False) == []


def test_a_type_rule_that_trips_is_a_problem_of_the_node() -> None:
    graph, first, _ = chain()

    def trip(x: TensorType) -> TensorType:
        raise IndexError("axis out of range")

    first.op = replace(first.op, infer=trip)
    assert problems(graph) == ['%0 = relu from "a": it cannot be typed: axis out of range']
