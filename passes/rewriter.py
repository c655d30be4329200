"""Local rewriting: pattern functions tried on every node until none applies."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from snnc.passes.base import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import AttributeValue, TensorRef
    from snnc.passes.base import PassContext


class Rewriter:
    """Changes a graph around one node at a time and keeps origins, names and the worklist right."""

    def __init__(self, graph: Graph, context: PassContext, pass_name: str) -> None:
        self.graph = graph
        self.context = context
        self.pass_name = pass_name
        self.changed = False
        self._touched: list[Node] = []
        self._noted: set[Note] = set()

    def insert(
        self,
        before: Node,
        op: str,
        operands: Sequence[Value],
        attributes: Mapping[str, AttributeValue | Array] | None = None,
        *,
        expect: bool = False,
    ) -> Value:
        """Add a node in front of another; arrays among the attributes become named tensors."""
        hint = before.origin[-1] if before.origin else op
        stored = {
            key: self.graph.add_tensor(f"{hint}.{key}", value) if isinstance(value, np.ndarray) else value
            for key, value in (attributes or {}).items()
        }
        value = self.graph.insert(before, op, operands, stored, expect=expect)
        assert value.node is not None
        self._touched.append(value.node)
        self.changed = True
        return value

    def constant(self, before: Node, array: Array, hint: str = "constant") -> Value:
        """Add a constant in front of a node."""
        base = before.origin[-1] if before.origin else before.op.name
        value = self.graph.constant_value(array, f"{base}.{hint}", before)
        self.changed = True
        return value

    def replace(self, root: Node, value: Value, absorbed: Sequence[Node] = ()) -> None:
        """Let `value` stand for the root's result; it inherits the name and all origins.

        `absorbed` are further nodes whose work the new value does; the dead ones among them are erased.
        """
        matched = [*absorbed, root]
        if value.node is not None and value.node not in matched:
            origins = [name for node in matched for name in node.origin]
            if value.node.origin:
                origins = [*value.node.origin, *origins]
            self.graph.set_origin(value.node, origins)
            value.name = root.result.name or value.name
        self.touch_users(root.result)
        self.graph.replace_uses(root.result, value)
        for node in reversed(matched):
            self.erase_if_dead(node)
        self.changed = True

    def set_operand(self, node: Node, index: int, value: Value) -> None:
        """Make a node read another value, and drop the producer of the old one if that left it dead."""
        old = node.operands[index]
        self.graph.set_operand(node, index, value)
        self._touched.append(node)
        if old.node is not None:
            self.erase_if_dead(old.node)
        self.changed = True

    def set_attributes(self, node: Node, **changes: AttributeValue | Array) -> None:
        """Change attributes of a node; arrays become named tensors."""
        hint = node.origin[-1] if node.origin else node.op.name
        stored: dict[str, AttributeValue | TensorRef] = {
            key: self.graph.add_tensor(f"{hint}.{key}", value) if isinstance(value, np.ndarray) else value
            for key, value in changes.items()
        }
        self.graph.set_attributes(node, **stored)
        self._touched.append(node)
        self.changed = True

    def erase_if_dead(self, node: Node) -> None:
        """Erase a node nobody reads, then its producers if they died with it."""
        stack = [node]
        while stack:
            dead = stack.pop()
            if dead.graph is None or dead.result.users or self.graph.is_output(dead.result):
                continue
            stack.extend(operand.node for operand in dead.operands if operand.node is not None)
            self._touched.extend(operand.node for operand in dead.operands if operand.node is not None)
            self.graph.erase(dead)
            self.changed = True

    def decline(self, node: Node, reason: str) -> bool:
        """Note, once, why a pattern that looked at a node leaves it alone; return False for the pattern."""
        note = Note(self.pass_name, describe(node), reason)
        if note not in self._noted:
            self._noted.add(note)
            self.context.notes.append(note)
        return False

    def touch_users(self, value: Value) -> None:
        """Look again at every reader of a value."""
        self._touched.extend(value.users)

    def take_touched(self) -> list[Node]:
        touched, self._touched = self._touched, []
        return touched


Pattern: TypeAlias = "Callable[[Node, Rewriter], bool]"
PatternTable: TypeAlias = "Mapping[str, Sequence[Pattern]]"


def describe(node: Node) -> str:
    """Return a node as messages name it: `conv from "conv1", "bn1"`."""
    origin = ", ".join(f'"{name}"' for name in node.origin)
    return f"{node.full_name} from {origin}" if origin else node.full_name


def rewrite(graph: Graph, patterns: PatternTable, context: PassContext, pass_name: str) -> bool:
    """Apply patterns, found by the node's op name, until none applies; return whether anything changed.

    A pattern returns True if it changed something. Nodes it made, and readers of what it replaced, are
    looked at again, so the cost is proportional to the number of nodes and of rewrites.
    """
    rewriter = Rewriter(graph, context, pass_name)
    worklist = deque(graph)
    waiting = set(worklist)
    while worklist:
        node = worklist.popleft()
        waiting.discard(node)
        for pattern in patterns.get(node.op.name, ()):
            if node.graph is None:
                break
            pattern(node, rewriter)
            for touched in rewriter.take_touched():
                if touched.graph is not None and touched not in waiting:
                    waiting.add(touched)
                    worklist.append(touched)
            graph.drop_released_tensors()
    return rewriter.changed
