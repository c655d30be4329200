"""Expectation nodes: sums in place, the function in onnxruntime, and its last value kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.kernels.expectation import add_to, difference, divide, multiply, reduce
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
    as large as they are, where F needs it. Of the `moving` operands `totals` are S already; with
    `sends_totals` the result is t F(S(t)/t).
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
        totals: frozenset[int] = frozenset(),
        sends_totals: bool = False,
    ) -> None:
        self._unscaled = is_unscaled(node, moving)
        self._power = len(moving) - 1 if node.op.role is Role.MULTILINEAR else 0
        self._result = result.reshape(-1)
        sums = [streams[index] if index in totals else np.empty_like(streams[index]) for index in moving]
        added = [place for place, index in enumerate(moving) if index not in totals]
        self._added = [(sums[place].reshape(-1), streams[moving[place]].reshape(-1)) for place in added]
        self._means = [
            (total.reshape(-1), mean.reshape(-1)) for total, mean in zip(sums, means, strict=False)
        ]
        self._previous = None if sends_totals else np.empty_like(self._result)
        read = list(streams)
        self._evaluate_first = bound(model, read, result)
        for index, array in zip(moving, sums if self._unscaled else means, strict=True):
            read[index] = array
        self._evaluate = bound(model, read, result)

    def step(self, t: int, last: bool) -> None:
        if t == 1:
            self._evaluate_first()
            if not last:
                for total, x in self._added:
                    np.copyto(total, x)
                if self._previous is not None:
                    np.copyto(self._previous, self._result)
            return
        time = self._result.dtype.type(t)
        for total, x in self._added:
            add_to(total, x)
        for total, mean in self._means:
            divide(total, mean, time)
        self._evaluate()
        self._scale(time)

    def _scale(self, time: np.floating[Any]) -> None:
        """Make t F(S/t) of what was evaluated, and the difference of it, where that is wanted."""
        if not self._unscaled:
            multiply(self._result, time)
        elif self._power:
            reduce(self._result, time**self._power)
        if self._previous is not None:
            difference(self._result, self._previous)


def bound(model: RuntimeModel, reads: Sequence[Array], *results: Array) -> Callable[[], None]:
    """Return a function that runs a stretch on these arrays."""
    return model.bind(
        {f"in{index}": array for index, array in enumerate(reads)},
        {f"out{index}": array for index, array in enumerate(results)},
    )
