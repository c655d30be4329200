"""`ternary`: spikes of either sign, reset by subtraction."""

from __future__ import annotations

from snnc.ir.errors import OptionError
from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons


def neurons(settings: Settings) -> InsertNeurons:
    if settings.levels not in (None, 1):
        raise OptionError(
            "the method 'ternary' sends -1, 0 and 1", help="leave out --levels, or use multi-spike"
        )
    return InsertNeurons(codebook="ternary")


def thresholds(settings: Settings) -> ChooseThresholds:
    return ChooseThresholds(rule=settings.rule or "mse", per=settings.per or "channel")


METHOD = Method(
    "ternary",
    "spikes of -1, 0 and 1, per-channel thresholds of least squared error; needs many time steps",
    "the signed neuron of the literature; thresholds and their choice are this project's",
    neurons,
    thresholds,
)
