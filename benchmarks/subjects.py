"""The networks that are timed: trained ones with their data, and published sizes with random weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import efficientnet
import numpy as np
import vit

import snnc
from snnc.data import Dataset

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

REPOSITORY = Path(__file__).parent.parent
DIGITS = REPOSITORY / "examples" / "digits"
SHARED = Path(os.environ.get("SNNC_SHARED", REPOSITORY.parent / "shared")) / "models"
# Pixels of the EfficientNet's images, and random samples that networks with random weights are calibrated on.
EFFICIENTNET_IMAGE, RANDOM_SAMPLES = 128, 2


@dataclass(frozen=True, slots=True)
class Network:
    """A trained network, its calibration and test data."""

    name: str
    model: Path
    calibration: Path
    test: Path
    normalise: snnc.Normalise
    batches: tuple[int, ...] = (1, 100)

    @property
    def missing(self) -> str | None:
        """Return why the network cannot be measured here, if so."""
        absent = [str(path) for path in (self.model, self.calibration, self.test) if not path.is_file()]
        return f"no {', '.join(absent)} (SNNC_SHARED names the folder)" if absent else None

    def data(self) -> Dataset:
        return snnc.load_data(self.calibration, normalise=self.normalise)

    def compiled(self, **options: Any) -> snnc.Graph:
        return snnc.compile(self.model, calibration=self.data(), **options)

    def inputs(self, graph: snnc.Graph, batch: int) -> dict[str, Array]:
        samples = snnc.load_data(self.test, normalise=self.normalise, limit=batch)
        return dict(next(samples.batches(graph, batch))[0])


@dataclass(frozen=True, slots=True)
class RandomNetwork:
    """A network with random weights, calibrated on noise: its speed means something, its answers do not."""

    name: str
    model: Path
    image: int
    batches: tuple[int, ...]
    missing: None = None

    def data(self) -> Dataset:
        return Dataset({"image": self._noise(RANDOM_SAMPLES, seed=1)})

    def compiled(self, **options: Any) -> snnc.Graph:
        return snnc.compile(self.model, calibration=self.data(), **options)

    def inputs(self, graph: snnc.Graph, batch: int) -> dict[str, Array]:
        del graph
        return {"image": self._noise(batch, seed=2)}

    def _noise(self, count: int, seed: int) -> Array:
        shape = (count, 3, self.image, self.image)
        return np.random.default_rng(seed).standard_normal(shape, np.float32)


NETWORKS = (
    Network(
        "digits CNN",
        DIGITS / "digits_cnn.onnx",
        DIGITS / "digits_calibration.npz",
        DIGITS / "digits_test.npz",
        snnc.Normalise(scale=1 / 16),
    ),
    Network(
        "ResNet-20",
        SHARED / "cifar10_resnet20.onnx",
        SHARED / "cifar10_calibration.npz",
        SHARED / "cifar10_test.npz",
        snnc.Normalise(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ),
    Network(
        "ViT",
        SHARED / "cifar10_vit.onnx",
        SHARED / "cifar10_calibration.npz",
        SHARED / "cifar10_test.npz",
        snnc.Normalise(scale=1 / 255, mean=(0.5,), std=(0.5,)),
    ),
)

# Among the networks with a large linear layer of spikes, one that is trained.
MNIST = Network(
    "MNIST CNN",
    SHARED / "mnist_cnn.onnx",
    SHARED / "mnist_calibration.npz",
    SHARED / "mnist_test.npz",
    snnc.Normalise(scale=1 / 255, mean=(0.1307,), std=(0.3081,)),
)


def random_networks(folder: Path) -> tuple[RandomNetwork, ...]:
    """Write the networks with random weights into a folder."""
    small, large = folder / "efficientnet.onnx", folder / "vit.onnx"
    efficientnet.write(EFFICIENTNET_IMAGE, small)
    vit.write(vit.SMALL, large)
    return (
        RandomNetwork("EfficientNet-B0", small, EFFICIENTNET_IMAGE, (1, 4)),
        RandomNetwork(vit.SMALL.name, large, vit.IMAGE, (1, 4)),
    )
