"""How outputs are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

ROUNDING = 2e-4  # of the largest output: float32 sums in another order


def deviation(found: Array, wanted: Array) -> float:
    """Return the largest error, relative to the largest output (at least 1)."""
    assert found.shape == wanted.shape
    if not wanted.size:
        return 0.0
    return float(np.abs(found.astype(np.float64) - wanted).max() / max(1.0, np.abs(wanted).max()))


def same_but_for_ties(found: Array, wanted: Array) -> bool:
    """Compare [T, N, …]: a fifth of the samples may differ.

    Sums in another order differ in the last bit; a membrane on an edge may then round the other way.
    """
    scale = max(1.0, np.abs(wanted).max(initial=0))
    changed = (np.abs(found - wanted) > ROUNDING * scale).reshape(len(wanted), wanted.shape[1], -1)
    return float(changed.any(axis=(0, 2)).mean()) <= 0.2
