"""Neurons whose bounds hold for the sum of their payloads, stepped by compiled kernels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.kernels.neuron import HI, LO
from snnc.backends.fast.kernels.sums import average_kernel, step_kernel
from snnc.backends.fast.neuron import FastNeuronState

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.kernel_types import Array


class FastSumState(FastNeuronState):
    """The reference's neuron with `bounds = sum`, with a kernel for its arithmetic."""

    def __init__(
        self,
        attributes: dict[str, Any],
        where: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        whole: bool = False,
    ) -> None:
        super().__init__(attributes, where, shape, dtype, whole=whole)
        self._ends = self._limits.copy()
        self._total: Array = np.empty(0, dtype)

    def at(self, t: int) -> None:
        self._limits[[LO, HI]] = t * self._ends[[LO, HI]]

    def prepared(self, first: bool, x: Array, y: Array, last: bool) -> Callable[[], None]:
        """Return what writes y(1), or y of a later step, whenever it is called behind `at`."""
        if self._total.shape != self.shape:
            self.membrane, self._total = np.empty((2, *self.shape), self.dtype)
        in_place = y is x
        rows = y.reshape(self._rows)
        current = rows if in_place else x.reshape(self._rows)
        kept = self.membrane.reshape(self._rows), self._total.reshape(self._rows)
        kernel = step_kernel(replace(self._form, first=first, in_place=in_place))
        return partial(kernel, current, rows, *kept, self._parameters, self._limits, self._channels)

    def averaged(self, x: Array, y: Array, times: Array) -> Callable[[], None]:
        """Return what writes s K(t)/t of the decoded current x for every t of `times` as it is then.

        y has one row of samples after the other, one per t; x has them too, or one that all have in common.
        """
        length = self._rows[1] if self._channels > 1 else y.size // len(times)
        in_place = y is x
        rows = y.reshape(-1, length)
        current = rows if in_place else x.reshape(-1, length)
        kernel = average_kernel(replace(self._form, in_place=in_place))
        return partial(kernel, current, rows, self._parameters, self._ends, self._channels, times)


def fast_neuron(
    attributes: dict[str, Any],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    whole: bool = False,
    **options: bool,
) -> FastNeuronState:
    """Return a neuron's state; `options` are those of `FastNeuronState`, for bounds of single steps."""
    where = str(attributes["site"])
    if attributes["bounds"] == "sum":
        return FastSumState(attributes, where, shape, dtype, whole=whole)
    return FastNeuronState(attributes, where, shape, dtype, whole=whole, **options)
