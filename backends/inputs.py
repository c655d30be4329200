"""Input arrays of a run: checked against the graph, split into groups of samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.codebooks import MAX_SUM, MultiSpike
from snnc.ir.errors import DataError, OptionError, closest
from snnc.ir.shapes import Batch, batch_axis, per_sample, show_shape
from snnc.ir.types import DTYPES, SpikeType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Shape


def check_run(
    graph: Graph, inputs: Array | Mapping[str, Array], steps: int
) -> tuple[dict[str, Array], frozenset[str]]:
    """Return the checked inputs of a run, and which of them vary in time; refuse what no backend runs.

    `OptionError`: not a number of steps. `DataError`: the inputs do not fit, or have too few steps.
    """
    if not is_count(steps):
        raise OptionError(f"cannot run {steps} time steps", help="give a whole number of them, at least 1")
    refuse_larger_sums(graph, steps)
    arrays = check_inputs(graph, inputs)
    check_steps(graph, arrays, steps)
    timed = timed_inputs(graph, arrays)
    if timed and graph.coding == "differential":
        raise DataError(
            f"the input {min(timed)!r} varies in time; differential coding is for inputs that do not",
            help="compile with --coding rate",
        )
    return arrays, timed


def refuse_larger_sums(graph: Graph, steps: int) -> None:
    """Refuse so many steps that the sum of a neuron's payloads might leave what single precision counts."""
    for node in graph:
        # Resolving every neuron's attributes would take a small network longer than a step.
        codebook, bounds = node.attributes.get("codebook"), node.attributes.get("bounds")
        if bounds != "sum" or not isinstance(codebook, MultiSpike):
            continue
        if steps * (codebook.hi - codebook.lo) > MAX_SUM:
            most = MAX_SUM // (codebook.hi - codebook.lo)
            raise OptionError(
                f"in {steps} time steps the sum of payloads could exceed {MAX_SUM}",
                where=", ".join(node.origin) or None,
                help=f"run at most {most} steps, or compile with fewer --levels or another method",
            )


def is_count(number: object) -> bool:
    """Return whether this is a whole number, Python's or NumPy's, of at least 1."""
    return isinstance(number, Integral) and int(number) >= 1


