"""Parse `.sir` text into a graph. Every error is a `ParseError` that says line and column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnc.ir.decode import DECODES
from snnc.ir.errors import ParseError, SnncError, did_you_mean
from snnc.ir.graph import Graph, Value
from snnc.ir.op import Kind, TensorRef
from snnc.ir.ops import op_table
from snnc.ir.text.syntax import MAX_DIGITS, fault, read_document, unquote
from snnc.ir.text.tensors import read_tensor
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lark import Token

    from snnc.ir.decode import Decode
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import Op
    from snnc.ir.text.syntax import AttributeText, Document, InputText, NodeText, OutputText

EXPECT = "expect."


def parse_graph(text: str, tensors: Mapping[str, Array] | None = None, *, name: str = "<text>") -> Graph:
    """Return the graph a text describes.

    `tensors` holds the arrays of tensors that the text only declares; they are kept by reference. `name`
    stands for the text in errors: `name:line:column`.
    """
    try:
        return _Builder(text, tensors or {}).build(read_document(text))
    except ParseError as error:
        error.where = f"{name}:{error.where}"
        raise


class _Builder:
    """Builds the graph in the text's order, tensors first because types depend on them."""

    def __init__(self, text: str, tensors: Mapping[str, Array]) -> None:
        self.text = text
        self.given = tensors
        self.graph = Graph("")
        self.values: dict[int | str, Value] = {}
        self.output_names: set[str] = set()

    def build(self, document: Document) -> Graph:
        self.graph.name, self.graph.coding = document.graph.name, document.graph.coding
        for tensor in document.tensors:
            if tensor.name in self.graph.tensors:
                fault(tensor.token, f"the tensor {tensor.token} is declared twice")
            self.graph.tensors[tensor.name] = read_tensor(self.text, tensor, self.given)
        for input_ in document.graph.inputs:
            self.add_input(input_)
        for node in document.graph.nodes:
            self.add_node(node)
        for output in document.graph.outputs:
            self.add_output(output)
        return self.graph

    def add_input(self, input_: InputText) -> None:
        type_ = input_.type.type
        if isinstance(type_, SpikeType) and type_.scaled:
            fault(input_.type.token, "spikes that enter the graph have scale 1; they cannot be scaled")
        key = _key(input_.target)
        self.define(input_.target, self.graph.add_input(str(key), type_))

    def add_node(self, node: NodeText) -> None:
        op, expect = _find_op(node.op)
        operands = [self.value(operand) for operand in node.operands]
        attributes = self.attributes(op, node.attributes)
        try:
            op.check_operand_count(len(operands))
            result = self.graph.append(
                op.name, operands, attributes, expect=expect, origin=node.origin, name=node.name
            )
        except SnncError as error:
            fault(node.op, error.message, error.help)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # The op's own rule tripped over attributes or shapes it did not foresee: still the text's fault.
            fault(node.op, f"{op.name} cannot be typed: {error}")
        if node.type is not None and node.type.type != result.type:
            fault(node.type.token, f"the result of {op.name} is {result.type}, not {node.type.type}")
        self.define(node.target, result)

    def attributes(self, op: Op, given: Sequence[AttributeText]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for attribute in given:
            name, value = str(attribute.name), attribute.value
            if name in result:
                fault(attribute.name, f"the attribute {name!r} is given twice")
            if name not in op.attributes:
                hint = did_you_mean(name, op.attributes) if op.attributes else "it has none"
                fault(attribute.name, f"{op.name} has no attribute {name!r}", hint)
            if op.attributes[name].kind is Kind.FLOAT and type(value) is int:
                value = float(value)
            problem = op.attribute_problem(name, value)
            if problem:
                fault(attribute.token, problem)
            if isinstance(value, TensorRef) and value.name not in self.graph.tensors:
                hint = (
                    did_you_mean(value.name, self.graph.tensors) if self.graph.tensors else "none is declared"
                )
                fault(attribute.token, f"there is no tensor {attribute.token}", hint)
            result[name] = value
        return result

    def add_output(self, output: OutputText) -> None:
        value = self.value(output.value)
        name = str(_key(output.value)) if output.name is None else output.name
        if name in self.output_names:
            fault(output.value, f"there are two outputs named {name!r}")
        self.output_names.add(name)
        self.graph.add_output(value, name, _decode(output.decode))

    def define(self, token: Token, value: Value) -> None:
        key = _key(token)
        if key in self.values:
            fault(token, f"{token} is defined twice")
        self.values[key] = value

    def value(self, token: Token) -> Value:
        key = _key(token)
        if key not in self.values:
            known = [name for name in self.values if isinstance(name, str)]
            hint = did_you_mean(key, known) if isinstance(key, str) and known else None
            fault(token, f"{token} is not defined before this line", hint)
        return self.values[key]


def _key(token: Token) -> int | str:
    """Return the number of `%12`, the name of `%x` or `%"input.1"`."""
    if not token[1:].isdecimal():
        return unquote(token, 1)
    if len(token) > MAX_DIGITS:
        fault(token, f"{token[:40]} is not a number of a value")
    return int(token[1:])


def _decode(token: Token | None) -> Decode:
    if token is None:
        return "mean"
    for known in DECODES:
        if known == token:
            return known
    fault(token, f"an output cannot be decoded by {str(token)!r}", did_you_mean(token, DECODES))


def _find_op(token: Token) -> tuple[Op, bool]:
    """Return the op and whether it is wrapped as `expect.<op>`."""
    expect = token.startswith(EXPECT)
    name = token[len(EXPECT) :] if expect else str(token)
    table = op_table()
    if name not in table:
        fault(token, f"there is no op {str(token)!r}", did_you_mean(name, table))
    if expect and not table[name].expectation:
        fault(token, f"{name} cannot be wrapped as {token}")
    return table[name], expect
