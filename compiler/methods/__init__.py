"""Conversion methods, one per file: each chooses codebook, threshold rule and options; passes are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.errors import OptionError, did_you_mean
from snnc.methods import (
    direct,
    ecmt,
    ecmt_top,
    integrate_and_fire,
    multi_spike,
    pmsm,
    qcfs,
    signed_memory,
    ternary,
)
from snnc.methods.base import Method, Settings

if TYPE_CHECKING:
    from snnc.methods.direct import DirectMethod

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (multi_spike, signed_memory, integrate_and_fire, pmsm, qcfs, ternary, ecmt, ecmt_top)
}


DEFAULT = multi_spike.METHOD
DIRECT = direct.METHOD
"""Not a conversion: for networks that spike already."""


def get_method(name: str) -> Method | DirectMethod:
    """Return the method of that name; `OptionError` with a suggestion if there is none."""
    if name == DIRECT.name:
        return DIRECT
    if name not in METHODS:
        raise OptionError(f"there is no method {name!r}", help=did_you_mean(name, [*METHODS, DIRECT.name]))
    return METHODS[name]


def method_for(name: str | None, *, spiking: bool) -> Method | DirectMethod:
    """Return the named method, or the default for a network that spikes already, or for one that does not.

    `OptionError` if the named one is for the other kind.
    """
    default = DIRECT if spiking else DEFAULT
    method = default if name is None else get_method(name)
    if spiking and method is not DIRECT:
        raise OptionError(
            f"the network spikes already; {method.name} would put neurons in front of its own",
            help=f"leave the method out: {DIRECT.name} keeps the neurons that were trained",
        )
    if not spiking and method is DIRECT:
        raise OptionError(
            "the network has no spiking (lif) neurons that could be kept",
            help=f"convert it: leave the method out ({DEFAULT.name}) or choose another",
        )
    return method


__all__ = ["DEFAULT", "DIRECT", "METHODS", "Method", "Settings", "get_method", "method_for"]
