"""`simplify`: constants folded, clutter removed, affine steps merged into the synapse before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snnc.ir.op import Role
from snnc.ir.shapes import batch_axis
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.fuse_batch_norm import scale_outputs
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from snnc.passes.rewriter import Pattern

SYNAPSES = ("linear", "conv", "conv_transpose")


@dataclass(frozen=True)
class Simplify(Pass):
    """Fold constants, drop operations that do nothing, merge constant steps into the synapse before them."""

    name: ClassVar[str] = "simplify"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        changed = False
        for node in graph:
            changed |= fold_constant(node, graph)
        return rewrite(graph, PATTERNS, context, self.name) or changed


def fold_constant(node: Node, graph: Graph) -> bool:
    """op(constants) -> constant"""
    if node.op.role is Role.STATEFUL or not node.operands or node.expect or node.op.kernel is None:
        return False
    if batch_axis(node.result.type.shape) is not None:
        return False
    operands = [graph.constant(operand) for operand in node.operands]
    if any(operand is None for operand in operands):
        return False
    with np.errstate(all="ignore"):
        result = np.asarray(node.op.kernel(*operands, **graph.resolve(node)))
    hint = node.origin[-1] if node.origin else node.op.name
    value = graph.constant_value(result, hint, node, node.origin)
    value.name = node.result.name
    graph.replace_uses(node.result, value)
    graph.erase(node)
    return True


def constant_second(node: Node, rewriter: Rewriter) -> bool:
    """op(constant, x) -> op(x, constant)"""
    first, second = node.operands
    if rewriter.graph.constant(first) is None or rewriter.graph.constant(second) is not None:
        return False
    rewriter.replace(node, rewriter.insert(node, node.op.name, [second, first]))
    return True


def subtract_constant(node: Node, rewriter: Rewriter) -> bool:
    """sub(x, c) -> add(x, -c)"""
    constant = rewriter.graph.constant(node.operands[1])
    if constant is None or constant.dtype != np.float32:
        return False
    negated = rewriter.constant(node, -constant)
    rewriter.replace(node, rewriter.insert(node, "add", [node.operands[0], negated]))
    return True


def divide_by_constant(node: Node, rewriter: Rewriter) -> bool:
    """div(x, c) -> mul(x, 1/c)"""
    constant = rewriter.graph.constant(node.operands[1])
    if constant is None or constant.dtype != np.float32:
        return False
    # The reciprocal of the smallest numbers is no float32.
    if (np.abs(constant) < np.finfo(np.float32).tiny).any():
        return rewriter.decline(node, "the constant has no reciprocal")
    inverse = rewriter.constant(node, (1 / constant.astype(np.float64)).astype(np.float32))
    rewriter.replace(node, rewriter.insert(node, "mul", [node.operands[0], inverse]))
    return True


def neutral_constant(node: Node, rewriter: Rewriter) -> bool:
    """add(x, 0) -> x; mul(x, 1) -> x"""
    x = node.operands[0]
    constant = rewriter.graph.constant(node.operands[1])
    neutral = 0 if node.op.name == "add" else 1
    if constant is None or x.type != node.result.type or not (constant == neutral).all():
        return False
    rewriter.replace(node, x)
    return True


def same_shape(node: Node, rewriter: Rewriter) -> bool:
    """reshape, expand or cast to the type x already has -> x"""
    if node.operands[0].type != node.result.type:
        return False
    rewriter.replace(node, node.operands[0])
    return True


def does_not_move(node: Node, rewriter: Rewriter) -> bool:
    """transpose by the identity, tile once, pad by nothing, a slice of everything, concat of one -> x"""
    given = rewriter.graph.resolve(node)
    idle = {
        "transpose": given.get("perm") == tuple(range(len(given.get("perm", ())))),
        "tile": all(count == 1 for count in given.get("repeats", ())),
        "pad": not any(given.get("pads", ())),
        "slice": all(step == 1 for step in given.get("steps", ())),
        "concat": len(node.operands) == 1,
    }
    if node.operands[0].type != node.result.type or not idle[node.op.name]:
        return False
    rewriter.replace(node, node.operands[0])
    return True


def merge_moves(node: Node, rewriter: Rewriter) -> bool:
    """reshape(reshape(x)) -> reshape(x); transpose(transpose(x)) -> transpose(x)"""
    inner = node.operands[0].node
    if inner is None or inner.op is not node.op:
        return False
    attributes = dict(node.attributes)
    if node.op.name == "transpose":
        outer_perm, inner_perm = node.attributes["perm"], inner.attributes["perm"]
        assert isinstance(outer_perm, tuple)
        assert isinstance(inner_perm, tuple)
        attributes["perm"] = tuple(inner_perm[axis] for axis in outer_perm)  # type: ignore[index]  # ints
    absorbed = [inner] if len(inner.result.users) == 1 else []
    rewriter.replace(node, rewriter.insert(node, node.op.name, inner.operands, attributes), absorbed)
    return True


def per_output(constant: Array, node: Node) -> Array | None:
    """Return a constant as a vector over the synapse's output channels, or None if it is not one."""
    rank = len(node.result.type.shape)
    axis = rank - 1 if node.op.name == "linear" else 1
    channels = node.result.type.shape[axis]
    if constant.ndim > rank or not isinstance(channels, int):
        return None
    full = constant.reshape([1] * (rank - constant.ndim) + list(constant.shape))
    if any(size != 1 for index, size in enumerate(full.shape) if index != axis):
        return None
    return np.broadcast_to(full.reshape(-1), (channels,))


