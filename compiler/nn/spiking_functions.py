"""The ONNX domain `ai.snnc`: what its operators compute, as functions of standard operators.

A file that carries these definitions runs in any ONNX runtime. docs/saformer.md is the schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import AttributeProto, helper

if TYPE_CHECKING:
    from onnx import FunctionProto, NodeProto

DOMAIN = "ai.snnc"
VERSION = 1
OPSET = 19  # of the standard operators: the first whose Equal compares strings


def functions() -> list[FunctionProto]:
    """Return the definitions of all operators of the domain."""
    return [lif(), spike_aggregate()]


def lif() -> FunctionProto:
    """LIF(x, v) -> (s, v_next): one time step of the neuron, in float32, in the order of `snnc.nn.LIF`."""
    numbers = ("leak", "gain", "threshold", "rest")
    nodes = [
        *(from_attribute(name, "value_float", AttributeProto.FLOAT) for name in numbers),
        from_attribute("reset", "value_string", AttributeProto.STRING),
        helper.make_node("Constant", [], ["hard"], value_string="hard"),
        helper.make_node("Mul", ["leak", "v"], ["kept"]),
        helper.make_node("Mul", ["gain", "x"], ["charge"]),
        helper.make_node("Add", ["kept", "charge"], ["m"]),
        helper.make_node("GreaterOrEqual", ["m", "threshold"], ["fires"]),
        helper.make_node("Cast", ["fires"], ["s"], to=1),  # float32
        helper.make_node("Sub", ["m", "threshold"], ["above"]),
        helper.make_node("Equal", ["reset", "hard"], ["is_hard"]),
        helper.make_node("Where", ["is_hard", "rest", "above"], ["after"]),
        helper.make_node("Where", ["fires", "after", "m"], ["v_next"]),
    ]
    return define("LIF", ["x", "v"], ["s", "v_next"], nodes, ["leak", "gain", "threshold", "reset", "rest"])


def spike_aggregate() -> FunctionProto:
    """SpikeAggregate(q) -> a: [N, tokens, C] -> [N, tokens, heads], sums over the channels of each head."""
    nodes = [
        from_attribute("heads", "value_int", AttributeProto.INT),
        helper.make_node("Constant", [], ["first"], value_ints=[0]),
        helper.make_node("Constant", [], ["kept"], value_ints=[0, 0]),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Constant", [], ["last"], value_ints=[3]),
        helper.make_node("Unsqueeze", ["heads", "first"], ["heads_1d"]),
        helper.make_node("Concat", ["kept", "heads_1d", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["q", "shape"], ["by_head"]),
        helper.make_node("ReduceSum", ["by_head", "last"], ["a"], keepdims=0),
    ]
    return define("SpikeAggregate", ["q"], ["a"], nodes, ["heads"])


def define(
    name: str, inputs: list[str], outputs: list[str], nodes: list[NodeProto], attributes: list[str]
) -> FunctionProto:
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_function(DOMAIN, name, inputs, outputs, nodes, opsets, attributes)


def from_attribute(name: str, kind: str, type_: AttributeProto.AttributeType) -> NodeProto:
    """Return the constant that an attribute of the function's call becomes in its body."""
    node = helper.make_node("Constant", [], [name], name=name)
    node.attribute.append(AttributeProto(name=kind, ref_attr_name=name, type=type_))
    return node
