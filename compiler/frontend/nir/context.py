"""What the functions for NIR's primitives see: the graph being built, one node, and the stream it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.frontend.context import RejectedError

if TYPE_CHECKING:
    from snnc.backends.nir.timing import Timing
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import AttributeValue


@dataclass(frozen=True, slots=True)
class NirNode:
    """One primitive under import; `x` is what it reads, [N, …]."""

    graph: Graph
    name: str
    node: Any
    x: Value
    timing: Timing

    def array(self, field: str) -> Array:
        """Return a field as finite numbers in double precision; reject what is not."""
        try:
            array = np.asarray(getattr(self.node, field), np.float64)
        except (AttributeError, TypeError, ValueError):
            raise RejectedError(f"its {field} are not numbers") from None
        if not np.isfinite(array).all():
            raise RejectedError(f"its {field} holds numbers that are not finite")
        return array

    def tensor(self, field: str, rank: int) -> Array:
        """Return a field of a given rank in single precision."""
        array = self.array(field)
        if array.ndim != rank:
            raise RejectedError(f"its {field} has the shape {list(array.shape)}; it must have {rank} axes")
        return single(array, field)

    def ints(self, field: str, count: int) -> tuple[int, ...]:
        """Return a field as `count` integers; one integer stands for all."""
        array = self.array(field).reshape(-1)
        if array.size not in (1, count) or (array != np.floor(array)).any() or (abs(array) > 2**31).any():
            raise RejectedError(f"its {field} must be {count} integers")
        return tuple(int(number) for number in np.broadcast_to(array, count))

    def parameter(self, field: str) -> Array:
        """Return a parameter of a neuron, [1, …] with every axis of x, size 1 where it does not vary."""
        return compact(self.array(field), self.x, field)

    def emit(self, op: str, **attributes: AttributeValue | Array) -> Value:
        """Append an op on x."""
        given: dict[str, Any] = {
            name: self.graph.add_tensor(f"{self.name}.{name}", value)
            if isinstance(value, np.ndarray)
            else value
            for name, value in attributes.items()
        }
        absorbed = [name for name, _ in getattr(self.node, "absorbed", ())]
        return self.graph.append(op, [self.x], given, origin=[self.name, *absorbed], name=self.name)


def compact(array: Array, x: Value, field: str) -> Array:
    """Return a parameter with every axis of x; one number stands for all."""
    sizes = tuple(x.type.shape[1:])
    if array.size == 1:
        return array.reshape((1,) * (len(sizes) + 1))
    if array.shape != sizes:
        raise RejectedError(f"its {field} has the shape {list(array.shape)}, a sample has {list(sizes)}")
    result = array[np.newaxis]
    for axis in range(result.ndim):
        first = result.take([0], axis=axis)
        if (result == first).all():
            result = first
    return result


def single(array: Array, field: str) -> Array:
    """Return numbers in single precision; reject those that it cannot hold."""
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise RejectedError(f"its {field} holds numbers beyond single precision")
    return rounded
