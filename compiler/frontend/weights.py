"""Weights must be finite: a NaN, or an infinity outside an attention mask or a bound, is refused by name."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

    from snnc.ir.kernel_types import Array

# Operators that read masks (added or selected before a softmax) and bounds, where an infinity has a meaning.
_TAKE_INFINITY = frozenset(
    {"Add", "Sub", "Where", "Clip", "Max", "Min", "Attention", "Trilu", "Identity", "Cast", "CastLike"}
    | {"Expand", "Reshape", "Unsqueeze", "Squeeze", "Slice", "Concat", "Tile", "Pad", "ConstantOfShape"}
)


class NonFinite:
    """Collects the constant tensors that hold what no network can, to refuse them together."""

    def __init__(self, nodes: Iterable[onnx.NodeProto]) -> None:
        self._readers: defaultdict[str, set[str]] = defaultdict(set)
        for node in nodes:
            for tensor in node.input:
                self._readers[tensor].add(node.op_type)
        self._found: list[str] = []

    def check(self, name: str, array: Array) -> None:
        if array.dtype.kind != "f" or is_finite(array):
            return
        if np.isnan(array).any():
            self._found.append(f"{name!r} holds NaN")
        elif not self._readers[name] <= _TAKE_INFINITY:
            self._found.append(f"{name!r} holds infinity, or numbers that are infinite in 32 bits")

    def refuse(self) -> None:
        if self._found:
            listed = "".join(f"\n  - tensor {found}" for found in self._found)
            raise ModelError(
                f"the model has weights that are not finite:{listed}",
                help="the network diverged in training, or the file is damaged",
            )


def is_finite(array: Array) -> bool:
    """Tell whether all elements are finite; the sum decides without a temporary array unless it overflows."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())
