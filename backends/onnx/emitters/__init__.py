"""How each SIR op is written in ONNX (ai.onnx opset 20): one file per family, one emitter per op."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters import (
    elementwise,
    indexing,
    logic,
    movement,
    neuron,
    normalisation,
    pooling,
    quantisation,
    reduction,
    source,
    synapse,
)

if TYPE_CHECKING:
    from snnc.backends.onnx.builder import Emitter

EMITTERS: dict[str, Emitter] = {
    **synapse.EMITTERS,
    **neuron.EMITTERS,
    **elementwise.EMITTERS,
    **logic.EMITTERS,
    **normalisation.EMITTERS,
    **pooling.EMITTERS,
    **reduction.EMITTERS,
    **movement.EMITTERS,
    **indexing.EMITTERS,
    **quantisation.EMITTERS,
    **source.EMITTERS,
}
