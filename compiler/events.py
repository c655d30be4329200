"""Address events, (t, x, y, polarity) as event cameras send them, counted per pixel and time step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.data_file import may_take
from snnc.ir.errors import DataError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.kernel_types import Array

COLUMNS = ("t", "x", "y", "p")


def frames_from_events(events: Array, bins: int, height: int, width: int) -> Array:
    """Return how many events each pixel had of each polarity in each time step: [bins, 2, height, width].

    `events` [E, 4] has the columns t, x, y, polarity (or is a structured array with the fields t, x, y, p),
    in any order of time. The steps share the time from the first event to the last evenly; channel 0 counts
    polarity 0 or -1, channel 1 polarity 1. No event is lost. `DataError` for what is no such list.
    """
    if bins < 1:
        raise OptionError(f"events cannot be counted in {bins} time steps", help="give at least 1")
    t, x, y, polarity = columns_of(events)
    for name, column, size in (("x", x, width), ("y", y, height)):
        outside = np.flatnonzero(~((column >= 0) & (column < size) & (column == np.floor(column))))
        if outside.size:
            raise DataError(
                f"event {outside[0]} has {name} = {column[outside[0]]:g}; the sensor has 0 to {size - 1}",
                help="give the sensor's height and width in pixels",
            )
    strange = np.flatnonzero(~np.isin(polarity, (-1, 0, 1)))
    if strange.size:
        raise DataError(
            f"event {strange[0]} has polarity {polarity[strange[0]]:g}", help="polarities are 0 (or -1) and 1"
        )
    frames = np.zeros((bins, 2, height, width), np.uint32)
    at = (time_steps(t, bins), polarity > 0, y, x)
    np.add.at(frames, tuple(index.astype(np.int64) for index in at), 1)
    return frames


def columns_of(events: Array) -> tuple[Array, Array, Array, Array]:
    """Return t, x, y and polarity as finite numbers; `DataError` if these are not what the array holds."""
    if events.dtype.names is not None:
        if not set(COLUMNS) <= set(events.dtype.names):
            fields = ", ".join(events.dtype.names)
            raise DataError(f"the events have the fields {fields}; expected t, x, y and p")
        t, x, y, polarity = (np.asarray(events[name]).reshape(-1) for name in COLUMNS)
    else:
        if events.ndim != 2 or events.shape[1] != len(COLUMNS):
            raise DataError(f"events have the shape {list(events.shape)}; expected [E, 4]: t, x, y, polarity")
        t, x, y, polarity = events.T
    for name, column in zip(COLUMNS, (t, x, y, polarity), strict=True):
        if column.dtype.kind not in "iubf" or not np.isfinite(column).all():
            raise DataError(f"column {name} of the events holds what is no finite number")
    return t, x, y, polarity


def time_steps(t: Array, bins: int) -> Array:
    """Return the step, from 0, that each time falls into; the last moment belongs to the last step."""
    if not t.size:
        return t
    # Whole numbers (microseconds) are divided as such: no event near a border is rounded over it.
    since = t - t.min() if t.dtype.kind == "f" else t.astype(np.int64) - int(t.min())
    length = since.max()
    if length == 0:
        return np.zeros_like(since)
    return np.asarray(np.minimum(since * bins // length, bins - 1))


def frames_of_samples(arrays: Mapping[str, Array], bins: int) -> Array:
    """Return the frames of all samples of a data file, [bins, N, 2, H, W].

    `events` holds the events of the samples one after the other, `counts` [N] how many each has (absent: one
    sample), `size` the sensor's height and width.
    """
    events, size = arrays["events"], arrays.get("size")
    if (
        size is None
        or size.shape != (2,)
        or not ((size >= 1) & (size < np.inf) & (size == np.floor(size))).all()
    ):
        raise DataError("events need the sensor's size", help="store [height, width] as 'size'")
    counts = arrays.get("counts", np.array([len(events)]))
    shares = counts.tolist() if counts.ndim == 1 and counts.dtype.kind in "iu" else [-1]
    if min(shares, default=0) < 0 or sum(shares) != len(events):
        raise DataError(
            f"'counts' does not share out the {len(events)} events",
            help="store the number of events of each sample as 'counts'",
        )
    ends = counts.astype(np.int64).cumsum()
    parts = np.split(events, ends[:-1]) if ends.size else []
    if not parts:
        raise DataError("the events are those of no sample")
    height, width = (int(length) for length in size)
    needed = bins * len(parts) * 2 * height * width * np.dtype(np.uint32).itemsize
    if not may_take(needed, events.nbytes):
        raise DataError(
            f"{len(events)} events of {len(parts)} samples on {height} x {width} pixels in {bins} time steps "
            f"would take {needed} bytes",
            help="take fewer samples or time steps, or store frames",
        )
    frames = np.empty((bins, len(parts), 2, height, width), np.uint32)
    for number, part in enumerate(parts):
        try:
            frames[:, number] = frames_from_events(part, bins, height, width)
        except DataError as error:
            raise DataError(f"sample {number}: {error.message}", help=error.help) from error
    return frames.astype(np.min_scalar_type(frames.max()))
