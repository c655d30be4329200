"""Quantisers to train a network with, so that it becomes spikes exactly at T=1 (the extra `snnc[torch]`).

`quantiser` is the layer, `replace` puts it into any module that torch.fx can trace, `initialisation` chooses
its levels from data, `training` fine-tunes, `export` writes ONNX. The compiler never imports this package.

    quantised = replace_activations(model, bits=4)
    initialise(quantised, images)
    fine_tune(quantised, images, labels, epochs=10)
    export_onnx(quantised, images[:2], "quantised.onnx")
"""

from __future__ import annotations

from snnc.ir.errors import MissingPackageError

try:
    import torch as _torch
except ImportError as error:
    raise MissingPackageError(
        "snnc.nn needs PyTorch, which is not installed", help='pip install "snnc[torch]"'
    ) from error

from snnc.nn.export import export_onnx
from snnc.nn.initialisation import SiteReport, initialise
from snnc.nn.quantiser import PolarityQuant, quantisers, quantising
from snnc.nn.replace import replace_activations
from snnc.nn.training import fine_tune

del _torch

__all__ = [
    "PolarityQuant",
    "SiteReport",
    "export_onnx",
    "fine_tune",
    "initialise",
    "quantisers",
    "quantising",
    "replace_activations",
]
