"""`ecmt`: multi-threshold neurons, as in the public code of Huang et al. 2024 (profile published-code)."""

from __future__ import annotations

from snnc.methods.base import Method, Settings
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.insert_neurons import InsertNeurons

LEVELS = 8
PERCENTILE = 99.0


def neurons(settings: Settings) -> InsertNeurons:
    return InsertNeurons(codebook="pow2", levels=settings.levels or LEVELS)


def thresholds(settings: Settings) -> ChooseThresholds:
    per = settings.per or "tensor"
    if settings.rule is not None:
        return ChooseThresholds(
            rule=settings.rule, per=per, sides="separate" if settings.rule == "max" else "joint"
        )
    return ChooseThresholds(
        rule="quantile", percentile=PERCENTILE, per=per, sides="separate", placement="base", fixed=True
    )


METHOD = Method(
    "ecmt",
    "one spike of a power of two per step, levels up from a percentile; for transformers",
    "Huang et al. 2024 (ECMT, arXiv 2502.21193), from its public code",
    neurons,
    thresholds,
)
