"""Write a file or folder so that it appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from snnc.ir.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from snnc.ir.kernel_types import Array

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the date of every member, so that equal arrays give equal bytes


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file open for writing that takes the place of `path` when the block ends without error.

    Until then it lives in the same folder under a name that nobody takes for a result; on any failure it
    is removed and what was at `path` stays. A symbolic link is followed. Raises `OutputError`.
    """
    target = check_target(path)
    temporary = scratch_path(target.parent)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OutputError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, mark: str) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends without error.

    A folder that is there already is replaced only if it is empty or holds a file named `mark`, that is, if
    an earlier call wrote it. On any failure the new folder is removed and what was at `path` stays. Raises
    `OutputError`.
    """
    target = check_folder_target(path, mark)
    temporary, old = scratch_path(target.parent), scratch_path(target.parent)
    try:
        temporary.mkdir()
        yield temporary
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
    except OutputError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def check_folder_target(path: str | Path, mark: str) -> Path:
    """Return the real path of a folder to write, or refuse one that holds something else."""
    target = Path(os.path.realpath(path))
    if target.is_dir() and any(target.iterdir()) and not (target / mark).is_file():
        raise OutputError(
            f"{path} cannot be written: it is a folder with other things in it", help="name a new folder"
        )
    if target.exists() and not target.is_dir():
        raise OutputError(f"{path} cannot be written: it is a file", help="name a folder")
    if not target.parent.is_dir():
        raise OutputError(
            f"{path} cannot be written: the folder {target.parent} does not exist", help="create it first"
        )
    return target


def write_npz(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name into an open file as .npz; equal arrays give equal bytes."""
    import numpy as np

    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", EARLIEST), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def check_target(path: str | Path) -> Path:
    """Return the real path to write, or refuse one where a new file cannot take its place."""
    if str(path) == "-":
        raise OutputError("results go to files, not to standard output", help="name a file")
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OutputError(f"{path} cannot be written: it is one of links in a circle", help="name a file")
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "not a regular file"
        raise OutputError(f"{path} cannot be written: it is {what}", help="name a file")
    if not target.parent.is_dir():
        raise OutputError(
            f"{path} cannot be written: the folder {target.parent} does not exist", help="create it first"
        )
    return target


def scratch_path(folder: Path) -> Path:
    """Return a fresh hidden name in the folder."""
    return folder / f".snnc-{secrets.token_hex(8)}.tmp"


def cannot_write(path: str | Path, error: OSError) -> OutputError:
    """Return the refusal for a failed write."""
    return OutputError(f"{path} cannot be written: {error.strerror or error}")
