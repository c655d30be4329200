"""The passes snnc comes with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.passes.allocate_levels import AllocateLevels
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.correct_charges import CorrectCharges
from snnc.passes.dce import Dce
from snnc.passes.expand_levels import ExpandLevels
from snnc.passes.expectation_compensation import ExpectationCompensation
from snnc.passes.fit import Fit
from snnc.passes.fold_pooling import FoldPooling
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.fuse_factors import FuseFactors
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.integerise import Integerise
from snnc.passes.merge_steps import MergeSteps
from snnc.passes.neurons_before_reshapes import NeuronsBeforeReshapes
from snnc.passes.normalise_thresholds import NormaliseThresholds
from snnc.passes.quantise_weights import QuantiseWeights
from snnc.passes.raise_patterns import RaisePatterns
from snnc.passes.raise_quantisers import RaiseQuantisers
from snnc.passes.set_coding import SetCoding
from snnc.passes.simplify import Simplify
from snnc.passes.tie_residuals import TieResiduals

if TYPE_CHECKING:
    from snnc.passes.base import Pass

BUILTIN: tuple[type[Pass], ...] = (
    Simplify,
    RaisePatterns,
    RaiseQuantisers,
    FuseBatchNorm,
    FuseFactors,
    FoldPooling,
    SetCoding,
    InsertNeurons,
    ExpectationCompensation,
    ChooseThresholds,
    TieResiduals,
    AllocateLevels,
    CorrectCharges,
    NeuronsBeforeReshapes,
    NormaliseThresholds,
    ExpandLevels,
    IdentityNeurons,
    QuantiseWeights,
    Integerise,
    Fit,
    MergeSteps,
    Dce,
)
