"""The quantiser a network is trained with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from snnc.ir.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LEVELS = 2**15 - 1  # what a neuron's payload may be


class PolarityQuant(nn.Module):
    """y = q clip(floor(x / q + 1/2), -negative, positive), q = theta / max(negative, positive).

    x and y have one shape; theta is one number, or with an `axis` one per index of that axis. Its logarithm
    is what is trained, so theta stays positive and learns at its own scale. The gradient passes straight
    through the rounding: dy/dx = 1 within the levels and 0 beyond, dy/dq = y/q - x/q within and the level
    reached beyond.

    While `active` is false the layer is what it replaced: the ReLU (`rectifier`), or nothing.

    Source: Polarity Multi-Spike Mapping (PMSM, arXiv 2508.14520), of which we read the abstract: quantisers
    that keep the negative values, their levels initialised by entropy. The formula is our reconstruction.
    """

    def __init__(
        self,
        negative: int,
        positive: int,
        theta: float | Tensor = 1.0,
        *,
        axis: int | None = None,
        rectifier: bool = False,
    ) -> None:
        super().__init__()
        self.negative, self.positive = negative, positive
        self.axis = axis
        self.rectifier = rectifier
        self.active = True
        self.log_theta = nn.Parameter(torch.zeros(()))
        self.set_levels(negative, positive, torch.as_tensor(theta, dtype=torch.float32))

    def set_levels(self, negative: int, positive: int, theta: Tensor) -> None:
        """Set how many levels lie on either side of zero, and what the farthest is worth."""
        if negative < 0 or positive < 0 or not 0 < max(negative, positive) <= MOST_LEVELS:
            raise OptionError(
                f"a quantiser cannot have {negative} negative and {positive} positive levels",
                help=f"give 0 to {MOST_LEVELS} on each side, and at least one in all",
            )
        if not (torch.isfinite(theta).all() and (theta > 0).all()):
            raise OptionError("theta must be positive and finite")
        if theta.dim() > (0 if self.axis is None else 1):
            raise OptionError(
                f"theta of shape {list(theta.shape)} does not fit",
                help="give one number; or an axis, and one number for each of its indices",
            )
        self.negative, self.positive = negative, positive
        self.log_theta = nn.Parameter(theta.detach().clone().log().to(self.log_theta.device))

    @property
    def theta(self) -> Tensor:
        """Return what the farthest level is worth: a scalar, or one value per index of the axis."""
        return self.log_theta.exp()

    def quantum(self, rank: int) -> Tensor:
        """Return q so that it broadcasts against a tensor of that rank."""
        quantum = self.theta / max(self.negative, self.positive)
        if quantum.dim() == 0 or self.axis is None:
            return quantum
        return quantum.reshape([-1 if index == self.axis % rank else 1 for index in range(rank)])

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return torch.relu(x) if self.rectifier else x
        quantum = self.quantum(x.dim())
        u = x / quantum
        level = torch.clamp(torch.floor(u + 0.5), -self.negative, self.positive)
        if self.training:
            inside = torch.clamp(u, -self.negative, self.positive)
            level = inside + (level - inside).detach()
        return level * quantum

    def extra_repr(self) -> str:
        return f"levels -{self.negative}..{self.positive}, axis {self.axis}"


def quantisers(module: nn.Module) -> dict[str, PolarityQuant]:
    """Return the quantisers in a module by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, PolarityQuant)}


@contextmanager
def quantising(module: nn.Module, active: bool) -> Iterator[None]:
    """Switch all quantisers of a module on or off for a while."""
    before = {part: part.active for part in quantisers(module).values()}
    for part in before:
        part.active = active
    try:
        yield
    finally:
        for part, was in before.items():
            part.active = was
