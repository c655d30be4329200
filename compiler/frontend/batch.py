"""A symbolic batch for a model that was exported with a fixed one.

Inputs get N in the place of the fixed leading dimension B. Then only constants still say B: targets of
reshapes, expansions and resizes, indices that count samples, and arrays that are concatenated with streams.
`SymbolicBatch` restates those, node by node; `per_sample` measures whether it guessed right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.batch_indices import counted
from snnc.frontend.signature import Unknown
from snnc.ir.graph import Graph, Value
from snnc.ir.shapes import Batch, batch_axis, concrete, per_sample

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import onnx

    from snnc.frontend.context import Entry
    from snnc.frontend.signature import Declared, Pins
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim

# Where an operator takes sizes of its result: operator to input position.
_SIZES = {"Expand": 1, "Resize": 3}


def fixed_batches(declared: Collection[Declared]) -> list[tuple[int, int]]:
    """Return the axes that may be a batch with its fixed size, most likely first.

    That is the leading axis where all inputs agree on its size, or the second where it is 1 in all of them
    (networks that take tokens first); none where a dimension is open.
    """
    shapes = [shape for shape in declared if shape]
    if not shapes or any(isinstance(dim, Unknown) for shape in shapes for dim in shape):
        return []
    leading, second = ({shape[axis : axis + 1] for shape in shapes} for axis in (0, 1))
    result = [(0, size) for size in leading.pop() if isinstance(size, int)] if len(leading) == 1 else []
    return [*result, (1, 1)] if second == {(1,)} and (0, 1) not in result else result


def pinned_batch(declared: Mapping[str, Declared], pins: Pins) -> int | None:
    """Return the fixed size that the user replaces by N, or None."""
    replaced = {
        stated
        for name, shape in declared.items()
        for stated, given in zip(shape, pins.get(name, ()), strict=False)
        if given == "N" and isinstance(stated, int)
    }
    return replaced.pop() if len(replaced) == 1 else None


@dataclass(frozen=True, slots=True)
class SymbolicBatch:
    """Restates constants that say `size` where the streams they meet now say N."""

    size: int

    def generalise(
        self, graph: Graph, node: onnx.NodeProto, name: str, inputs: Sequence[Entry | None]
    ) -> list[Entry | None]:
        """Return the node's inputs with N where a constant stands for the batch."""
        result = list(inputs)
        data = result[0] if result else None
        if node.op_type == "Concat":
            return self._concatenated(graph, name, result)
        if node.op_type == "GatherElements":
            return self._per_sample_data(graph, name, result)
        if not isinstance(data, Value) or batch_axis(data.type.shape) is None:
            return result
        if node.op_type == "Reshape" and _is_constant(result, 1):
            copies = not any(item.name == "allowzero" and item.i for item in node.attribute)
            result[1] = self._target(data, _ints(result[1]), copies)
        if node.op_type in ("Gather", "GatherND") and _is_index(result, 1):
            result[1] = counted(graph, node, name, result, self.size)
        position = _SIZES.get(node.op_type, len(result))
        if _is_constant(result, position):
            result[position] = self._sizes(data, _ints(result[position]))
        return result

    def _target(self, data: Value, target: list[int], copies: bool) -> Array:
        """Return a reshape target with N, placed so that as many elements precede it as before."""
        shape = data.type.shape
        axis = batch_axis(shape)
        assert axis is not None
        sizes = self._resolved(concrete(shape, self.size), target, copies)
        copied = copies and any(
            size == 0 and isinstance(shape[index], Batch) for index, size in enumerate(target[: len(shape)])
        )
        before = math.prod(concrete(shape[:axis], 1))
        place = None if copied else self._place(sizes, before, per_sample(shape[axis : axis + 1]))
        if place is None:
            return np.array(target, dtype=np.int64)
        dims: list[Dim] = list(sizes)
        dims[place] = Batch(sizes[place] // self.size)
        return np.array(dims, dtype=object)

    def _resolved(self, shape: tuple[int, ...], target: list[int], copies: bool) -> list[int]:
        """Return the target with copied (0) and inferred (-1) entries filled in for the fixed batch."""
        sizes = [shape[index] if size == 0 and copies else size for index, size in enumerate(target)]
        rest = math.prod(size for size in sizes if size != -1)
        return [math.prod(shape) // rest if size == -1 and rest else size for size in sizes]

    def _place(self, sizes: list[int], before: int, merged: int) -> int | None:
        """Return the axis that takes the batch; `before` elements precede it, `merged` share its axis.

        First choice is an entry equal to the batch, in front of or behind what it was merged with; then one
        that merges the batch with what follows (batch x heads), then with what precedes (tokens x batch);
        never the last axis, which holds features.
        """
        fronts = [math.prod(sizes[:index]) for index in range(len(sizes))]
        aligned = [index for index, front in enumerate(fronts) if front == before]
        behind = [index for index, front in enumerate(fronts) if front == before * merged]
        exact = [index for index in aligned + behind if sizes[index] == self.size]
        merging = [index for index in aligned if sizes[index] % self.size == 0 and index < len(sizes) - 1]
        ending = [
            index
            for index, front in enumerate(fronts)
            if sizes[index] and front * sizes[index] == before * self.size and sizes[index] % self.size == 0
        ]
        return next(iter(exact + merging + ending), None)

    def _sizes(self, data: Value, sizes: list[int]) -> Array:
        """Return the sizes of a broadcast or resized result, aligned with the data from the right."""
        dims: list[Dim] = list(sizes)
        offset = len(dims) - len(data.type.shape)
        for axis, dim in enumerate(data.type.shape, start=offset):
            if isinstance(dim, Batch) and axis >= 0 and dims[axis] == dim.coefficient * self.size:
                dims[axis] = dim
        return np.array(dims, dtype=object)

    def _concatenated(self, graph: Graph, name: str, inputs: list[Entry | None]) -> list[Entry | None]:
        """Repeat constants (class tokens) along the batch of the streams they are joined with."""
        shapes = [entry.type.shape for entry in inputs if isinstance(entry, Value)]
        places = {(axis, len(shape)) for shape in shapes if (axis := batch_axis(shape)) is not None}
        if len(places) != 1:
            return inputs
        axis, rank = places.pop()
        return [
            self._repeated(graph, name, entry, axis)
            if isinstance(entry, np.ndarray) and entry.ndim == rank and self._stands_for_batch(entry, axis)
            else entry
            for entry in inputs
        ]

    def _per_sample_data(self, graph: Graph, name: str, inputs: list[Entry | None]) -> list[Entry | None]:
        """Repeat a constant that is looked up, sample by sample, at indices with a batch."""
        data, indices = inputs
        if not isinstance(data, np.ndarray) or not isinstance(indices, Value):
            return inputs
        axis = batch_axis(indices.type.shape)
        if axis is None or not self._stands_for_batch(data, axis):
            return inputs
        return [self._repeated(graph, name, data, axis), indices]

    def _stands_for_batch(self, entry: Array, axis: int) -> bool:
        """Tell whether all samples of the constant are the same."""
        return entry.shape[axis] == self.size and bool((entry == entry.take([0], axis)).all())

    def _repeated(self, graph: Graph, name: str, entry: Array, axis: int) -> Value:
        one = graph.constant_value(entry.take([0], axis), f"{name}.operand", origin=(name,))
        dims: list[Dim] = list(entry.shape)
        dims[axis] = Batch()
        return graph.append("expand", [one], {"shape": tuple(dims)}, origin=(name,))


def _is_constant(inputs: Sequence[Entry | None], index: int) -> bool:
    """Tell whether an input is a known array of integers without a symbolic dimension."""
    entry = inputs[index] if index < len(inputs) else None
    return isinstance(entry, np.ndarray) and entry.dtype.kind in "iu" and entry.ndim == 1 and entry.size > 0


def _is_index(inputs: Sequence[Entry | None], index: int) -> bool:
    """Tell whether an input is a known array of integers with at least one axis."""
    entry = inputs[index]
    return isinstance(entry, np.ndarray) and entry.dtype.kind in "iu" and entry.ndim > 0 and entry.size > 0


def _ints(entry: Entry | None) -> list[int]:
    assert isinstance(entry, np.ndarray)
    return [int(item) for item in entry]
