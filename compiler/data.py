"""Data files: `.npz` (`x`, optional `y`; or one array per input) and `.npy`, normalised batch by batch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.inputs import (
    batch_size_of,
    check_inputs,
    is_timed,
    split_batches,
    steps_of,
    timed_inputs,
)
from snnc.data_file import read_arrays
from snnc.events import frames_from_events, frames_of_samples
from snnc.ir.errors import DataError, OptionError, closest
from snnc.ir.shapes import batch_axis
from snnc.ir.types import FLOATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

__all__ = ["Dataset", "Normalise", "frames_from_events", "load_data", "parse_number", "parse_numbers"]

LABELS, EVENTS, SIZE = "y", "events", "size"


@dataclass(frozen=True, slots=True)
class Normalise:
    """x -> (x · scale - mean) / std; mean and std per channel (axis 1 of the samples) or one number.

    >>> import numpy as np
    >>> Normalise(scale=1 / 4, mean=(0.5,), std=(0.25,))(np.array([[0, 1, 4]]), "x").tolist()
    [[-2.0, -1.0, 2.0]]
    """

    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, x: Array, name: str, *, timed: bool = False) -> Array:
        """Return x normalised; if it is `timed`, its first axis is time and channels are on axis 2."""
        axis = 1 + timed
        with np.errstate(all="ignore"):  # what becomes infinite or NaN is refused as such
            result = x.astype(np.float32) * np.float32(self.scale)
        for label, values in (("mean", self.mean), ("std", self.std)):
            if len(values) > 1 and (result.ndim <= axis or result.shape[axis] != len(values)):
                channels = result.shape[axis] if result.ndim > axis else 0
                raise DataError(f"--{label} has {len(values)} values; input {name!r} has {channels} channels")
        with np.errstate(all="ignore"):
            if self.mean:
                result -= self._per_channel(self.mean, result.ndim - axis)
            if self.std:
                result /= self._per_channel(self.std, result.ndim - axis)
        return result

    @staticmethod
    def _per_channel(values: tuple[float, ...], following: int) -> Array:
        """Return the values as they meet an array with `following` axes from the channels on."""
        return np.asarray(values, np.float32).reshape(-1, *[1] * (following - 1))

    def describe(self) -> dict[str, object]:
        """Return the settings for the record in a `.sir` file."""
        return {"scale": self.scale, "mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Arrays per graph input, labels if there are any, and how to normalise; read in batches.

    An array with one axis more than its input varies in time, [T, N, …]: one value per time step. Of all
    samples the first `limit` are read (None: all).
    """

    arrays: Mapping[str, Array]
    labels: Array | None = None
    normalise: Normalise = field(default_factory=Normalise)
    source: str = "arrays"
    limit: int | None = None

    @property
    def targets(self) -> Array | None:
        """The labels of the samples that are read."""
        return None if self.labels is None else self.labels[: self.limit]

    def steps(self, graph: Graph) -> int | None:
        """Return how many time steps the data have; None if they do not vary in time."""
        return steps_of(graph, self.checked(graph))

    def averaged(self, graph: Graph) -> Dataset:
        """Return the data without time axes: the mean over all steps of what varies."""
        checked = self.checked(graph)
        timed = timed_inputs(graph, checked)
        if not timed:
            return self
        means = {
            name: array.mean(axis=0, dtype=np.float32) if name in timed else array
            for name, array in checked.items()
        }
        return replace(self, arrays=means, labels=self.targets, limit=None)

    def batches(self, graph: Graph, size: int) -> Iterator[tuple[dict[str, Array], Array | None]]:
        """Yield (inputs, labels) in groups of at most `size` samples, normalised and checked."""
        checked = self.checked(graph)
        start = 0
        for group in split_batches(graph, checked, size):
            count = batch_size_of(graph, group)
            yield (
                self._prepare(graph, group),
                None if self.targets is None else self.targets[start : start + count],
            )
            start += count

    def checked(self, graph: Graph) -> dict[str, Array]:
        """Return the arrays by graph input, not normalised yet; `DataError` if they do not fit."""
        arrays = dict(self.arrays)
        names = [value.name or "" for value in graph.inputs]
        if len(arrays) == 1 and len(names) == 1:
            arrays = {names[0]: next(iter(arrays.values()))}
        raw = {}
        for value in graph.inputs:
            name = value.name or ""
            if name not in arrays:
                have = ", ".join(map(repr, self.arrays)) or "nothing"
                question = closest(name, self.arrays)
                raise DataError(
                    f"no data for the input {name!r}",
                    where=self.source,
                    help=f"the file holds {have}" + (f"; {question}" if question else ""),
                )
            raw[name] = arrays[name]
        if not any(batch_axis(value.type.shape) is not None for value in graph.inputs):
            return self._checked_whole(graph, raw)
        check_shapes(graph, raw, self.source)
        self._check_labels(batch_size_of(graph, raw))
        return raw if self.limit is None else next(split_batches(graph, raw, self.limit))

    def _checked_whole(self, graph: Graph, raw: Mapping[str, Array]) -> dict[str, Array]:
        """Return what a network takes whose number of samples is fixed, the first axis of its inputs."""
        axes = {value.name or "": int(is_timed(value, raw[value.name or ""])) for value in graph.inputs}
        counts = {name: raw[name].shape[axis] for name, axis in axes.items() if raw[name].ndim > axis}
        self._check_labels(next(iter(counts.values()), 1))
        limited = {
            name: array[(slice(None),) * axes[name] + (slice(self.limit),)] for name, array in raw.items()
        }
        check_shapes(graph, limited, self.source)
        return limited

    def _check_labels(self, samples: int) -> None:
        if self.labels is not None and self.labels.shape != (samples,):
            raise DataError(
                f"'y' has shape {list(self.labels.shape)}; expected one label per sample [{samples}]",
                where=self.source,
                help="samples come first, or second behind the time axis of data that vary in time",
            )

    def count(self, graph: Graph) -> int:
        """Return the number of samples."""
        return batch_size_of(graph, self.checked(graph))

    def _prepare(self, graph: Graph, group: Mapping[str, Array]) -> dict[str, Array]:
        prepared = {}
        for value in graph.inputs:
            name = value.name or ""
            array = group[name]
            if value.type.dtype in FLOATS:
                array = self.normalise(array, name, timed=is_timed(value, array))
                if not np.isfinite(array).all():
                    raise DataError(
                        f"input {name!r} holds NaN or infinite values",
                        where=self.source,
                        help="clean the data first",
                    )
            prepared[name] = array
        return check_inputs(graph, prepared)


