"""`direct`: a network that spikes already, trained as it is, keeps its neurons; nothing is approximated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnc.ir.errors import OptionError
from snnc.passes.dce import Dce
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.raise_patterns import RaisePatterns
from snnc.passes.raise_quantisers import RaiseQuantisers
from snnc.passes.simplify import Simplify

if TYPE_CHECKING:
    from snnc.methods.base import Settings
    from snnc.passes.base import Pass


@dataclass(frozen=True, slots=True)
class DirectMethod:
    """A method that puts in no neurons: `pipeline` only tidies up and folds batch norm away."""

    name: str
    summary: str
    source: str

    def pipeline(self, settings: Settings) -> list[Pass]:
        """Return the passes from an imported spiking network to one without batch norm.

        Batch norm goes into the weights before it, else into gain and bias of the neuron behind it
        (batch_norm=thresholds: the other way round).
        """
        idle = {"levels": settings.levels, "rule": settings.rule, "per": settings.per}
        given = [name for name, value in idle.items() if value is not None]
        if given:
            raise OptionError(
                f"{self.name} chooses no {given[0]}: the neurons' thresholds were trained",
                help="leave the option out",
            )
        if settings.coding != "rate" or settings.reset not in (None, "subtract"):
            changed = "coding" if settings.coding != "rate" else "reset"
            raise OptionError(
                f"{self.name} cannot change the {changed}: the neurons were trained as they are",
                help="leave the option out",
            )
        fused: list[Pass] = [FuseBatchNorm(), FuseBatchNorm(into="thresholds")]
        if settings.batch_norm == "thresholds":
            fused.reverse()
        return [RaiseQuantisers(), Simplify(), RaisePatterns(), *fused, Simplify(), Dce()]


METHOD = DirectMethod(
    "direct",
    "for networks of lif neurons, trained as spiking ones: keeps them, needs no data",
    "none: there is nothing to convert",
)
