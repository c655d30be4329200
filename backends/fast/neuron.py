"""Neurons, stepped by compiled kernels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.kernels import neuron as kernels
from snnc.backends.fast.kernels import quantisers
from snnc.backends.fast.kernels.neuron import Form, neuron_kernel
from snnc.backends.reference.state import NeuronState
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.ir.codebooks import Codebook
    from snnc.ir.kernel_types import Array

# Shorter rows than this have their parameters element by element: a loop that starts anew costs as much.
SHORTEST_ROW = 32
RESETS = {"subtract": kernels.SUBTRACT, "zero": kernels.ZERO, "restart": kernels.RESTART}


def quantiser_of(codebook: Codebook) -> int:
    match codebook:
        case Binary():
            return quantisers.BINARY
        case Ternary():
            return quantisers.TERNARY
        case MultiSpike():
            names = {"nearest": quantisers.NEAREST, "floor": quantisers.FLOOR, "burst": quantisers.BURST}
            return names[codebook.rounding]
        case PowerOfTwo():
            return quantisers.BELOW if codebook.firing == "below" else quantisers.POWER


class FastNeuronState(NeuronState):
    """The reference's neuron with a kernel for its arithmetic; `shape` and `dtype` are those of x.

    Neurons with a line per payload are the reference's own (`compiles`).
    """

    def __init__(
        self,
        attributes: dict[str, Any],
        where: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        whole: bool = False,
        reads_totals: bool = False,
        sends_totals: bool = False,
    ) -> None:
        super().__init__(attributes, where, whole=whole)
        self.shape, self.dtype = shape, dtype
        self._parameters, self._rows, by_element = self._lay_out()
        self._channels = self._parameters.shape[1]
        least, largest = self.limits or (0.0, 0.0)
        payload = self.codebook.payload
        dead_zone = getattr(self.codebook, "dead_zone", 0.0)
        self._limits = np.array([payload.lo, payload.hi, dead_zone, least, largest], dtype)
        self._form = Form(
            quantiser=quantiser_of(self.codebook),
            signed=payload.lo < 0,
            first=True,
            reset=kernels.TOTALS if reads_totals else RESETS[self.reset],
            start=self.start is not None,
            bias=self.bias is not None,
            quantum=not self.normalised,
            negative=self.negative is not None,
            scale=self.scale is not None,
            saturates=self.limits is not None,
            by_element=by_element,
            in_place=False,
            reads_totals=reads_totals,
            sends_totals=sends_totals,
        )
        self._kernels: dict[tuple[bool, bool, bool], Callable[..., None]] = {}

    @staticmethod
    def compiles(attributes: dict[str, Any]) -> bool:
        return attributes["level_axis"] is None

    @staticmethod
    def takes_totals(attributes: dict[str, Any]) -> bool:
        """Tell whether it can read and send totals (`snnc.backends.fast.totals`)."""
        plain = (attributes["reset"], attributes["bounds"], attributes["width"]) == ("subtract", "step", None)
        return FastNeuronState.compiles(attributes) and plain

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        x = np.ascontiguousarray(operands[0], self.dtype)
        y = np.empty_like(x)
        self.step_into(t, x, y, last)
        return y

    def step_into(self, t: int, x: Array, y: Array, last: bool) -> None:
        """Write y(t); `y` may be `x`."""
        self.at(t)
        self.prepared(t == 1, x, y, last)()

    def at(self, t: int) -> None:
        """Take the limits of step t."""

    def prepared(self, first: bool, x: Array, y: Array, last: bool) -> Callable[[], None]:
        """Return what writes y(1), or y of a later step, whenever it is called."""
        forgets = last and first
        if not forgets and self.membrane.shape != self.shape:
            self.membrane = np.empty(self.shape, self.dtype)
        rows = y.reshape(self._rows)
        in_place = y is x
        current = rows if in_place else x.reshape(self._rows)
        membrane = rows if forgets else self.membrane.reshape(self._rows)
        kernel = self._kernel(first, forgets, in_place)
        return partial(kernel, current, rows, membrane, self._parameters, self._limits, self._channels)

    def _kernel(self, first: bool, forgets: bool, in_place: bool) -> Callable[..., None]:
        key = first, forgets, in_place
        if key not in self._kernels:
            reset = kernels.NOTHING if forgets else self._form.reset
            form = replace(self._form, first=first, reset=reset, in_place=in_place)
            self._kernels[key] = neuron_kernel(form)
        return self._kernels[key]

    def _lay_out(self) -> tuple[Array, tuple[int, int], bool]:
        """Return the parameters, the shape of x as rows, and whether parameters vary within a row."""
        given = {
            kernels.START: self.start,
            kernels.BIAS: self.bias,
            kernels.QUANTUM: None if self.normalised else self.quantum,
            kernels.NEGATIVE: self.negative,
            kernels.SCALE: self.scale,
        }
        arrays = {row: np.asarray(array) for row, array in given.items() if array is not None}
        rank = len(self.shape)
        varying = [axis for axis in range(rank) if any(array.shape[axis] > 1 for array in arrays.values())]
        first, end = (varying[0], varying[-1] + 1) if varying else (0, 0)
        inner = int(np.prod(self.shape[end:], dtype=np.int64))
        by_element = bool(varying) and inner < SHORTEST_ROW
        if by_element:
            end = rank
        channels = int(np.prod(self.shape[first:end], dtype=np.int64))
        parameters = np.zeros((kernels.ROWS, channels), self.dtype)
        for row, array in arrays.items():
            shape = (1,) * first + self.shape[first:end] + (1,) * (rank - end)
            parameters[row] = np.broadcast_to(array, shape).reshape(-1)
        length = channels if by_element else inner
        return parameters, (int(np.prod(self.shape, dtype=np.int64)) // max(length, 1), length), by_element
