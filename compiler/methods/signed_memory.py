"""`signed-memory`: neurons that round, and take back with negative spikes what they sent too early."""

from __future__ import annotations

from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons

LEVELS = 6


def neurons(settings: Settings) -> InsertNeurons:
    # In differential coding every neuron takes back what it sent too early; one that restarts sent nothing.
    remembers = settings.coding == "rate" and settings.reset in (None, "subtract")
    return InsertNeurons(
        codebook="multi",
        levels=settings.levels or LEVELS,
        rounding="nearest",
        bounds="sum" if remembers else "step",
    )


def thresholds(settings: Settings) -> ChooseThresholds:
    return ChooseThresholds(rule=settings.rule or "mse", per=settings.per or "channel")


METHOD = Method(
    "signed-memory",
    "multi-spike neurons that round to the nearest and take back what they sent too early; "
    "in ONNX all time steps are one batch",
    "signed neuron with memory, Wang et al., IJCAI 2022, from its public code; payloads of any size, their "
    "bounds and the closed form are ours",
    neurons,
    thresholds,
)
