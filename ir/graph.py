"""The graph: values, nodes and the tensor table. Structure only; meaning lives in the op table.

A node has one result. Nodes form a doubly linked list in execution order, so insertion and removal cost
the same in a graph of ten or ten thousand nodes. Iteration order is always the execution order.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from snnc.ir.codebooks import of_changes
from snnc.ir.decode import DECODES
from snnc.ir.errors import OptionError, SnncError, TypeInferenceError, did_you_mean
from snnc.ir.op import Op, TensorRef, computes_integers
from snnc.ir.ops import get_op

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from snnc.ir.codebooks import Codebook
    from snnc.ir.coding import Coding
    from snnc.ir.decode import Decode
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import AttributeValue
    from snnc.ir.types import Type


class Value:
    """One stream: the result of a node, or a graph input (`node` is None).

    `name` is the tensor of the source model that this value decodes to, or None. `users` keeps the nodes
    that read the value, in the order they began to, once per operand position.
    """

    __slots__ = ("name", "node", "type", "users")

    def __init__(self, type: Type, node: Node | None = None, name: str | None = None) -> None:
        self.type = type
        self.node = node
        self.name = name
        self.users: dict[Node, int] = {}

    def __repr__(self) -> str:
        return f"<Value {self.name or '?'}: {self.type}>"


class Node:
    """One operation: `result = op(operands) {attributes}`, `expect` if wrapped by expectation compensation.

    `origin` holds the names of the source model's nodes this one stands for.
    """

    __slots__ = ("_next", "_previous", "attributes", "expect", "graph", "op", "operands", "origin", "result")

    def __init__(
        self,
        op: Op,
        operands: tuple[Value, ...],
        attributes: Mapping[str, AttributeValue],
        expect: bool,
        origin: tuple[str, ...],
    ) -> None:
        self.op = op
        self.operands = operands
        self.attributes = attributes
        self.expect = expect
        self.origin = origin
        self.graph: Graph | None = None
        self.result: Value
        self._previous: Node | None = None
        self._next: Node | None = None

    @property
    def full_name(self) -> str:
        """Return the op's name as written: `softmax` or `expect.softmax`."""
        return f"expect.{self.op.name}" if self.expect else self.op.name

    def __repr__(self) -> str:
        return f"<Node {self.full_name} from {', '.join(self.origin) or 'nothing'}>"


@dataclass(frozen=True, slots=True)
class Output:
    """One result of the graph: its value, its name in the source model, and how its stream is decoded."""

    value: Value
    name: str
    decode: Decode = "mean"