def check_shapes(graph: Graph, arrays: Mapping[str, Array], source: str) -> None:
    """Refuse arrays that do not fit the graph, looking at one sample (cheap) before converting them all."""
    try:
        one = next(split_batches(graph, arrays, 1), None)
        if one is None:
            raise DataError("the data hold no samples")
        check_inputs(graph, one)
        batch_size_of(graph, arrays)
    except IndexError:
        check_inputs(graph, arrays)
    except DataError as error:
        raise DataError(error.message, where=source, help=error.help) from error


def load_data(
    path: str | Path,
    *,
    normalise: Normalise | None = None,
    limit: int | None = None,
    bins: int | None = None,
) -> Dataset:
    """Read a data file; `DataError` if it is missing, damaged, or not `.npz`/`.npy`.

    A file of address events (`events`, `counts`, `size`) becomes frames of `bins` time steps.

    >>> data = load_data("examples/digits/digits_test.npz", normalise=Normalise(scale=1 / 16), limit=100)
    >>> sorted(data.arrays), data.arrays["x"].shape, data.labels.shape
    (['x'], (600, 1, 8, 8), (600,))
    """
    path = Path(path)
    arrays = _read(path)
    labels = arrays.pop(LABELS, None)
    # An input may be called events, too; lists of them come with the sensor's size.
    if bins is not None or {EVENTS, SIZE} <= arrays.keys():
        arrays = _frames(arrays, bins, path)
    if not arrays:
        raise DataError("the file holds no input arrays", where=str(path), help="store the samples as 'x'")
    if limit is not None and limit < 1:
        raise OptionError(f"--limit {limit} leaves no samples", help="give at least 1")
    return Dataset(arrays, labels, normalise or Normalise(), str(path), limit)


def _frames(arrays: Mapping[str, Array], bins: int | None, path: Path) -> dict[str, Array]:
    """Return the frames of a file of address events, as its one input."""
    if EVENTS not in arrays:
        raise DataError(
            "the file holds no address events to share out between time steps",
            where=str(path),
            help="leave out --bins, or store events [E, 4] as 'events'",
        )
    if bins is None:
        raise DataError(
            "the file holds address events; say how many time steps share them out",
            where=str(path),
            help="give --bins T (bins=T in Python)",
        )
    try:
        return {"x": frames_of_samples(arrays, bins)}
    except DataError as error:
        raise DataError(error.message, where=str(path), help=error.help) from error


def _read(path: Path) -> dict[str, Array]:
    if path.is_dir():
        raise DataError("this is a folder, not a data file", where=str(path))
    if not path.is_file():
        missing = "this is not a regular file" if path.exists() else "there is no such data file"
        raise DataError(missing, where=str(path))
    if path.suffix not in (".npy", ".npz"):
        raise DataError(
            "data files are .npz or .npy",
            where=str(path),
            help='numpy.savez("data.npz", x=samples, y=labels) writes one',
        )
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=str(path))
    arrays = read_arrays(path)
    for name, array in arrays.items():
        if array.ndim == 0:
            message = f"array {name!r} is a single number; samples come first"
            raise DataError(message, where=str(path))
    return arrays


LONGEST_NUMBER = 40
"""Characters. As a fraction, a number with a long exponent would be an integer of gigabytes."""

_FRACTION = re.compile(r"[+-]?[0-9]+/[0-9]+")


def parse_number(text: str) -> float:
    """Return a number written as decimal or fraction.

    >>> parse_number("1/4")
    0.25
    """
    text = text.strip()
    try:
        if len(text) > LONGEST_NUMBER:
            raise ValueError(f"it has {len(text)} characters")
        value = float(Fraction(text)) if _FRACTION.fullmatch(text) else float(text)
        if not math.isfinite(value):
            raise ValueError("it is not finite")
    except (ValueError, ArithmeticError) as error:
        raise OptionError(f"{text[:LONGEST_NUMBER]!r} is not a number", help="write 0.5 or 1/255") from error
    return value


def parse_numbers(text: str) -> tuple[float, ...]:
    """Return comma-separated numbers (`.485,.456,.406`)."""
    return tuple(parse_number(part) for part in text.split(","))
