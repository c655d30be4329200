"""Read a `.sir` file. Nothing in it is trusted: see `snnc.ir.archive` for what it must hold."""

from __future__ import annotations

import io
import json
import mmap
import os
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from snnc.ir.errors import ArchiveError, VerifyError
from snnc.ir.limits import MAPPED
from snnc.ir.text import parse_graph
from snnc.ir.verify import verify
from snnc.ir.weights import Content, map_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph

FORMAT = 1
GRAPH_MEMBER = "graph.sir"
META_MEMBER = "meta.json"
WEIGHTS_MEMBER = "weights.safetensors"
MEMBERS = (GRAPH_MEMBER, META_MEMBER, WEIGHTS_MEMBER)
MAX_TEXT = 256 * 2**20
MAX_META = 16 * 2**20
MAX_DIRECTORY = 4096  # bytes; three entries take less than a quarter

_END = 22  # bytes of the record that ends a zip without comment
_END_MARK, _END64_MARK = b"PK\x05\x06", b"PK\x06\x07"
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
HDF5 = b"\x89HDF\r\n\x1a\n"  # how such a file begins
_ENCRYPTED = 0x41  # flag bits: encryption, strong encryption


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """What a `.sir` file holds. `meta` is empty for text."""

    graph: Graph
    meta: Mapping[str, Any]


