"""What tests share: small ONNX models, the analog meaning of a graph, comparison with onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from snnc.frontend import import_onnx
from snnc.frontend.evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

IR_VERSION = 10

Dims: TypeAlias = "Sequence[int | str | None]"
Signature: TypeAlias = "Mapping[str, Dims | tuple[int, Dims]] | Sequence[str | onnx.ValueInfoProto]"


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Signature,
    outputs: Signature,
    initializers: Mapping[str, Array] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """Build a model.

    `inputs` and `outputs` map names to shapes (float) or to `(TensorProto type, shape)`; outputs may also be
    names alone, their types are then inferred.
    """
    graph = helper.make_graph(
        list(nodes),
        "test",
        _signature(inputs),
        _signature(outputs),
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (initializers or {}).items()],
    )
    versions = {"": opset, **{node.domain: 1 for node in nodes if node.domain}}
    opsets = [helper.make_opsetid(*version) for version in versions.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="test")
    return onnx.shape_inference.infer_shapes(model)


def _signature(given: Signature) -> list[onnx.ValueInfoProto]:
    if isinstance(given, dict):
        return [_value_info(name, spec) for name, spec in given.items()]
    return [helper.make_empty_tensor_value_info(item) if isinstance(item, str) else item for item in given]


def _value_info(name: str, spec: Any) -> onnx.ValueInfoProto:
    if len(spec) == 2 and isinstance(spec[1], tuple | list):
        return helper.make_tensor_value_info(name, spec[0], list(spec[1]))
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(spec))


def run_analog(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Evaluate a graph of pure ops with the kernels of the op table; returns the outputs by name."""
    return evaluate(graph, inputs)


def run_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model in onnxruntime; returns the outputs by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def assert_matches_onnxruntime(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    rtol: float = 1e-5,
    atol: float = 1e-6,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> Graph:
    """Import a model, compare the kernels' outputs with onnxruntime's, and return the graph."""
    graph = import_onnx(model, shapes=shapes)
    expected = run_onnxruntime(model, inputs)
    found = run_analog(graph, inputs)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape, f"output {name!r}"
        np.testing.assert_allclose(
            found[name].astype(np.float64), array.astype(np.float64), rtol=rtol, atol=atol, err_msg=name
        )
    return graph


def step_onnxruntime(
    model: onnx.ModelProto, inputs: Mapping[str, Array], steps: int, tensors: Sequence[str] = ()
) -> dict[str, Array]:
    """Run a model that is one step `steps` times, each state fed back as NAME from NAME_next, from 0.

    Return every other output, and the tensors asked for, [T, N, …].
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    outputs = [output.name for output in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    samples = len(next(iter(inputs.values())))
    states = {
        item.name: np.zeros((samples, *item.shape[1:]), np.float32)
        for item in session.get_inputs()
        if item.name not in inputs
    }
    series: dict[str, list[Array]] = {name: [] for name in names}
    for _ in range(steps):
        found = dict(zip(names, session.run(None, {**inputs, **states}), strict=True))
        states = {name: found[f"{name}_next"] for name in states}
        for name, array in found.items():
            series[name].append(array)
    return {name: np.stack(arrays) for name, arrays in series.items()}
