"""Pooling as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters.simple import one_node

if TYPE_CHECKING:
    from snnc.backends.onnx.builder import Emitter

WINDOW = {
    "kernel_shape": "kernel",
    "strides": "strides",
    "pads": "pads",
    "dilations": "dilations",
    "ceil_mode": "ceil",
}

EMITTERS: dict[str, Emitter] = {
    "max_pool": one_node("MaxPool", **WINDOW),
    "avg_pool": one_node("AveragePool", **WINDOW, count_include_pad="count_include_pad"),
}
