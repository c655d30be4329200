"""Address events to frames: no event is lost, every one is where its address says; files of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnc.data import frames_from_events, load_data
from snnc.ir.errors import DataError, OptionError

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH = 3, 5

event = st.tuples(
    st.integers(0, 10**9), st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1)
)


def counted(events: list[tuple[int, int, int, int]], bins: int) -> np.ndarray:
    """Count one event after the other, in exact integers."""
    frames = np.zeros((bins, 2, HEIGHT, WIDTH), int)
    first, last = min(event[0] for event in events), max(event[0] for event in events)
    for t, x, y, polarity in events:
        step = 0
        while step < bins - 1 and (t - first) * bins >= (step + 1) * (last - first) > 0:
            step += 1
        frames[step, polarity, y, x] += 1
    return frames


@given(st.lists(event, min_size=1, max_size=40), st.integers(1, 6))
def test_every_event_is_counted_where_it_belongs(events: list[tuple[int, int, int, int]], bins: int) -> None:
    found = frames_from_events(np.array(events), bins, HEIGHT, WIDTH)
    np.testing.assert_array_equal(found, counted(events, bins))
    assert found.sum() == len(events)


def test_steps_share_the_time_evenly_and_the_last_moment_is_in_the_last() -> None:
    events = np.array([[t, 0, 0, 1] for t in (100, 124, 125, 149, 150, 199, 200)])
    assert frames_from_events(events, 4, 1, 1)[:, 1, 0, 0].tolist() == [2, 2, 1, 2]


def test_events_of_one_moment_fall_into_the_first_step() -> None:
    assert frames_from_events(np.array([[7, 0, 0, 0]] * 3), 3, 1, 1)[:, 0, 0, 0].tolist() == [3, 0, 0]


def test_no_events_are_empty_frames() -> None:
    assert not frames_from_events(np.empty((0, 4)), 2, HEIGHT, WIDTH).any()


def test_order_sign_and_type_of_the_columns_do_not_matter() -> None:
    random = np.random.default_rng(0)
    events = np.stack([random.integers(0, high, 200) for high in (5000, WIDTH, HEIGHT, 2)], axis=1)
    frames = frames_from_events(events, 4, HEIGHT, WIDTH)
    signed = events.copy()
    signed[:, 3] = 2 * signed[:, 3] - 1
    fields = [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]
    structured = np.array([(x, y, t, p) for t, x, y, p in events.tolist()], fields)
    for same in (random.permutation(events), signed, events.astype(np.float64), structured):
        np.testing.assert_array_equal(frames_from_events(same, 4, HEIGHT, WIDTH), frames)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([[0, 5, 0, 1]], r"event 0 has x = 5; the sensor has 0 to 4"),
        ([[0, 0, 0, 1], [0, 0, -1, 1]], r"event 1 has y = -1; the sensor has 0 to 2"),
        ([[0, 0.5, 0, 1]], r"event 0 has x = 0.5"),
        ([[0, 0, 0, 2]], r"event 0 has polarity 2"),
        ([[np.nan, 0, 0, 1]], r"column t of the events holds what is no finite number"),
        ([[0, 0, 1]], r"events have the shape \[1, 3\]; expected \[E, 4\]: t, x, y, polarity"),
        ([0, 0, 0, 1], r"events have the shape \[4\]"),
        (np.zeros(2, [("x", "i4"), ("t", "i4")]), r"the events have the fields x, t; expected t, x, y and p"),
    ],
)
def test_what_is_no_list_of_events(events: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        frames_from_events(np.asarray(events), 2, HEIGHT, WIDTH)


def test_no_time_steps() -> None:
    with pytest.raises(OptionError, match="events cannot be counted in 0 time steps"):
        frames_from_events(np.zeros((1, 4)), 0, HEIGHT, WIDTH)


# Files.

EVENTS = np.array([[0, 0, 0, 1], [9, 1, 2, 0], [9, 4, 2, 1], [50, 3, 1, 1], [60, 3, 1, 1]])
GOOD = {"events": EVENTS, "counts": np.array([3, 0, 2]), "size": np.array([HEIGHT, WIDTH])}


def stored(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "events.npz", **arrays)
    return folder / "events.npz"


def test_a_file_of_events_becomes_frames_sample_by_sample(tmp_path: Path) -> None:
    data = load_data(stored(tmp_path, **GOOD, y=np.array([2, 0, 1])), bins=4)
    frames = data.arrays["x"]
    assert frames.shape == (4, 3, 2, HEIGHT, WIDTH)
    np.testing.assert_array_equal(frames[:, 0], frames_from_events(EVENTS[:3], 4, HEIGHT, WIDTH))
    assert not frames[:, 1].any()
    np.testing.assert_array_equal(frames[:, 2], frames_from_events(EVENTS[3:], 4, HEIGHT, WIDTH))
    assert data.labels is not None


def test_one_sample_needs_no_counts(tmp_path: Path) -> None:
    frames = load_data(stored(tmp_path, events=EVENTS, size=GOOD["size"]), bins=2).arrays["x"]
    np.testing.assert_array_equal(frames[:, 0], frames_from_events(EVENTS, 2, HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": np.array([3])}, "events need the sensor's size"),
        ({"size": np.array([3, 0])}, "events need the sensor's size"),
        ({"counts": np.array([3, 3])}, "'counts' does not share out the 5 events"),
        ({"counts": np.array([6, -1])}, "'counts' does not share out the 5 events"),
        ({"counts": np.array([2.5, 2.5])}, "'counts' does not share out the 5 events"),
        ({"events": EVENTS[:0], "counts": np.array([], int)}, "those of no sample"),
        ({"size": np.array([2, 2])}, r"sample 0: event 2 has x = 4; the sensor has 0 to 1"),
    ],
)
def test_files_that_make_no_sense(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_data(stored(tmp_path, **{**GOOD, **changed}), bins=2)
    assert caught.value.where == str(tmp_path / "events.npz")


def test_an_input_may_be_called_events(tmp_path: Path) -> None:
    frames = np.zeros((3, 2, HEIGHT, WIDTH), np.float32)
    assert load_data(stored(tmp_path, events=frames)).arrays["events"].shape == frames.shape


def test_bins_and_events_go_together(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file holds address events") as caught:
        load_data(stored(tmp_path, **GOOD))
    assert "--bins T" in (caught.value.help or "")
    with pytest.raises(DataError, match="no address events to share out"):
        load_data(stored(tmp_path, x=np.zeros((3, 2))), bins=2)
