"""The rules every graph keeps. All broken ones are reported at once, each naming its node."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.coding import CODINGS
from snnc.ir.decode import DECODES
from snnc.ir.errors import SnncError, VerifyError
from snnc.ir.limits import shape_problem
from snnc.ir.op import TensorRef
from snnc.ir.text.printer import UNDEFINED, quote, symbol, value_names
from snnc.ir.types import DTYPE_NAMES, SpikeType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

RESERVED_TENSOR_NAME = "__metadata__"  # safetensors keeps it for itself


def verify(graph: Graph, *, values: bool = True) -> None:
    """Raise a `VerifyError` that lists all problems, if there are any. See `problems`."""
    found = problems(graph, values=values)
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise VerifyError(f"the graph {symbol(graph.name)} has {count}", found)


def problems(graph: Graph, *, values: bool = True) -> list[str]:
    """Return every broken rule as one sentence.

    `values` = False does not look into tensors for numbers that are not finite: arrays of a mapped file
    stay unread.
    """
    names = value_names(graph)
    return [
        *([] if graph.coding in CODINGS else [f"there is no coding {graph.coding!r}"]),
        *_input_problems(graph, names),
        *_node_problems(graph, names),
        *_use_problems(graph, names),
        *_output_problems(graph, names),
        *_tensor_problems(graph),
        *(_value_problems(graph, names) if values else ()),
    ]


def describe(node: Node, names: Mapping[Value, str]) -> str:
    """Return how a message names a node: `%12 = conv from "conv1"`."""
    origin = f" from {', '.join(map(quote, node.origin))}" if node.origin else ""
    return f"{names.get(node.result, UNDEFINED)} = {node.full_name}{origin}"


def _input_problems(graph: Graph, names: Mapping[Value, str]) -> Iterator[str]:
    counts = Counter(value.name for value in graph.inputs)
    for name, count in counts.items():
        if name is None:
            yield "an input has no name"
        elif count > 1:
            yield f"{count} inputs are named {quote(name)}"
    for value in graph.inputs:
        if value.node is not None:
            yield f"input {names[value]} is the result of a node"
        if isinstance(value.type, SpikeType) and value.type.scaled:
            yield f"input {names[value]} is {value.type}: spikes that enter the graph have scale 1"
        problem = shape_problem(value.type.shape)
        if problem:
            yield f"input {names[value]}: {problem}"


def _node_problems(graph: Graph, names: Mapping[Value, str]) -> Iterator[str]:
    defined = set(graph.inputs)
    for node in graph:
        for problem in _one_node(graph, node, defined, names):
            yield f"{describe(node, names)}: {problem}"
        defined.add(node.result)


def _one_node(graph: Graph, node: Node, defined: set[Value], names: Mapping[Value, str]) -> Iterator[str]:
    if node.graph is not graph:
        yield "it does not belong to this graph"
    if node.result.node is not node:
        yield "its result does not know it"
    for index, operand in enumerate(node.operands):
        if operand in defined:
            continue
        if operand in names:
            yield f"operand {index} ({names[operand]}) is used before it is defined"
        else:
            yield f"operand {index} is not a value of this graph"
    if node.expect and not node.op.expectation:
        yield f"{node.op.name} cannot be wrapped as expect.{node.op.name}"
    wrong = [
        *node.op.attribute_problems(node.attributes),
        *(
            f"{node.op.name}.{name} refers to {symbol(value.name)}, there is no such tensor"
            for name, value in node.attributes.items()
            if isinstance(value, TensorRef) and value.name not in graph.tensors
        ),
    ]
    # With wrong attributes the op's type rule has nothing to say.
    yield from wrong or _type_problems(graph, node)
    shape = shape_problem(node.result.type.shape)
    if shape:
        yield shape


def _type_problems(graph: Graph, node: Node) -> Iterator[str]:
    if node.expect and not node.op.expectation:
        return
    try:
        inferred = graph.infer(node)
    except SnncError as error:
        yield error.message
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # The op's own rule tripped over operands it did not foresee.
        yield f"it cannot be typed: {error}"
    else:
        if inferred != node.result.type:
            yield f"its type is {node.result.type}, its operands give {inferred}"


def _use_problems(graph: Graph, names: Mapping[Value, str]) -> Iterator[str]:
    uses: dict[Value, Counter[Node]] = {value: Counter() for value in names}
    for node in graph:
        for operand in node.operands:
            if operand in uses:
                uses[operand][node] += 1
    for value, counted in uses.items():
        if value.users == counted:
            continue
        for user in dict.fromkeys([*value.users, *counted]):
            recorded, real = value.users.get(user, 0), counted[user]
            if recorded != real:
                yield f"{names[value]} records {recorded} uses by {describe(user, names)}, there are {real}"


def _output_problems(graph: Graph, names: Mapping[Value, str]) -> Iterator[str]:
    for name, count in Counter(output.name for output in graph.outputs).items():
        if count > 1:
            yield f"{count} outputs are named {quote(name)}"
    for output in graph.outputs:
        if output.value not in names:
            yield f"output {quote(output.name)} is not a value of this graph"
        if output.decode not in DECODES:
            known = ", ".join(DECODES)
            yield f"output {quote(output.name)} is decoded by {output.decode!r}, which is none of {known}"


def _tensor_problems(graph: Graph) -> Iterator[str]:
    for name, array in graph.tensors.items():
        if name == RESERVED_TENSOR_NAME:
            yield f"a tensor cannot be named {symbol(name)}"
        if array.dtype not in DTYPE_NAMES:
            known = ", ".join(DTYPE_NAMES.values())
            yield f"tensor {symbol(name)} holds {array.dtype}, which is none of {known}"


def _value_problems(graph: Graph, names: Mapping[Value, str]) -> Iterator[str]:
    """Parameters that meet a stream must be finite; a constant may hold infinities (attention masks do)."""
    finite: dict[str, bool] = {}
    for node in graph:
        for attribute, ref in node.attributes.items():
            if not node.operands or not isinstance(ref, TensorRef) or ref.name not in graph.tensors:
                continue
            if ref.name not in finite:
                finite[ref.name] = _is_finite(graph.tensors[ref.name])
            if not finite[ref.name]:
                where = f"{describe(node, names)}: {attribute} {symbol(ref.name)}"
                yield f"{where} holds numbers that are not finite"


def _is_finite(array: Array) -> bool:
    # The extremes are finite if and only if all elements are; unlike a mask they take no memory.
    return array.dtype.kind != "f" or not array.size or bool(np.isfinite([array.min(), array.max()]).all())
