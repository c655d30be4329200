"""`ecmt-top`: multi-threshold neurons whose levels halve down from the maximum (profile nearest-top)."""

from __future__ import annotations

from snnc.methods import ecmt
from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons

DEAD_ZONE = 0.75  # of the smallest level: the middle between half of it and it


def neurons(settings: Settings) -> InsertNeurons:
    levels = settings.levels or ecmt.LEVELS
    return InsertNeurons(codebook="pow2", levels=levels, firing="nearest", dead_zone=DEAD_ZONE)


def thresholds(settings: Settings) -> ChooseThresholds:
    rule = settings.rule or "max"
    return ChooseThresholds(
        rule=rule, per=settings.per or "tensor", sides="separate" if rule == "max" else "joint"
    )


METHOD = Method(
    "ecmt-top",
    "one spike of a power of two per step, levels down from the maximum; for transformers",
    "later work of the authors of ECMT (Huang et al.): the level placement and the firing rule; "
    "calibration is ours",
    neurons,
    thresholds,
)
