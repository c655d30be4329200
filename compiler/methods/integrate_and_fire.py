"""`if`: the classical rate-coded conversion with binary spikes (Rueckauer et al. 2017)."""

from __future__ import annotations

from snnc.ir.errors import OptionError
from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons


def neurons(settings: Settings) -> InsertNeurons:
    if settings.levels not in (None, 1):
        raise OptionError(
            "the method 'if' sends binary spikes", help="leave out --levels, or use multi-spike"
        )
    return InsertNeurons(codebook="binary")


def thresholds(settings: Settings) -> ChooseThresholds:
    rule = settings.rule or "percentile"
    if rule == "mse":
        raise OptionError("the method 'if' has no mse rule", help="use --thresholds percentile or max")
    return ChooseThresholds(rule=rule, percentile=99.9, per=settings.per or "tensor")


METHOD = Method(
    "if",
    "binary spikes, rate coded, 99.9 percentile, reset by subtraction; needs many time steps",
    "Rueckauer et al. 2017; sites that carry negative values send ternary spikes (our extension)",
    neurons,
    thresholds,
)
