"""Write a file so that it appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from snnc.ir.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def check_target(path: str | Path) -> Path:
    """Return the real path to write, or refuse one where a new file cannot take its place."""
    target = Path(os.path.realpath(path))
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
