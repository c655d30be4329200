"""`if`: binary spikes, rate coded: classical (Rueckauer et al. 2017), or initialised for few steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.codebooks import MAX_PAYLOAD
from snnc.ir.errors import OptionError
from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.correct_charges import CorrectCharges
from snnc.passes.fold_pooling import FoldPooling
from snnc.passes.insert_neurons import InsertNeurons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.passes.base import Pass


def neurons(settings: Settings) -> InsertNeurons:
    if settings.levels not in (None, 1):
        raise OptionError(
            "the method 'if' sends binary spikes", help="leave out --levels, or use multi-spike"
        )
    return InsertNeurons(codebook="binary")


def thresholds(settings: Settings) -> ChooseThresholds:
    rule = settings.rule or "percentile"
    if rule == "mse":
        steps = min(settings.steps, MAX_PAYLOAD)
        return ChooseThresholds(rule=rule, per=settings.per or "channel", initial=0.5, steps=steps)
    return ChooseThresholds(rule=rule, percentile=99.9, per=settings.per or "tensor")


def preparations(settings: Settings) -> Sequence[Pass]:
    return (FoldPooling(),) if settings.rule == "mse" else ()


def corrections(settings: Settings) -> Sequence[Pass]:
    if settings.rule != "mse":
        return ()
    if settings.coding != "rate":
        raise OptionError(
            "the mse rule of the method 'if' is for rate coding",
            help="use --thresholds percentile or max with --coding differential",
        )
    return (CorrectCharges(settings.steps),)


METHOD = Method(
    "if",
    "binary spikes, rate coded, 99.9 percentile, reset by subtraction; needs many time steps",
    "Rueckauer et al. 2017; sites that carry negative values send ternary spikes (our extension)",
    neurons,
    thresholds,
    preparations,
    corrections,
)
