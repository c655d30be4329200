"""The SAFormer example: training that survives being stopped, events that need time, networks as told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402 -- after the skip

from tests.examples.test_examples import MIB, TRACES, load  # noqa: E402 -- after the skip
from tests.nn.networks import image_grid, images, small_saformer  # noqa: E402 -- after the skip

EXAMPLE = Path(__file__).parents[2] / "examples" / "saformer"
if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))

import resumable  # noqa: E402 -- the scripts are no package
import saccades  # noqa: E402 -- likewise
from resumable import OtherTrainingError, Schedule, fit  # noqa: E402 -- likewise
from saformer_data import NoDataError, fashion  # noqa: E402 -- likewise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

# Training.


def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(model(x), y)


def trained(folder: Path | None, *stops: int | None, seed: int = 1, note: str = "") -> Mapping[str, Tensor]:
    """Train a small SAFormer for three epochs, stopped after so many; each start is that of a new process."""
    x, y = images("digits_calibration.npz", 64)
    for stop in stops:
        model = small_saformer(steps=2)
        fit(
            model,
            x,
            y,
            Schedule(epochs=3, rate=3e-3, weight_decay=1e-2, batch=16, seed=seed),
            loss,
            augment=lambda images: images + torch.rand(len(images), 1, 1, 1) / 16,
            checkpoint=None if folder is None else folder / "training.pt",
            note=note,
            stop_after=stop,
        )
    return model.state_dict()


def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Stopped after one epoch and after two: to the bit, with batch norms, optimiser and random state."""
    whole, stopped = trained(None, None), trained(tmp_path, 1, 2, None)
    assert all(torch.equal(values, stopped[name]) for name, values in whole.items())
    other = trained(None, None, seed=2)
    assert not all(torch.equal(values, other[name]) for name, values in whole.items())


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while writing leaves what was there."""
    trained(tmp_path, 1)
    before = (tmp_path / "training.pt").read_bytes()

    def die(state: Any, file: Any) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(resumable.torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, 2)
    assert (tmp_path / "training.pt").read_bytes() == before


def test_another_trainings_checkpoint_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, 1)
    with pytest.raises(OtherTrainingError, match="is of another training"):
        trained(tmp_path, None, seed=2)
    with pytest.raises(OtherTrainingError, match="delete it, or give"):
        trained(tmp_path, None, note="another network")


# Data.


def streams(pictures: np.ndarray, seed: int = 0) -> np.ndarray:
    return saccades.events(pictures, np.random.default_rng(seed))


def test_a_sensor_at_rest_sees_noise_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = image_grid(20)[:, 0].double().numpy()
    monkeypatch.setattr(saccades, "REACH", 0.0)
    assert streams(pictures).mean() == pytest.approx(saccades.NOISE, rel=0.1)
    monkeypatch.setattr(saccades, "NOISE", 0.0)
    assert streams(pictures).sum() == 0


def test_only_edges_across_the_motion_send_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar along the columns: motion along the columns leaves it dark, motion along the rows does not."""
    monkeypatch.setattr(saccades, "NOISE", 0.0)
    bar = np.zeros((40, 8, 8))
    bar[:, 3:5] = 1
    frames = streams(bar)[..., 4:-4]  # away from the bar's ends
    sights = saccades.path(np.random.default_rng(0).integers(0, 4, 40))
    ends = sights[:, :: saccades.MOMENTS]
    along_rows = np.abs(np.diff(ends[..., 0])) > 0
    assert frames[along_rows].any(axis=(1, 2, 3)).all()
    assert not frames[~along_rows].any()
    assert set(np.unique(frames)) == {0, 1}


def test_brighter_is_on_and_darker_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saccades, "NOISE", 0.0)
    monkeypatch.setattr(saccades, "LOSS", 0.0)
    edge = np.zeros((1, 8, 8))
    edge[:, :, 4:] = 1  # bright on the right
    for seed in range(4):
        corner = int(np.random.default_rng(seed).integers(0, 4, 1)[0])
        on, off = streams(edge, seed)[0, ..., 4:12].any(axis=(2, 3)).T  # away from the right border
        side = (corner + np.arange(8) // 2) % 4  # 0: line of sight goes right, over the edge; 2: back
        assert on[side == 0].any()
        assert off[side == 2].any()
        assert not on[side == 2].any()
        assert not off[side == 0].any()


def test_absent_fashion_mnist_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="apt-get install dataset-fashion-mnist"):
        fashion(tmp_path)


# The committed networks.

ACCURACY = json.loads((EXAMPLE / "accuracy.json").read_text())


@pytest.mark.parametrize("name", ACCURACY)
def test_the_file_is_small_whole_and_holds_no_traces(name: str) -> None:
    path = EXAMPLE / f"{name}.onnx"
    assert path.stat().st_size < MIB
    onnx.checker.check_model(onnx.load(path, load_external_data=False), full_check=True)
    assert [trace for trace in TRACES if trace in path.read_bytes()] == []


def answers(path: Path, frames: np.ndarray) -> list[np.ndarray]:
    """Run one time step after the other in onnxruntime; return the mean so far after each."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image, *states = session.get_inputs()
    membranes = {one.name: np.zeros((frames.shape[1], *one.shape[1:]), np.float32) for one in states}
    total, means = np.zeros(()), []
    for t, frame in enumerate(frames, 1):
        y, *after = session.run(None, {image.name: frame, **membranes})
        membranes = dict(zip(membranes, after, strict=True))
        total = total + y
        means.append(total / t)
    return means


def test_the_digits_network_is_as_accurate_as_the_table_says() -> None:
    x, y = load("digits_test.npz")
    frames = np.broadcast_to(x.astype(np.float32) / 16, (4, *x.shape))
    found = [100 * np.mean(mean.argmax(1) == y) for mean in answers(EXAMPLE / "digits_saformer.onnx", frames)]
    assert found == pytest.approx(ACCURACY["digits_saformer"], abs=0.01)  # sums are exact on any machine


def test_the_events_network_puts_digits_together_over_time() -> None:
    with np.load(EXAMPLE / "events_test.npz") as data:
        frames, y = data["x"].astype(np.float32), data["y"]
    found = [100 * np.mean(mean.argmax(1) == y) for mean in answers(EXAMPLE / "events_saformer.onnx", frames)]
    assert found == pytest.approx(ACCURACY["events_saformer"], abs=0.01)
    assert found[7] > found[3] > found[0] + 5


def test_the_readme_shows_the_recorded_accuracies() -> None:
    rows = [row.split("|") for row in (EXAMPLE / "README.md").read_text().splitlines() if ".onnx`)" in row]
    shown = {
        row[2].split("`")[1].removesuffix(".onnx"): [cell.strip(" %") for cell in row[4:8]] for row in rows
    }
    assert set(shown) == set(ACCURACY)
    for name, cells in shown.items():
        steps = [t for t in (1, 2, 4, 8) if t <= len(ACCURACY[name])]
        assert [float(cell) for cell in cells if cell] == [ACCURACY[name][t - 1] for t in steps], name


@pytest.mark.parametrize("name", ACCURACY)
def test_the_readme_counts_every_parameter(name: str) -> None:
    """Those that are trained: a SAFormer's file has them folded, batch norms into weights and new biases."""
    from train import TASKS, make

    kind, model = name.split("_")
    parameters = sum(values.numel() for values in make(TASKS[kind], model).parameters())
    assert f"(`{name}.onnx`) | {parameters:,} |" in (EXAMPLE / "README.md").read_text()
