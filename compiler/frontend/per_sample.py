"""Measures whether a graph with a symbolic batch treats every sample as the model with the fixed one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]  # it ships no types
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from snnc.frontend.evaluate import evaluate, measurable
from snnc.ir.errors import SnncError
from snnc.ir.shapes import batch_axis, concrete
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.frontend.loader import Source
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

TOLERANCE = 1e-3
"""Largest error against onnxruntime, relative to the largest output, of a batch that was guessed right."""

_RUNTIME_FAILURES = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
    RuntimeError,  # an output of a type that numpy does not have
)
_RUNTIME_TYPES = {"tensor(float16)": np.float16, "tensor(double)": np.float64}


def behaves_per_sample(source: Source, graph: Graph, batch: int) -> bool:
    """Tell whether the graph on two random batches at once gives what onnxruntime gives on each.

    A model that is too large, or that onnxruntime cannot run, is not measured, hence no.
    """
    if not measurable(graph, 2 * batch):
        return False
    rng = np.random.default_rng(0)
    inputs = {value.name or "": _sample(rng, value, 2 * batch) for value in graph.inputs}
    axes = {value.name or "": batch_axis(value.type.shape) for value in graph.inputs}
    try:
        found = evaluate(graph, inputs)
        session = _session(source)
        for half in (0, 1):
            expected = _run(session, {name: _half(array, axes[name], half) for name, array in inputs.items()})
            for output in graph.outputs:
                part = _half(found[output.name], batch_axis(output.value.type.shape), half)
                if not _close(part, expected[output.name]):
                    return False
    except (SnncError, ValueError, TypeError, LookupError, ArithmeticError, EncodeError, *_RUNTIME_FAILURES):
        return False
    return True


def _sample(rng: np.random.Generator, value: Value, batch: int) -> Array:
    """Return random input; integers are 0 or 1, which every table of tokens and every mask allows."""
    shape = concrete(value.type.shape, batch)
    dtype = DTYPES[value.type.dtype]
    drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
    return np.asarray(drawn).astype(dtype)


def _half(array: Array, axis: int | None, half: int) -> Array:
    return array if axis is None else np.split(array, 2, axis)[half]


def _session(source: Source) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # What the model says, not what the optimiser makes of it: it moves a Pad by 0 into the MaxPool behind it.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = source.model.SerializeToString() if source.path is None else str(source.path)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, inputs: Mapping[str, Array]) -> dict[str, Array]:
    feeds = {
        info.name: inputs[info.name].astype(_RUNTIME_TYPES.get(info.type, inputs[info.name].dtype))
        for info in session.get_inputs()
    }
    names = [info.name for info in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def _close(found: Array, expected: Array) -> bool:
    if found.shape != expected.shape:
        return False
    if expected.dtype.kind != "f":
        return bool((found == expected).all())
    finite = expected[np.isfinite(expected)]
    largest = float(np.abs(finite).max(initial=0.0))
    return np.allclose(found, expected, rtol=0, atol=TOLERANCE * largest, equal_nan=True)
