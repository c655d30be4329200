"""`integerise`: whole numbers held as floats become integers, and types say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snnc.ir.errors import OptionError, PassError
from snnc.ir.op import Role
from snnc.ir.types import TensorType
from snnc.passes.analysis import analog_values
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.normalise_thresholds import along
from snnc.passes.rewriter import Rewriter, describe
from snnc.passes.whole_numbers import WHOLE, fractions, is_whole, listed, reads_spikes, shared_exponent

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

CURRENT = "i32"


@dataclass(frozen=True)
class Integerise(Pass):
    """Turn whole weights into i8 with an exponent per layer, and what they feed into i32.

    Nothing is rounded: the graph must hold whole numbers already (quantise-weights makes them). Membranes
    get `width` bits, weights `bits`. A factor behind a current becomes `dequantise`: in front of outputs,
    and, with host_nodes=true, of nodes that compute with real numbers and run on a host. Without host_nodes
    these are refused by name.
    """

    name: ClassVar[str] = "integerise"
    integers: ClassVar[bool] = True
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING
    width: int = 24
    bits: int = 8
    host_nodes: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 32:
            raise OptionError(f"membranes cannot have {self.width} bits", help="give 2 to 32")
        if not 2 <= self.bits <= 8:
            raise OptionError(f"weights cannot have {self.bits} bits", help="give 2 to 8")

    def run(self, graph: Graph, context: PassContext) -> bool:
        if graph.computes_integers:
            return False
        problems = fractions(graph)
        if problems:
            raise PassError(
                "integerise rounds nothing, and these are no whole numbers:\n" + listed(problems),
                help="run quantise-weights before it",
            )
        rewriter = Rewriter(graph, context, self.name)
        for node in list(graph):
            if node.graph is not None:
                self._convert(node, rewriter)
        if not self.host_nodes:
            refuse_real_nodes(graph)
        return rewriter.changed

    def _convert(self, node: Node, rewriter: Rewriter) -> None:
        """Convert one node whose operands are converted already."""
        current = any(is_current(operand) for operand in node.operands)
        if reads_spikes(node):
            rewriter.set_attributes(node, **integer_synapse(rewriter.graph.resolve(node), self.bits))
        elif node.op.neuron and current:
            given = rewriter.graph.resolve(node)
            whole = {name: as_integers(given[name], np.int32) for name in WHOLE[node.op.name]}
            rewriter.set_attributes(node, **whole, width=self.width)
        elif node.op.name == "mul" and current:
            to_real(node, rewriter)
        else:
            if current:
                integer_constants(node, rewriter)
            node.result.type = rewriter.graph.infer(node)


def is_current(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype == CURRENT


def as_integers(array: Array | None, dtype: type[np.signedinteger[Any]]) -> Array | None:
    return None if array is None else array.astype(dtype)


def integer_synapse(given: dict[str, Any], bits: int) -> dict[str, Any]:
    exponent = shared_exponent(given["weight"], 2 ** (bits - 1) - 1)
    if exponent is None:  # as few bits as there are then
        exponent = shared_exponent(given["weight"])
    assert exponent is not None, "fractions() refuses such weights"
    weight = (given["weight"] / np.float32(2**exponent)).astype(np.int8)
    return {"weight": weight, "bias": as_integers(given["bias"], np.int32), "exponent": exponent or None}


def to_real(node: Node, rewriter: Rewriter) -> None:
    """mul(current, c) -> dequantise{c}(current)"""
    graph = rewriter.graph
    for current, other in (node.operands, node.operands[::-1]):
        factor = graph.constant(other)
        if factor is None:
            continue
        varying = [axis for axis, size in enumerate(factor.shape) if size > 1]
        axis = varying[0] if varying else factor.ndim - 1
        scale = along(factor, axis) if len(varying) <= 1 and (factor > 0).all() else None
        if scale is not None and factor.ndim == len(current.type.shape):
            attributes: dict[str, Any] = {"scale": scale, "axis": axis}
            rewriter.replace(node, rewriter.insert(node, "dequantise", [current], attributes))
            return
        plain = rewriter.insert(node, "dequantise", [current], {"scale": np.ones(1, np.float32)})
        rewriter.replace(node, rewriter.insert(node, "mul", [plain, other]))
        return
    raise PassError(f"{describe(node)} multiplies a current, which no synapse does")


def integer_constants(node: Node, rewriter: Rewriter) -> None:
    """Make what is added to currents integers."""
    for index, operand in enumerate(node.operands):
        constant = rewriter.graph.constant(operand)
        if constant is not None and constant.dtype == np.float32 and is_whole(constant):
            rewriter.set_operand(node, index, rewriter.constant(node, constant.astype(np.int32)))


def refuse_real_nodes(graph: Graph) -> None:
    """Raise `PassError` with every node that computes with real numbers inside the network."""
    analog, decoded, problems = analog_values(graph), set(), []
    for node in graph:
        type_ = node.result.type
        behind = any(operand in decoded for operand in node.operands)
        constant = node.op.name == "constant"
        if node.op.name == "dequantise" or (behind and node.op.role in (Role.LINEAR, Role.MULTILINEAR)):
            decoded.add(node.result)
            readers = [user for user in node.result.users if user.op.neuron or user.op.synaptic]
            if readers:
                problems.append(f"{describe(readers[0])} reads real numbers from {describe(node)}")
        elif isinstance(type_, TensorType) and type_.is_real and node.result not in analog and not constant:
            problems.append(f"{describe(node)} computes with real numbers: {type_}")
    if problems:
        raise PassError(
            "an integer machine has no real numbers, but the network needs them:\n"
            + listed(list(dict.fromkeys(problems))),
            help="run these nodes on a host (--host-nodes), or train a network without them (SAFormer, or "
            "convolutions with ReLU)",
        )
