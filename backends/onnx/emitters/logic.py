"""Comparisons and boolean functions as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters.simple import one_node

if TYPE_CHECKING:
    from snnc.backends.onnx.builder import Emitter

EMITTERS: dict[str, Emitter] = {
    "equal": one_node("Equal"),
    "less": one_node("Less"),
    "less_equal": one_node("LessOrEqual"),
    "greater": one_node("Greater"),
    "greater_equal": one_node("GreaterOrEqual"),
    "logical_and": one_node("And"),
    "logical_or": one_node("Or"),
    "logical_xor": one_node("Xor"),
    "logical_not": one_node("Not"),
    "is_nan": one_node("IsNaN"),
}
