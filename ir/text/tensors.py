"""Read the tensors of a `.sir` text: their elements where they are written out, else the given arrays."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.errors import ParseError
from snnc.ir.shapes import concrete, show_shape
from snnc.ir.text.syntax import fault, place
from snnc.ir.types import DTYPE_NAMES, DTYPES, TensorType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lark import Token

    from snnc.ir.kernel_types import Array
    from snnc.ir.text.syntax import TensorText

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_REAL = re.compile(r"-?([0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|inf|nan)")


def read_tensor(text: str, tensor: TensorText, given: Mapping[str, Array]) -> Array:
    """Return a declared tensor as a read-only array."""
    type_ = tensor.type.type
    if not isinstance(type_, TensorType) or concrete(type_.shape, 1) != type_.shape:
        fault(tensor.type.token, f"a tensor has a constant shape and no spikes, not {type_}")
    if tensor.elements is not None:
        array = _parse(text, tensor.elements, type_)
    else:
        array = _given(tensor, type_, given)
    view = array.view()
    view.flags.writeable = False
    return view


def _given(tensor: TensorText, type_: TensorType, given: Mapping[str, Array]) -> Array:
    if tensor.name not in given:
        fault(
            tensor.token, f"the tensor {tensor.token} has no elements here and none were given with the text"
        )
    array = given[tensor.name]
    found = f"{DTYPE_NAMES.get(array.dtype, str(array.dtype))}, {show_shape(array.shape)}"
    if (array.dtype, array.shape) != (DTYPES[type_.dtype], type_.shape):
        fault(tensor.type.token, f"the tensor {tensor.token} is declared as {type_} and given as {found}")
    return array


def _parse(text: str, token: Token, type_: TensorType) -> Array:
    body = token[1:-1]
    parts = body.split(",") if body.strip() else []
    count = math.prod(concrete(type_.shape, 1))
    if len(parts) != count:
        fault(token, f"{len(parts)} elements are written, the type {type_} holds {count}")
    dtype = DTYPES[type_.dtype]
    convert: Callable[[str, np.dtype[Any]], float | int | bool | None] = {"f": _real, "b": _boolean}.get(
        dtype.kind, _integer
    )
    offset = (token.start_pos or 0) + 1
    elements = []
    for part in parts:
        element = convert(part.strip(), dtype)
        if element is None:
            where = place(text, offset + len(part) - len(part.lstrip()))
            raise ParseError(f"{part.strip()[:40]!r} is not an element of {type_}", where=where)
        elements.append(element)
        offset += len(part) + 1
    return np.array(elements, dtype).reshape(concrete(type_.shape, 1))


def _real(text: str, dtype: np.dtype[Any]) -> float | None:
    if not _REAL.fullmatch(text):
        return None
    value = float(text)
    overflows = abs(value) > float(np.finfo(dtype).max) and not text.endswith("inf")
    return None if overflows else value


def _integer(text: str, dtype: np.dtype[Any]) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    limits = np.iinfo(dtype)
    return int(text) if limits.min <= int(text) <= limits.max else None


def _boolean(text: str, dtype: np.dtype[Any]) -> bool | None:
    return {"true": True, "false": False}.get(text)
