"""Layers to train networks with (the extra `snnc[torch]`). The compiler never imports this package.

Quantisers, with which a network becomes spikes exactly at T=1: `quantiser` is the layer, `replace` puts it
into any module that torch.fx can trace, `initialisation` chooses its levels from data, `training` fine-tunes,
`export` writes ONNX.

    quantised = replace_activations(model, bits=4)
    initialise(quantised, images)
    fine_tune(quantised, images, labels, epochs=10)
    export_onnx(quantised, images[:2], "quantised.onnx")

Spiking networks, trained as such: `lif` is the neuron, `saformer` a transformer of it, `fixed_point` makes
the copy whose sums are exact, `spiking_export` writes one time step of it as ONNX, with the operators of
`spiking_functions`. `swap` turns a trained vision transformer's attention into SAFormer's, to be fine-tuned.

    network = SAFormer(image=(8, 8), depth=2, steps=4)
    deployed = to_fixed_point(network, images[:1], input_bits=4)
    export_spiking_onnx(deployed, images[:2], "saformer.onnx")
"""

from __future__ import annotations

from snnc.ir.errors import MissingPackageError, how_to_install

try:
    import torch as _torch
except ImportError as error:
    raise MissingPackageError(
        "snnc.nn needs PyTorch, which is not installed", help=how_to_install("torch")
    ) from error

from snnc.nn.export import export_onnx
from snnc.nn.fixed_point import to_fixed_point
from snnc.nn.initialisation import SiteReport, initialise
from snnc.nn.lif import LIF, reset_state
from snnc.nn.quantiser import PolarityQuant, quantisers, quantising
from snnc.nn.replace import replace_activations
from snnc.nn.saformer import DepthwiseConvModule, SAFormer, SpikeAggregatedSelfAttention
from snnc.nn.spiking_export import export_spiking_onnx
from snnc.nn.swap import distillation_loss, swap_attention
from snnc.nn.training import fine_tune

del _torch

__all__ = [
    "LIF",
    "DepthwiseConvModule",
    "PolarityQuant",
    "SAFormer",
    "SiteReport",
    "SpikeAggregatedSelfAttention",
    "distillation_loss",
    "export_onnx",
    "export_spiking_onnx",
    "fine_tune",
    "initialise",
    "quantisers",
    "quantising",
    "replace_activations",
    "reset_state",
    "swap_attention",
    "to_fixed_point",
]
