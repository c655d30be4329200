"""The graph: building, changing, copying; uses and order stay right whatever is done."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_graphs import graphs, small_network, structure

from snnc.ir.codebooks import Binary, MultiSpike, Payload
from snnc.ir.errors import OptionError, SnncError, TypeInferenceError
from snnc.ir.graph import Graph, Node, Value
from snnc.ir.op import TensorRef
from snnc.ir.shapes import Batch
from snnc.ir.types import SpikeType, TensorType
from snnc.ir.verify import problems

REAL = TensorType("f32", (Batch(), 3))


def producer(value: Value) -> Node:
    assert value.node is not None
    return value.node


def order(graph: Graph) -> list[str]:
    return [node.origin[0] for node in graph]


@pytest.fixture
def graph() -> Graph:
    """%x -> a -> b -> output y; a is also output z."""
    graph = Graph("g")
    x = graph.add_input("x", REAL)
    a = graph.append("relu", [x], origin=["a"])
    b = graph.append("add", [a, a], origin=["b"])
    graph.add_output(b, "y")
    graph.add_output(a, "z")
    return graph


def test_uses_count_every_operand_position(graph: Graph) -> None:
    a, b = graph
    assert a.result.users == {b: 2}
    assert graph.is_output(a.result)
    assert len(graph) == 2


def test_insert_before_a_node_and_at_the_end(graph: Graph) -> None:
    a, b = graph
    graph.insert(b, "relu", [a.result], origin=["between"])
    graph.insert(None, "relu", [a.result], origin=["last"])
    graph.insert(a, "relu", [graph.inputs[0]], origin=["first", "first"])
    assert order(graph) == ["first", "a", "between", "b", "last"]
    assert next(iter(graph)).origin == ("first",)
    assert not problems(graph)


def test_a_refused_node_leaves_the_graph_as_it_was(graph: Graph) -> None:
    before = structure(graph)
    with pytest.raises(TypeInferenceError, match="there is no op 'rleu'; did you mean"):
        graph.append("rleu", [graph.inputs[0]])
    with pytest.raises(TypeInferenceError, match="softmax has no attribute"):
        graph.append("softmax", [graph.inputs[0]], {"axes": 1})
    with pytest.raises(TypeInferenceError, match="there is no tensor @w"):
        graph.append("linear", [graph.inputs[0]], {"weight": TensorRef("w")})
    with pytest.raises(TypeInferenceError, match=r"cannot be wrapped as expect\.delay"):
        graph.append("delay", [graph.inputs[0]], expect=True)
    assert structure(graph) == before
    assert not problems(graph)


def test_attributes_that_are_none_are_absent(graph: Graph) -> None:
    value = graph.append("clip", [graph.inputs[0]], {"low": None, "high": 6.0})
    assert producer(value).attributes == {"high": 6.0}
    assert graph.resolve(producer(value)) == {"low": None, "high": 6.0}


def test_replace_uses_reaches_readers_and_outputs(graph: Graph) -> None:
    a, b = graph
    new = graph.insert(b, "delay", [a.result], origin=["new"])
    graph.replace_uses(a.result, new, keep=[producer(new)])
    assert b.operands == (new, new)
    assert [output.value for output in graph.outputs] == [b.result, new]
    assert a.result.users == {producer(new): 1}
    assert not problems(graph)


def test_outputs_keep_their_way_of_decoding(graph: Graph) -> None:
    graph.decode_outputs("sum")
    a, b = graph
    graph.replace_uses(b.result, a.result)
    assert [(output.value, output.decode) for output in graph.outputs] == [(a.result, "sum")] * 2
    assert [output.decode for output in graph.copy().outputs] == ["sum", "sum"]
    with pytest.raises(OptionError, match="outputs cannot be decoded by 'lats'") as caught:
        graph.decode_outputs("lats")  # type: ignore[arg-type]  # no such way
    assert caught.value.help == "did you mean 'last'?"


def test_erase_only_what_nobody_reads(graph: Graph) -> None:
    a, b = graph
    with pytest.raises(SnncError, match="its result is still used"):
        graph.erase(b)
    graph.outputs.clear()
    with pytest.raises(SnncError, match="its result is still used"):
        graph.erase(a)
    graph.erase(b)
    graph.erase(a)
    assert (len(graph), list(graph), graph.inputs[0].users) == (0, [], {})
    assert a.graph is None


def test_the_current_node_may_be_erased_while_iterating(graph: Graph) -> None:
    graph.outputs.clear()
    for node in reversed(list(graph)):
        graph.erase(node)
    for number in range(3):
        graph.append("relu", [graph.inputs[0]], origin=[str(number)])
    for node in graph:
        if node.origin == ("1",):
            graph.erase(node)
    assert order(graph) == ["0", "2"]


def test_move_before(graph: Graph) -> None:
    _, b = graph
    last = producer(graph.append("relu", [graph.inputs[0]], origin=["last"]))
    graph.move_before(last, b)
    graph.move_before(b, b)
    assert order(graph) == ["a", "last", "b"]
    assert len(graph) == 3


def test_change_attributes_and_types_follow(graph: Graph) -> None:
    a, _ = graph
    spikes = graph.append("neuron", [a.result], {"codebook": Binary()})
    graph.set_attributes(producer(spikes), codebook=MultiSpike(0, 7), initial=0.5, site=None)
    assert spikes.type == SpikeType(Payload(0, 7), REAL.shape)
    graph.set_attributes(producer(spikes), initial=None)
    assert producer(spikes).attributes == {"codebook": MultiSpike(0, 7)}


def test_retype_follows_a_new_input_type(graph: Graph) -> None:
    graph.inputs[0].type = SpikeType(Payload(-3, 3), REAL.shape)
    graph.retype()
    assert [str(node.result.type) for node in graph] == ["spikes<0..3, N x 3>", "spikes<0..6, N x 3>"]


def test_tensor_names_are_made_safe_and_unique(graph: Graph) -> None:
    array = np.zeros(3, np.float32)
    refs = [graph.add_tensor(hint, array) for hint in ("conv 1/w", "conv 1/w", "", "")]
    assert [ref.name for ref in refs] == ["conv_1/w", "conv_1/w.2", "tensor", "tensor.2"]
    assert np.shares_memory(graph.tensors["tensor"], array)
    assert not graph.tensors["tensor"].flags.writeable
    assert array.flags.writeable


def test_unused_tensors_can_be_dropped(graph: Graph) -> None:
    value = graph.constant_value(np.ones(3, np.float32), "kept")
    graph.add_tensor("dropped", np.ones(3))
    assert graph.drop_unused_tensors()
    assert not graph.drop_unused_tensors()
    assert list(graph.tensors) == ["kept"]
    constant = graph.constant(value)
    assert constant is not None
    assert constant.tolist() == [1, 1, 1]
    assert graph.constant(graph.inputs[0]) is None


def test_view_is_the_data_flow(graph: Graph) -> None:
    a, b = graph
    view = graph.view()
    assert set(view.edges) == {(graph.inputs[0], a), (a, b)}
    assert nx.is_directed_acyclic_graph(view)


def test_a_copy_shares_arrays_and_nothing_else() -> None:
    graph = small_network()
    other = graph.copy()
    assert structure(other) == structure(graph)
    assert other.tensors["head"] is graph.tensors["head"]
    for node in graph:
        graph.set_origin(node, ["changed"])
    graph.append("relu", [graph.inputs[0]])
    assert structure(other) == structure(small_network())


def test_expectation_nodes_of_homogeneous_ops_emit_differences() -> None:
    """relu(S(t)) - relu(S(t-1)) is negative as soon as an excitation is taken back."""
    graph = Graph("g")
    spikes = graph.add_input("s", SpikeType(Payload(-3, 7, powers_of_two=True), (Batch(), 2, 4, 4)))

    def expected(op: str, **attributes: object) -> str:
        return str(graph.append(op, [spikes], attributes, expect=True).type).split(",")[0]  # type: ignore[arg-type]  # any

    assert expected("relu") == "spikes<-3..7"
    assert expected("abs") == "spikes<-7..7"
    assert expected("max_pool", kernel=(2, 2)) == "spikes<-3..7"
    assert expected("reduce_min", axes=(1,)) == "spikes<-3..7"
    assert expected("leaky_relu") == "tensor<f32"
    assert expected("softmax") == "tensor<f32"


@given(st.lists(st.integers(-7, 7), min_size=1, max_size=20))
def test_the_range_of_an_expected_relu_holds(payloads: list[int]) -> None:
    graph = Graph("g")
    spikes = graph.add_input("s", SpikeType(Payload(min(payloads), max(payloads)), (1,)))
    type_ = graph.append("relu", [spikes], expect=True).type
    assert isinstance(type_, SpikeType)
    sums = np.maximum(np.cumsum([0, *payloads]), 0)
    emitted = np.diff(sums)
    assert type_.payload.lo <= emitted.min()
    assert emitted.max() <= type_.payload.hi


@given(graphs(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_changes_keep_the_graph_consistent(graph: Graph, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 6))):
        nodes = list(graph)
        if not nodes:
            return
        node = data.draw(st.sampled_from(nodes))
        match data.draw(st.sampled_from(["erase", "insert", "replace", "copy"])):
            case "erase":
                if not node.result.users and not graph.is_output(node.result):
                    graph.erase(node)
            case "insert":
                graph.insert(node, "delay", [graph.inputs[0]], origin=["inserted"])
            case "replace":
                later = node._next
                delayed = graph.insert(later, "delay", [node.result])
                graph.replace_uses(node.result, delayed, keep=[producer(delayed)])
            case "copy":
                graph = graph.copy()
        assert not problems(graph, values=False)
        assert len(graph) == len(list(graph))
