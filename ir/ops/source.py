"""Sources: streams that come from the file, not from the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.op import Attribute, Kind, Op, Role, tensor_type

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import TensorType


def constant(*, value: Array) -> Array:
    return value


def infer_constant(*, value: Array) -> TensorType:
    return tensor_type(value)


OPS = (
    Op(
        "constant",
        "y = value, the same at every time step",
        (),
        infer_constant,
        constant,
        Role.LINEAR,
        {"value": Attribute(Kind.TENSOR, doc="the tensor presented at every step")},
        expectation=False,
    ),
)
