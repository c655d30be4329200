"""Bounds that keep an untrusted file from asking for more than a machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.shapes import Batch, per_sample

if TYPE_CHECKING:
    from snnc.ir.shapes import Shape

MAX_RANK = 32  # numpy 1's largest number of axes
MAPPED = 2**30  # bytes: smaller files are read, so that what happens to them later does not matter
MAX_ELEMENTS = 2**40  # per sample; far above any network, far below overflow


def shape_problem(shape: Shape) -> str | None:
    """Return why no tensor can have this shape, or None."""
    if len(shape) > MAX_RANK:
        return f"{len(shape)} axes exceed the limit of {MAX_RANK}"
    for dim in shape:
        if isinstance(dim, Batch):
            if dim.coefficient < 1:
                return f"the dimension {dim} is not a positive multiple of the batch size"
        elif dim < 0:
            return f"the dimension {dim} is negative"
    if per_sample(shape) > MAX_ELEMENTS:
        return f"{per_sample(shape)} elements per sample exceed the limit of {MAX_ELEMENTS}"
    return None
