"""Reading a NIR file (HDF5) without trusting it.

The file is looked through before the nir package reads it: nothing in it may point elsewhere (links to other
files, virtual or external data), claim more than `MOST_BYTES` or than its own bytes can unpack to, or nest
deeper than `DEEPEST`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.nir.package import nir_package
from snnc.ir.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # the first bytes of an HDF5 file (HDF5 file format specification, II.A)
MOST_BYTES = 2**32  # of all arrays together, unpacked
MOST_PER_BYTE = 1032  # what deflate, HDF5's strongest compression in NIR files, packs into a byte at most
MOST_ITEMS = 200_000  # groups and arrays
DEEPEST = 32

# What h5py and the nir package raise for files that are not what they expect.
_MISFITS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def is_nir_file(path: str | Path) -> bool:
    """Tell whether a file is named or begins like a NIR file."""
    path = Path(path)
    if path.suffix == ".nir":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def read_nir(path: str | Path) -> Any:
    """Return the `nir.NIRGraph` of a file; `ModelError` for anything but a sound one."""
    path, nir = Path(path), nir_package()
    where = str(path)
    if not path.is_file():
        what = "this is a folder, not a NIR file" if path.is_dir() else "there is no such model file"
        raise ModelError(what, where=where)
    try:
        problem = unsound(path)
        if problem is not None:
            raise ModelError(problem, where=where)
        with np.errstate(all="ignore"):  # it computes shapes from whatever the file says
            graph = nir.read(path, type_check=False)
    except ModelError:
        raise
    except _MISFITS as misfit:
        reason = str(misfit).splitlines()[0] if str(misfit) else type(misfit).__name__
        raise ModelError(f"this is not a NIR file, or it is damaged: {reason}", where=where) from None
    if not isinstance(graph, nir.NIRGraph):
        raise ModelError(f"the file holds a single {type(graph).__name__}, not a graph", where=where)
    return graph


def unsound(path: Path) -> str | None:
    """Return why a file cannot be read safely, or None."""
    import h5py

    with h5py.File(path, "r") as file:
        if not isinstance(file.get("node"), h5py.Group):
            return "the file has no group 'node', so it is not a NIR file"
        total, most = 0, min(MOST_BYTES, MOST_PER_BYTE * path.stat().st_size)
        for count, (name, item) in enumerate(items(file, 0), start=1):
            if isinstance(item, str):
                return f"{name!r} {item}"
            total += int(item.nbytes) if isinstance(item, h5py.Dataset) else 0
            if count > MOST_ITEMS:
                return f"the file has more than {MOST_ITEMS:,} groups and arrays"
            if total > most:
                return f"the file's arrays claim more than {most:,} bytes ({name!r} and those before it)"
    return None


def items(group: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield everything in a group by name; a text in the place of what must not be followed."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            yield name, "is a link to another place"
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            if depth == DEEPEST:
                yield name, f"is nested deeper than {DEEPEST} groups"
                return
            yield name, item
            yield from items(item, depth + 1)
        elif isinstance(item, h5py.Dataset):
            yield name, refused_data(item) or item
        else:
            yield name, "is neither a group nor an array"


def refused_data(data: Any) -> str | None:
    """Return why a dataset must not be read, or None."""
    import h5py

    if data.is_virtual or data.external:
        return "keeps its data in another file"
    if data.dtype.kind in "biufS":
        return None
    if data.dtype.kind != "O" or h5py.check_string_dtype(data.dtype) is None:
        return f"holds {data.dtype}, which is neither numbers nor text"
    return None if texts_fit(data) else "holds texts that claim more than the file has"


def texts_fit(data: Any) -> bool:
    """Tell whether no text of a dataset claims to be longer than the file; libhdf5 takes the memory unasked.

    A text is stored as its length (4 bytes), an address and an index (4 bytes; HDF5 file format
    specification, IV.B), and all of a dataset in one piece, as the nir package writes them.
    """
    offset, size = data.id.get_offset(), 8 + data.file.id.get_create_plist().get_sizes()[0]
    if offset is None:
        return bool(data.size == 0)
    with Path(data.file.filename).open("rb") as file:
        file.seek(0, 2)
        end = file.tell()
        if offset + size * data.size > end:
            return False
        file.seek(offset)
        stored = np.frombuffer(file.read(size * data.size), np.uint8).reshape(-1, size)
    lengths = stored[:, :4].copy().view("<u4")
    return bool((lengths <= end).all())
