"""Conversion methods, one per file: each chooses codebook, threshold rule and options; passes are shared."""

from __future__ import annotations

from snnc.ir.errors import OptionError, did_you_mean
from snnc.methods import ecmt, ecmt_top, integrate_and_fire, multi_spike, pmsm, qcfs, ternary
from snnc.methods.base import Method, Settings

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (multi_spike, integrate_and_fire, pmsm, qcfs, ternary, ecmt, ecmt_top)
}


def get_method(name: str) -> Method:
    """Return the method of that name; `OptionError` with a suggestion if there is none."""
    if name not in METHODS:
        raise OptionError(f"there is no method {name!r}", help=did_you_mean(name, METHODS))
    return METHODS[name]


__all__ = ["METHODS", "Method", "Settings", "get_method"]
