"""Writes a chain of layers as lava-dl's network exchange file (`.net`, HDF5): dense, conv, CUBA-LIF.

Groups layer/0, layer/1, …: an input with its shape, convolutions [O, I, h, w], `flatten`, dense layers
[O, I]. lava-dl turns kernels and axes round itself and reads a bias in units of 2^6, as LIF counts. A last
layer without a neuron becomes an integrator that never fires: its membrane is 64 times the sum of its
currents.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from snnc.backends.lava.chain import OPTIONS, chain_of, refuse
from snnc.ir.errors import BackendError, MissingPackageError, how_to_install

if TYPE_CHECKING:
    from snnc.backends.lava.chain import Link
    from snnc.backends.lava.partition import Partition
    from snnc.ir.graph import Graph

LARGEST_WEIGHT = 254  # lava-dl, netx/utils.py, optimize_weight_bits: signed weights are even beyond 127
HELP = "--backend lava writes this, in snnc's own processes"
# Nothing of the current is left a step later, nothing of the membrane is lost.
NEURON = {"iDecay": 4096, "vDecay": 0, "refDelay": 1, "gradedSpike": False}


def write_netx(graph: Graph, steps: int, file: BinaryIO) -> str:
    """Write the file; return what was written, in a few words. Refusals are `BackendError`s."""
    try:
        import h5py
    except ImportError as error:
        raise MissingPackageError(
            "h5py is needed to write .net files", help=how_to_install("netx")
        ) from error
    partition, links = chain(graph, steps)
    source = partition.sources[0]
    layers = [{"type": "input", "shape": np.array(source.type.shape[1:])}]
    for link in links:
        if link.flatten:
            layers.append({"type": "flatten", "shape": np.array([np.prod(link.reads)])})
        layers.append(layer_of(link))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as archive:
        for number, layer in enumerate(layers):
            fill(archive.create_group(f"layer/{number}", track_order=False), layer)
    file.write(buffer.getvalue())
    return f"{len(links)} layers for lava-dl's netx"


def chain(graph: Graph, steps: int) -> tuple[Partition, list[Link]]:
    try:
        return chain_of(graph, steps)
    except BackendError as refusal:
        if refusal.help == OPTIONS:
            refusal.help = HELP
        raise


def layer_of(link: Link) -> dict[str, Any]:
    """Return a layer's data by name."""
    weight = link.weight << link.exponent
    if np.abs(weight).max() > LARGEST_WEIGHT:
        raise refuse(
            link.node, f"its weights reach {np.abs(weight).max()} with their exponent; netx has 8 bits", HELP
        )
    layer: dict[str, Any] = {"shape": np.array(link.shape), "weight": weight.astype(np.int32)}
    if weight.ndim == 4:
        layer |= {"type": "conv", "groups": link.geometry["group"]}
        layer["stride"] = np.array(link.geometry["strides"] or (1, 1))
        layer["padding"] = np.array(link.geometry["pads"][:2] or (0, 0))
        layer["dilation"] = np.array(link.geometry["dilations"] or (1, 1))
    else:
        layer["type"] = "dense"
    if link.bias.any():
        layer["bias"] = link.bias.astype(np.int32)
    if link.threshold is not None:
        layer["neuron"] = {"type": "CUBA", "vThMant": link.threshold, **NEURON}
    elif weight.ndim == 4:
        raise refuse(link.node, "a convolution of netx needs a neuron behind it", HELP)
    return layer


def fill(group: Any, data: dict[str, Any]) -> None:
    """Write values and nested values by name; texts in ASCII, as lava-dl reads them."""
    for name, value in data.items():
        if isinstance(value, dict):
            fill(group.create_group(name), value)
        else:
            group.create_dataset(name, data=value.encode("ascii") if isinstance(value, str) else value)
