"""The arrays of `.npy` and `.npz` files. Nothing in them is trusted: every claim is held against the file."""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib import format as npy

from snnc.ir.errors import DataError
from snnc.ir.limits import MAPPED, shape_problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

    from snnc.ir.kernel_types import Array

FREELY = 2**28
"""Bytes of memory that any file may take, however small it is."""

TIMES = 100
"""How many times its own size a larger file may take; deflate alone could make it 1032 times."""

_HEADERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
    (3, 0): npy.read_array_header_2_0,  # differs in the encoding of field names alone
}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x41  # flag bits: encryption, strong encryption

# What numpy and zipfile raise for files that are not what they claim to be.
_DAMAGE = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, EOFError, SyntaxError, MemoryError,
    RuntimeError, struct.error, zlib.error, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip


class Header(NamedTuple):
    """What a `.npy` file says about its elements, and where they begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]
    start: int

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a `.npz` file by name, that of a `.npy` file as `x`; `DataError` if damaged."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            return {"x": _read_npy(file, "x", size, path)} if path.suffix == ".npy" else _read_npz(file, size)
    except DataError as error:
        error.where = str(path)
        raise
    except (OSError, *_DAMAGE) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"the data file cannot be read: {text}", where=str(path)) from error


def may_take(size: int, stored: int) -> bool:
    """Tell whether data of `stored` bytes in a file may take `size` bytes of memory."""
    return size <= max(FREELY, TIMES * stored)


def _read_npy(file: IO[bytes], name: str, size: int, path: Path | None = None) -> Array:
    """Return the array of a `.npy` file of this size; a large one of its own (`path`) is mapped."""
    header = _read_header(file, name)
    if header.bytes > size - header.start:
        raise DataError(
            f"array {name!r} needs {header.bytes} bytes, the file has {size - header.start}",
            help="it is truncated, or its header is forged",
        )
    if path is not None and header.bytes > MAPPED:
        flat: Array = np.memmap(path, header.dtype, "r", header.start, (math.prod(header.shape),))
    else:
        flat = np.frombuffer(_content(file, name, header.bytes), header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.fortran else flat.reshape(header.shape)


def _content(file: IO[bytes], name: str, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise DataError(f"array {name!r} became shorter while it was read")
    return content


def _read_header(file: IO[bytes], name: str) -> Header:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise DataError(f"array {name!r} is in version {version} of the format, which is not known")
    with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
        shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        message = f"array {name!r} holds Python objects, which are not read"
        raise DataError(message, help="store plain numbers")
    if dtype.kind not in "iubf":
        raise DataError(f"array {name!r} holds {dtype}, which is not numbers")
    problem = shape_problem(shape)
    if problem:
        raise DataError(f"array {name!r} has no possible shape: {problem}")
    return Header(shape, fortran, dtype, file.tell())


def _read_npz(file: IO[bytes], size: int) -> dict[str, Array]:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, size)
        arrays = {}
        for name, info in members.items():
            with archive.open(info) as member:
                arrays[name] = _read_npy(member, name, info.file_size)
    return arrays


def _members(archive: zipfile.ZipFile, size: int) -> Mapping[str, zipfile.ZipInfo]:
    """Return the members by the name of their array; refuse what no `.npz` has, bombs among it."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename.removesuffix(".npy")
        if name == info.orig_filename:
            raise DataError(
                f"the file holds {name[:80]!r}, which is no array", help="write it with numpy.savez"
            )
        if name in members:
            raise DataError(f"the file holds two arrays named {name[:80]!r}")
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
            raise DataError(
                f"array {name[:80]!r} is encrypted or compressed in a way that numpy does not",
                help="write it with numpy.savez or numpy.savez_compressed",
            )
        members[name] = info
    if sum(info.compress_size for info in members.values()) > size:
        raise DataError("the file is damaged: its arrays overlap")
    total = sum(info.file_size for info in members.values())
    if not may_take(total, size):
        raise DataError(
            f"the file has {size} bytes and would become {total}, more than {TIMES} times as many",
            help="if that is right, store it uncompressed: numpy.savez",
        )
    return members
