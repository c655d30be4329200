"""Dimensions: an integer, or a whole multiple of the batch size `N`, which stays symbolic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from snnc.ir.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Batch:
    """The dimension `coefficient * N`.

    It supports the integer arithmetic that exporters write around reshapes, so shape computations with
    a symbolic batch run on numpy object arrays. Anything else, such as `N + 1`, is a `ShapeError`.
    """

    coefficient: int = 1

    def __mul__(self, other: object) -> Batch | int:
        if isinstance(other, Batch) or int(other) != other:  # type: ignore[call-overload]  # any integer type
            raise ShapeError(f"{self} * {other} is not a multiple of the batch size")
        return Batch(self.coefficient * int(other)) if other else 0  # type: ignore[call-overload]  # checked above

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> Batch | int:
        if isinstance(other, Batch):
            quotient, rest = divmod(self.coefficient, other.coefficient)
            result: Batch | int = quotient
        else:
            if other == 0:
                raise ShapeError(f"{self} / 0 is no dimension")
            quotient, rest = divmod(self.coefficient, other)  # type: ignore[operator]  # any number
            result = Batch(int(quotient))
        if rest:
            raise ShapeError(f"{self} is not a multiple of {other}")
        return result

    __truediv__ = __floordiv__

    def __rfloordiv__(self, other: object) -> Batch | int:
        raise ShapeError(f"{other} / {self} depends on the batch size")

    __rtruediv__ = __rfloordiv__

    def __mod__(self, other: object) -> int:
        self.__floordiv__(other)
        return 0

    def __add__(self, other: object) -> Batch:
        if isinstance(other, Batch):
            return Batch(self.coefficient + other.coefficient)
        if other == 0:
            return self
        raise ShapeError(f"{self} + {other} is not a multiple of the batch size")

    __radd__ = __add__

    def __sub__(self, other: object) -> Batch | int:
        if isinstance(other, Batch):
            difference = self.coefficient - other.coefficient
            return Batch(difference) if difference else 0
        if other == 0:
            return self
        raise ShapeError(f"{self} - {other} is not a multiple of the batch size")

    def __floor__(self) -> Batch:
        return self

    __ceil__ = __floor__

    # Order, as far as it holds for every N >= 1.

    def __gt__(self, other: object) -> bool:
        return self._exceeds(other, or_equal=False)

    def __ge__(self, other: object) -> bool:
        return self._exceeds(other, or_equal=True)

    def __lt__(self, other: object) -> bool:
        return not self._exceeds(other, or_equal=True)

    def __le__(self, other: object) -> bool:
        return not self._exceeds(other, or_equal=False)

    def _exceeds(self, other: object, *, or_equal: bool) -> bool:
        if isinstance(other, Batch):
            return self.coefficient > other.coefficient or (or_equal and self == other)
        if self.coefficient > other or (or_equal and self.coefficient == other):  # type: ignore[operator]  # any number
            return True
        raise ShapeError(f"whether {self} exceeds {other} depends on the batch size")

    def may_equal(self, other: object) -> bool:
        """Tell whether some N >= 1 makes this dimension equal to the other; see `==` for every N."""
        if isinstance(other, Batch):
            return self == other
        return other > 0 and other % self.coefficient == 0  # type: ignore[operator]  # any number

    def __str__(self) -> str:
        return "N" if self.coefficient == 1 else f"{self.coefficient}N"

    __repr__ = __str__


Dim: TypeAlias = int | Batch
Shape: TypeAlias = tuple[Dim, ...]


def concrete(shape: Shape, batch: int) -> tuple[int, ...]:
    """Return the shape with the batch size filled in."""
    return tuple(dim.coefficient * batch if isinstance(dim, Batch) else dim for dim in shape)


def element_count(shape: Shape) -> Dim:
    """Return the product of the dimensions; `ShapeError` where the batch would appear twice."""
    count: Dim = math.prod(dim for dim in shape if not isinstance(dim, Batch))
    for dim in shape:
        if isinstance(dim, Batch):
            count = dim * count
    return count


def per_sample(shape: Shape) -> int:
    """Return the number of elements for one sample (N = 1)."""
    return math.prod(concrete(shape, 1))


def static_dim(dim: Dim, what: str) -> int:
    """Return the dimension as an integer, or refuse because `what` may not depend on the batch."""
    if isinstance(dim, Batch):
        raise ShapeError(f"{what} depends on the batch size ({dim})")
    return dim


def broadcast(*shapes: Shape) -> Shape:
    """Return the numpy broadcast of the shapes."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result: list[Dim] = []
    for dims in zip(*padded, strict=True):
        wide = {dim for dim in dims if dim != 1}
        if len(wide) > 1:
            listed = " and ".join(show_shape(shape) for shape in shapes)
            raise ShapeError(f"shapes {listed} do not broadcast")
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def normalise_axis(axis: int, rank: int) -> int:
    """Return the axis counted from the front."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is outside a rank-{rank} shape")
    return axis % rank


def batch_axis(shape: Shape) -> int | None:
    """Return the axis that carries the batch, or None."""
    return next((axis for axis, dim in enumerate(shape) if isinstance(dim, Batch)), None)


def show_shape(shape: Shape) -> str:
    """Return the shape as text, `N x 3 x 32 x 32`; the empty shape is `scalar`."""
    return " x ".join(str(dim) for dim in shape) if shape else "scalar"


def fill_batch(attributes: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """Return attributes with every multiple of N in their shapes turned into a number."""
    return {
        name: concrete(value, batch)
        if isinstance(value, tuple) and any(isinstance(item, Batch) for item in value)
        else value
        for name, value in attributes.items()
    }
