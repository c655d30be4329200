"""Every error of the `.sir` language says what, line and column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_graphs import small_network

from snnc.ir.errors import ParseError
from snnc.ir.text import parse_graph, print_graph

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

HEAD = "sir 1\ngraph @g(%x: tensor<f32, N x 3>) {\n"


def refusal(text: str, tensors: dict[str, Array] | None = None) -> ParseError:
    with pytest.raises(ParseError) as caught:
        parse_graph(text, tensors, name="net.sir")
    return caught.value


def check(text: str, place: str, message: str) -> None:
    """Hold the refusal against its place (`line:column`) and a part of its message."""
    error = refusal(text)
    assert (error.where, message in str(error)) == (f"net.sir:{place}", True), str(error)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "1:1", "does not begin with 'sir 1'"),
        ("  # nothing\n\n", "3:1", "does not begin with 'sir 1'"),
        ("\x08\x07junk", "1:1", "does not begin with 'sir 1'"),
        ("sirius", "1:1", "does not begin with 'sir 1'"),
        ("# next\nsir 2\nnetwork {}", "2:5", "the text is in version 2, this snnc reads version 1"),
        ("sir 99999999999999999999999999", "1:5", "the text is in version 9999999999999999999,"),
        ("sir 1", "1:6", "expected 'graph', the text ends"),
        ("sir 1\ngrap @g", "2:1", "expected 'graph', found 'grap'"),
        ("sir 1\ngraph g() {}", "2:7", "expected a name such as @weight, found 'g'"),
        ("sir 1\ngraph @g(x)", "2:10", "expected ')' or a value such as %x, found 'x'"),
        ("sir 1\ngraph @g(%x)", "2:12", "expected ':', found ')'"),
        ("sir 1\ngraph @g(%x: real)", "2:14", "expected 'spikes' or 'tensor', found 'real'"),
        ("sir 1\ngraph @g() coding rats { return }", "2:19", "there is no coding 'rats'"),
        ("sir 1\ngraph @g() coding {", "2:19", "expected a name, found '{'"),
        ("sir 1\ngraph @g() rate {", "2:12", "expected 'coding' or '{', found 'rate'"),
        ("sir 1\ngraph @g() {\n}", "3:1", "expected 'return' or a value such as %x, found '}'"),
        ("sir 1\ngraph @g() {\n  return\n", "4:1", "expected '}' or a value such as %x, the text ends"),
        ("sir 1\ngraph @g() { return }\n?", "3:1", "expected 'tensor', found '?'"),
    ],
)
def test_syntax(text: str, place: str, message: str) -> None:
    check(text, place, message)


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        ("%0 = rleu(%x)", "3:6", "there is no op 'rleu'"),
        ("%0 = rleu(%x)", "3:6", "help: did you mean 'relu'"),
        ("%0 = expect.rleu(%x)", "3:6", "there is no op 'expect.rleu'"),
        ("%0 = unexpected.relu(%x)", "3:6", "there is no op 'unexpected.relu'"),
        ("%0 = expect.neuron(%x) {codebook = binary}", "3:6", "neuron cannot be wrapped as expect.neuron"),
        ("%0 = relu(%y)", "3:11", "%y is not defined before this line"),
        ("%0 = add(%x, %0)", "3:14", "%0 is not defined before this line"),
        ("%x = relu(%x)", "3:1", "%x is defined twice"),
        ("%0 = relu(%x)\n%0 = relu(%x)", "4:1", "%0 is defined twice"),
        ("%99999999999999999999 = relu(%x)", "3:1", "is not a number of a value"),
        ("%0 = relu(%x, %x)", "3:6", "relu takes 1 operands, not 2"),
        ("%0 = relu(%x) : tensor<f32, N x 4>", "3:17", "relu is tensor<f32, N x 3>, not tensor<f32, N x 4>"),
        ("%0 = relu(%x) : spikes<0..1, N x 3>", "3:17", "relu is tensor<f32, N x 3>, not spikes<0..1"),
        ("%0 = transpose(%x) {perm = [0, 0]}", "3:6", "perm [0, 0] does not permute the axes of N x 3"),
        ("%0 = softmax(%x) {axes = 1}", "3:19", "softmax has no attribute 'axes'"),
        ("%0 = softmax(%x) {axes = 1}", "3:19", "did you mean 'axis'"),
        ("%0 = relu(%x) {axis = 1}", "3:16", "relu has no attribute 'axis'"),
        ("%0 = softmax(%x) {axis = 1, axis = 1}", "3:29", "the attribute 'axis' is given twice"),
        ("%0 = softmax(%x) {axis = 1.5}", "3:26", "softmax.axis must be int, not 1.5"),
        ("%0 = softmax(%x) {axis = true}", "3:26", "softmax.axis must be int, not True"),
        ("%0 = softmax(%x) {axis = [1, 2]}", "3:26", "softmax.axis must be int, not (1, 2)"),
        ("%0 = softmax(%x) {axis = 9223372036854775808}", "3:26", "is not a 64-bit integer"),
        ("%0 = softmax(%x) {axis = -99999999999999999999999}", "3:26", "is not a 64-bit integer"),
        ("%0 = clip(%x) {low = 1e999}", "3:22", "1e999 is too large"),
        ('%0 = gelu(%x) {approximate = "tahn"}', "3:30", "it must be one of none, tanh"),
        ("%0 = transpose(%x)", "3:6", "transpose needs the attribute 'perm' (ints)"),
        ("%0 = transpose(%x) {perm = [[1, 0]]}", "3:29", "a multiple of N or an integer, found '['"),
        ("%0 = reshape(%x) {shape = [N, N3]}", "3:32", "expected ',' or ']', found '3'"),
        ("%0 = linear(%x) {weight = @w}", "3:27", "there is no tensor @w"),
        ("%0 = linear(%x) {weight = @}", "3:27", "found '@'"),
        ("%0 = neuron(%x) {codebook = binry}", "3:29", "there is no codebook 'binry'"),
        ("%0 = neuron(%x) {codebook = binary(1)}", "3:29", "binary takes 0 arguments, not 1"),
        ("%0 = neuron(%x) {codebook = multi(1, 3)}", "3:29", "multi(1, 3) must hold zero"),
        ("%0 = neuron(%x) {codebook = multi(0, 3, ceil)}", "3:29", "rounding cannot be 'ceil'"),
        ("%0 = neuron(%x) {codebook = pow2(16)}", "3:29", "pow2 has 1 to 15 levels, not 16"),
        ("%0 = neuron(%x) {codebook = pow2(4, true, up)}", "3:29", "firing cannot be 'up'"),
        ("%0 = neuron(%x) {codebook = pow2(4, true, below, 0.0)}", "3:29", "cannot be 0.0"),
        ("%0 = neuron(%x) {codebook = multi(0, 1.5)}", "3:29", "hi cannot be 1.5"),
        ("%0 = neuron(%x) {codebook = multi(0, 99999)}", "3:29", "exceeds the largest payload 32767"),
        ("%0 = neuron(%x) {codebook = multi(0, 99999999999999999999)}", "3:38", "is not a 64-bit integer"),
        ('%0 = relu(%x) from "a\\q"', "3:22", "the string is not JSON"),
        ('%0 = relu(%x) from "a', "3:20", "expected a string"),
        ('%0 = relu(%x) as "a\tb"', "3:20", "the string is not JSON: Invalid control character"),
        ("return %y as \"y\"", "3:8", "%y is not defined"),
        ('return %x as "y", %x as "y"', "3:19", "there are two outputs named 'y'"),
        ("return %x, %x", "3:12", "there are two outputs named 'x'"),
        ("return %x decode lsat", "3:18", "an output cannot be decoded by 'lsat'"),
        ("return %x decode lsat", "3:18", "did you mean 'last'"),
        ("return %x decode", "3:17", "expected a name, found '}'"),
        ('return %x decode sum as "y"', "3:22", "found 'as'"),
    ],
)  # fmt: skip
def test_nodes_and_outputs(line: str, place: str, message: str) -> None:
    rest = "" if line.startswith("return") else "\nreturn %x\n"
    check(f"{HEAD}{line}{rest}}}\n", place, message)


@pytest.mark.parametrize(
    ("type_", "column", "message"),
    [
        ("tensor<f16, N>", 21, "unknown element type 'f16'"),
        ("tensor<f32, -3>", 14, "the dimension -3 is negative"),
        ("tensor<f32, -N>", 14, "the dimension -1N is not a positive multiple"),
        ("tensor<f32, 0N>", 14, "the dimension 0N is not a positive multiple"),
        ("tensor<f32, M x 3>", 26, "expected 'scalar', a multiple of N or an integer, found 'M'"),
        ("tensor<f32, 99999999999 x 99999999999>", 14, "elements per sample exceed the limit"),
        ("tensor<f32, 99999999999999999999>", 26, "is not a 64-bit integer"),
        ("tensor<f32, 99999999999999999999N>", 26, "is not a 64-bit integer"),
        (f"tensor<f32, {' x '.join('1' * 33)}>", 14, "33 axes exceed the limit of 32"),
        ("spikes<3..1, N>", 21, "payload range 3..1 is empty"),
        ("spikes<0..1 loud, N>", 26, "spikes have no property 'loud'"),
        ("spikes<0..1 scaled, N>", 14, "spikes that enter the graph have scale 1"),
        ("tensor<f32>", 24, "expected ',', found '>'"),
    ],
)
def test_types(type_: str, column: int, message: str) -> None:
    check(f"sir 1\ngraph @g(%x: {type_}) {{ return }}\n", f"2:{column}", message)


@pytest.mark.parametrize(
    ("declaration", "place", "message"),
    [
        (
            "tensor @t : tensor<f32, 2> = [1]",
            "5:30",
            "1 elements are written, the type tensor<f32, 2> holds 2",
        ),
        ("tensor @t : tensor<f32, 2> = []", "5:30", "0 elements are written"),
        ("tensor @t : tensor<f32, 0> = [1]", "5:30", "1 elements are written"),
        ("tensor @t : tensor<f32, 1048576 x 1048576> = [1]", "5:46", "1 elements are written"),
        ("tensor @t : tensor<f32, 2> = [1, 2, ]", "5:30", "3 elements are written"),
        ("tensor @t : tensor<f32, 3> = [1,\n 2,\n   x]", "7:4", "'x' is not an element of tensor<f32, 3>"),
        ("tensor @t : tensor<f32, 1> = [1_0]", "5:31", "'1_0' is not an element"),
        ("tensor @t : tensor<f32, 1> = [1e39]", "5:31", "'1e39' is not an element"),
        ("tensor @t : tensor<f64, 1> = [1e999]", "5:31", "'1e999' is not an element"),
        ("tensor @t : tensor<i8, 2> = [1, 128]", "5:33", "'128' is not an element of tensor<i8, 2>"),
        ("tensor @t : tensor<u8, 1> = [-1]", "5:30", "'-1' is not an element"),
        ("tensor @t : tensor<i8, 1> = [1.0]", "5:30", "'1.0' is not an element"),
        ("tensor @t : tensor<bool, 1> = [1]", "5:32", "'1' is not an element of tensor<bool, 1>"),
        (
            "tensor @t : tensor<f32, N> = [1]",
            "5:13",
            "has a constant shape and no spikes, not tensor<f32, N>",
        ),
        ("tensor @t : spikes<0..1, 1> = [1]", "5:13", "has a constant shape and no spikes"),
        ("tensor @t : tensor<f32, 1>", "5:8", "the tensor @t has no elements here and none were given"),
        (
            "tensor @t : tensor<f32, 1> = [1]\ntensor @t : tensor<f32, 1> = [1]",
            "6:8",
            "the tensor @t is declared twice",
        ),
        ("tensor @t : tensor<f32, 1> = [1", "5:30", "expected a list of elements"),
    ],
)
def test_tensors(declaration: str, place: str, message: str) -> None:
    check(f"{HEAD}return\n}}\n{declaration}\n", place, message)


@pytest.mark.parametrize(
    "array", [np.zeros(3, np.float32), np.zeros(2, np.float64), np.zeros(2, np.complex64)]
)
def test_given_tensors_must_fit_their_declaration(array: Array) -> None:
    error = refusal(f"{HEAD}return\n}}\ntensor @t : tensor<f32, 2>\n", {"t": array})
    assert error.where == "net.sir:5:13"
    assert "the tensor @t is declared as tensor<f32, 2> and given as" in str(error)


def test_an_input_cannot_be_named_twice() -> None:
    check(
        'sir 1\ngraph @g(%x: tensor<f32, N>, %"x": tensor<f32, N>) { return }',
        "2:30",
        '%"x" is defined twice',
    )


def test_deep_nesting_is_a_syntax_error() -> None:
    check(f"{HEAD}%0 = reshape(%x) {{shape = {'[' * 100_000}", "3:28", "found '['")
    check(f"{HEAD}%0 = relu{'(' * 100_000}", "3:11", "found '('")


def test_the_name_of_the_text_leads_the_place() -> None:
    with pytest.raises(ParseError) as caught:
        parse_graph("sir 1\n")
    assert caught.value.where == "<text>:2:1"


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_text_parses_or_is_refused_with_its_place(data: st.DataObject) -> None:
    text = print_graph(small_network(), inline_limit=None)
    pieces = st.sampled_from(re.findall(r"\w+|\s+|.", text)) | st.text(max_size=3)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = begin + data.draw(st.integers(0, 12))
        text = text[:begin] + data.draw(pieces) + text[end:]
    try:
        graph = parse_graph(text, name="net.sir")
    except ParseError as error:
        place = bool(re.match(r"net\.sir:(\d+):(\d+)$", error.where or ""))
    else:
        place = True
        print_graph(graph)
    assert place
