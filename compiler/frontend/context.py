"""What a handler sees of the ONNX node it lowers, and how it builds SIR.

Every ONNX value is either a *known* array (computed at import, possibly holding symbolic `Batch`
dimensions in an object array) or a stream (`Value`). `emit` folds: an op whose operands are all known is
evaluated by its own kernel, so shape computations disappear on the way in, through the same table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from snnc.frontend.budget import Budget
from snnc.ir.errors import SnncError
from snnc.ir.graph import Value
from snnc.ir.kernel_types import Array
from snnc.ir.limits import shape_problem
from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch, per_sample
from snnc.ir.types import DTYPE_NAMES, TensorType, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Graph
    from snnc.ir.op import AttributeValue, Op
    from snnc.ir.shapes import Shape

Entry: TypeAlias = Value | Array

_MISSING = object()
_ELEMENT = 4  # bytes, of a float; a few results have more, which counts once they are there


class RejectedError(SnncError):
    """One node that cannot be compiled, and why. Collected by the importer, never shown alone."""

    code = "unsupported-op"


class NodeContext:
    """One ONNX node under import: its attributes, its inputs, and the graph being built."""

    def __init__(
        self,
        graph: Graph,
        node: onnx.NodeProto,
        name: str,
        opset: int,
        inputs: Sequence[Entry | None],
        *,
        budget: Budget | None = None,
    ) -> None:
        self.graph = graph
        self.node = node
        self.name = name
        self.opset = opset
        self.inputs = list(inputs)
        self.budget = budget or Budget()
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    # Reading the node.

    def attribute(self, name: str, default: Any = _MISSING) -> Any:
        """Return an attribute as int, float, str, array, or tuple of these; reject if it must be there."""
        found = self._attributes.get(name)
        if found is None:
            if default is _MISSING:
                self.reject(f"it has no attribute {name!r}")
            return default
        value = onnx.helper.get_attribute_value(found)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, onnx.TensorProto):
            return numpy_helper.to_array(value)
        if found.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
            return tuple(value)
        if found.type == onnx.AttributeProto.STRINGS:
            return tuple(item.decode("utf-8", "replace") for item in value)
        return value

    def has(self, index: int) -> bool:
        """Tell whether the optional input at this position is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def entry(self, index: int) -> Entry:
        """Return an input as it is, stream or known array; reject if it is missing."""
        if not self.has(index):
            self.reject(f"its input {index} is missing")
        entry = self.inputs[index]
        assert entry is not None
        return entry

    def stream(self, index: int) -> Value:
        """Return an input as a stream, presenting a known array as a constant."""
        return self.as_stream(self.entry(index), self.node.input[index])

    def as_stream(self, entry: Entry, hint: str) -> Value:
        if isinstance(entry, Value):
            return entry
        if entry.dtype == object:
            self.reject(f"its input {hint!r} is a shape that depends on the batch size, used as data")
        return self.graph.constant_value(storable(entry), hint, origin=(self.name,))

    def known(self, index: int, what: str) -> Array:
        """Return an input that must be known at compile time; reject naming `what` it is otherwise."""
        entry = self.entry(index)
        if isinstance(entry, Value):
            self.reject(
                f"its {what} ({self.node.input[index]!r}) is computed at run time; it must be constant"
            )
        return entry

    def known_or(self, index: int, what: str, default: Any) -> Any:
        """Return a known input, or the default where it is not given."""
        return self.known(index, what) if self.has(index) else default

    def known_ints(self, index: int, what: str) -> tuple[int, ...]:
        """Return a known input as integers; reject dimensions that depend on the batch."""
        array = self.known(index, what)
        if array.dtype == object and any(not isinstance(item, int | np.integer) for item in array.flat):
            self.reject(f"its {what} depends on the batch size")
        return tuple(int(item) for item in np.atleast_1d(array))

    @staticmethod
    def shape(entry: Entry) -> Shape:
        """Return the shape of a stream or known array."""
        return entry.type.shape if isinstance(entry, Value) else tuple(entry.shape)

    @staticmethod
    def dtype(entry: Entry) -> str:
        """Return the IR's name of the element type of a stream or known array."""
        return entry.type.dtype if isinstance(entry, Value) else DTYPE_NAMES[to_supported(entry).dtype]

    @staticmethod
    def is_bool(entry: Entry) -> bool:
        return entry.type.dtype == "bool" if isinstance(entry, Value) else entry.dtype == np.bool_

    # Building.

    def emit(self, op: str, operands: Sequence[Entry], attributes: Mapping[str, Any] | None = None) -> Entry:
        """Add an op and return its result; fold it where all operands are known.

        Attribute values that are arrays become named tensors of the graph.
        """
        given = {key: value for key, value in (attributes or {}).items() if value is not None}
        known = [operand for operand in operands if not isinstance(operand, Value)]
        if len(known) == len(operands):
            return self._fold(op, known, given)
        streams = [self.as_stream(operand, f"{self.name}.operand") for operand in operands]
        stored: dict[str, AttributeValue] = {
            key: self.graph.add_tensor(f"{self.name}.{key}", storable(value))
            if isinstance(value, np.ndarray)
            else value
            for key, value in given.items()
        }
        result = self.graph.append(op, streams, stored, origin=(self.name,))
        problem = shape_problem(result.type.shape)
        return self.reject(f"its result is too large: {problem}") if problem else result

    def _fold(self, name: str, operands: Sequence[Array], given: Mapping[str, Any]) -> Array:
        op = get_op(name)
        assert op.kernel is not None, f"{name} has no kernel to fold with"
        defaults = {key: None if a.required else a.default for key, a in op.attributes.items()}
        attributes = {**defaults, **given}
        try:
            self.afford(self._folded_size(op, operands, attributes))
            with np.errstate(all="ignore"):
                result = np.asarray(op.kernel(*map(settled, operands), **attributes))
        except TypeError as error:
            if not any(operand.dtype == object for operand in operands):
                raise
            self.reject(f"it computes {name} of a shape that depends on the batch size ({error})")
        except (ValueError, IndexError) as error:
            if isinstance(error, SnncError):
                raise
            self.reject(f"its constant operands do not fit: {error}")
        if not any(np.may_share_memory(result, operand) for operand in operands):
            self.budget.computed += result.nbytes
        return settled(result)

    @staticmethod
    def _folded_size(op: Op, operands: Sequence[Array], attributes: Mapping[str, Any]) -> int:
        """Return the elements of a result that is not computed yet.

        Shape arithmetic folds with types that streams of the op never have: then as if all were real.
        """
        names = [
            DTYPE_NAMES.get(to_supported(np.empty(0, operand.dtype)).dtype, "i64") for operand in operands
        ]
        for dtypes in (names, ["f32"] * len(operands)):
            types = [TensorType(dtype, x.shape) for dtype, x in zip(dtypes, operands, strict=True)]
            try:
                return per_sample(op.infer(*types, **attributes).shape)
            except SnncError as error:
                problem = error
        raise problem

    def afford(self, elements: int) -> None:
        """Reject the node if so many elements more would exceed what the model may compute at import."""
        if elements * _ELEMENT > self.budget.left:
            self.reject(
                f"it makes a constant of {elements} elements, more than a model with weights of "
                f"{self.budget.read} bytes may compute",
                help="store the constant in the model, or compute it at run time",
            )

    def claim(self, *shape: int) -> None:
        """Set memory aside for an array that the handler makes itself; reject the node if it is too large."""
        elements = math.prod(max(size, 0) for size in shape)
        self.afford(elements)
        self.budget.computed += elements * _ELEMENT

    def reject(self, reason: str, help: str | None = None) -> NoReturn:
        """Refuse this node; the importer reports it together with all others."""
        raise RejectedError(reason, where=self.name, help=help)


