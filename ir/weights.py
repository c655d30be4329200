"""Write a safetensors member, and map its tensors into memory.

The safetensors library reads and writes only whole files, not a part of one, so the header is made and read
here; nothing in it is trusted. Format: eight bytes (length of the header), the header (JSON), the elements.
"""

from __future__ import annotations

import json
import math
from mmap import mmap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from snnc.ir.errors import ArchiveError, OutputError
from snnc.ir.limits import shape_problem
from snnc.ir.types import DTYPE_NAMES, DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from snnc.ir.kernel_types import Array

Content: TypeAlias = bytes | mmap

MAX_HEADER = 100_000_000  # bytes, the library's own limit
_LENGTH = 8
_CHUNK = 16 * 2**20
_DTYPES = {name.upper(): dtype for name, dtype in DTYPES.items()}
# The library sorts by element type, in this order, and by name.
_WRITTEN_FIRST = ("u64", "i64", "f64", "f32", "u32", "i32", "u16", "i16", "i8", "u8", "bool")
_HEADER_ALIGNMENT = 8


def write_tensors(file: IO[bytes], tensors: Mapping[str, Array]) -> None:
    """Write all tensors, one after the other, the bytes that the library would write.

    Only an array that is not in C order is copied, and that by itself. `OutputError` above `MAX_HEADER`.
    """
    names = sorted(tensors, key=lambda name: (_WRITTEN_FIRST.index(DTYPE_NAMES[tensors[name].dtype]), name))
    header, position = {}, 0
    for name in names:
        array, begin = tensors[name], position
        position += array.nbytes
        header[name] = {
            "dtype": DTYPE_NAMES[array.dtype].upper(),
            "shape": list(array.shape),
            "data_offsets": [begin, position],
        }
    content = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    content += b" " * (-len(content) % _HEADER_ALIGNMENT)
    if len(content) > MAX_HEADER:
        raise OutputError(
            f"the names of {len(names)} tensors take {len(content)} bytes, more than readers allow"
        )
    file.write(len(content).to_bytes(_LENGTH, "little") + content)
    for name in names:
        flat = np.asarray(tensors[name], order="C").reshape(-1).view(np.uint8)
        for start in range(0, len(flat), _CHUNK):
            file.write(flat[start : start + _CHUNK].data)


def map_tensors(whole: Content, start: int, end: int) -> dict[str, Array]:
    """Return the tensors of the member at start..end as read-only views; no element is read.

    Except booleans: a byte that is neither 0 nor 1 would be undefined.
    """
    length = int.from_bytes(whole[start : min(start + _LENGTH, end)], "little")
    first = start + _LENGTH + length
    if length > MAX_HEADER or first > end:
        raise ArchiveError(f"the weights' header claims {length} bytes, the member has {end - start}")
    elements = memoryview(whole)[first:end]
    tensors: dict[str, Array] = {}
    position = 0
    for name, entry in sorted(_json(whole[start + _LENGTH : first]).items(), key=_begin):
        tensors[name], position = _map(elements, name, entry, position)
    if position != len(elements):
        raise ArchiveError(
            f"the weights have {len(elements)} bytes of elements, the header tells of {position}"
        )
    return tensors


def _json(content: bytes) -> dict[str, dict[str, Any]]:
    try:
        header = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"the weights' header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ArchiveError("the weights' header is not an object")
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ArchiveError(
                f"the weights' header does not describe {name!r} by dtype, shape and data_offsets"
            )
        if not _are_sizes(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
            raise ArchiveError(f"the tensor {name!r} has no two offsets")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ArchiveError("the weights' header names a tensor twice")
    return result


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _begin(item: tuple[str, dict[str, Any]]) -> tuple[int, int]:
    begin, end = item[1]["data_offsets"]
    return begin, end


def _map(elements: memoryview, name: str, entry: dict[str, Any], position: int) -> tuple[Array, int]:
    """Return one tensor, which must begin at `position`, and where it ends."""
    dtype, shape = _DTYPES.get(str(entry["dtype"])), entry["shape"]
    if dtype is None:
        raise ArchiveError(f"the tensor {name!r} has the unknown element type {str(entry['dtype'])[:20]!r}")
    if not _are_sizes(shape) or shape_problem(tuple(shape)):
        raise ArchiveError(f"the tensor {name!r} has no possible shape")
    begin, end = entry["data_offsets"]
    count = math.prod(shape)
    if begin != position or end - begin != count * dtype.itemsize or end > len(elements):
        raise ArchiveError(
            f"the tensor {name!r} lies at {begin}..{end}; {count * dtype.itemsize} bytes were expected at "
            f"{position}, {len(elements)} are there"
        )
    array = np.frombuffer(elements, dtype, count, begin) if count else np.empty(0, dtype)
    if dtype == np.bool_ and count and array.view(np.uint8).max() > 1:
        raise ArchiveError(f"the tensor {name!r} holds bytes that are neither true nor false")
    array.flags.writeable = False
    return array.reshape(shape), end
