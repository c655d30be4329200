"""Small networks in torch: the ones of the digits examples, trained (CNN) or with random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from snnc.nn import SAFormer

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
if str(DIGITS) not in sys.path:
    sys.path.append(str(DIGITS))

from train_cnn import ResidualBlock, digits_cnn  # noqa: E402 -- the scripts are no package
from train_vit import DigitsViT  # noqa: E402 -- the scripts are no package


def plain_cnn() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    ).eval()  # fmt: skip


def trained_cnn() -> nn.Module:
    """The residual CNN of the examples with the weights of its committed file."""
    torch.manual_seed(0)
    model = digits_cnn()
    stored = onnx.load(DIGITS / "digits_cnn.onnx").graph.initializer
    weights = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in stored}
    model.load_state_dict(weights, strict=False)
    return model.eval()


def random_vit() -> nn.Module:
    torch.manual_seed(4)
    return DigitsViT().eval()


def small_saformer(**options: Any) -> SAFormer:
    """A SAFormer for 8x8 images in evaluation mode, its batch norms set by what they saw."""
    torch.manual_seed(6)
    settings: dict[str, Any] = {"stages": ((8, 1), (12, 2)), "heads": 2, "hidden": 16, **options}
    network = SAFormer(**settings)
    with torch.no_grad():
        for _ in range(5):
            network(image_grid(32))
    return network.eval()


def image_grid(count: int) -> Tensor:
    """Return digits as a network reads them, multiples of 1/16."""
    return images("digits_test.npz", count)[0]


def images(name: str, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of a data file of the examples."""
    with np.load(DIGITS / name) as data:
        x, y = data["x"][:count], data["y"][:count]
    return torch.from_numpy(x.astype(np.float32) / 16), torch.from_numpy(y)


__all__ = [
    "DIGITS",
    "ResidualBlock",
    "image_grid",
    "images",
    "plain_cnn",
    "random_vit",
    "small_saformer",
    "trained_cnn",
]
