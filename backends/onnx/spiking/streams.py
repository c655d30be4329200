"""Where every stream lies in an unrolled model, and the conversions between its forms."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from snnc.backends.onnx.spiking.integer_kernels import from_bytes, to_bytes
from snnc.ir.shapes import batch_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.ir.graph import Value


@dataclass(slots=True)
class Forms:
    """The names under which one stream is known; a form nobody asked for yet is empty.

    once: x, the same at every step. steps: x(1) … x(T). folded: all steps as one batch of T N samples, step 1
    first: along the batch axis, the elements of a step are neighbours. sums: S(1) … S(T), what all steps so
    far add up to. rows: x(1) … x(T), every one cut into so many rows.
    """

    once: str = ""
    steps: tuple[str, ...] = ()
    folded: str = ""
    sums: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


class Streams:
    """The streams of one model of T steps. Converting a stream adds nodes, once per form.

    `carries`: the element types in which streams lie; they are read and put in the model's precision. In
    `zeros`: streams of bytes, and the byte that stands for 0.
    """

    def __init__(
        self,
        model: ModelBuilder,
        steps: int,
        carries: Mapping[Value, np.dtype[Any] | None],
        zeros: Mapping[Value, int],
    ) -> None:
        self.model = model
        self.count = steps
        self.carries = carries
        self.zeros = zeros
        self._forms: dict[Value, Forms] = {}

    def put_once(self, value: Value, name: str) -> None:
        self._forms[value] = Forms(once=self._carried(value, name))

    def put_steps(self, value: Value, names: Sequence[str]) -> None:
        assert len(names) == self.count
        self._forms[value] = Forms(steps=tuple(self._carried(value, name) for name in names))

    def put_folded(self, value: Value, name: str) -> None:
        self._forms[value] = Forms(folded=self._carried(value, name))

    def put_sums(self, value: Value, sums: Sequence[str], steps: Sequence[str] = ()) -> None:
        """Put a stream of real numbers as its sums, and as its steps where they are there as well."""
        self._forms[value] = Forms(sums=tuple(sums), steps=tuple(steps))

    def put_rows(self, value: Value, rows: Sequence[str], sums: Sequence[str] = ()) -> None:
        """Put a stream of real numbers as the rows of its steps, and of its sums where they are there."""
        shape = value.type.shape
        steps, totals = (tuple(self.model.reshape(x, shape) for x in names) for names in (rows, sums))
        self._forms[value] = Forms(rows=tuple(rows), steps=steps, sums=totals)

    def _carried(self, value: Value, name: str) -> str:
        """Return what was computed as it is to lie."""
        dtype, precision = self.carries.get(value), self.model.precision
        # numpy takes None for float64, so it is asked for first.
        keeps = dtype is None or precision is None or dtype == precision
        if keeps or dtype is None:
            return name
        if value in self.zeros:
            return to_bytes(self.model, name, self.zeros[value])
        return self.model.cast(name, dtype)

    def _read(self, value: Value, name: str) -> str:
        """Return a stream as its reader wants it."""
        dtype, precision = self.carries.get(value), self.model.precision
        keeps = dtype is None or precision is None or dtype == precision
        if keeps or precision is None:
            return name
        if value in self.zeros:
            name = from_bytes(self.model, name, self.zeros[value])
        return self.model.cast(name, precision)

    def invariant(self, value: Value) -> bool:
        """Tell whether a stream is the same at every step."""
        return bool(self._forms[value].once)

    def is_folded(self, value: Value) -> bool:
        """Tell whether the folded form is there already."""
        forms = self._forms[value]
        return bool(forms.folded) or self.count == 1

    def has_sums(self, value: Value) -> bool:
        """Tell whether the sums are there already."""
        return bool(self._forms[value].sums)

    def only_sums(self, value: Value) -> bool:
        """Tell whether a stream would have to be taken from its sums."""
        forms = self._forms[value]
        return bool(forms.sums) and not (forms.steps or forms.folded)

    def sums(self, value: Value) -> tuple[str, ...]:
        """Return S(1) … S(T) of real numbers."""
        forms = self._forms[value]
        if not forms.sums:
            if forms.once:
                forms.sums = tuple(self._times(value, forms.once, t) for t in range(1, self.count + 1))
            else:
                forms.sums = tuple(prefix_sums(self.model, self._steps(value)))
        return forms.sums

    def _times(self, value: Value, once: str, t: int) -> str:
        """Return t x, as an initializer where x is one."""
        array = self.model.graph.constant(value)
        return self.model.scale(once, t, value) if array is None else self.model.constant(t * array)

    def once(self, value: Value) -> str:
        assert self.invariant(value)
        return self._read(value, self._forms[value].once)

    def at_steps(self, value: Value) -> tuple[str, ...]:
        """Return x(1) … x(T)."""
        return tuple(self._read(value, name) for name in self._steps(value))

    def _steps(self, value: Value) -> tuple[str, ...]:
        forms = self._forms[value]
        if forms.once:
            return (forms.once,) * self.count
        if not forms.steps and forms.sums:
            forms.steps = tuple(differences(self.model, forms.sums))
        if not forms.steps:
            axis = batch_axis(value.type.shape)
            assert axis is not None, "only what has a batch axis is folded"
            alone = self.count == 1
            forms.steps = (forms.folded,) if alone else self.model.split(forms.folded, axis, self.count)
        return forms.steps

    def rows(self, value: Value, count: int) -> tuple[str, ...]:
        """Return x(1) … x(T) of real numbers, each cut into so many rows."""
        forms = self._forms[value]
        if forms.folded and not forms.steps and batch_axis(value.type.shape) == 0:
            return self.model.split(self.model.rows(forms.folded, self.count * count), 0, self.count)
        return self._in_rows(self._steps(value), count)

    def rows_of_sums(self, value: Value, count: int) -> tuple[str, ...]:
        """Return S(1) … S(T) of real numbers, each cut into so many rows."""
        return self._in_rows(self.sums(value), count)

    def _in_rows(self, names: Sequence[str], count: int) -> tuple[str, ...]:
        rows = {name: self.model.rows(name, count) for name in dict.fromkeys(names)}
        return tuple(rows[name] for name in names)

    def folded(self, value: Value) -> str:
        """Return all steps as one batch; what is the same at every step and has no batch, as it is."""
        forms, axis = self._forms[value], batch_axis(value.type.shape)
        if not forms.folded:
            if axis is None:
                return self.once(value)
            if forms.rows and axis == 0:
                forms.folded = self.model.reshape(
                    self.model.add("Concat", forms.rows, axis=0), value.type.shape
                )
                return forms.folded
            steps = self._steps(value)
            forms.folded = steps[0] if len(steps) == 1 else self.model.add("Concat", steps, axis=axis)
        return self._read(value, forms.folded)


def prefix_sums(model: ModelBuilder, streams: Sequence[str]) -> list[str]:
    """Return S(1) … S(T)."""
    sums = [streams[0]]
    for x in streams[1:]:
        sums.append(model.add("Add", [sums[-1], x]))
    return sums


def differences(model: ModelBuilder, sums: Sequence[str]) -> list[str]:
    """Return x(1) … x(T)."""
    return [sums[0], *(model.add("Sub", [after, before]) for before, after in pairwise(sums))]
