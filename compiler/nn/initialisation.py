"""Choose the levels of quantisers from calibration data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from snnc.ir.errors import DataError, OptionError
from snnc.nn.quantiser import quantisers, quantising

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from snnc.nn.quantiser import PolarityQuant

    Samples: TypeAlias = NDArray[np.float64]

Rule: TypeAlias = Literal["energy", "entropy", "max", "percentile"]

PERCENTILE = 99.9
MOST_SAMPLES = 2**16  # per site, evenly spread over its values
# Candidate quanta, as fractions of the one whose levels just reach the largest value.
FRACTIONS = np.geomspace(0.01, 1.0, 96)


@dataclass(frozen=True, slots=True)
class SiteReport:
    """What one quantiser got: levels, theta (one or per channel), and the entropy of its code in bits."""

    name: str
    negative: int
    positive: int
    theta: tuple[float, ...]
    bits: float


def initialise(
    module: nn.Module, inputs: Tensor, rule: Rule = "energy", *, batch: int = 64
) -> list[SiteReport]:
    """Set the levels of all quantisers from what reaches them in the network without quantisers.

    A quantiser keeps its number of levels. entropy: theta and how many of them are negative maximise the
    entropy of the code, -Σ p log2 p over the levels' shares p of the values (PMSM names the principle; the
    search is ours). energy (ours): the same with shares of the signal's energy, Σ x² per level, so that a
    few large values count for what they carry. max: the farthest levels reach the largest value. percentile:
    as max, with the 99.9th percentile of the magnitudes that are not 0. The last two have as many negative
    levels as positive ones where there are negative values, else none; in place of a ReLU, a quantiser that
    starts without negative levels keeps to that under every rule.
    """
    if rule not in ("energy", "entropy", "max", "percentile"):
        raise OptionError(f"there is no rule {rule!r}", help="known: energy, entropy, max, percentile")
    reports = []
    for name, (part, values) in observed(module, inputs, batch).items():
        rectified = part.rectifier and part.negative == 0
        channels = [np.sort(spread(row)) for row in by_channel(part, values)]
        if not all(np.isfinite(row).all() for row in channels):
            raise DataError(f"calibration gives NaN or infinite values at {name!r}")
        negative, quantum, bits = choose(channels, part.negative + part.positive, rule, rectified=rectified)
        positive = part.negative + part.positive - negative
        theta = np.where(quantum > 0, quantum, fallback(quantum)) * max(negative, positive)
        shaped = torch.as_tensor(theta, dtype=torch.float32)
        part.set_levels(negative, positive, shaped if part.axis is not None else shaped.reshape(()))
        reports.append(SiteReport(name, negative, positive, tuple(float(value) for value in theta), bits))
    return reports


def observed(module: nn.Module, inputs: Tensor, batch: int) -> dict[str, tuple[PolarityQuant, Tensor]]:
    """Run the network without quantisers in evaluation mode; return what reaches each quantiser."""
    seen: dict[str, list[Tensor]] = {}

    def observe(name: str, part: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.setdefault(name, []).append(given[0].detach().cpu())

    parts, was_training = quantisers(module), module.training
    handles = [part.register_forward_pre_hook(partial(observe, name)) for name, part in parts.items()]
    module.eval()
    try:
        with quantising(module, False), torch.no_grad():
            for start in range(0, len(inputs), batch):
                module(inputs[start : start + batch])
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    return {name: (parts[name], torch.cat(values)) for name, values in seen.items()}


def by_channel(part: PolarityQuant, values: Tensor) -> NDArray[np.float64]:
    """Return the values as [channels, samples]; one channel if theta is one number."""
    array = values.double().numpy()
    if part.axis is None:
        return array.reshape(1, -1)
    return np.moveaxis(array, part.axis, 0).reshape(array.shape[part.axis], -1)


def spread(values: Samples) -> Samples:
    return values[:: max(1, -(-values.size // MOST_SAMPLES))]


def fallback(quantum: NDArray[np.float64]) -> float:
    """Return the quantum of channels that calibration never saw active: the largest of the others."""
    return float(quantum.max()) if (quantum > 0).any() else 1.0


def choose(
    channels: Sequence[Samples], levels: int, rule: Rule, *, rectified: bool
) -> tuple[int, NDArray[np.float64], float]:
    """Return (negative levels, quantum per channel, mean entropy of the code in bits).

    `levels` does not count zero; `channels` are sorted.
    """
    signed = not rectified and any(row[0] < 0 for row in channels)
    cells = [Cells(row, np.ones_like(row)) for row in channels]
    if rule in ("max", "percentile"):
        negative = (levels + 1) // 2 if signed else 0
        quanta = [reach(row, negative, levels - negative, rule) for row in channels]
    else:
        weighed = cells if rule == "entropy" else [Cells(row, row**2) for row in channels]
        negative, quanta = most_entropy(weighed, levels, range(levels + 1) if signed else (0,))
    bits = [one.entropy(q, negative, levels - negative) for one, q in zip(cells, quanta, strict=True)]
    return negative, np.asarray(quanta), float(np.mean(bits))


def reach(row: Samples, negative: int, positive: int, rule: Rule) -> float:
    """Return the quantum with which the levels reach the largest values, or their percentile."""
    low, high = row[0], row[-1]
    row = row[row != 0]
    if rule == "percentile" and row.size > 0:
        low, high = np.percentile(row, 100 - PERCENTILE), np.percentile(row, PERCENTILE)
    below = -low / negative if negative else 0.0
    above = high / positive if positive else 0.0
    return float(max(below, above, 0.0))


@dataclass(frozen=True, slots=True)
class Cells:
    """Sorted values and what each weighs; how the weight is spread over the levels of a quantiser."""

    row: Samples
    weights: Samples
    total: Samples = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", np.concatenate([[0.0], np.cumsum(self.weights)]))

    def entropy(self, quantum: float, negative: int, positive: int) -> float:
        """Return -Σ p log2 p over the levels' shares p of the weight, in bits."""
        if quantum <= 0 or self.total[-1] == 0:
            return 0.0
        edges = (np.arange(-negative, positive) + 0.5) * quantum
        below = np.searchsorted(self.row, edges, side="left")
        shares = np.diff(self.total[np.concatenate([[0], below, [self.row.size]])]) / self.total[-1]
        shares = shares[shares > 0]
        return float(-(shares * np.log2(shares)).sum())


def most_entropy(cells: Sequence[Cells], levels: int, negatives: Iterable[int]) -> tuple[int, list[float]]:
    """Return how many negative levels, and which quantum per channel, have the greatest mean entropy."""
    best = -1.0, 0, [0.0] * len(cells)
    for negative in negatives:
        positive = levels - negative
        each = [largest_entropy(one, negative, positive) for one in cells]
        bits = float(np.mean([bits for bits, _ in each]))
        if bits > best[0] + 1e-9:
            best = bits, negative, [quantum for _, quantum in each]
    return best[1], best[2]


def largest_entropy(cells: Cells, negative: int, positive: int) -> tuple[float, float]:
    """Return (entropy, quantum) for the quantum of greatest entropy; (0, 0) of what is always 0."""
    largest = reach(cells.row, negative, positive, "max")
    if largest == 0:
        return 0.0, 0.0
    return max((cells.entropy(largest * f, negative, positive), largest * f) for f in FRACTIONS)
