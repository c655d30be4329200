"""`qcfs`: binary spikes, half a threshold of charge to begin with (Bu et al. 2022)."""

from __future__ import annotations

from snnc.ir.errors import OptionError
from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons


def neurons(settings: Settings) -> InsertNeurons:
    if settings.levels not in (None, 1):
        raise OptionError(
            "the method 'qcfs' sends binary spikes", help="leave out --levels, or use pmsm or multi-spike"
        )
    return InsertNeurons(codebook="binary", quantisers="rate")


def thresholds(settings: Settings) -> ChooseThresholds:
    rule = settings.rule or "percentile"
    if rule == "mse":
        raise OptionError("the method 'qcfs' has no mse rule", help="use --thresholds percentile or max")
    return ChooseThresholds(rule=rule, percentile=99.9, per=settings.per or "channel", initial=0.5)


METHOD = Method(
    "qcfs",
    "binary spikes, half charged; a trained quantiser of L levels is met in about L steps",
    "Bu et al., ICLR 2022, from its public code; ternary spikes for negative values are ours",
    neurons,
    thresholds,
)