def synapse_before(node: Node, rewriter: Rewriter) -> tuple[Node, Array] | None:
    """Return the synapse a constant step can merge into, and the constant per output channel."""
    producer = node.operands[0].node
    constant = rewriter.graph.constant(node.operands[1])
    if producer is None or constant is None or producer.op.name not in SYNAPSES:
        return None
    vector = per_output(constant, producer)
    if vector is None or node.result.type != producer.result.type:
        return None
    if len(producer.result.users) > 1 or rewriter.graph.is_output(producer.result):
        rewriter.decline(node, "the synapse before it is read elsewhere too")
        return None
    return producer, vector


def add_to_bias(node: Node, rewriter: Rewriter) -> bool:
    """add(linear{b}(x), c) -> linear{b + c}(x)"""
    found = synapse_before(node, rewriter)
    if found is None:
        return False
    producer, vector = found
    bias = rewriter.graph.resolve(producer)["bias"]
    total = vector.copy() if bias is None else bias + vector
    value = rewriter.insert(node, producer.op.name, producer.operands, {**producer.attributes, "bias": total})
    rewriter.replace(node, value, absorbed=[producer])
    return True


def multiply_weights(node: Node, rewriter: Rewriter) -> bool:
    """mul(linear{W, b}(x), c) -> linear{c W, c b}(x)"""
    found = synapse_before(node, rewriter)
    if found is None:
        return False
    producer, vector = found
    given = rewriter.graph.resolve(producer)
    attributes = {**producer.attributes, "weight": scale_outputs(producer, given, vector)}
    if given["bias"] is not None:
        attributes["bias"] = given["bias"] * vector
    value = rewriter.insert(node, producer.op.name, producer.operands, attributes)
    rewriter.replace(node, value, absorbed=[producer])
    return True


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "add": (constant_second, neutral_constant, add_to_bias),
    "mul": (constant_second, neutral_constant, multiply_weights),
    "sub": (subtract_constant,),
    "div": (divide_by_constant,),
    "reshape": (same_shape, merge_moves),
    "expand": (same_shape,),
    "cast": (same_shape,),
    "transpose": (does_not_move, merge_moves),
    "tile": (does_not_move,),
    "pad": (does_not_move,),
    "slice": (does_not_move,),
    "concat": (does_not_move,),
}
