"""ONNX graphs of random operators: any operand for any operator, attributes at the borders of their types."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from snnc.checking import check_model
from snnc.frontend.handlers import handlers
from snnc.ir.errors import PassError
from tests.fuzz.mutation import ABSURD_INTEGERS, ABSURD_NAMES, ABSURD_REALS, Choices
from tests.fuzz.target import FindingError, Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OPSET = 18
MOST_NODES = 6
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
SHAPES: tuple[tuple[int | str, ...], ...] = (
    ("N", 3, 8, 8), ("N", 4), (1, 3, 8, 8), ("N", 4, 6), (2, 4), (), ("N", 3, 2**20, 2**20),
    (1, 2**31, 2**31), (1, 1, 2**14, 2**14), ("N", 0, 4), ("N", "M"), (3,), (2**40,),
)  # fmt: skip
CONSTANTS: tuple[tuple[tuple[int, ...], type], ...] = (
    ((4, 3, 3, 3), np.float32), ((3,), np.float32), ((4, 4), np.float32), ((), np.float32), ((6,), np.uint8),
    ((0,), np.float32), ((1, 4), np.bool_), ((2, 2), np.float16), ((4, 3), np.int8), ((1,), np.float64),
)  # fmt: skip
MODES = (
    "SAME_UPPER", "VALID", "reflect", "edge", "wrap", "nearest", "linear", "cubic", "sum", "DCR", "CRD",
)  # fmt: skip


def feed_model(source: ModelProto | Path) -> None:
    """Import and check a model; a failed allocation behind a reason is a finding, and a pass that failed."""
    try:
        report = check_model(source)
    except PassError as refusal:
        if "crashed in" in refusal.message or "left a broken graph" in refusal.message:
            raise FindingError(refusal.message) from refusal
        raise
    for node in report.nodes:
        if "Unable to allocate" in node.reason:
            raise FindingError(f"{node.op_type}: {node.reason}")


def feed(data: bytes, folder: Path) -> None:
    feed_model(random_model(data))


def random_model(data: bytes) -> ModelProto:
    """Return the model that the bytes decide on."""
    choices = Choices(data)
    inputs = [
        helper.make_tensor_value_info(name, choices.pick((FLOAT, FLOAT, INT64, BOOL)), choices.pick(SHAPES))
        for name in ("x", "z")[: 1 + choices.below(2)]
    ]
    constants = [constant(choices, number) for number in range(choices.below(6))]
    names = [item.name for item in (*inputs, *constants)]
    count = 1 + choices.below(MOST_NODES)
    nodes: list[onnx.NodeProto] = []
    for number in range(count):
        result = choices.pick(ABSURD_NAMES) if choices.sometimes(30) else f"t{number}"
        nodes.append(random_node(choices, names, result))
        names.append(result)
        if choices.sometimes(40):
            names.append(f"t{number + 2}")  # of a node that comes later: a cycle, as a rule
    outputs = [helper.make_empty_tensor_value_info(node.output[0]) for node in nodes]
    graph = helper.make_graph(nodes, "fuzzed", inputs, outputs, constants)
    opset = helper.make_opsetid("", choices.pick((OPSET, OPSET, OPSET, 13, 17, 21, 23)))
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def constant(choices: Choices, number: int) -> TensorProto:
    """Return a weight, or a few integers such as operators take for axes, shapes and repeats."""
    if choices.below(2):
        shape, dtype = choices.pick(CONSTANTS)
        values = np.random.default_rng(number).integers(0, 3, shape).astype(dtype)
        if values.dtype.kind == "f" and choices.sometimes(4):
            with np.errstate(over="ignore"):
                values = np.full(shape, choices.pick(ABSURD_REALS), np.float64).astype(dtype)
    else:
        values = np.array([choices.pick(ABSURD_INTEGERS) for _ in range(choices.below(5))], np.int64)
        if choices.sometimes(3) and values.size:
            values = values[:1].reshape(())
    return numpy_helper.from_array(values, f"c{number}")


def random_node(choices: Choices, names: Sequence[str], result: str) -> onnx.NodeProto:
    op_type = choices.pick(operators())
    schema = onnx.defs.get_schema(op_type)
    most = min(schema.max_input, 4)
    operands = [
        "" if choices.sometimes(12) else choices.pick(names)
        for _ in range(schema.min_input + choices.below(most - schema.min_input + 1))
    ]
    name = choices.pick(ABSURD_NAMES) if choices.sometimes(20) else ""
    node = helper.make_node(op_type, operands, [result], name=name)
    for key, declared in schema.attributes.items():
        if declared.required or choices.sometimes(3):
            value = attribute(choices, str(declared.type).rsplit(".", 1)[-1])
            if value is not None:
                node.attribute.append(helper.make_attribute(key, value))
    return node


def attribute(choices: Choices, kind: str) -> Any:
    match kind:
        case "INT":
            return choices.pick(ABSURD_INTEGERS)
        case "INTS":
            return [choices.pick(ABSURD_INTEGERS) for _ in range(1 + choices.below(4))]
        case "FLOAT":
            return choices.pick(ABSURD_REALS)
        case "FLOATS":
            return [choices.pick(ABSURD_REALS) for _ in range(1 + choices.below(4))]
        case "STRING":
            return choices.pick((*ABSURD_NAMES, *MODES))
        case "TENSOR":
            return constant(choices, 0)
        case _:
            return None


@cache
def operators() -> tuple[str, ...]:
    return tuple(name for name in sorted(handlers()) if onnx.defs.has(name))


def seeds() -> Sequence[bytes]:
    return [Random(number).randbytes(150) for number in range(60)]


TARGET = Target("onnx-graphs", feed, seeds)
