"""What the networks are trained on: digits, Fashion-MNIST, and digits as event streams."""

import gzip
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HERE = Path(__file__).parent
DIGITS = HERE.parent / "digits"
sys.path.append(str(DIGITS))

from data import load_split  # noqa: E402 -- a script beside, not a package
from saccades import events  # noqa: E402 -- likewise

FASHION = Path("/usr/share/datasets/fashion-mnist")
EVENT_SEED = 11
EVENT_COPIES = 4  # of each training image, with other paths, losses and noise


class NoDataError(FileNotFoundError):
    """The data are not on this machine."""


@dataclass(frozen=True)
class Split:
    """Training and test samples, uint8 [N, C, H, W] or [N, T, C, H, W]; an input is x times `scale`.

    The scale is a power of two, so that an input is a multiple of it and at most `largest`, exactly.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    scale: float
    largest: float

    def input(self, x: Tensor) -> Tensor:
        """Return samples as a network reads them: float32, time first."""
        scaled = x.to(torch.float32) * self.scale
        return scaled.transpose(0, 1) if scaled.dim() == 5 else scaled


def digits() -> Split:
    train, test = load_split()
    return split(train.x, train.y, test.x, test.y, scale=1 / 16)


def event_digits() -> Split:
    """Event streams of the digits; every training image gives `EVENT_COPIES` of them."""
    train, test = load_split()
    generator = np.random.default_rng(EVENT_SEED)
    test_x = events(test.x[:, 0] / 16, generator)
    copies = [events(train.x[:, 0] / 16, generator) for _ in range(EVENT_COPIES)]
    return split(np.concatenate(copies), np.tile(train.y, EVENT_COPIES), test_x, test.y, scale=1.0)


def fashion(folder: Path = FASHION) -> Split:
    """Fashion-MNIST, 28x28, 60,000 training and 10,000 test images."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = [folder / f"{name}-ubyte.gz" for name in names]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise NoDataError(
            f"Fashion-MNIST is not here: no {', '.join(missing)}\n"
            "On Debian and its kin: apt-get install dataset-fashion-mnist"
        )
    x, y, x_test, y_test = (read_idx(file) for file in files)
    return split(x[:, np.newaxis], y, x_test[:, np.newaxis], y_test, scale=1 / 256, largest=255 / 256)


def read_idx(file: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes: two zeros, the type 8, the rank; sizes as big-endian int32; the bytes."""
    raw = gzip.decompress(file.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        raise NoDataError(f"{file} is no IDX file of bytes")
    shape = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def split(
    x: NDArray[np.uint8],
    y: NDArray[np.integer],
    x_test: NDArray[np.uint8],
    y_test: NDArray[np.integer],
    *,
    scale: float,
    largest: float = 1.0,
) -> Split:
    images, labels, test_images, test_labels = (
        torch.tensor(array) for array in (x, y.astype(np.int64), x_test, y_test.astype(np.int64))
    )
    return Split(images, labels, test_images, test_labels, scale, largest)


DATA = {"digits": digits, "events": event_digits, "fashion": fashion}
