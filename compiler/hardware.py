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


INPUT_BITS = 8


@dataclass(frozen=True, slots=True)
class Machine:
    """An integer machine: bits of its weights, of its sums and membranes, and of payloads (None: any).

    `sum_width`: bits of sums and membranes of neurons that count what they sent (bounds = sum); None: it has
    no such neurons.
    """

    name: str
    weight_bits: int
    width: int
    payload_bits: int | None = None
    sum_width: int | None = None

    def conversion(self, passes: Sequence[Pass], levels: int | None, steps: int) -> list[Pass]:
        """Return the passes of a method as this machine needs them; `levels` is what the user asked for.

        Multi-spike neurons send no more bits than it has, rounded to the nearest, without headroom; if they
        count what they sent, so does the sum over these steps.
        """
        if any(isinstance(one, InsertNeurons) and one.bounds == "sum" for one in passes):
            self.refuse_sums()
        if self.payload_bits is None:
            return list(passes)
        found: list[Pass] = []
        most = 1
        for one in passes:
            if isinstance(one, InsertNeurons) and one.codebook == "multi":
                most = steps if one.bounds == "sum" else 1
                bits = min(levels or self._bits_of(most), self.payload_bits)
                found += [replace(one, levels=bits, rounding="nearest"), NeuronsBeforeReshapes()]
            elif isinstance(one, ChooseThresholds):
                largest = max(1, (2 ** (self.payload_bits - 1) - 1) // most)
                found += [replace(one, balanced=False, headroom=None), TieResiduals(largest=largest)]
            else:
                found.append(one)
        return found

    def passes(
        self,
        *,
        host_nodes: bool,
        per: Literal["channel", "layer"] = "channel",
        sums: Sequence[str] = (),
        steps: int = 1,
    ) -> list[Pass]:
        """Return the passes from a spiking network of real weights to one of integers.

        `per`: whether every channel counts in a unit of its own, or all of a layer in one. `sums`: neurons
        with bounds = sum, which count what they send in so many steps.
        """
        if sums:
            self.refuse_sums(sums)
        width = self.sum_width if sums and self.sum_width else self.width
        inputs = self._bits_of(steps) if sums else INPUT_BITS
        # Kernels of bytes add a bias to sums of plain integers.
        exponents: Literal["any", "factors"] = "any" if self.payload_bits is None else "factors"
        return [
            FuseBatchNorm(),
            # What no weight took; a host can compute it, and neurons of one sum may differ in its sign.
            *(() if host_nodes else (FuseBatchNorm(into="thresholds"),)),
            # One kernel per layer: no real number between a sum and its neuron.
            *(() if self.payload_bits is None else (FuseFactors(),)),
            QuantiseWeights(
                bits=self.weight_bits, width=self.width, input_bits=inputs, exponents=exponents, per=per
            ),
            Integerise(width=width, bits=self.weight_bits, host_nodes=host_nodes),
            Dce(),
            Fit(accumulator=width, membrane=width, weight=self.weight_bits),
        ]

    def _bits_of(self, steps: int) -> int:
        """Return how many bits a payload has whose sum over so many steps is one of the machine's."""
        return max(2, (self.payload_bits or INPUT_BITS) - (steps - 1).bit_length())

    def refuse_sums(self, neurons: Sequence[str] = ()) -> None:
        """Raise `OptionError` if it has no neurons with bounds = sum."""
        if self.sum_width is None:
            listed = ":\n  " + "\n  ".join(neurons) if neurons else ""
            raise OptionError(
                f"{self.name} has no neuron that takes back what it sent too early (bounds = sum){listed}",
                help="compile with another method, or with --target int8",
            )


MACHINES = {
    machine.name: machine
    for machine in (
        Machine("loihi2", weight_bits=8, width=24),
        # Processors. Those without VNNI add two products of a byte and a weight in 16 bits: 2 * 255 * 63.
        # Sums have 32 bits there; with a membrane of 30, what is added to it fits as well.
        Machine("int8", weight_bits=7, width=24, payload_bits=8, sum_width=30),
    )
}


def get_machine(name: str) -> Machine:
    if name not in MACHINES:
        raise OptionError(f"there is no target {name!r}", help=did_you_mean(name, MACHINES))
    return MACHINES[name]
