"""The `.sir` file: save and load a graph with its weights.

An archive is a stored (uncompressed) zip with three members: `graph.sir`, the text without elements;
`meta.json`, what is known about the network; `weights.safetensors`, all tensors. The last one begins at a
multiple of 64 bytes, so that loading maps it into memory. A file that is not a zip is read as text.
The same graph and meta give the same bytes.
"""

from __future__ import annotations

import json
import struct
import zipfile
from importlib import metadata
from typing import TYPE_CHECKING, Any

from snnc.ir.archive_reader import (
    FORMAT,
    GRAPH_MEMBER,
    MAX_META,
    MAX_TEXT,
    META_MEMBER,
    WEIGHTS_MEMBER,
    LoadedNetwork,
    load,
)
from snnc.ir.errors import OutputError
from snnc.ir.output import atomic_write
from snnc.ir.text import print_graph
from snnc.ir.verify import verify
from snnc.ir.weights import write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

__all__ = ["LoadedNetwork", "load", "save", "save_text"]

ALIGNMENT = 64  # bytes: a cache line, and enough for any vector instruction
_ALIGNMENT_FIELD = 0xD935  # the extra field that Android's zipalign pads with; others skip it
_LOCAL_HEADER = 30
_ZIP64_FIELD = 20


def save(graph: Graph, path: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write a graph as an archive, whole or not at all.

    `meta` is kept in `meta.json`, beside the versions of the format and of snnc. Raises `VerifyError` for a
    graph that could not be loaded again and `OutputError` where the file cannot be written.
    """
    verify(graph, values=False)
    text = _limited(print_graph(graph, inline_limit=0).encode(), MAX_TEXT, path, GRAPH_MEMBER)
    description = _limited(_describe(meta or {}, path), MAX_META, path, META_MEMBER)
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_member(GRAPH_MEMBER), text)
        archive.writestr(_member(META_MEMBER), description)
        _add_weights(archive, file, graph.tensors)


def save_text(graph: Graph, path: str | Path) -> None:
    """Write a graph as text with all tensors inline, whole or not at all."""
    text = print_graph(graph, inline_limit=None)
    with atomic_write(path) as file:
        file.write(text.encode())


def _describe(meta: Mapping[str, Any], path: str | Path) -> bytes:
    versions = {"format": FORMAT, "snnc": _snnc_version()}
    try:
        text = json.dumps({**meta, **versions}, sort_keys=True, indent=1, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise OutputError(f"{path} cannot be written: its meta data are not JSON: {error}") from error
    return (text + "\n").encode()


def _snnc_version() -> str:
    try:
        return metadata.version("snnc")
    except metadata.PackageNotFoundError:
        return "unknown"


def _limited(content: bytes, limit: int, path: str | Path, member: str) -> bytes:
    if len(content) > limit:
        raise OutputError(
            f"{path} cannot be written: {member} has {len(content)} bytes, its limit is {limit}"
        )
    return content


def _member(name: str) -> zipfile.ZipInfo:
    """Return the header of a member; time, system and permissions are the same everywhere."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3  # Unix
    info.external_attr = 0o644 << 16
    return info


def _add_weights(archive: zipfile.ZipFile, file: BinaryIO, tensors: Mapping[str, Array]) -> None:
    """Add all tensors as one aligned member, tensor by tensor: never twice in memory or on disk."""
    info = _member(WEIGHTS_MEMBER)
    info.extra = _padding(file.tell() + _LOCAL_HEADER + len(WEIGHTS_MEMBER) + _ZIP64_FIELD)
    with archive.open(info, "w", force_zip64=True) as member:
        write_tensors(member, tensors)


def _padding(start: int) -> bytes:
    """Return an extra field that moves data from `start` to the next multiple of the alignment."""
    fixed = struct.pack("<HHH", _ALIGNMENT_FIELD, 0, ALIGNMENT)
    zeros = -(start + len(fixed)) % ALIGNMENT
    return struct.pack("<HHH", _ALIGNMENT_FIELD, 2 + zeros, ALIGNMENT) + bytes(zeros)
