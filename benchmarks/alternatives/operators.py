"""What each converter does with one operator: linear, ReLU, linear, the operator, linear.

The network in front sends spikes: an operator that is left as it was meets them, and its mean goes wrong.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from converters import CPU, quiet, reset_state
from torch import Tensor, nn
from torch.nn import functional

import snnc
from snnc.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 64
WIDTH, SAMPLES = 32, 256


class Function(nn.Module):
    """An activation that is called as a function instead of being a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "relu":
            return functional.relu(x)
        if self.name == "gelu":
            return functional.gelu(x)
        if self.name == "clamp":
            return torch.clamp(x, 0, 1)
        return torch.softmax(x, dim=-1)


class Gate(nn.Module):
    """y = x sigmoid(W x): a product of two streams."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.sigmoid = nn.Linear(WIDTH, WIDTH), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(self.linear(x))


OPERATORS: dict[str, Callable[[], nn.Module]] = {
    "`nn.ReLU()`": nn.ReLU,
    "`F.relu(x)`": lambda: Function("relu"),
    "`nn.ReLU6()`": nn.ReLU6,
    "`torch.clamp(x, 0, 1)`": lambda: Function("clamp"),
    "`nn.LeakyReLU()`": nn.LeakyReLU,
    "`nn.GELU()`": nn.GELU,
    "`F.gelu(x)`": lambda: Function("gelu"),
    "`nn.SiLU()`": nn.SiLU,
    "`nn.LayerNorm`": lambda: nn.LayerNorm(WIDTH),
    "`nn.Softmax`": lambda: nn.Softmax(dim=-1),
    "`torch.softmax(x, -1)`": lambda: Function("softmax"),
    "`x * sigmoid(W x)`": Gate,
}


class Probe(nn.Module):
    """linear, `front`, linear, the operator, linear"""

    def __init__(self, operator: nn.Module, front: nn.Module) -> None:
        super().__init__()
        self.first, self.front = nn.Linear(16, WIDTH), front
        self.second, self.operator = nn.Linear(WIDTH, WIDTH), operator
        self.last = nn.Linear(WIDTH, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.operator(self.second(self.front(self.first(x)))))


def probe(operator: Callable[[], nn.Module], front: type[nn.Module] = nn.ReLU) -> Probe:
    torch.manual_seed(0)
    return Probe(operator(), front()).eval()


def samples() -> Tensor:
    return torch.rand(SAMPLES, 16, generator=torch.Generator().manual_seed(1))


def error(found: Tensor, module: nn.Module) -> str:
    with torch.no_grad():
        wanted = module(samples())
    return f"{float((found - wanted).norm() / wanted.norm()):.3f}"


REFUSED = "refused by name"


def rate_coding(operator: Callable[[], nn.Module]) -> str:
    from spikingjelly.activation_based import ann2snn
    from spikingjelly.activation_based import functional as spiking

    module, x = probe(operator), samples()
    recipe = ann2snn.RateCodingRecipe(dataloader=[(x, 0)], mode="99.9%")
    try:
        with quiet():
            network = ann2snn.Converter(recipe=recipe, device=CPU).convert(probe(operator))
    except (ValueError, TypeError, NotImplementedError, RuntimeError):
        return REFUSED
    spiking.reset_net(network)
    with torch.no_grad():
        found = torch.stack([network(x) for _ in range(STEPS)]).mean(dim=0)
    return error(found, module)


def transformer(operator: Callable[[], nn.Module]) -> str:
    from spikingjelly.activation_based import ann2snn
    from spikingjelly.activation_based import functional as spiking

    module, x = probe(operator, nn.GELU), samples()
    recipe = ann2snn.STATransformerRecipe(
        dataloader=[(x, 0)],
        time_steps=STEPS,
        mode="spiking_encoder",
        threshold_mode="mse",
        threshold_scale=0.5,
    )
    try:
        with quiet():
            network = ann2snn.Converter(recipe=recipe, device=CPU).convert(probe(operator, nn.GELU))
    except (ValueError, TypeError, NotImplementedError, RuntimeError):
        return REFUSED
    spiking.set_step_mode(network, "m")
    spiking.reset_net(network)
    sequence = torch.zeros(STEPS, *x.shape)
    sequence[0] = x
    with torch.no_grad():
        return error(network(sequence).sum(dim=0), module)


def sinabs(operator: Callable[[], nn.Module]) -> str:
    from sinabs.from_torch import from_model

    module, x = probe(operator), samples()
    network = from_model(probe(operator), num_timesteps=STEPS).spiking_model
    network.apply(reset_state)
    with torch.no_grad():
        found = network(x.repeat_interleave(STEPS, dim=0)).unflatten(0, (SAMPLES, STEPS)).mean(dim=1)
    kept = type(network.operator) is type(module.operator) and not isinstance(module.operator, Gate)
    return error(found, module) + (" (kept as it was)" if kept else "")


def by_snnc(operator: Callable[[], nn.Module]) -> str:
    module, x = probe(operator), samples()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (x[:2],),
                path,
                dynamo=False,
                opset_version=17,
                input_names=["x"],
                output_names=["y"],
                dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
            )
        graph = snnc.compile(path, calibration=Dataset({"x": x.numpy()}))
    decoded = snnc.Simulator(graph).run(x.numpy(), steps=STEPS).outputs["y"]
    return error(torch.from_numpy(decoded[-1].copy()), module)


TREATMENTS = {
    "snnc": by_snnc,
    "SpikingJelly, `RateCodingRecipe`": rate_coding,
    "SpikingJelly, `STATransformerRecipe`": transformer,
    "sinabs, `from_model`": sinabs,
}
