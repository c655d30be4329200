"""The machines a network can be lowered to, and the passes that do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from snnc.ir.errors import OptionError, did_you_mean
from snnc.passes.dce import Dce
from snnc.passes.fit import Fit
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.integerise import Integerise
from snnc.passes.quantise_weights import QuantiseWeights

if TYPE_CHECKING:
    from snnc.passes.base import Pass


@dataclass(frozen=True, slots=True)
class Machine:
    """An integer machine: bits of its weights, and of its sums and membranes."""

    name: str
    weight_bits: int
    width: int

    def passes(self, *, host_nodes: bool, per: Literal["channel", "layer"] = "channel") -> list[Pass]:
        """Return the passes from a spiking network of real weights to one of integers.

        `per`: whether every channel counts in a unit of its own, or all of a layer in one.
        """
        return [
            FuseBatchNorm(),
            # What no weight took; a host can compute it, and neurons of one sum may differ in its sign.
            *(() if host_nodes else (FuseBatchNorm(into="thresholds"),)),
            QuantiseWeights(bits=self.weight_bits, width=self.width, per=per),
            Integerise(width=self.width, host_nodes=host_nodes),
            Dce(),
            Fit(accumulator=self.width, membrane=self.width, weight=self.weight_bits),
        ]


MACHINES = {machine.name: machine for machine in (Machine("loihi2", weight_bits=8, width=24),)}


def get_machine(name: str) -> Machine:
    if name not in MACHINES:
        raise OptionError(f"there is no target {name!r}", help=did_you_mean(name, MACHINES))
    return MACHINES[name]
