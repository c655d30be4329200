"""Data that several backends are tested with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="session")
def images() -> Array:
    """24 images of digits, [N, 1, 8, 8] in 0 to 1."""
    images = np.asarray(np.load(DIGITS / "digits_test.npz")["x"][:24], np.float32) / 16
    images.flags.writeable = False
    return images
