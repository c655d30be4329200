"""The types of the graph's inputs: which dimension is the batch, which are pinned, which are unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import onnx

from snnc.ir.errors import ModelError, ShapeError, did_you_mean
from snnc.ir.limits import shape_problem
from snnc.ir.shapes import Batch
from snnc.ir.types import DTYPES, TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.ir.shapes import Dim

Pins: TypeAlias = "Mapping[str, Sequence[int | str]]"

_FLOATS = frozenset({"FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"})
_INTEGERS = {
    onnx.TensorProto.DataType.Value(name): short
    for name, short in {
        "INT8": "i8", "INT16": "i16", "INT32": "i32", "INT64": "i64", "BOOL": "bool",
        "UINT8": "u8", "UINT16": "u16", "UINT32": "u32", "UINT64": "u64",
    }.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unknown:
    """A dimension that the model leaves open; the name is empty where the model gives none."""

    name: str


Declared: TypeAlias = tuple[int | Unknown, ...]


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are not initialisers with a default value."""
    initialised = {tensor.name for tensor in graph.initializer}
    initialised |= {tensor.values.name for tensor in graph.sparse_initializer}
    return [info for info in graph.input if info.name not in initialised]


def declared_shape(info: onnx.ValueInfoProto) -> Declared:
    """Return the shape as the model states it."""
    if info.type.WhichOneof("value") != "tensor_type":
        raise ModelError(f"input {info.name!r} is not a tensor", help="only tensor inputs can be compiled")
    if not info.type.tensor_type.HasField("shape"):
        raise ShapeError(
            f"input {info.name!r} has no shape", help=f"give it with --shape {info.name}=N,<dimensions>"
        )
    return tuple(
        dim.dim_value
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0
        else Unknown(dim.dim_param)
        for dim in info.type.tensor_type.shape.dim
    )


def declared_inputs(graph: onnx.GraphProto) -> dict[str, Declared]:
    """Return the stated shapes of the inputs that have one, by name."""
    return {
        info.name: declared_shape(info)
        for info in graph_inputs(graph)
        if info.type.tensor_type.HasField("shape")
    }


def input_types(graph: onnx.GraphProto, pins: Pins) -> dict[str, TensorType]:
    """Return the type of every input; `ShapeError` lists the dimensions that are unknown and no batch."""
    infos = {info.name: info for info in graph_inputs(graph)}
    for name in pins:
        if name not in infos:
            raise ShapeError(
                f"a shape is given for {name!r}, which is no input", help=did_you_mean(name, infos)
            )
    declared = {
        name: _pinned_declaration(info, pins[name]) if name in pins else declared_shape(info)
        for name, info in infos.items()
    }
    bound = _bound_names(declared, pins)
    batch = _batch_names(declared, bound)
    shapes = {name: _resolve(shape, pins.get(name), bound, batch) for name, shape in declared.items()}
    _refuse_unknown(declared, shapes)
    types = {
        name: TensorType(_dtype(infos[name]), tuple(dim for dim in shape if not isinstance(dim, Unknown)))
        for name, shape in shapes.items()
    }
    for name, type_ in types.items():
        problem = shape_problem(type_.shape)
        if problem:
            raise ShapeError(f"input {name!r} is too large: {problem}")
    return types


def _pinned_declaration(info: onnx.ValueInfoProto, pin: Sequence[int | str]) -> Declared:
    """Return the declared shape, checked against the pin; a model without shape takes the pin's rank."""
    if info.type.WhichOneof("value") == "tensor_type" and not info.type.tensor_type.HasField("shape"):
        return (Unknown(""),) * len(pin)
    declared = declared_shape(info)
    if len(pin) != len(declared):
        raise ShapeError(
            f"the shape given for input {info.name!r} has {len(pin)} dimensions, "
            f"the model's has {len(declared)}",
            help=f"the model states {_show(declared)}",
        )
    for given, stated in zip(pin, declared, strict=True):
        if given != "N" and not (isinstance(given, int) and given > 0):
            raise ShapeError(
                f"{given!r} in the shape given for input {info.name!r} is no positive integer or N"
            )
        if isinstance(stated, int) and given not in (stated, "N"):
            raise ShapeError(
                f"the shape given for input {info.name!r} has {given} where the model fixes {stated}",
                help=f"the model states {_show(declared)}",
            )
    return declared


