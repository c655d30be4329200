"""One step of spiking networks as other frameworks write their neurons, with weights on a binary grid.

On the grid (multiples of 1/16, inputs of 1/4, leaks that are binary fractions) no operation of a short run
rounds, so whatever order the operations are in, spikes must agree exactly.
"""

from __future__ import annotations

import io
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.kernel_types import Array

FEATURES = (6, 8, 8, 3)
STATES = ("lif1.v", "lif2.v")


def heaviside(x: Tensor) -> Tensor:
    return (x >= 0).to(x)


def strict_heaviside(x: Tensor) -> Tensor:
    return (x > 0).to(x)


# SpikingJelly, single step (activation_based.neuron), eval mode: LIFNode and IFNode.


def hard_reset(v: Tensor, spike: Tensor, v_reset: float) -> Tensor:
    return (1.0 - spike) * v + spike * v_reset


def spikingjelly_lif(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    v = v + (x - v) / 2.0
    spike = heaviside(v - 1.0)
    return spike, hard_reset(v, spike, 0.0)


def spikingjelly_lif_to_a_rest(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    v = v + (x - (v - 0.25)) / 2.0
    spike = heaviside(v - 1.0)
    return spike, hard_reset(v, spike, 0.25)


def spikingjelly_lif_undecayed_soft(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    v = v * (1.0 - 1.0 / 4.0) + x
    spike = heaviside(v - 0.5)
    return spike, v - spike * 0.5


def spikingjelly_if(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    v = v + x
    spike = heaviside(v - 1.0)
    return spike, v - spike * 1.0


# snnTorch, Leaky: the reset that a spike causes is made one step later.


def snntorch_subtract(x: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
    reset = strict_heaviside(mem - 1.0).clone().detach()
    mem = torch.tensor(0.5).clamp(0, 1) * mem + x - reset * 1.0
    return strict_heaviside(mem - 1.0) * 1.0, mem


def snntorch_zero(x: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
    reset = strict_heaviside(mem - 1.0).clone().detach()
    mem = (1 - reset) * mem
    mem = torch.tensor(0.5).clamp(0, 1) * mem + x
    return strict_heaviside(mem - 1.0) * 1.0, mem


def snntorch_zero_of_older_versions(x: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
    reset = strict_heaviside(mem - 1.0).clone().detach()
    base = 0.5 * mem + x
    mem = base - reset * base
    return strict_heaviside(mem - 1.0), mem


def snntorch_none(x: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
    mem = torch.tensor(0.5).clamp(0, 1) * mem + x
    return strict_heaviside(mem - 1.0) * 1.0, mem


# Norse, lif_box: an Euler step with a leak potential.


def norse_lif_box(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    v = v + 0.25 * (x + 0.125 - v)
    spike = strict_heaviside(v - 0.25)
    return spike, v - spike * (v - 0.0)


# Hand-written ones.


def with_where(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    m = v * 0.5 + x
    fires = torch.logical_not(m < 1.0)
    return fires.float(), torch.where(fires, torch.zeros_like(m) + 0.125, m)


def with_sign(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    m = v - v / 4 + x
    spike = torch.relu(torch.sign(m - 1.0))
    return spike, m - spike


def with_negated_comparison(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    m = 0.5 * x + 0.5 * v
    spike = (2.0 - 4.0 * m <= 0).float()
    return spike, m * (1 - spike)


NEURONS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    function.__name__: function
    for function in (
        spikingjelly_lif,
        spikingjelly_lif_to_a_rest,
        spikingjelly_lif_undecayed_soft,
        spikingjelly_if,
        snntorch_subtract,
        snntorch_zero,
        snntorch_none,
        snntorch_zero_of_older_versions,
        norse_lif_box,
        with_where,
        with_sign,
        with_negated_comparison,
    )
}


class Step(nn.Module):
    """Two layers of neurons and a linear readout; one step, states in and out."""

    def __init__(self, neuron: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        random = np.random.default_rng(3)
        self.neuron = neuron
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(FEATURES))
        for parameter in self.parameters():
            parameter.data = torch.tensor(random.integers(-12, 17, parameter.shape) / 16).float()

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        after = []
        for layer, v in zip(self.layers, states, strict=False):
            x, membrane = self.neuron(layer(x), v)
            after.append(membrane)
        return (self.layers[-1](x), *after)


def export(
    module: nn.Module, examples: Sequence[Tensor], names: Mapping[str, Sequence[str]]
) -> onnx.ModelProto:
    """Return a module as ONNX, open in the first axis; `names` of its inputs and outputs."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(examples),
            file,
            dynamo=False,
            opset_version=17,
            input_names=list(names["inputs"]),
            output_names=list(names["outputs"]),
            dynamic_axes={name: {0: "N"} for names_ in names.values() for name in names_},
        )
    return onnx.load_from_string(file.getvalue())


def torch_step(name: str) -> onnx.ModelProto:
    """Return one step of the network with that neuron."""
    states = [torch.zeros(1, 8), torch.zeros(1, 8)]
    names = {"inputs": ["x", *STATES], "outputs": ["y", *(f"{state}_next" for state in STATES)]}
    return export(Step(NEURONS[name]), [torch.zeros(1, 6), *states], names)


def grid_inputs(samples: int = 16) -> Array:
    """Return inputs on the grid."""
    return (np.random.default_rng(1).integers(-4, 9, (samples, FEATURES[0])) / 4).astype(np.float32)