def load(path: str | Path, *, check_weights: bool = False) -> LoadedNetwork:
    """Return the verified graph of a `.sir` file, archive or text, and its meta data.

    An archive of more than `MAPPED` bytes is mapped into memory, not read, and must not be changed in place
    while its weights are in use. With `check_weights` they are compared with their checksum and must be
    finite. Raises `ArchiveError`, `ParseError` or `VerifyError`.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            start = file.read(2)
            network = _read_archive(path, file, check_weights) if start == b"PK" else _read_text(path, file)
        verify(network.graph, values=check_weights)
    except (ArchiveError, VerifyError) as error:
        error.where = str(path)
        raise
    except OSError as error:
        raise ArchiveError(f"the file cannot be read: {error.strerror or error}", where=str(path)) from error
    return network


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        raise ArchiveError("this is a folder, not a .sir file")
    if not path.exists():
        raise ArchiveError("there is no such file")
    if not path.is_file():
        raise ArchiveError("this is not a regular file")
    if not path.stat().st_size:
        raise ArchiveError("the file is empty")
    return path.open("rb")


def _read_text(path: Path, file: BinaryIO) -> LoadedNetwork:
    file.seek(0)
    content = file.read(MAX_TEXT + 1)
    # The first field of an ONNX model, its version, has the tag 8.
    if path.suffix == ".onnx" or content[:1] == b"\x08":
        raise ArchiveError("this is an ONNX model, not a .sir file", help=f"compile it: snnc compile {path}")
    if content.startswith(HDF5):
        raise ArchiveError(
            "this is an HDF5 file, not a .sir file", help=f"if it is a NIR graph: snnc compile {path}"
        )
    if len(content) > MAX_TEXT:
        raise ArchiveError(f"the text is longer than {MAX_TEXT} bytes", help="save it as an archive")
    return LoadedNetwork(parse_graph(_decode(content, "the file"), name=str(path)), {})


def _decode(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ArchiveError(
            f"{what} is neither an archive nor text: byte {error.start} is not UTF-8"
        ) from error


def _read_archive(path: Path, file: BinaryIO, check_weights: bool) -> LoadedNetwork:
    whole = _content(file)
    members = _members(file if isinstance(whole, mmap.mmap) else io.BytesIO(whole), whole)
    ranges = {name: _range(whole, info) for name, info in members.items()}
    _refuse_overlap(ranges)
    meta = _meta(_read(whole, members[META_MEMBER], ranges[META_MEMBER], MAX_META))
    text = _decode(_read(whole, members[GRAPH_MEMBER], ranges[GRAPH_MEMBER], MAX_TEXT), GRAPH_MEMBER)
    if check_weights:
        _check_sum(whole, members[WEIGHTS_MEMBER], ranges[WEIGHTS_MEMBER])
    tensors = map_tensors(whole, *ranges[WEIGHTS_MEMBER])
    graph = parse_graph(text, tensors, name=f"{path}/{GRAPH_MEMBER}")
    if graph.tensors.keys() != tensors.keys():
        strange = sorted(graph.tensors.keys() ^ tensors.keys())[0]
        raise ArchiveError(f"the tensor {strange!r} is in only one of {GRAPH_MEMBER} and {WEIGHTS_MEMBER}")
    return LoadedNetwork(graph, meta)


def _content(file: BinaryIO) -> Content:
    """Return the bytes of the file: a copy, or a map where a copy would take much memory.

    Who shortens a mapped file ends this process: the system answers a read behind the end with SIGBUS.
    """
    if os.fstat(file.fileno()).st_size > MAPPED:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    file.seek(0)
    return file.read(MAPPED + 1)


def _members(file: IO[bytes], whole: Content) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name; refuse anything but the three, plainly stored."""
    _check_end(whole)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error) as error:
        raise ArchiveError(f"the archive is damaged: {error}") from error
    counts = Counter(info.orig_filename for info in infos)
    if counts and all(name.endswith(".npy") for name in counts):
        raise ArchiveError("this is a .npz file of arrays, not a .sir file")
    for name in MEMBERS:
        if not counts[name]:
            raise ArchiveError(f"the archive has no member {name}")
    for name, count in counts.items():
        if name not in MEMBERS:
            raise ArchiveError(f"the archive has the unexpected member {name[:80]!r}")
        if count > 1:
            raise ArchiveError(f"the archive has {count} members named {name}")
    for info in infos:
        if info.flag_bits & _ENCRYPTED:
            raise ArchiveError(f"the member {info.orig_filename} is encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ArchiveError(f"the member {info.orig_filename} is compressed; it must be stored")
    return {info.orig_filename: info for info in infos}


def _check_end(whole: Content) -> None:
    """Refuse a truncated file, and a directory too long for three members before it is read."""
    end = whole[-_END:]
    if len(end) < _END or end[:4] != _END_MARK:
        raise ArchiveError("the archive is truncated, or something is appended to it")
    length = int.from_bytes(end[12:16], "little")
    if whole[-_END - 20 : -_END - 16] == _END64_MARK:
        length = int.from_bytes(whole[-_END - 36 : -_END - 28], "little")
    if length > MAX_DIRECTORY:
        raise ArchiveError(f"the archive's directory claims {length} bytes, the limit is {MAX_DIRECTORY}")


def _range(whole: Content, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Return where the data of a stored member begin and end, by its own header."""
    name, offset = info.orig_filename, info.header_offset
    if not 0 <= offset <= len(whole) - _LOCAL_HEADER.size:
        raise ArchiveError(f"the member {name} lies outside the archive")
    fields = _LOCAL_HEADER.unpack_from(whole, offset)
    mark, flags, method, name_length, extra_length = fields[0], fields[2], fields[3], fields[9], fields[10]
    named = offset + _LOCAL_HEADER.size
    start = named + name_length + extra_length
    if (
        mark != b"PK\x03\x04"
        or whole[named : named + name_length] != name.encode()
        or flags & _ENCRYPTED
        or method
    ):
        raise ArchiveError(f"the header of the member {name} does not agree with the archive's directory")
    if start + info.file_size > len(whole):
        raise ArchiveError(f"the member {name} claims {info.file_size} bytes, the archive ends before")
    return start, start + info.file_size


def _refuse_overlap(ranges: Mapping[str, tuple[int, int]]) -> None:
    last = 0
    for start, end in sorted(ranges.values()):
        if start < last:
            raise ArchiveError("members of the archive overlap")
        last = end


def _read(whole: Content, info: zipfile.ZipInfo, place: tuple[int, int], limit: int) -> bytes:
    """Return the content of a member, with its size and checksum checked."""
    if info.file_size > limit:
        raise ArchiveError(
            f"the member {info.orig_filename} has {info.file_size} bytes, the limit is {limit}"
        )
    _check_sum(whole, info, place)
    return whole[place[0] : place[1]]


def _check_sum(whole: Content, info: zipfile.ZipInfo, place: tuple[int, int]) -> None:
    with memoryview(whole) as view, view[place[0] : place[1]] as content:
        if zlib.crc32(content) != info.CRC:
            raise ArchiveError(f"the member {info.orig_filename} is damaged: its checksum does not fit")


def _meta(content: bytes) -> dict[str, Any]:
    try:
        meta = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{META_MEMBER} is not JSON: {error}") from error
    if not isinstance(meta, dict) or type(meta.get("format")) is not int:
        raise ArchiveError(f"{META_MEMBER} does not state the format")
    if meta["format"] != FORMAT:
        raise ArchiveError(
            f"the file is in format {meta['format']}, written by snnc {str(meta.get('snnc'))[:40]}; "
            f"this snnc reads format {FORMAT}",
            help="use the snnc that wrote it, or a newer one",
        )
    return meta
