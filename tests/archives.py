"""Reading `.npz` files whole: a file left open is a warning, and warnings are errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def read_npz(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        return dict(archive)
