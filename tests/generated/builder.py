"""An ONNX graph under construction: streams with known shapes, weights drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.kernel_types import Array

OPSET = 23
IR_VERSION = 11
SAMPLES = 6
VOCABULARY = 11  # integers in the inputs are 0 … 10


@dataclass(frozen=True, slots=True)
class Stream:
    """A tensor of the graph: its name, and its shape without the batch."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(slots=True)
class Builder:
    """Collects nodes, weights and inputs; everything random comes from `rng`."""

    rng: np.random.Generator
    opset: int = OPSET
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)
    data: dict[str, Array] = field(default_factory=dict)
    shared: dict[tuple[int, ...], str] = field(default_factory=dict)

    def op(
        self,
        op_type: str,
        *operands: Stream | str,
        shape: tuple[int, ...] | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Stream:
        """Add a node and return its first result; without a shape it has the first operand's."""
        names = [operand.name if isinstance(operand, Stream) else operand for operand in operands]
        result = f"{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, names, [result], result, domain=domain, **attributes))
        if shape is None:
            shape = next(operand.shape for operand in operands if isinstance(operand, Stream))
        return Stream(result, shape)

    def constant(self, array: Any, dtype: Any = None) -> str:
        """Store an array and return its name."""
        name = f"c{len(self.initializers)}"
        self.initializers[name] = np.asarray(array, dtype)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def real(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        """Return numbers drawn from an interval."""
        return self.constant(self.rng.uniform(low, high, shape), np.float32)

    def weight(self, *shape: int, fan_in: int) -> str:
        """Return weights that keep the size of what they read; half of those of the same shape are shared."""
        if shape in self.shared and self.rng.random() < 0.5:
            return self.shared[shape]
        self.shared[shape] = self.constant(self.rng.normal(0, fan_in**-0.5, shape), np.float32)
        return self.shared[shape]

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    # Inputs.

    def image(self, *shape: int) -> Stream:
        """Add a real input with samples in -1 … 1."""
        return self._input(shape, TensorProto.FLOAT, lambda size: self.rng.uniform(-1, 1, size), np.float32)

    def ids(self, *shape: int) -> Stream:
        """Add an integer input."""
        return self._input(
            shape, TensorProto.INT64, lambda size: self.rng.integers(0, VOCABULARY, size), np.int64
        )

    def _input(
        self, shape: tuple[int, ...], type_: int, draw: Callable[[tuple[int, ...]], Array], dtype: Any
    ) -> Stream:
        name = f"input_{len(self.inputs)}"
        self.inputs[name] = helper.make_tensor_value_info(name, type_, ["N", *shape])
        self.data[name] = draw((SAMPLES, *shape)).astype(dtype)
        return Stream(name, shape)

    # The whole.

    def model(self, outputs: list[Stream]) -> onnx.ModelProto:
        """Return the model; outputs that have one name are told apart by what they compute."""
        graph = helper.make_graph(
            self.nodes,
            "generated",
            list(self.inputs.values()),
            [
                helper.make_tensor_value_info(each.name, TensorProto.FLOAT, ["N", *each.shape])
                for each in outputs
            ],
            [numpy_helper.from_array(array, name) for name, array in self.initializers.items()],
        )
        domains = {"": self.opset, **{node.domain: 1 for node in self.nodes if node.domain}}
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*version) for version in domains.items()],
            ir_version=IR_VERSION,
            producer_name="snnc tests",
        )
