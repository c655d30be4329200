"""Choose the levels of quantisers from calibration data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

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

Rule: TypeAlias = Literal["mse", "energy", "entropy", "max", "percentile"]

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


def initialise(module: nn.Module, inputs: Tensor, rule: Rule = "mse", *, batch: int = 64) -> list[SiteReport]:
    """Set the levels of all quantisers from what reaches them in the network without quantisers.

    A quantiser keeps its number of levels; most rules choose theta and how many levels are negative.
    mse: the least mean squared error, that is the most bits ½ log2(E[x²] / E[(x - Q(x))²]) that a code with
    such an error can tell of a Gaussian value (its rate-distortion function). entropy: the most entropy of
    the code, -Σ p log2 p over the levels' shares p of the values (PMSM names the principle; the search is
    ours). energy (ours): the same with shares of the signal's energy, Σ x² per level, so that a few large
    values count for what they carry. max: the farthest levels reach the largest value. percentile: as max,
    with the 99.9th percentile of the magnitudes that are not 0. The last two have as many negative levels as
    positive ones where there are negative values, else none; in place of a ReLU, a quantiser that starts
    without negative levels keeps to that under every rule.
    """
    if rule not in get_args(Rule):
        raise OptionError(f"there is no rule {rule!r}", help=f"known: {', '.join(get_args(Rule))}")
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
    values = [Sorted(row) for row in channels]
    if rule in ("max", "percentile"):
        negative = (levels + 1) // 2 if signed else 0
        quanta = [reach(row, negative, levels - negative, rule) for row in channels]
    else:
        negative, quanta = best_levels(values, levels, range(levels + 1) if signed else (0,), rule)
    found = np.asarray(quanta)
    bits = [
        float(one.score(found[i : i + 1], negative, levels - negative, "entropy")[0]) if found[i] > 0 else 0.0
        for i, one in enumerate(values)
    ]
    return negative, found, float(np.mean(bits))


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
class Sorted:
    """Sorted values, and the sums of 1, x and x² over the first of them."""

    row: Samples
    sums: Samples = field(init=False)

    def __post_init__(self) -> None:
        powers = np.stack([np.ones_like(self.row), self.row, self.row**2])
        object.__setattr__(self, "sums", np.cumsum(np.pad(powers, ((0, 0), (1, 0))), axis=1))

    def score(self, quanta: Samples, negative: int, positive: int, rule: Rule) -> Samples:
        """Return, per quantum, what a rule maximises.

        mse: minus the squared error, mean of the values. entropy, energy: -Σ p log2 p over the levels' shares
        p of the values, or of their squares, in bits.
        """
        edges = np.outer(quanta, np.arange(-negative, positive) + 0.5)
        ends = np.searchsorted(self.row, edges, side="left")
        ends = np.pad(np.pad(ends, ((0, 0), (1, 0))), ((0, 0), (0, 1)), constant_values=self.row.size)
        count, first, second = np.diff(self.sums[:, ends], axis=2)  # [quanta, levels] each
        if rule == "mse":
            worth = np.outer(quanta, np.arange(-negative, positive + 1))
            error: Samples = (second - 2 * worth * first + worth**2 * count).sum(axis=1)
            return -error / self.row.size
        weight = second if rule == "energy" else count
        share = weight / weight.sum(axis=1, keepdims=True)
        logarithm = np.log2(share, out=np.zeros_like(share), where=share > 0)
        bits: Samples = -(share * logarithm).sum(axis=1)
        return bits

    def best_quantum(self, negative: int, positive: int, rule: Rule) -> tuple[float, float]:
        """Return (score, quantum) of the best quantum; quantum 0 if every code would be 0."""
        largest = reach(self.row, negative, positive, "max")
        if largest == 0:
            return float(-(self.row**2).mean()) if rule == "mse" else 0.0, 0.0
        quanta = largest * FRACTIONS
        scores = self.score(quanta, negative, positive, rule)
        best = int(scores.argmax())
        return float(scores[best]), float(quanta[best])


def best_levels(
    channels: Sequence[Sorted], levels: int, negatives: Iterable[int], rule: Rule
) -> tuple[int, list[float]]:
    """Return how many negative levels, and which quantum per channel, have the best mean score."""
    best = -math.inf, 0, [0.0] * len(channels)
    for negative in negatives:
        each = [one.best_quantum(negative, levels - negative, rule) for one in channels]
        score = float(np.mean([score for score, _ in each]))
        if score > best[0] + 1e-9 * abs(score):
            best = score, negative, [quantum for _, quantum in each]
    return best[1], best[2]
