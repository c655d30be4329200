"""One step of spike aggregated self-attention in operators of domain ai.snnc, weights on a binary grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from snnc.frontend.handlers.spiking import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

BODIES = {
    "LIF": """<domain: "ai.snnc", opset_import: ["" : 17]>
        LIF <leak: float = 1.0, gain: float = 1.0, threshold: float = 1.0, rest: float = 0.0, reset: string>
        (x, v) => (s, v_next) {
        kept = Constant <value_float: float = @leak> ()
        weight = Constant <value_float: float = @gain> ()
        level = Constant <value_float: float = @threshold> ()
        after = Constant <value_float: float = @rest> ()
        old = Mul(kept, v)
        current = Mul(weight, x)
        m = Add(old, current)
        fires = GreaterOrEqual(m, level)
        s = Cast <to: int = 1> (fires)
        v_next = RESET
    }""",
}


def lif_function(reset: str) -> onnx.FunctionProto:
    """The body of LIF for one way to reset, so that onnxruntime can run it."""
    reset_by = "Where(fires, after, m)" if reset == "hard" else "Sub(m, taken)"
    text = BODIES["LIF"].replace("RESET", reset_by)
    if reset == "soft":
        text = text.replace("v_next =", "taken = Mul(level, s)\n v_next =")
    return onnx.parser.parse_function(text)


def sasa(reset: str, *, version: int = 1, op: str = "LIF", **given: Any) -> onnx.ModelProto:
    """One step of spike aggregated attention over 4 tokens of 6 channels, 2 heads, weights on the grid."""
    random = np.random.default_rng(5)
    weights = {name: random.integers(-9, 17, (6, 6)) / 16 for name in ("wq", "wk", "wo")}
    attributes = {"leak": 0.5, "gain": 0.5, "threshold": 0.75, "reset": reset, **given}
    attributes |= {"rest": 0.125} if reset == "hard" else {}
    nodes = []

    def lif(name: str, x: str) -> str:
        nodes.append(
            helper.make_node(
                op, [x, f"{name}.v"], [f"{name}.s", f"{name}.v_next"], name, domain=DOMAIN, **attributes
            )
        )
        return f"{name}.s"

    def node(kind: str, inputs: Sequence[str], output: str, **more: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], output, **more))
        return output

    spikes = lif("in", "x")
    q = lif("q", node("MatMul", [spikes, "wq"], "query"))
    k = lif("k", node("MatMul", [spikes, "wk"], "key"))
    total = node("SpikeAggregate", [q], "sum", domain=DOMAIN, heads=2)
    a = lif("a", total)
    gate = node("Unsqueeze", [a, "last"], "gate")
    heads = node("Reshape", [k, "split"], "heads")
    gated = node("Reshape", [node("Mul", [gate, heads], "product"), "joined"], "gated")
    node("ReduceMean", [lif("o", node("MatMul", [gated, "wo"], "out"))], "y", axes=[1], keepdims=0)
    states = {f"{name}.v": ["N", 4, 2 if name == "a" else 6] for name in ("in", "q", "k", "a", "o")}
    constants = {name: array.astype(np.float32) for name, array in weights.items()}
    constants |= {"last": np.array([-1]), "split": np.array([0, 4, 2, 3]), "joined": np.array([0, 4, 6])}
    graph = helper.make_graph(
        nodes,
        "sasa",
        [value("x", ["N", 4, 6]), *(value(name, shape) for name, shape in states.items())],
        [value("y", ["N", 6]), *(value(f"{name}_next", shape) for name, shape in states.items())],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    aggregate = onnx.parser.parse_function(
        """<domain: "ai.snnc", opset_import: ["" : 17]> SpikeAggregate <heads: int> (q) => (a) {
            shape = Constant <value_ints: ints = [0, 0, 2, -1]> ()
            axis = Constant <value_ints: ints = [-1]> ()
            split = Reshape(q, shape)
            a = ReduceSum <keepdims: int = 0> (split, axis)
        }"""
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, version)],
        functions=[lif_function(reset), aggregate],
        ir_version=10,
    )


def value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
