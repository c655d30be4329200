"""The report that accounts for every node."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import helper

from snnc.frontend.check import Outcome, build_report, check_model
from snnc.frontend.importer import import_model
from snnc.ir.codebooks import MultiSpike
from tests.harness import onnx_model


def node(op_type: str, inputs: str, outputs: str, name: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name, **attributes)


WEIGHTS = {"w1": np.ones((3, 4), np.float32), "w2": np.ones((4, 2), np.float32), "shape": np.array([0, 4])}


def supported() -> onnx.ModelProto:
    nodes = [
        node("MatMul", "x w1", "a", "first"),
        node("Relu", "a", "b", "relu"),
        node("Identity", "b", "c", "same"),
        node("Reshape", "c shape", "d", "reshape"),
        node("MatMul", "d w2", "e", "second"),
        node("Softmax", "e", "y", "softmax"),
        node("Exp", "e", "z", "nowhere"),
    ]
    return onnx_model(nodes, {"x": ("N", 3)}, ["y"], WEIGHTS)


def outcomes(model: onnx.ModelProto) -> dict[str, Outcome]:
    return {node.name: node.outcome for node in check_model(model).nodes}


def test_forecast() -> None:
    assert outcomes(supported()) == {
        "first": Outcome.EXACT,
        "relu": Outcome.EXPECTATION,
        "same": Outcome.FOLDED,
        "reshape": Outcome.FOLDED,
        "second": Outcome.EXACT,
        "softmax": Outcome.EXPECTATION,
        "nowhere": Outcome.UNUSED,
    }


def test_the_input_does_not_vary() -> None:
    model = onnx_model([node("Tanh", "x", "y", "squash")], {"x": ("N", 3)}, ["y"])
    assert outcomes(model) == {"squash": Outcome.EXACT}


def test_a_compiled_graph_decides() -> None:
    imported = import_model(supported())
    graph = imported.graph.copy()
    relu = next(n for n in graph if n.op.name == "relu")
    spikes = graph.insert(relu, "neuron", relu.operands, {"codebook": MultiSpike(0, 7)}, origin=("relu",))
    graph.replace_uses(relu.result, spikes)
    graph.erase(relu)
    report = {node.name: node.outcome for node in build_report("m", imported, graph).nodes}
    assert report["relu"] is Outcome.NEURON
    assert report["first"] is report["second"] is Outcome.EXACT
    assert report["softmax"] is Outcome.EXPECTATION


def test_rejected_nodes_and_what_depends_on_them() -> None:
    model = supported()
    model.graph.node[1].op_type = "Bernoulli"
    report = check_model(model)
    assert not report.compiles
    assert [(n.name, n.op_type) for n in report.rejected] == [("relu", "Bernoulli")]
    assert report.counts == {Outcome.EXACT: 1, Outcome.UNUSED: 1, Outcome.REJECTED: 1, Outcome.BLOCKED: 4}
    assert report.coverage == 100 / 6


def test_json() -> None:
    plain = json.loads(json.dumps(check_model(supported()).to_json()))
    assert plain["compiles"] is True
    assert plain["coverage"] == 100.0
    assert plain["opset"] == 17
    assert plain["inputs"] == {"x": "tensor<f32, N x 3>"}
    assert plain["counts"] == {"expectation": 2, "exact": 2, "folded": 2, "unused": 1}
    assert plain["nodes"][0] == {
        "name": "first", "op_type": "MatMul", "outcome": "exact", "reason": "", "help": None,
    }  # fmt: skip