def check_inputs(graph: Graph, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
    """Return one array per graph input with the right element type; `DataError` naming what does not fit.

    A single array serves a graph with one input. An array with one axis more than its input holds one value
    per time step. Integers become floats where floats are wanted; floats never become integers silently.
    """
    names = [value.name or "" for value in graph.inputs]
    if not isinstance(inputs, Mapping):
        if len(names) != 1:
            raise DataError(
                f"the network has {len(names)} inputs: {', '.join(names)}", help="name each array"
            )
        inputs = {names[0]: np.asarray(inputs)}
    elif len(names) == 1 and len(inputs) == 1:
        inputs = dict(zip(names, inputs.values(), strict=True))
    missing = [name for name in names if name not in inputs]
    if missing:
        raise DataError(
            f"no data for the input {missing[0]!r}",
            help=closest(missing[0], inputs) or f"the data hold {', '.join(map(repr, inputs)) or 'nothing'}",
        )
    arrays = {name: _checked(value, inputs[name]) for name, value in zip(names, graph.inputs, strict=True)}
    sizes = {name: _batch_of(value, arrays[name]) for name, value in zip(names, graph.inputs, strict=True)}
    _refuse_different(sizes, "samples")
    timed = timed_inputs(graph, arrays)
    _refuse_different({name: len(arrays[name]) for name in names if name in timed}, "time steps")
    return arrays


def _refuse_different(sizes: Mapping[str, int | None], what: str) -> None:
    known = {size for size in sizes.values() if size is not None}
    if len(known) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise DataError(f"the inputs have different numbers of {what} ({listed})")


def is_timed(value: Value, array: Array) -> bool:
    """Tell whether an input varies in time: its array has one axis more than the value, time in front."""
    return array.ndim == len(value.type.shape) + 1


def timed_inputs(graph: Graph, arrays: Mapping[str, Array]) -> frozenset[str]:
    """Return the names of the inputs that vary in time."""
    named = ((value, value.name or "") for value in graph.inputs)
    return frozenset(name for value, name in named if is_timed(value, arrays[name]))


def steps_of(graph: Graph, arrays: Mapping[str, Array]) -> int | None:
    """Return how many steps the inputs that vary in time have; None if there are none."""
    return min((len(arrays[name]) for name in timed_inputs(graph, arrays)), default=None)


def check_steps(graph: Graph, arrays: Mapping[str, Array], steps: int) -> None:
    """Refuse to run more steps than the inputs have."""
    there = steps_of(graph, arrays)
    if there is not None and steps > there:
        raise DataError(f"cannot run {steps} time steps: the data have {there}", help="take fewer steps")


def at_step(arrays: Mapping[str, Array], timed: frozenset[str], t: int) -> dict[str, Array]:
    """Return the inputs of step t, counted from 1."""
    return {name: array[t - 1] if name in timed else array for name, array in arrays.items()}


def _checked(value: Value, array: Array) -> Array:
    wanted = value.type
    sizes = array.shape[1:] if is_timed(value, array) else array.shape
    fits = len(sizes) == len(wanted.shape) and all(
        isinstance(dim, Batch) or dim == size for dim, size in zip(wanted.shape, sizes, strict=True)
    )
    if not fits:
        raise DataError(
            f"input {value.name!r} has shape {show_shape(tuple(array.shape))}; the network takes "
            f"{show_shape(wanted.shape)}, or T x {show_shape(wanted.shape)} where it varies in time",
            help=other_layout(array.shape, wanted.shape),
        )
    if is_timed(value, array) and not (isinstance(wanted, SpikeType) or wanted.is_real):
        raise DataError(
            f"input {value.name!r} has a time axis, but it is {wanted.dtype}: integers never vary in time",
            help=f"give it the shape {show_shape(wanted.shape)}",
        )
    if array.size == 0:
        what = "time steps" if is_timed(value, array) and not len(array) else "samples"
        raise DataError(f"input {value.name!r} holds no {what}")
    target = DTYPES[wanted.dtype]
    if array.dtype == target:
        return array
    if target.kind in "iub" and array.dtype.kind not in "iub":
        raise DataError(
            f"input {value.name!r} holds {array.dtype}; the network takes {wanted.dtype} (integers)"
        )
    if array.dtype.kind not in "iubf":
        raise DataError(f"input {value.name!r} holds {array.dtype}, which is not numbers")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        return array.astype(target)


def other_layout(found: tuple[int, ...], wanted: Shape) -> str | None:
    """Say how to arrange data that hold the same numbers in another shape; None if they do not."""
    sample = wanted[1:]
    if wanted[:1] != (Batch(),) or not sample:
        return None
    if found == sample:
        return "samples come first: x[None] is one sample"
    if len(sample) > 1 and found[1:] == (*sample[1:], sample[0]):
        return "channels come first: numpy.moveaxis(x, -1, 1)"
    if found[1:] and math.prod(found[1:]) == math.prod(size for size in sample if isinstance(size, int)):
        return f"reshape it: x.reshape(-1, {', '.join(map(str, sample))})"
    return None


def _batch_of(value: Value, array: Array) -> int | None:
    axis = batch_axis(value.type.shape)
    if axis is None:
        return None
    dim = value.type.shape[axis]
    assert isinstance(dim, Batch)
    size = array.shape[axis + is_timed(value, array)]
    if size % dim.coefficient:
        raise DataError(f"input {value.name!r}: {size} is not a multiple of {dim.coefficient}")
    return int(size // dim.coefficient)


def batch_size_of(graph: Graph, arrays: Mapping[str, Array]) -> int:
    """Return the number of samples (1 for a network without a batch axis)."""
    sizes = (_batch_of(value, arrays[value.name or ""]) for value in graph.inputs)
    return next((size for size in sizes if size is not None), 1)


def largest_stream(graph: Graph) -> int:
    """Return the most elements that an input or a stream has for one sample."""
    shapes = [value.type.shape for value in (*graph.inputs, *(node.result for node in graph))]
    return max((per_sample(s) for s in shapes if any(isinstance(d, Batch) for d in s)), default=1)


def mean_stream(graph: Graph) -> float:
    """Return how many elements a stream has for one sample on average."""
    shapes = [node.result.type.shape for node in graph]
    return statistics.fmean([per_sample(s) for s in shapes if batch_axis(s) is not None] or [1])


def typical_stream(graph: Graph) -> int:
    """Return the elements of a sample in the stream of middle size among those with a batch axis."""
    shapes = [node.result.type.shape for node in graph if node.op.neuron] or [
        x.type.shape for x in graph.inputs
    ]
    sizes = [per_sample(shape) for shape in shapes if batch_axis(shape) is not None]
    return max(1, int(statistics.median(sizes or [1])))


def split_batches(graph: Graph, arrays: Mapping[str, Array], group: int) -> Iterator[dict[str, Array]]:
    """Yield the inputs in groups of at most `group` samples."""
    total = batch_size_of(graph, arrays)
    for start in range(0, total, group):
        yield _samples(graph, arrays, start, min(start + group, total))


def even_group(samples: int, largest: int, threads: int) -> int:
    """Return the size of equal groups, none larger than this, as many for every thread."""
    rounds = -(-samples // (largest * threads))
    return max(1, -(-samples // (rounds * threads)))


def split_evenly(graph: Graph, arrays: Mapping[str, Array], parts: int) -> Iterator[dict[str, Array]]:
    """Yield the inputs in so many groups, of the same number of samples or one more."""
    total = batch_size_of(graph, arrays)
    for part in range(parts):
        yield _samples(graph, arrays, part * total // parts, (part + 1) * total // parts)


def _samples(graph: Graph, arrays: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {value.name or "": _slice(value, arrays[value.name or ""], start, stop) for value in graph.inputs}


def _slice(value: Value, array: Array, start: int, stop: int) -> Array:
    axis = batch_axis(value.type.shape)
    if axis is None:
        return array
    dim = value.type.shape[axis]
    assert isinstance(dim, Batch)
    index = [slice(None)] * array.ndim
    index[axis + is_timed(value, array)] = slice(start * dim.coefficient, stop * dim.coefficient)
    return array[tuple(index)]
