"""ONNX's own node tests, imported and run by the kernels of the op table.

The onnx package publishes, for every operator, small models with inputs and the outputs to expect
(`onnx.backend.test`). A model passes as published, or with its later inputs as constants (in a network
weights, axes and shapes are), or by its first output alone. What the importer refuses is *unsupported*,
with the importer's own reason. Anything else has *failed*.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper, version_converter
from onnx.backend.test.case.node import collect_testcases

from snnc.frontend.importer import import_model
from snnc.frontend.loader import NEWEST_OPSET, OLDEST_OPSET, opset_of
from snnc.ir.errors import SnncError
from tests.harness import run_analog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from onnx.backend.test.case.test_case import TestCase

    from snnc.ir.kernel_types import Array

# Relative and absolute error; the expected outputs of narrow types were computed in those types.
TOLERANCE = {"float16": (4e-3, 2e-3), "bfloat16": (2e-2, 1e-2)}
SINGLE = (1e-3, 1e-5)  # 1e-3 is the suite's own


class Outcome(Enum):
    """What became of a case; the first three are passes."""

    PUBLISHED = "as published"
    CONSTANT = "operands constant"
    FIRST_OUTPUT = "first output only"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


PASSED = (Outcome.PUBLISHED, Outcome.CONSTANT, Outcome.FIRST_OUTPUT)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One published case: the operator it is about, what became of it and why."""

    case: str
    operator: str
    outcome: Outcome
    reason: str = ""


class RefusedError(Exception):
    """The importer refused the model, with this reason."""


def verdicts() -> Iterator[Verdict]:
    """Yield the verdict on every published case, those of a function's expansion under its own operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite overflows on purpose while it makes its data
        cases = collect_testcases(None)
    operators = {
        case.name: operator_of(case.model.graph) for case in cases if len(case.model.graph.node) == 1
    }
    for case in cases:
        base = case.name.split("_expanded", maxsplit=1)[0]
        yield judge(case, operators.get(base) or operator_of(case.model.graph))


def operator_of(graph: onnx.GraphProto) -> str:
    """Return the operator of the last node that has not a standard name alone, with its domain."""
    node = graph.node[-1]
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def judge(case: TestCase, operator: str) -> Verdict:
    """Return the verdict of the first way to import the case that is not refused."""
    reason = ""
    for outcome, model, constant in ways(case):
        try:
            compare(case, model, constant)
        except RefusedError as refusal:
            reason = str(refusal)
        except Exception as problem:  # noqa: BLE001  any other way to fail is what this looks for
            return Verdict(case.name, operator, Outcome.FAILED, f"{type(problem).__name__}: {problem}")
        else:
            return Verdict(case.name, operator, outcome)
    return Verdict(case.name, operator, Outcome.UNSUPPORTED, reason)


def ways(case: TestCase) -> Iterator[tuple[Outcome, ModelProto, list[str]]]:
    """Yield the case as published and then restated, with the inputs that become constants."""
    model = of_known_opset(case.model)
    inputs = [
        (info.name, info.type.tensor_type.elem_type)
        for info in model.graph.input
        if info.type.HasField("tensor_type")
    ]
    integers = [name for name, type_ in inputs if type_ not in REALS]
    later = [name for name, _ in inputs[1:]]
    yield Outcome.PUBLISHED, model, []
    for constant in (integers, later):
        yield Outcome.CONSTANT, model, constant
    if len(model.graph.output) > 1:
        single = copied(model)
        del single.graph.output[1:]
        yield Outcome.FIRST_OUTPUT, single, []
        yield Outcome.FIRST_OUTPUT, single, later


REALS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def of_known_opset(model: ModelProto) -> ModelProto:
    """Return the model in an opset the importer was written for, where it means the same there.

    Older ones go through ONNX's converter, as the importer advises. In newer ones most definitions only take
    more types: the same node is then read by the known definition, and the published outputs decide.
    """
    opset = opset_of(model)
    if OLDEST_OPSET <= opset <= NEWEST_OPSET:
        return model
    try:
        if opset < OLDEST_OPSET:
            return version_converter.convert_version(model, OLDEST_OPSET)
        restated = copied(model)
        for entry in restated.opset_import:
            entry.version = NEWEST_OPSET if entry.domain == "" else entry.version
        onnx.checker.check_model(restated)
    except (RuntimeError, onnx.checker.ValidationError):
        return model
    return restated


def compare(case: TestCase, model: ModelProto, constant: Sequence[str]) -> None:
    """Import a model and hold its outputs against the published ones."""
    names = [info.name for info in model.graph.input]
    for inputs, outputs in case.data_sets:
        given = dict(zip(names, inputs, strict=True))
        fixed = {name: given.pop(name) for name in constant}
        try:
            imported = import_model(with_constants(model, fixed))
        except SnncError as refusal:
            raise RefusedError(refusal.message) from refusal
        if imported.rejected:
            raise RefusedError("; ".join(fate.reason for fate in imported.rejected))
        found = run_analog(imported.graph, {name: as_array(value) for name, value in given.items()})
        for info, expected in zip(model.graph.output, outputs, strict=False):
            assert_close(found[info.name], as_array(expected))


def with_constants(model: ModelProto, fixed: Mapping[str, Any]) -> ModelProto:
    """Return the model with some of its inputs as initialisers."""
    model = copied(model)
    kept = [info for info in model.graph.input if info.name not in fixed]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(as_tensor(value, name) for name, value in fixed.items())
    return model


def copied(model: ModelProto) -> ModelProto:
    return ModelProto.FromString(model.SerializeToString())


def as_tensor(value: Any, name: str) -> TensorProto:
    if not isinstance(value, TensorProto):
        return numpy_helper.from_array(np.asarray(value), name)
    tensor = TensorProto.FromString(value.SerializeToString())
    tensor.name = name
    return tensor


def as_array(value: Any) -> Array:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def assert_close(found: Array, expected: Array) -> None:
    """Compare values and shapes; integers and truths must be equal."""
    assert found.shape == expected.shape, f"the shape is {found.shape}, published is {expected.shape}"
    if expected.dtype.kind in "iub":
        np.testing.assert_array_equal(found, expected)
        return
    relative, absolute = TOLERANCE.get(expected.dtype.name, SINGLE)
    np.testing.assert_allclose(
        found.astype(np.float64), expected.astype(np.float64), rtol=relative, atol=absolute
    )
