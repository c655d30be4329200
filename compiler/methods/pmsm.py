"""`pmsm`: a network that carries quantisers becomes the spiking network that computes it in one step."""

from __future__ import annotations

from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons

# Synapses whose input carries no quantiser get neurons this fine, so that the trained ones set the error.
LEVELS = 8


def neurons(settings: Settings) -> InsertNeurons:
    # The network that more steps tend to was never trained. Differential coding needs what a step leaves.
    repeat = settings.reset is None and settings.coding == "rate"
    return InsertNeurons(
        codebook="multi",
        levels=settings.levels or LEVELS,
        quantisers="repeat" if repeat else "exact",
        trained=True,
    )


def thresholds(settings: Settings) -> ChooseThresholds:
    return ChooseThresholds(rule=settings.rule or "mse", per=settings.per or "channel")


METHOD = Method(
    "pmsm",
    "for networks that carry quantisers (snnc.nn, QuantizeLinear): equal to them at T=1",
    "polarity multi-spike mapping, arXiv 2508.14520, of which we read the abstract; a reconstruction",
    neurons,
    thresholds,
)
