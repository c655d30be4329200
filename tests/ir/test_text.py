"""The `.sir` language: what it looks like, and that nothing is lost between graph and text."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_graphs import deep_graph, graphs, names, small_network, structure

from snnc.ir import codebooks
from snnc.ir.codebooks import Binary, MultiSpike, Payload, PowerOfTwo, Ternary
from snnc.ir.errors import ParseError
from snnc.ir.graph import Graph
from snnc.ir.shapes import Batch
from snnc.ir.text import parse_graph, print_graph
from snnc.ir.text.codebooks import make_codebook, show_codebook
from snnc.ir.types import SpikeType, TensorType

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

SMALL = """\
sir 1
graph @small(%"input.1": tensor<f32, N x 1 x 4 x 4>) {
  %0 = conv(%"input.1") {weight = @conv.weight, bias = @conv.bias, pads = [1, 1, 1, 1]} \
: tensor<f32, N x 2 x 4 x 4> from "conv1", "bn1"
  %1 = neuron(%0) {codebook = multi(0, 15), quantum = @quantum} : spikes<0..15, N x 2 x 4 x 4> \
from "relu" as "relu/y"
  %2 = reshape(%1) {shape = [N, 32]} : spikes<0..15, N x 32>
  %3 = linear(%2) {weight = @head} : tensor<f32, N x 3> from "fc"
  %4 = expect.softmax(%3) : tensor<f32, N x 3> from "softmax"
  return %4 as "probabilities"
}
tensor @conv.bias : tensor<f32, 2> = [0.5, -0.25]
tensor @conv.weight : tensor<f32, 2 x 1 x 3 x 3>
tensor @head : tensor<f32, 3 x 32>
tensor @quantum : tensor<f32, 1 x 2 x 1 x 1> = [0.10000000149011612, 1.0]
"""


def test_a_network_as_text() -> None:
    assert print_graph(small_network(), inline_limit=16) == SMALL


def test_declared_tensors_come_from_outside() -> None:
    graph = small_network()
    parsed = parse_graph(SMALL, graph.tensors)
    assert structure(parsed) == structure(graph)
    assert np.shares_memory(parsed.tensors["head"], graph.tensors["head"])
    assert not any(array.flags.writeable for array in parsed.tensors.values())


@given(graphs(), st.sampled_from([0, 3, 64, None]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_print_parse_print_is_the_identity(graph: Graph, inline_limit: int | None) -> None:
    text = print_graph(graph, inline_limit=inline_limit)
    parsed = parse_graph(text, graph.tensors)
    assert print_graph(parsed, inline_limit=inline_limit) == text
    assert structure(parsed) == structure(graph)


@given(names)
@settings(deadline=None)
def test_a_text_is_one_line_per_node_whatever_the_names_hold(name: str) -> None:
    graph = Graph(name)
    value = graph.add_input(name, TensorType("f32", (Batch(),)))
    graph.add_output(graph.append("relu", [value], origin=[name], name=name), name)
    text = print_graph(graph)
    assert len(text.splitlines()) == 5
    assert all(char.isprintable() or char == "\n" for char in text)


def test_a_text_written_by_hand_may_leave_out_what_follows() -> None:
    text = """
    # A comment, then the version; values may have names, types and output names may be missing.
    sir 1
    graph @hand(%x: tensor<f32, Nx3>) {   # the spaces around x, too
      %sum = add(%x, %x)
      %5 = clip(%sum) {high = 6}
      return %5, %sum decode last
    }
    """
    assert print_graph(parse_graph(text)) == (
        "sir 1\n"
        "graph @hand(%x: tensor<f32, N x 3>) {\n"
        "  %0 = add(%x, %x) : tensor<f32, N x 3>\n"
        "  %1 = clip(%0) {high = 6.0} : tensor<f32, N x 3>\n"
        '  return %1 as "5", %0 as "sum" decode last\n'
        "}\n"
    )


def test_a_number_may_name_an_input_beside_the_numbers_of_nodes() -> None:
    graph = Graph("onnx")
    value = graph.add_input("0", TensorType("f32", (Batch(),)))
    graph.add_output(graph.append("relu", [value]), "0")
    text = print_graph(graph)
    assert '%0 = relu(%"0")' in text
    assert structure(parse_graph(text)) == structure(graph)


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.array(1.5, np.float64), "tensor @t : tensor<f64, scalar> = [1.5]"),
        (np.array([np.nan, np.inf, -np.inf, -0.0], np.float32),
         "tensor @t : tensor<f32, 4> = [nan, inf, -inf, -0.0]"),
        (np.zeros((0, 3), np.float32), "tensor @t : tensor<f32, 0 x 3> = []"),
        (np.array([True, False]), "tensor @t : tensor<bool, 2> = [true, false]"),
        (np.array([2**64 - 1], np.uint64), "tensor @t : tensor<u64, 1> = [18446744073709551615]"),
        (np.array([[-(2**63)], [1]], np.int64), "tensor @t : tensor<i64, 2 x 1> = [-9223372036854775808, 1]"),
        (np.array([1e-45, 3.4028234663852886e38], np.float32),
         "tensor @t : tensor<f32, 2> = [1.401298464324817e-45, 3.4028234663852886e+38]"),
    ],
)  # fmt: skip
def test_inline_tensors(array: Array, line: str) -> None:
    graph = Graph("g")
    graph.add_output(graph.constant_value(array, "t"), "y")
    text = print_graph(graph)
    assert text.splitlines()[-1] == line
    parsed = parse_graph(text).tensors["t"]
    assert (parsed.dtype, parsed.shape, parsed.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_the_inline_limit_decides_what_is_only_declared() -> None:
    graph = Graph("g")
    graph.constant_value(np.zeros(65, np.int8), "large")
    graph.constant_value(np.zeros(64, np.int8), "small")
    graph.constant_value(np.zeros(0, np.int8), "empty")

    def inline(**options: int | None) -> list[bool]:
        lines = print_graph(graph, **options).splitlines()
        return ["=" in line for line in lines if line.startswith("tensor")]

    assert inline() == [True, False, True]
    assert inline(inline_limit=0) == [False, False, False]
    assert inline(inline_limit=None) == [True, True, True]


@pytest.mark.parametrize(
    ("codebook", "text"),
    [
        (Binary(), "binary"),
        (Ternary(), "ternary"),
        (MultiSpike(-7, 7), "multi(-7, 7)"),
        (MultiSpike(0, 15, "floor"), "multi(0, 15, floor)"),
        (PowerOfTwo(8), "pow2(8)"),
        (PowerOfTwo(6, False), "pow2(6, false)"),
        (PowerOfTwo(8, True, "nearest", 0.75), "pow2(8, true, nearest, 0.75)"),
    ],
)
def test_codebooks(codebook: codebooks.Codebook, text: str) -> None:
    assert show_codebook(codebook) == text
    graph = Graph("g")
    value = graph.add_input("x", TensorType("f32", (3,)))
    graph.append("neuron", [value], {"codebook": codebook})
    parsed = next(iter(parse_graph(print_graph(graph))))
    assert parsed.attributes["codebook"] == codebook


@dataclass(frozen=True)
class Logarithmic:
    name: ClassVar[str] = "log"
    levels: int
    signed: bool = False
    base: float = 2.0
    place: Literal["top", "bottom"] = "top"


def test_a_new_codebook_needs_no_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    table: dict[str, Any] = codebooks.CODEBOOKS  # as a plug-in would extend it
    monkeypatch.setitem(table, "log", Logarithmic)
    full: Any = Logarithmic(8, True, 1.5, "bottom")
    short: Any = Logarithmic(8, True)
    assert show_codebook(full) == "log(8, true, 1.5, bottom)"
    assert show_codebook(short) == "log(8, true)"
    assert make_codebook("log", [8, True, 1.5, "bottom"]) == full
    with pytest.raises(ParseError, match="log takes 1 to 4 arguments, not 0"):
        make_codebook("log", [])
    with pytest.raises(ParseError, match="log: signed cannot be 1"):
        make_codebook("log", [8, 1])


def test_spike_types() -> None:
    graph = Graph("g")
    graph.add_input("a", SpikeType(Payload(-7, 7, powers_of_two=True), (Batch(12), 3)))
    scaled = graph.append(
        "neuron",
        [graph.add_input("b", TensorType("f32", ()))],
        {"codebook": Binary(), "scale": graph.add_tensor("s", np.array(2.0, np.float32))},
    )
    text = print_graph(graph)
    assert "spikes<-7..7 pow2, 12N x 3>" in text
    assert "spikes<0..1 scaled, scalar>" in text
    assert next(iter(parse_graph(text))).result.type == scaled.type


def test_the_coding_stands_in_the_head() -> None:
    head = "sir 1\ngraph @g(%x: tensor<f32, N x 2>)"
    line = '  %0 = neuron(%x) {codebook = binary} : spikes<-1..1, N x 2> from "n"\n'
    text = f'{head} coding differential {{\n{line}  return %0 as "y"\n}}\n'
    graph = parse_graph(text)
    assert graph.coding == graph.copy().coding == "differential"
    assert print_graph(graph) == text
    assert parse_graph(f"{head} coding rate {{ return %x }}").coding == "rate"
    assert print_graph(parse_graph(f"{head} {{ return %x }}")).startswith(f"{head} {{")


def test_a_graph_that_does_not_verify_still_prints() -> None:
    graph, other = Graph("g"), Graph("h")
    stranger = other.add_input("x", TensorType("f32", (3,)))
    graph.append("relu", [stranger])
    assert "%0 = relu(%?)" in print_graph(graph)


def test_numpy_numbers_print_as_numbers() -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType("f32", (3,)))
    graph.append("clip", [x], {"low": np.float64(0.5)})
    assert "{low = 0.5}" in print_graph(graph)


def test_ten_thousand_nodes_parse_in_seconds() -> None:
    text = print_graph(deep_graph(10_000))
    begin = time.process_time()
    graph = parse_graph(text)
    # Two seconds of processor time; the bound only catches work that grows with the square.
    assert time.process_time() - begin < 20
    assert len(graph) == 10_000


def test_a_million_inline_elements_parse_in_seconds() -> None:
    graph = Graph("g")
    graph.constant_value(np.linspace(-1, 1, 1_000_000).astype(np.float32), "t")
    text = print_graph(graph, inline_limit=None)
    begin = time.process_time()
    parsed = parse_graph(text)
    assert time.process_time() - begin < 20
    assert np.array_equal(parsed.tensors["t"], graph.tensors["t"])


def test_a_negative_zero_is_not_the_default() -> None:
    graph = Graph("zero")
    x = graph.add_input("x", TensorType("f32", (Batch(), 2)))
    graph.add_output(graph.append("neuron", [x], {"codebook": Binary(), "initial": -0.0}), "y")
    text = print_graph(graph)
    assert "initial = -0.0" in text
    assert print_graph(parse_graph(text)) == text
