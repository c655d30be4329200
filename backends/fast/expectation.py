"""Expectation nodes: sums in place, the function in onnxruntime, and its last value kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.fast.kernels.expectation import (
    add_and_divide,
    add_to,
    difference,
    divided_difference,
    scaled_difference,
)
from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.backends.onnx.runtime import RuntimeModel
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array


def is_unscaled(node: Node, moving: Sequence[int]) -> bool:
    """Tell whether F(S) serves instead of F(S/t): a power of t leaves a homogeneous or multilinear F."""
    homogeneous = node.op.homogeneous and len(moving) == len(node.operands)
    return homogeneous or node.op.role is Role.MULTILINEAR


class FastExpectation:
    """O(t) = t F(S(t)/t) - (t-1) F(S(t-1)/(t-1)), as the reference has it.

    `streams` are the operands, `result` what is written; `means` is memory for S(t)/t of the `moving` ones,
    as large as they are, where F needs it.
    """

    membrane = None

    def __init__(
        self,
        node: Node,
        moving: Sequence[int],
        *,
        model: RuntimeModel,
        streams: Sequence[Array],
        result: Array,
        means: Sequence[Array],
    ) -> None:
        self._unscaled = is_unscaled(node, moving)
        self._power = len(moving) - 1 if node.op.role is Role.MULTILINEAR else 0
        self._moving = [streams[index].reshape(-1) for index in moving]
        self._result = result.reshape(-1)
        self._sums = [np.empty_like(streams[index]) for index in moving]
        self._flat_sums = [total.reshape(-1) for total in self._sums]
        self._means = [mean.reshape(-1) for mean in means]
        self._previous = np.empty_like(self._result)
        read = list(streams)
        self._evaluate_first = bound(model, read, result)
        for index, array in zip(moving, self._sums if self._unscaled else means, strict=True):
            read[index] = array
        self._evaluate = bound(model, read, result)

    def step(self, t: int, last: bool) -> None:
        if t == 1:
            self._evaluate_first()
            if not last:
                for total, x in zip(self._flat_sums, self._moving, strict=True):
                    np.copyto(total, x)
                np.copyto(self._previous, self._result)
            return
        time = self._result.dtype.type(t)
        if self._unscaled:
            for total, x in zip(self._flat_sums, self._moving, strict=True):
                add_to(total, x)
        else:
            for total, x, mean in zip(self._flat_sums, self._moving, self._means, strict=True):
                add_and_divide(total, x, mean, time)
        self._evaluate()
        if not self._unscaled:
            scaled_difference(self._result, self._previous, time)
        elif self._power:
            divided_difference(self._result, self._previous, time**self._power)
        else:
            difference(self._result, self._previous)


def bound(model: RuntimeModel, reads: Sequence[Array], *results: Array) -> Callable[[], None]:
    """Return a function that runs a stretch on these arrays."""
    return model.bind(
        {f"in{index}": array for index, array in enumerate(reads)},
        {f"out{index}": array for index, array in enumerate(results)},
    )
