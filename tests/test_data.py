"""Data sets with and without a time axis: batches, limits, labels, normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from snnc.data import Dataset, Normalise, load_data
from snnc.ir.errors import DataError, OptionError
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.graph import Graph

STEPS, SAMPLES = 3, 7
CONSTANT = np.arange(SAMPLES * 2 * 4, dtype=np.float32).reshape(SAMPLES, 2, 2, 2)
VARYING = np.stack([CONSTANT, CONSTANT + 100, CONSTANT + 200])
LABELS = np.arange(SAMPLES)


def network() -> Graph:
    b = Builder(N, 2, 2, 2)
    return b.outputs(y=b("relu", b.x))


def two_inputs() -> Graph:
    b = Builder(N, 2, 2, 2)
    return b.outputs(y=b("add", b.x, b.input("z", N, 2, 2, 2)))


def stored(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


@pytest.mark.parametrize(("x", "axis"), [(CONSTANT, 0), (VARYING, 1)], ids=["constant", "varying"])
@pytest.mark.parametrize("limit", [None, 1, 5, 100])
def test_batches_are_whole_samples(tmp_path: Path, x: np.ndarray, axis: int, limit: int | None) -> None:
    data, graph = load_data(stored(tmp_path, x=x, y=LABELS), limit=limit), network()
    kept = min(limit or SAMPLES, SAMPLES)
    assert data.count(graph) == kept
    batches = list(data.batches(graph, 3))
    assert [inputs["x"].shape[axis] for inputs, _ in batches] == [3] * (kept // 3) + [kept % 3] * (
        kept % 3 > 0
    )
    joined = np.concatenate([inputs["x"] for inputs, _ in batches], axis=axis)
    np.testing.assert_array_equal(joined, np.take(x, range(kept), axis=axis))
    labels = np.concatenate([labels for _, labels in batches if labels is not None])
    np.testing.assert_array_equal(labels, LABELS[:kept])


def test_steps_are_those_of_the_data() -> None:
    assert Dataset({"x": VARYING}).steps(network()) == STEPS
    assert Dataset({"x": CONSTANT}).steps(network()) is None
    assert Dataset({"x": CONSTANT, "z": VARYING}).steps(two_inputs()) == STEPS


def test_constant_and_varying_inputs_are_limited_along_their_own_axes() -> None:
    data, graph = Dataset({"x": CONSTANT, "z": VARYING}, limit=2), two_inputs()
    (inputs, _), *rest = data.batches(graph, 10)
    assert not rest
    assert (inputs["x"].shape, inputs["z"].shape) == ((2, 2, 2, 2), (STEPS, 2, 2, 2, 2))


def test_channels_are_normalised_wherever_they_are() -> None:
    normalise = Normalise(0.5, (1.0, 2.0), (4.0, 8.0))
    plain, _ = next(Dataset({"x": CONSTANT}, normalise=normalise).batches(network(), 100))
    wanted = (CONSTANT / 2 - np.reshape([1, 2], (2, 1, 1))) / np.reshape([4, 8], (2, 1, 1))
    np.testing.assert_allclose(plain["x"], wanted)
    timed, _ = next(Dataset({"x": VARYING}, normalise=normalise).batches(network(), 100))
    for t in range(STEPS):
        frame, _ = next(Dataset({"x": VARYING[t]}, normalise=normalise).batches(network(), 100))
        np.testing.assert_array_equal(timed["x"][t], frame["x"])


def test_calibration_takes_the_mean_over_the_steps() -> None:
    graph = two_inputs()
    data = Dataset({"x": CONSTANT, "z": VARYING}, LABELS, Normalise(0.5), limit=4)
    mean = data.averaged(graph)
    assert mean.steps(graph) is None
    inputs, labels = next(mean.batches(graph, 100))
    np.testing.assert_array_equal(inputs["x"], CONSTANT[:4] / 2)
    np.testing.assert_array_equal(inputs["z"], (CONSTANT[:4] + 100) / 2)
    assert labels is not None
    np.testing.assert_array_equal(labels, LABELS[:4])
    plain = Dataset({"x": CONSTANT})
    assert plain.averaged(network()) is plain


@pytest.mark.parametrize(("x", "axis"), [(CONSTANT, 0), (VARYING, 1)], ids=["constant", "varying"])
def test_a_fixed_number_of_samples_can_be_cut_out(x: np.ndarray, axis: int) -> None:
    b = Builder(2, 2, 2, 2)
    graph = b.outputs(y=b("relu", b.x))
    inputs, labels = next(Dataset({"x": x}, LABELS, limit=2).batches(graph, 100))
    np.testing.assert_array_equal(inputs["x"], np.take(x, [0, 1], axis=axis))
    assert labels is not None
    with pytest.raises(DataError, match="takes 2 x 2 x 2 x 2, or T x 2 x 2 x 2 x 2"):
        Dataset({"x": x}).count(graph)


# Refusals.


@pytest.mark.parametrize("count", [STEPS, SAMPLES - 1, SAMPLES + 1])
@pytest.mark.parametrize("limit", [None, 2])
def test_labels_are_one_for_each_sample_not_for_each_step(
    tmp_path: Path, count: int, limit: int | None
) -> None:
    data = load_data(stored(tmp_path, x=VARYING, y=np.zeros(count)), limit=limit)
    with pytest.raises(DataError, match=rf"'y' has shape \[{count}\]; expected one label per sample \[7\]"):
        data.count(network())


def test_a_rank_that_is_neither_is_refused_naming_both() -> None:
    for wrong in (CONSTANT[0], VARYING[None]):
        with pytest.raises(
            DataError, match="takes N x 2 x 2 x 2, or T x N x 2 x 2 x 2 where it varies in time"
        ) as caught:
            Dataset({"x": wrong}, source="data.npz").count(network())
        assert caught.value.where == "data.npz"


def test_no_samples_are_left(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--limit 0 leaves no samples"):
        load_data(stored(tmp_path, x=CONSTANT), limit=0)
