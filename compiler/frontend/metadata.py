"""What a model's metadata properties tell snnc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.decode import DECODES
from snnc.ir.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import onnx

    from snnc.ir.decode import Decode

DECODE_PROPERTY = "snnc.decode"
STATE_PROPERTY = "snnc.state"


def property_of(model: onnx.ModelProto, key: str) -> str | None:
    """Return a metadata property, or None if the model has none of that name."""
    return next((entry.value for entry in model.metadata_props if entry.key == key), None)


def decode_of(model: onnx.ModelProto) -> Decode:
    """Return how the model's outputs are decoded: as `snnc.decode` says, else by their mean."""
    text = property_of(model, DECODE_PROPERTY)
    if text is None:
        return "mean"
    for known in DECODES:
        if known == text:
            return known
    raise ModelError(f"the model's {DECODE_PROPERTY} is {text[:80]!r}", help=did_you_mean(text, DECODES))
