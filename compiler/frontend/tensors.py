"""Arrays of a model's tensors: views where possible, memory maps of external data, never trusting a size.

External data may lie only inside the model's own folder, and must fit the file before a byte is read.
"""

from __future__ import annotations

import math
import mmap
import weakref
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from snnc.frontend.context import RejectedError, to_supported
from snnc.ir.errors import ModelError
from snnc.ir.limits import MAPPED
from snnc.ir.types import DTYPE_NAMES

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

Content: TypeAlias = "bytes | mmap.mmap"

REPEATED = 4
"""How many times its size the tensors in a file may claim together; tied weights are mostly one tensor."""

_PACKED = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)


@dataclass(slots=True)
class ExternalFile:
    """The bytes of a file of external data, and how many of them tensors have claimed."""

    content: Content
    claimed: int = 0
    names: set[str] = field(default_factory=set)

    def claim(self, tensor: onnx.TensorProto, size: int) -> None:
        """Refuse tensors that are the same bytes over and over: each may be copied."""
        if tensor.name and tensor.name in self.names:
            return
        self.names.add(tensor.name)
        self.claimed += size
        if self.claimed > REPEATED * len(self.content):
            raise ModelError(
                f"{tensor.name!r} and others claim {self.claimed} bytes of a file that has "
                f"{len(self.content)}",
                help=f"tensors may share bytes, but not {REPEATED} times over",
            )


@dataclass(frozen=True, slots=True)
class TensorReader:
    """Reads tensors of a model that lies in `folder` (None: the model did not come from a file)."""

    folder: Path | None
    files: dict[Path, ExternalFile] = field(default_factory=dict)

    def array(self, tensor: onnx.TensorProto) -> Array:
        """Return the tensor with an element type of the IR, or of 4 bits: a quantiser's range hangs on it."""
        _refuse_elements(tensor)
        try:
            array = self._external(tensor) if is_external(tensor) else _inline(tensor)
        except (ValueError, TypeError, OverflowError) as problem:
            if isinstance(problem, ModelError):
                raise
            raise ModelError(f"tensor {tensor.name!r} is damaged: {problem}") from problem
        return to_supported(array)

    def load(self, tensor: onnx.TensorProto) -> None:
        """Put external data into the tensor itself."""
        if is_external(tensor):
            content, offset, size = self._locate(tensor)
            tensor.raw_data = content[offset : offset + size]
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]

    def _external(self, tensor: onnx.TensorProto) -> Array:
        content, offset, size = self._locate(tensor)
        if size == 0 or tensor.data_type in _PACKED:
            inline = onnx.TensorProto()
            inline.CopyFrom(tensor)
            self.load(inline)
            return _inline(inline)
        count: int = math.prod(tensor.dims)
        flat: Array = np.frombuffer(content, _element_type(tensor), count, offset)
        if isinstance(content, mmap.mmap):
            drop_pages_with(flat, content, offset, size)
        return flat.reshape(tuple(tensor.dims))

    def _open(self, path: Path) -> ExternalFile:
        """Return a file of external data, read once; a large one is mapped."""
        if path not in self.files:
            with path.open("rb") as file:
                large = path.stat().st_size > MAPPED
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if large else file.read()
            self.files[path] = ExternalFile(content)
        return self.files[path]

    def _locate(self, tensor: onnx.TensorProto) -> tuple[Content, int, int]:
        """Return the bytes of a file, and offset and size of the tensor's, checked against the file."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = self._inside_folder(tensor, entries.get("location", ""))
        size, file = byte_size(tensor), self._open(path)
        available = len(file.content)
        try:
            offset, stated = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError as problem:
            raise ModelError(
                f"the external data entry of tensor {tensor.name!r} is damaged: {problem}"
            ) from None
        if stated != size:
            raise ModelError(
                f"tensor {tensor.name!r} needs {size} bytes, its external data entry states {stated}"
            )
        if offset < 0 or offset + size > available:
            raise ModelError(
                f"tensor {tensor.name!r} needs bytes {offset} to {offset + size} of {path.name!r}, "
                f"which has {available}",
                where=str(path),
                help="the file is truncated or belongs to another model",
            )
        file.claim(tensor, size)
        return file.content, offset, size

    def _inside_folder(self, tensor: onnx.TensorProto, location: str) -> Path:
        what = f"the external data of tensor {tensor.name!r}, {location!r},"
        if self.folder is None:
            raise ModelError(
                f"{what} cannot be found from a model in memory", help="give the model file's path instead"
            )
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        if not location or "\0" in location or posix.is_absolute() or windows.anchor:
            raise ModelError(
                f"{what} is no relative path", help="external data must lie in the model's folder"
            )
        if ".." in posix.parts or ".." in windows.parts:
            raise ModelError(f"{what} leaves the model's folder", help="external data must lie in it")
        path = self.folder / location
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ModelError(
                f"{what} is a link that leaves the model's folder",
                help="copy the file itself into the model's folder",
            )
        if not path.is_file():
            raise ModelError(f"{what} is missing", where=str(path), help="keep it beside the model file")
        return path


def drop_pages_with(array: Array, content: mmap.mmap, offset: int, size: int) -> None:
    """Give back the memory of a mapped array's whole pages once no view of it is left.

    What a pass has replaced would stay in memory until the last tensor lets go of the file.
    """
    first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (offset + size) // mmap.PAGESIZE * mmap.PAGESIZE - first
    # Without harm to others that share the bytes: pages of a file are read again when they are needed.
    if length > 0 and hasattr(mmap, "MADV_DONTNEED"):
        finalizer = weakref.finalize(array, content.madvise, mmap.MADV_DONTNEED, first, length)
        finalizer.atexit = False


def is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def byte_size(tensor: onnx.TensorProto) -> int:
    """Return how many bytes the tensor's elements take in a file."""
    if any(dim < 0 for dim in tensor.dims):
        raise ModelError(f"tensor {tensor.name!r} has the shape {list(tensor.dims)}")
    count: int = math.prod(tensor.dims)
    if tensor.data_type in _PACKED:
        return (count + 1) // 2
    return count * _element_type(tensor).itemsize


