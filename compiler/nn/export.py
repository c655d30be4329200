"""Write a network that carries quantisers as ONNX."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from snnc.ir.errors import OptionError
from snnc.nn.quantiser import PolarityQuant, quantisers

if TYPE_CHECKING:
    from pathlib import Path

OPSET = 17


class FrozenQuant(nn.Module):
    """y = q clip(floor(x / q + 1/2), lo, hi) with a constant q, so that the file holds a number for it."""

    quantum: Tensor

    def __init__(self, source: PolarityQuant, rank: int) -> None:
        super().__init__()
        self.register_buffer("quantum", source.quantum(rank).detach().clone())
        self.lo, self.hi = float(-source.negative), float(source.positive)

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(torch.floor(x / self.quantum + 0.5), self.lo, self.hi) * self.quantum


def export_onnx(
    module: nn.Module,
    example: Tensor,
    path: str | Path,
    *,
    input_name: str = "input",
    output_name: str = "output",
) -> None:
    """Write the module in evaluation mode as ONNX, opset 17, dynamic in the first axis.

    A quantiser becomes Div, Add, Floor, Clip and Mul, which every ONNX runtime has. QuantizeLinear and
    DequantizeLinear would round halves to even and know only the whole range of 8 bits.
    """
    frozen = freeze(module, example)
    with warnings.catch_warnings():
        # The TorchScript exporter is older than dynamo's, and writes files without traces of this machine.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=TracerWarning)
        torch.onnx.export(
            frozen,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=[output_name],
            dynamic_axes={input_name: {0: "N"}, output_name: {0: "N"}},
        )


def freeze(module: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy in evaluation mode whose quantisers hold constants; the module stays as it is."""
    result = copy.deepcopy(module).eval()
    ranks: dict[str, int] = {}

    def remember(name: str) -> None:
        def hook(part: nn.Module, given: tuple[Tensor, ...]) -> None:
            ranks[name] = given[0].dim()

        result.get_submodule(name).register_forward_pre_hook(hook)

    found = quantisers(result)
    for name in found:
        remember(name)
    with torch.no_grad():
        result(example)
    for name, part in found.items():
        if not part.active:
            raise OptionError(f"the quantiser {name!r} is switched off", help="set its attribute active")
        if name in ranks:
            result.set_submodule(name, FrozenQuant(part, ranks[name]))
    return result
