"""What a method is, and the pipeline all methods share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from snnc.passes.dce import Dce
from snnc.passes.expectation_compensation import ExpectationCompensation
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.normalise_thresholds import NormaliseThresholds
from snnc.passes.raise_patterns import RaisePatterns
from snnc.passes.raise_quantisers import RaiseQuantisers
from snnc.passes.set_coding import SetCoding
from snnc.passes.simplify import Simplify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.passes.base import Pass
    from snnc.passes.choose_thresholds import ChooseThresholds
    from snnc.passes.insert_neurons import InsertNeurons


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set about a conversion. None leaves the choice to the method."""

    levels: int | None = None
    rule: Literal["mse", "max", "percentile"] | None = None
    per: Literal["channel", "tensor"] | None = None
    batch_norm: Literal["weights", "thresholds"] = "weights"
    coding: Literal["rate", "differential"] = "rate"
    reset: Literal["subtract", "zero", "restart"] | None = None
    steps: int = 4


def nothing(settings: Settings) -> Sequence[Pass]:
    return ()


@dataclass(frozen=True, slots=True)
class Method:
    """A conversion method: which neurons go in, and how their thresholds are chosen.

    `neurons` and `thresholds` build the two passes from the user's settings, `preparations` and
    `corrections` those that run right before and right after them; `source` is the paper.
    """

    name: str
    summary: str
    source: str
    neurons: Callable[[Settings], InsertNeurons]
    thresholds: Callable[[Settings], ChooseThresholds]
    preparations: Callable[[Settings], Sequence[Pass]] = nothing
    corrections: Callable[[Settings], Sequence[Pass]] = nothing

    def pipeline(self, settings: Settings) -> list[Pass]:
        """Return the passes from an imported graph to a spiking one."""
        coding = [SetCoding(settings.coding)] if settings.coding != "rate" else []
        neurons = self.neurons(settings)
        if settings.reset is not None:
            neurons = replace(neurons, reset=settings.reset)
        return [
            *analog_pipeline(settings.batch_norm),
            *self.preparations(settings),
            *coding,
            neurons,
            ExpectationCompensation(),
            self.thresholds(settings),
            *self.corrections(settings),
            *([FuseBatchNorm(into="thresholds")] if settings.batch_norm == "thresholds" else []),
            NormaliseThresholds(),
            Dce(),
        ]


def analog_pipeline(batch_norm: Literal["weights", "thresholds"] = "weights") -> list[Pass]:
    """Return the passes before any neuron: the graph still computes the source network."""
    fused: list[Pass] = [FuseBatchNorm()] if batch_norm == "weights" else []
    return [RaiseQuantisers(), Simplify(), RaisePatterns(), *fused, Simplify(), Dce()]