def _inline(tensor: onnx.TensorProto) -> Array:
    size = byte_size(tensor)
    if not tensor.HasField("raw_data"):
        _check_count(tensor, size)
        return numpy_helper.to_array(tensor)
    raw = tensor.raw_data
    if len(raw) != size:
        raise ModelError(f"tensor {tensor.name!r} needs {size} bytes and has {len(raw)}")
    if tensor.data_type in _PACKED:
        return numpy_helper.to_array(tensor)
    return np.frombuffer(raw, _element_type(tensor)).reshape(tuple(tensor.dims))


def _check_count(tensor: onnx.TensorProto, size: int) -> None:
    """Hold the number of listed elements against the shape before anything is allocated."""
    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    listed = len(getattr(tensor, field))
    needed = math.prod(tensor.dims)
    packed_needed = size if tensor.data_type in _PACKED else needed
    if listed not in (needed, packed_needed):
        raise ModelError(f"tensor {tensor.name!r} needs {needed} elements and has {listed}")


def _refuse_elements(tensor: onnx.TensorProto) -> None:
    dtype = to_supported(np.empty(0, _element_type(tensor))).dtype
    if dtype not in DTYPE_NAMES and tensor.data_type not in _PACKED:
        raise RejectedError(
            f"tensor {tensor.name!r} holds {_type_name(tensor)} elements, which are not supported"
        )


def _element_type(tensor: onnx.TensorProto) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, ValueError):
        raise ModelError(f"tensor {tensor.name!r} has the unknown element type {tensor.data_type}") from None
    if dtype.kind == "O":
        raise RejectedError(
            f"tensor {tensor.name!r} holds {_type_name(tensor)} elements, which are not supported"
        )
    return dtype


def _type_name(tensor: onnx.TensorProto) -> str:
    return str(onnx.TensorProto.DataType.Name(tensor.data_type))
