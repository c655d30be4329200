"""The least a spiking network can cost in onnxruntime: the ANN with one node more where its neurons are.

    python benchmarks/floor.py

A payload from a table takes a clip, a cast and a look-up, a membrane an addition and a subtraction besides.
Processor seconds of one thread, in chunks as `OnnxSimulator` takes them, over the ANN's for all samples at
once; the least of many rounds, so that other processes matter little.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from speed import NETWORKS, Network

import snnc
from snnc.backends.inputs import typical_stream
from snnc.backends.onnx.spiking.simulator import CHUNK_BYTES
from snnc.ir.shapes import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array

SAMPLES, ROUNDS = 96, 12
REACH = 2044  # places in the table of bursts up to 511
ROWS = 4


def main() -> None:
    print(f"| network | {' | '.join(BETWEEN)} |\n|---|" + len(BETWEEN) * "---|")
    for network in NETWORKS:
        if network.missing:
            print(f"{network.name}: skipped: {network.missing}")
            continue
        ratios = measure(network)
        print(f"| {network.name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


def measure(network: Network) -> list[float]:
    calibration = snnc.load_data(network.calibration, normalise=network.normalise)
    graph = snnc.compile(network.model, calibration=calibration)
    sites = {str(node.attributes["site"]): node for node in graph if node.op.neuron}
    samples = snnc.load_data(network.test, normalise=network.normalise, limit=SAMPLES)
    inputs, _ = next(samples.batches(graph, SAMPLES))
    model = onnx.load(network.model)
    ann = least(model, inputs, SAMPLES)
    chunk = max(1, min(SAMPLES, CHUNK_BYTES // (4 * typical_stream(graph))))
    return [least(with_nodes(model, sites, write), inputs, chunk) / ann for write in BETWEEN.values()]


def with_nodes(
    model: onnx.ModelProto, sites: Mapping[str, Node], write: Callable[[Node, str, str], list[onnx.NodeProto]]
) -> onnx.ModelProto:
    """Return the model with nodes behind every tensor that a neuron stands for."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        nodes.append(copy)
        for index, name in enumerate(node.output):
            if name in sites:
                copy.output[index] = f"{name}.before"
                nodes += write(sites[name], f"{name}.before", name)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    table = np.tile(np.arange(REACH + 1, dtype=np.float32) / 4, (ROWS, 1))
    constants = {"snnc.one": np.float32(1), "snnc.table": table, "snnc.rows": np.array([ROWS, -1])}
    constants |= {"snnc.low": np.float32(0), "snnc.high": np.float32(REACH)}
    result.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()
    )
    return result


def addition(node: Node, x: str, y: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Add", [x, "snnc.one"], [y])]


def look_up(node: Node, x: str, y: str) -> list[onnx.NodeProto]:
    shape = [-1 if isinstance(dim, Batch) else dim for dim in node.operands[0].type.shape]
    back = numpy_helper.from_array(np.array(shape))
    return [
        helper.make_node("Clip", [x, "snnc.low", "snnc.high"], [f"{y}.place"]),
        helper.make_node("Cast", [f"{y}.place"], [f"{y}.index"], to=TensorProto.INT32),
        helper.make_node("Reshape", [f"{y}.index", "snnc.rows"], [f"{y}.flat"]),
        helper.make_node("GatherElements", ["snnc.table", f"{y}.flat"], [f"{y}.found"], axis=1),
        helper.make_node("Constant", [], [f"{y}.shape"], value=back),
        helper.make_node("Reshape", [f"{y}.found", f"{y}.shape"], [y]),
    ]


def membrane(node: Node, x: str, y: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Add", [x, x], [f"{y}.charged"]),
        *look_up(node, f"{y}.charged", f"{y}.payload"),
        helper.make_node("Sub", [f"{y}.charged", f"{y}.payload"], [y]),
    ]


BETWEEN = {"one addition": addition, "look-up": look_up, "look-up and membrane": membrane}


def least(model: onnx.ModelProto, inputs: Mapping[str, Array], chunk: int) -> float:
    """Return the least processor seconds for all samples."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    count = len(next(iter(inputs.values())))
    chunks = [{name: a[i : i + chunk] for name, a in inputs.items()} for i in range(0, count, chunk)]
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for some in chunks:
            session.run(None, some)
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
