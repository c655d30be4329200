"""Comparisons and logic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.frontend.context import AlwaysRejected
from snnc.frontend.handlers.arithmetic import binary
from snnc.frontend.handlers.elementwise import function

if TYPE_CHECKING:
    from snnc.frontend.context import Handler

HANDLERS: dict[str, Handler] = {
    "Equal": binary("equal"),
    "Less": binary("less"),
    "LessOrEqual": binary("less_equal"),
    "Greater": binary("greater"),
    "GreaterOrEqual": binary("greater_equal"),
    "And": binary("logical_and"),
    "Or": binary("logical_or"),
    "Xor": binary("logical_xor"),
    "Not": function("logical_not"),
    "IsNaN": function("is_nan"),
    "IsInf": AlwaysRejected(
        "whether a value is infinite has no mean over time, and decoded values are finite",
        "export the model without this guard",
    ),
}
