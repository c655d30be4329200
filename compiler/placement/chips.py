"""The limits of chips, from public documents. Everything computed from them is an estimate.

Sources (what they say differently is in docs/loihi.md):

[Davies 2018] M. Davies et al., "Loihi: a neuromorphic manycore processor with on-chip learning", IEEE Micro
    38(1), 2018.
[Brief 2021] Intel Labs, "Taking neuromorphic computing to the next level with Loihi 2", technology brief, its
    table of both chips: Loihi 208 kB per core, fixed, 24 bytes of it per neuron; Loihi 2 192 kB per core,
    freely shared out, 0 to 4,096 bytes per neuron, synapses shared for convolution, 1 million neurons.
[NengoLoihi] github.com/nengo/nengo-loihi, `block.py`: the limits it checks before it programs a Loihi.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from snnc.ir.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHT_BYTES = 1  # int8; index and header bits of a list of synapses are not counted


@dataclass(frozen=True, slots=True)
class Limits:
    """What one core holds. `memory` bytes hold weights and, of each neuron, `state` bytes."""

    neurons: int
    memory: int
    state: int
    input_axons: int
    output_axons: int


RESOURCES = ("neurons", "memory", "input_axons", "output_axons")


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip: `cores` of it, what each holds, the longest synaptic delay in steps, and which source says so.

    `shared_weights`: whether a core can store a convolution's kernel once for all its positions. `assumed`:
    limits for which there is no public figure of this chip.
    """

    name: str
    title: str
    cores: int
    limits: Limits
    longest_delay: int
    shared_weights: bool
    sources: Mapping[str, str]
    assumed: tuple[str, ...] = ()


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            "loihi2",
            "Loihi 2",
            cores=128,
            limits=Limits(neurons=8192, memory=192 * 1024, state=24, input_axons=4096, output_axons=4096),
            longest_delay=62,
            shared_weights=True,
            sources={
                "cores": "Brief 2021: 128; some systems leave 120 to the user",
                "neurons": "Brief 2021: 1 million per chip, 2^20 / 128",
                "memory": "Brief 2021: 192 kB per core for everything; some reports say 128 kB",
                "state": "assumed: Loihi's 24 bytes; 8,192 neurons of 24 bytes are 192 kB exactly",
                "input_axons": "assumed: Loihi's; no public figure for Loihi 2",
                "output_axons": "assumed: Loihi's; no public figure for Loihi 2",
                "longest_delay": "Davies 2018: 6 bits, for Loihi; assumed alike",
                "shared_weights": "Brief 2021: shared synapses for convolution",
            },
            assumed=("input_axons", "output_axons"),
        ),
        Chip(
            "loihi1",
            "Loihi",
            cores=128,
            limits=Limits(neurons=1024, memory=128 * 1024, state=0, input_axons=4096, output_axons=4096),
            longest_delay=62,
            shared_weights=True,
            sources={
                "cores": "Davies 2018",
                "neurons": "Davies 2018, NengoLoihi: 1,024 compartments per core",
                "memory": "Davies 2018: 16 MB of synapses per chip; NengoLoihi: 1,048,576 bits per core",
                "state": "in a memory of its own (Brief 2021: 24 bytes per neuron, fixed)",
                "input_axons": "Davies 2018, NengoLoihi: 4,096 per core",
                "output_axons": "Davies 2018, NengoLoihi: 4,096 per core",
                "longest_delay": "Davies 2018: 6 bits",
                "shared_weights": "Davies 2018: connectivity templates for convolutional networks",
            },
        ),
    )
}


def with_limits(limits: Limits, changes: Mapping[str, int]) -> Limits:
    """Return the limits with some replaced; `OptionError` for a name that is none or a number below 1."""
    known = [field.name for field in fields(Limits)]
    for name, number in changes.items():
        if name not in known:
            raise OptionError(f"a core has no limit {name!r}", help=did_you_mean(name, known))
        if number < (name != "state"):
            raise OptionError(f"the limit {name} is {number}; it must be positive")
    return replace(limits, **changes)
