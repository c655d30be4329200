"""Print a graph as canonical `.sir` text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.op import TensorRef, tensor_type
from snnc.ir.shapes import Batch
from snnc.ir.text.codebooks import show_codebook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph, Node, Output, Value
    from snnc.ir.kernel_types import Array

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BARE_SYMBOL = re.compile(r"[A-Za-z0-9_.\-/]+")
UNDEFINED = "%?"


def print_graph(graph: Graph, *, inline_limit: int | None = 64) -> str:
    """Return the text of a graph.

    Tensors of at most `inline_limit` elements (None: all, 0: none) are written out, the others only declared.
    A value that nothing defines, in a graph that does not verify, prints as `%?`.
    """
    names = value_names(graph)
    inputs = ", ".join(f"{names[value]}: {value.type}" for value in graph.inputs)
    outputs = ", ".join(_print_output(output, names) for output in graph.outputs)
    coding = "" if graph.coding == "rate" else f" coding {graph.coding}"
    lines = ["sir 1", f"graph {symbol(graph.name)}({inputs}){coding} {{"]
    lines += [f"  {print_node(node, names)}" for node in graph]
    lines += [f"  return {outputs}".rstrip(), "}"]
    lines += [_print_tensor(name, graph.tensors[name], inline_limit) for name in sorted(graph.tensors)]
    return "\n".join(lines) + "\n"


def _print_output(output: Output, names: Mapping[Value, str]) -> str:
    text = f"{names.get(output.value, UNDEFINED)} as {quote(output.name)}"
    return text if output.decode == "mean" else f"{text} decode {output.decode}"


def value_names(graph: Graph) -> dict[Value, str]:
    """Return how each value is written: inputs by name, results by their place in the order."""
    names = {value: _input_name(value.name or "") for value in graph.inputs}
    names.update((node.result, f"%{number}") for number, node in enumerate(graph))
    return names


def _input_name(name: str) -> str:
    return f"%{name}" if IDENTIFIER.fullmatch(name) else f"%{quote(name)}"


def print_node(node: Node, names: Mapping[Value, str]) -> str:
    """Return the line of one node."""
    operands = ", ".join(names.get(operand, UNDEFINED) for operand in node.operands)
    line = f"{names.get(node.result, UNDEFINED)} = {node.full_name}({operands})"
    attributes = ", ".join(f"{name} = {_show(value)}" for name, value in _written(node))
    if attributes:
        line += f" {{{attributes}}}"
    line += f" : {node.result.type}"
    if node.origin:
        line += " from " + ", ".join(map(quote, node.origin))
    if node.result.name is not None:
        line += f" as {quote(node.result.name)}"
    return line


def _written(node: Node) -> list[tuple[str, Any]]:
    """Return the attributes that differ from their defaults, in declared order, unknown ones last."""
    known = [
        (name, node.attributes[name])
        for name, declared in node.op.attributes.items()
        # By their text: -0.0 equals the default 0.0 and is another number all the same.
        if name in node.attributes and repr(node.attributes[name]) != repr(declared.default)
    ]
    return known + [
        (name, value) for name, value in node.attributes.items() if name not in node.op.attributes
    ]


def _show(value: object) -> str:
    match value:
        case bool():
            text = "true" if value else "false"
        case float():
            text = repr(float(value))
        case str():
            text = quote(value)
        case TensorRef():
            text = symbol(value.name)
        case tuple():
            text = f"[{', '.join(map(_show, value))}]"
        case int() | Batch():
            text = str(value)
        case _:
            text = show_codebook(value)  # type: ignore[arg-type]  # nothing else is an attribute
    return text


def quote(text: str) -> str:
    """Return a JSON string in which everything that does not print is escaped."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(char) for char in plain)


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def symbol(name: str) -> str:
    """Return the name of a graph or tensor as written: `@conv1.weight`, or quoted."""
    return f"@{name}" if BARE_SYMBOL.fullmatch(name) else f"@{quote(name)}"


def _print_tensor(name: str, array: Array, inline_limit: int | None) -> str:
    line = f"tensor {symbol(name)} : {tensor_type(array)}"
    if inline_limit is None or (inline_limit > 0 and array.size <= inline_limit):
        line += f" = [{', '.join(_elements(array))}]"
    return line


def _elements(array: Array) -> list[str]:
    if array.dtype == np.bool_:
        return ["true" if element else "false" for element in array.flat]
    return [repr(element) for element in array.reshape(-1).tolist()]
