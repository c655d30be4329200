"""`multi-spike`, the default: signed integer payloads, one quantum per channel, least squared error."""

from __future__ import annotations

from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons

LEVELS = 6


def neurons(settings: Settings) -> InsertNeurons:
    return InsertNeurons(codebook="multi", levels=settings.levels or LEVELS)


def thresholds(settings: Settings) -> ChooseThresholds:
    return ChooseThresholds(rule=settings.rule or "mse", per=settings.per or "channel")


METHOD = Method(
    "multi-spike",
    "signed multi-spike neurons, per-channel thresholds of least squared error; good from T=1",
    "this project; payloads as in PMSM (arXiv 2508.14520)",
    neurons,
    thresholds,
)
