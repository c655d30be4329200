"""The digits data: scikit-learn's bundled 8x8 images, split once and for all.

`python data.py` writes `digits_test.npz` and `digits_calibration.npz` beside this file. Both hold
`x` uint8 (N, 1, 8, 8) with values 0..16 and `y` int64 (N,). A network's input is x / 16.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent
FULL_SCALE = 16  # the largest pixel value
TEST_SAMPLES = 600
CALIBRATION_SAMPLES = 128
SEED = 20


@dataclass(frozen=True)
class Samples:
    """Images x uint8 (N, 1, 8, 8) and their labels y int64 (N,)."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def split(self, size: int) -> tuple["Samples", "Samples"]:
        """Split off `size` samples, stratified by label; return (the others, these)."""
        x_rest, x_part, y_rest, y_part = train_test_split(
            self.x, self.y, test_size=size, random_state=SEED, stratify=self.y
        )
        return Samples(x_rest, y_rest), Samples(x_part, y_part)

    def save(self, path: Path) -> None:
        np.savez_compressed(path, x=self.x, y=self.y)


def load_split() -> tuple[Samples, Samples]:
    """Return (training samples, test samples)."""
    digits = load_digits()
    x = digits.images.astype(np.uint8)[:, np.newaxis]
    return Samples(x, digits.target.astype(np.int64)).split(TEST_SAMPLES)


def main() -> None:
    train, test = load_split()
    _, calibration = train.split(CALIBRATION_SAMPLES)
    test.save(HERE / "digits_test.npz")
    calibration.save(HERE / "digits_calibration.npz")
    print(f"training {len(train.y)}, of which calibration {len(calibration.y)}; test {len(test.y)} samples")


if __name__ == "__main__":
    main()