def _bound_names(declared: Mapping[str, Declared], pins: Pins) -> dict[str, Dim]:
    """Return what the pins say about named dimensions, so one pin serves every input that shares a name."""
    bound: dict[str, Dim] = {}
    for name, pin in pins.items():
        for given, stated in zip(pin, declared[name], strict=True):
            if not isinstance(stated, Unknown) or not stated.name:
                continue
            value: Dim = Batch() if given == "N" else int(given)
            if bound.setdefault(stated.name, value) != value:
                raise ShapeError(f"dimension {stated.name!r} is given as {bound[stated.name]} and as {value}")
    return bound


def _batch_names(declared: Mapping[str, Declared], bound: Mapping[str, Dim]) -> frozenset[str]:
    """Return the names that mean the batch: those that lead an input, or else the first name there is."""
    open_shapes = [
        tuple(bound.get(dim.name, dim) if isinstance(dim, Unknown) else dim for dim in shape)
        for shape in declared.values()
    ]
    leading = [shape[0].name for shape in open_shapes if shape and isinstance(shape[0], Unknown)]
    if not leading and not any(isinstance(shape[0], Batch) for shape in open_shapes if shape):
        inner_names = [
            dim.name
            for shape in open_shapes
            if shape and shape[0] != 1  # a batch of one leads; what follows it is a length
            for dim in shape
            if isinstance(dim, Unknown) and dim.name
        ]
        return frozenset(inner_names[:1])
    inner = {
        dim.name
        for shape in open_shapes
        for dim in shape[1:]
        if isinstance(dim, Unknown) and dim != shape[0] and isinstance(shape[0], Unknown | Batch)
    }
    return frozenset(name for name in leading if name and name not in inner)


def _resolve(
    declared: Declared, pin: Sequence[int | str] | None, bound: Mapping[str, Dim], batch: frozenset[str]
) -> tuple[Dim | Unknown, ...]:
    if pin is not None:
        return tuple(Batch() if given == "N" else int(given) for given in pin)
    result: list[Dim | Unknown] = []
    for axis, dim in enumerate(declared):
        if not isinstance(dim, Unknown):
            result.append(dim)
        elif dim.name in bound:
            result.append(bound[dim.name])
        elif dim.name in batch or (axis == 0 and not dim.name):
            result.append(Batch())
        else:
            result.append(dim)
    return tuple(result)


def _refuse_unknown(
    declared: Mapping[str, Declared], shapes: Mapping[str, tuple[Dim | Unknown, ...]]
) -> None:
    open_inputs = {
        name: shape for name, shape in shapes.items() if any(isinstance(dim, Unknown) for dim in shape)
    }
    if open_inputs:
        listed = "".join(f"\n  - input {name!r}: {_show(declared[name])}" for name in open_inputs)
        example = " ".join(
            f"--shape {name}=" + ",".join("<size>" if isinstance(dim, Unknown) else str(dim) for dim in shape)
            for name, shape in open_inputs.items()
        )
        raise ShapeError(
            f"dimensions other than the batch are unknown:{listed}",
            help=f"pin them, for example --shape tokens=N,128; here: {example}",
        )


def _show(declared: Declared) -> str:
    return " x ".join((dim.name or "?") if isinstance(dim, Unknown) else str(dim) for dim in declared)


def _dtype(info: onnx.ValueInfoProto) -> str:
    """Return the element type: real inputs of any precision become f32, integers stay."""
    number = info.type.tensor_type.elem_type
    if number in _INTEGERS:
        assert _INTEGERS[number] in DTYPES
        return _INTEGERS[number]
    try:
        name = onnx.TensorProto.DataType.Name(number)
    except ValueError:
        name = f"type number {number}"
    if name not in _FLOATS:
        raise ModelError(
            f"input {info.name!r} holds {name} elements",
            help="real, integer and boolean inputs can be compiled",
        )
    return "f32"