class Graph:
    """One time step of a network: inputs, nodes in execution order, outputs, and the tensor table.

    `coding` is how streams stand for values. `meta` is the record of how the graph came about; it travels in
    the `.sir` file.
    """

    def __init__(self, name: str, coding: Coding = "rate") -> None:
        self.name = name
        self.coding = coding
        self.inputs: list[Value] = []
        self.outputs: list[Output] = []
        self.tensors: dict[str, Array] = {}
        self.meta: dict[str, Any] = {}
        self._first: Node | None = None
        self._last: Node | None = None
        self._count = 0
        self._references: Counter[str] = Counter()
        self._released: set[str] = set()
        self._numbered: dict[str, int] = {}  # per base name: up to which number names are taken

    # Reading.

    def __iter__(self) -> Iterator[Node]:
        """Iterate over the nodes in execution order; the current node may be erased meanwhile."""
        node = self._first
        while node is not None:
            following = node._next
            yield node
            node = following

    def __len__(self) -> int:
        return self._count

    def is_output(self, value: Value) -> bool:
        return any(output.value is value for output in self.outputs)

    def resolve(self, node: Node) -> dict[str, Any]:
        """Return the node's attributes with defaults filled in and tensor references as arrays."""
        return self.resolve_attributes(node.op, node.attributes)

    def resolve_attributes(self, op: Op, attributes: Mapping[str, AttributeValue]) -> dict[str, Any]:
        return {name: self._resolve(value) for name, value in op.complete(attributes).items()}

    def _resolve(self, value: AttributeValue) -> Any:
        if not isinstance(value, TensorRef):
            return value
        if value.name not in self.tensors:
            raise TypeInferenceError(f"there is no tensor @{value.name}")
        return self.tensors[value.name]

    def constant(self, value: Value) -> Array | None:
        """Return the array if the value is a `constant` node's result, else None."""
        node = value.node
        if node is None or node.op.name != "constant":
            return None
        array: Array = self.resolve(node)["value"]
        return array

    @property
    def computes_integers(self) -> bool:
        """Tell whether any weight or threshold is an integer: the graph is for an integer machine."""
        return any(computes_integers(node.op, self.resolve(node)) for node in self)

    def view(self) -> nx.DiGraph:
        """Return a networkx view for analyses: nodes are `Node`s and input `Value`s, edges follow data."""
        digraph = nx.DiGraph()
        digraph.add_nodes_from(self.inputs)
        for node in self:
            digraph.add_node(node)
            digraph.add_edges_from((operand.node or operand, node) for operand in node.operands)
        return digraph

    # Building and changing.

    def add_input(self, name: str, type: Type) -> Value:
        value = Value(type, name=name)
        self.inputs.append(value)
        return value

    def add_output(self, value: Value, name: str, decode: Decode = "mean") -> None:
        self.outputs.append(Output(value, name, decode))

    def decode_outputs(self, decode: Decode) -> None:
        """Decode all outputs in one way."""
        if decode not in DECODES:
            raise OptionError(f"outputs cannot be decoded by {decode!r}", help=did_you_mean(decode, DECODES))
        self.outputs = [replace(output, decode=decode) for output in self.outputs]

    def remove_input(self, name: str) -> None:
        """Remove an input that nobody reads."""
        removed = [value for value in self.inputs if value.name == name]
        if any(value.users or self.is_output(value) for value in removed):
            raise SnncError(f"cannot remove the input {name!r}: it is still used")
        self.inputs = [value for value in self.inputs if value.name != name]

    def remove_output(self, name: str) -> None:
        self.outputs = [output for output in self.outputs if output.name != name]

    def add_tensor(self, hint: str, array: Array) -> TensorRef:
        """Store an array, by reference and read-only, under a name like the hint; return its reference."""
        base = re.sub(r"[^A-Za-z0-9_.\-/]", "_", hint) or "tensor"
        number = self._numbered.get(base, 0)
        while (name := base if number == 0 else f"{base}.{number + 1}") in self.tensors:
            number += 1
        self._numbered[base] = number + 1
        view = array.view()
        view.flags.writeable = False
        self.tensors[name] = view
        return TensorRef(name)

    def append(
        self,
        op: str,
        operands: Sequence[Value],
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        expect: bool = False,
        origin: Sequence[str] = (),
        name: str | None = None,
    ) -> Value:
        """Add a node at the end and return its result, with the type inferred."""
        return self.insert(None, op, operands, attributes, expect=expect, origin=origin, name=name)

    def insert(
        self,
        before: Node | None,
        op: str,
        operands: Sequence[Value],
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        expect: bool = False,
        origin: Sequence[str] = (),
        name: str | None = None,
    ) -> Value:
        """Add a node in front of another (None: at the end) and return its result."""
        given = {key: value for key, value in (attributes or {}).items() if value is not None}
        node = Node(get_op(op), tuple(operands), given, expect, tuple(dict.fromkeys(origin)))
        node.result = Value(self.infer(node), node, name)
        node.graph = self
        for operand in node.operands:
            operand.users[node] = operand.users.get(node, 0) + 1
        self._refer(given, 1)
        self._link(node, before)
        return node.result

    def infer(self, node: Node) -> Type:
        """Return the type the op table gives to the node's result."""
        if node.expect and not node.op.expectation:
            raise TypeInferenceError(f"{node.op.name} cannot be wrapped as expect.{node.op.name}")
        infer = node.op.infer_expected if node.expect else node.op.infer_type
        return infer([operand.type for operand in node.operands], self.resolve(node), self.coding)

    def sent_codebook(self, node: Node) -> Codebook:
        """Return the codebook of what a neuron sends: in differential coding, of changes of either sign."""
        given = self.resolve(node)
        codebook: Codebook = given["codebook"]
        return codebook if self.coding == "rate" else of_changes(codebook, given["negative"])

    def constant_value(
        self, array: Array, hint: str, before: Node | None = None, origin: Sequence[str] = ()
    ) -> Value:
        """Store an array and return a `constant` node's result that presents it every step."""
        ref = self.add_tensor(hint, np.asarray(array))
        return self.insert(before, "constant", (), {"value": ref}, origin=origin)

    def set_attributes(self, node: Node, **changes: AttributeValue) -> None:
        """Change attributes of a node (None removes one) and infer its type again."""
        merged = {**node.attributes, **changes}
        self._refer(node.attributes, -1)
        node.attributes = {key: value for key, value in merged.items() if value is not None}
        self._refer(node.attributes, 1)
        node.result.type = self.infer(node)

    def set_origin(self, node: Node, origin: Sequence[str]) -> None:
        node.origin = tuple(dict.fromkeys(origin))

    def set_operand(self, node: Node, index: int, value: Value) -> None:
        """Make one operand of a node read another value."""
        self._forget_use(node.operands[index], node)
        node.operands = (*node.operands[:index], value, *node.operands[index + 1 :])
        value.users[node] = value.users.get(node, 0) + 1

    def replace_uses(self, old: Value, new: Value, *, keep: Sequence[Node] = ()) -> None:
        """Make every reader of `old` (and every output) read `new`, except the nodes in `keep`."""
        for node in list(old.users):
            if node in keep:
                continue
            for index, operand in enumerate(node.operands):
                if operand is old:
                    self.set_operand(node, index, new)
        self.outputs = [
            replace(output, value=new) if output.value is old else output for output in self.outputs
        ]

    def erase(self, node: Node) -> None:
        """Remove a node whose result nobody reads."""
        if node.result.users or self.is_output(node.result):
            raise SnncError(f"cannot erase {node!r}: its result is still used")
        for operand in node.operands:
            self._forget_use(operand, node)
        self._refer(node.attributes, -1)
        self._unlink(node)
        node.graph = None

    def move_before(self, node: Node, anchor: Node) -> None:
        """Move a node in front of another."""
        if node is not anchor:
            self._unlink(node)
            self._link(node, anchor)

    def retype(self) -> None:
        """Infer every type again, in execution order."""
        for node in self:
            node.result.type = self.infer(node)

    def drop_unused_tensors(self) -> bool:
        """Remove tensors no attribute refers to; tell whether there were any."""
        dropped = [name for name in self.tensors if not self._references[name]]
        for name in dropped:
            self._drop_tensor(name)
        return bool(dropped)

    def drop_released_tensors(self) -> None:
        """Remove tensors whose last reference has gone since the last call; cheap, for passes at work.

        A pass that makes new weights for a large network would otherwise hold the old ones as well.
        """
        for name in self._released:
            if not self._references[name] and name in self.tensors:
                self._drop_tensor(name)
        self._released.clear()

    def _drop_tensor(self, name: str) -> None:
        del self.tensors[name]
        self._numbered.pop(name, None)
        base, _, number = name.rpartition(".")
        if number.isdecimal() and base in self._numbered:
            self._numbered[base] = min(self._numbered[base], int(number) - 1)

    def _refer(self, attributes: Mapping[str, AttributeValue], times: int) -> None:
        """Count references to tensors."""
        for value in attributes.values():
            if isinstance(value, TensorRef):
                self._references[value.name] += times
                if times < 0:
                    self._released.add(value.name)

    def copy(self) -> Graph:
        """Return an independent graph; the arrays themselves are shared, they are never written to."""
        other = Graph(self.name, self.coding)
        other.meta = dict(self.meta)
        mapping: dict[Value, Value] = {}
        for value in self.inputs:
            mapping[value] = other.add_input(value.name or "", value.type)
        other.tensors = dict(self.tensors)
        for node in self:
            operands = [mapping[operand] for operand in node.operands]
            mapping[node.result] = other.append(
                node.op.name,
                operands,
                node.attributes,
                expect=node.expect,
                origin=node.origin,
                name=node.result.name,
            )
        for output in self.outputs:
            other.add_output(mapping[output.value], output.name, output.decode)
        return other

    # The linked list.

    def _link(self, node: Node, before: Node | None) -> None:
        previous = self._last if before is None else before._previous
        node._previous, node._next = previous, before
        if previous is None:
            self._first = node
        else:
            previous._next = node
        if before is None:
            self._last = node
        else:
            before._previous = node
        self._count += 1

    def _unlink(self, node: Node) -> None:
        if node._previous is None:
            self._first = node._next
        else:
            node._previous._next = node._next
        if node._next is None:
            self._last = node._previous
        else:
            node._next._previous = node._previous
        node._previous = node._next = None
        self._count -= 1

    @staticmethod
    def _forget_use(value: Value, node: Node) -> None:
        value.users[node] -= 1
        if value.users[node] == 0:
            del value.users[node]