def settled(array: Array) -> Array:
    """Return dimensions without a batch as plain numbers; any other array as it is."""
    if array.dtype != object or any(isinstance(item, Batch) for item in array.flat):
        return array
    return array.astype(np.float32 if any(isinstance(item, float) for item in array.flat) else np.int64)


def to_supported(array: Array) -> Array:
    """Return the array with an element type of the IR: half and double precision become single."""
    if array.dtype in (np.float16, np.float64) or array.dtype.name == "bfloat16":
        with np.errstate(over="ignore"):  # infinite then, and refused as such where it matters
            return array.astype(np.float32)
    return array


def storable(array: Array) -> Array:
    """Return the array as the IR stores it: 4-bit integers become 8-bit, other types as in `to_supported`."""
    wider = {"int4": np.int8, "uint4": np.uint8}.get(array.dtype.name)
    return to_supported(array) if wider is None else array.astype(wider)


@dataclass(frozen=True, slots=True)
class AlwaysRejected:
    """The handler of a known operator that no model can use: the reason, and what to do instead."""

    reason: str
    help: str | None = None

    def __call__(self, ctx: NodeContext) -> NoReturn:
        ctx.reject(self.reason, self.help)


Handler: TypeAlias = "Callable[[NodeContext], Entry | Sequence[Entry]]"
__all__ = ["AlwaysRejected", "Entry", "Handler", "NodeContext", "RejectedError", "Type", "to_supported"]
