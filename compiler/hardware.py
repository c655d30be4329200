"""The machines a network can be lowered to, and the passes that do it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from snnc.ir.errors import OptionError, did_you_mean
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.dce import Dce
from snnc.passes.fit import Fit
from snnc.passes.fuse_batch_norm import FuseBatchNorm
from snnc.passes.fuse_factors import FuseFactors
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.integerise import Integerise
from snnc.passes.neurons_before_reshapes import NeuronsBeforeReshapes
from snnc.passes.quantise_weights import QuantiseWeights
from snnc.passes.tie_residuals import TieResiduals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.passes.base import Pass


@dataclass(frozen=True, slots=True)
class Machine:
    """An integer machine: bits of its weights, of its sums and membranes, and of payloads (None: any)."""

    name: str
    weight_bits: int
    width: int
    payload_bits: int | None = None

    def conversion(self, passes: Sequence[Pass], levels: int | None) -> list[Pass]:
        """Return the passes of a method as this machine needs them; `levels` is what the user asked for.

        Multi-spike neurons send no more bits than it has, rounded to the nearest, without headroom.
        """
        if self.payload_bits is None:
            return list(passes)
        found: list[Pass] = []
        for one in passes:
            if isinstance(one, InsertNeurons) and one.codebook == "multi":
                bits = min(levels or self.payload_bits, self.payload_bits)
                found += [replace(one, levels=bits, rounding="nearest"), NeuronsBeforeReshapes()]
            elif isinstance(one, ChooseThresholds):
                found += [replace(one, balanced=False, headroom=None), TieResiduals()]
            else:
                found.append(one)
        return found

    def passes(self, *, host_nodes: bool, per: Literal["channel", "layer"] = "channel") -> list[Pass]:
        """Return the passes from a spiking network of real weights to one of integers.

        `per`: whether every channel counts in a unit of its own, or all of a layer in one.
        """
        # Kernels of bytes add a bias to sums of plain integers.
        exponents: Literal["any", "factors"] = "any" if self.payload_bits is None else "factors"
        return [
            FuseBatchNorm(),
            # What no weight took; a host can compute it, and neurons of one sum may differ in its sign.
            *(() if host_nodes else (FuseBatchNorm(into="thresholds"),)),
            # One kernel per layer: no real number between a sum and its neuron.
            *(() if self.payload_bits is None else (FuseFactors(),)),
            QuantiseWeights(bits=self.weight_bits, width=self.width, exponents=exponents, per=per),
            Integerise(width=self.width, bits=self.weight_bits, host_nodes=host_nodes),
            Dce(),
            Fit(accumulator=self.width, membrane=self.width, weight=self.weight_bits),
        ]


MACHINES = {
    machine.name: machine
    for machine in (
        Machine("loihi2", weight_bits=8, width=24),
        # Processors. Those without VNNI add two products of a byte and a weight in 16 bits: 2 * 255 * 63.
        Machine("int8", weight_bits=7, width=24, payload_bits=8),
    )
}


def get_machine(name: str) -> Machine:
    if name not in MACHINES:
        raise OptionError(f"there is no target {name!r}", help=did_you_mean(name, MACHINES))
    return MACHINES[name]
