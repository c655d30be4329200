"""The compared networks as PyTorch modules, with the weights of their ONNX files.

Every activation is a module of its own (`nn.ReLU`): the form that converters of modules ask for. snnc reads
the ONNX files themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


class Residual(nn.Module):
    """y = relu(shortcut(x) + second(relu(first(x))))"""

    def __init__(self, first: nn.Module, second: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.inner = first, nn.ReLU()
        self.second, self.shortcut, self.outer = second, shortcut, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        skipped = x if self.shortcut is None else self.shortcut(x)
        return self.outer(skipped + self.second(self.inner(self.first(x))))


def conv_bn(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def halved(inputs: int, outputs: int) -> nn.Conv2d:
    """Return the shortcut without parameters (every second pixel, zero channels) as the convolution it is."""
    layer = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(inputs):
            layer.weight[channel + (outputs - inputs) // 2, channel] = 1
    return layer


def digits_cnn() -> nn.Sequential:
    """Return the network of examples/digits/train_cnn.py: (N, 1, 8, 8) -> (N, 10)."""
    return nn.Sequential(
        conv_bn(1, 16),
        nn.ReLU(),
        Residual(conv_bn(16, 16), conv_bn(16, 16)),
        nn.MaxPool2d(2),
        conv_bn(16, 32),
        nn.ReLU(),
        Residual(conv_bn(32, 32), conv_bn(32, 32)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def resnet20() -> nn.Sequential:
    """Return ResNet-20 with batch norm folded: (N, 3, 32, 32) -> (N, 10)."""
    blocks: list[nn.Module] = []
    for before, width in ((16, 16), (16, 32), (32, 64)):
        grows = width != before
        blocks.append(
            Residual(
                conv(before, width, 2 if grows else 1),
                conv(width, width),
                halved(before, width) if grows else None,
            )
        )
        blocks += [Residual(conv(width, width), conv(width, width)) for _ in range(2)]
    return nn.Sequential(conv(3, 16), nn.ReLU(), *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Fill the layers from the ONNX nodes of their kind, in order of use, and leave training mode."""
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kinds = {nn.Conv2d: "Conv", nn.BatchNorm2d: "BatchNormalization", nn.Linear: "Gemm"}
    fields = {"BatchNormalization": ("weight", "bias", "running_mean", "running_var")}
    for layer_kind, kind in kinds.items():
        layers = [
            (name, module)
            for name, module in model.named_modules()
            if isinstance(module, layer_kind) and "shortcut" not in name
        ]
        nodes = [node for node in graph.node if node.op_type == kind]
        assert len(layers) == len(nodes), f"{len(layers)} layers, {len(nodes)} {kind} nodes"
        for (_, module), node in zip(layers, nodes, strict=True):
            given = [arrays[name] for name in node.input[1:]]
            for field, array in zip(fields.get(kind, ("weight", "bias")), given, strict=False):
                getattr(module, field).data.copy_(torch.from_numpy(array.copy()))
    return model.eval()


class Block(nn.Module):
    """Pre-norm transformer block, in the form of torchvision's, which SpikingJelly's example converts."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + y
        return x + self.mlp(self.ln_2(x))


class DigitsViT(nn.Module):
    """The network of examples/digits/train_vit.py: (N, 1, 8, 8) -> (N, 10)."""

    def __init__(self, width: int = 48, heads: int = 4, patches: int = 16) -> None:
        super().__init__()
        self.width, self.count = width, patches
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, patches + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        n = image.shape[0]
        tokens = self.patches(image).reshape(n, self.width, self.count).permute(0, 2, 1)
        tokens = torch.cat([self.class_token.expand(n, -1, -1), tokens], dim=1)
        tokens = self.norm(self.blocks(tokens + self.positions))
        return self.head(tokens[:, 0])


def load_transformer(model: nn.Module, path: Path) -> nn.Module:
    """Fill the transformer from the ONNX file, whose matrices have lost their names."""
    graph = onnx.load(path).graph
    given = {x.name: torch.from_numpy(numpy_helper.to_array(x).copy()) for x in graph.initializer}
    matrices = iter(
        node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in given
    )
    state = {name: given[name] for name in ("class_token", "positions")}
    for name in ("patches", "norm", "head"):
        state |= {f"{name}.{kind}": given[f"{name}.{kind}"] for kind in ("weight", "bias")}
    for number in range(3):
        block = f"blocks.{number}."
        for name, source in (("ln_1", "attention.0"), ("ln_2", "mlp.0")):
            state |= {
                f"{block}{name}.{kind}": given[f"{block}{source}.{kind}"] for kind in ("weight", "bias")
            }
        for weight, bias, source in (
            ("self_attention.in_proj_weight", "self_attention.in_proj_bias", "attention.1.qkv.bias"),
            ("self_attention.out_proj.weight", "self_attention.out_proj.bias", "attention.1.project.bias"),
            ("mlp.0.weight", "mlp.0.bias", "mlp.1.bias"),
            ("mlp.2.weight", "mlp.2.bias", "mlp.3.bias"),
        ):
            state |= {block + weight: given[next(matrices)].T, block + bias: given[block + source]}
    model.load_state_dict(state)
    return model.eval()


def without_batch_norm(model: nn.Module) -> nn.Module:
    """Return the network with every batch norm folded into the convolution in front of it."""
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential) and [type(child) for child in module] == [
            nn.Conv2d,
            nn.BatchNorm2d,
        ]:
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            del module[1]
    return model


@dataclass(frozen=True)
class Network:
    """One compared network: its module, its file, its data and how they are normalised."""

    title: str
    build: Callable[[], nn.Module]
    model: Path
    calibration: Path
    test: Path
    scale: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    load: Callable[[nn.Module, Path], nn.Module] = load_weights

    def images(self, path: Path, limit: int | None = None, *, labels: bool = True) -> tuple[Tensor, Tensor]:
        """Return images as the network sees them and their labels."""
        with np.load(path) as data:
            x, y = data["x"][:limit], data["y"][:limit] if labels else np.empty(0)
        x = x.astype(np.float32) * np.float32(self.scale)
        if self.mean:
            mean, std = (np.array(v, np.float32)[:, None, None] for v in (self.mean, self.std))
            x = (x - mean) / std
        return torch.from_numpy(x), torch.from_numpy(y)

    def module(self) -> nn.Module:
        return self.load(self.build(), self.model)


def digits(title: str, build: Callable[[], nn.Module], name: str, **options: Any) -> Network:
    folder = ROOT / "examples" / "digits"
    calibration, test = folder / "digits_calibration.npz", folder / "digits_test.npz"
    return Network(title, build, folder / name, calibration, test, scale=1 / 16, **options)


CNN = digits("Digits CNN", digits_cnn, "digits_cnn.onnx")
VIT = digits("Digits vision transformer", DigitsViT, "digits_vit.onnx", load=load_transformer)


def resnet(shared: Path) -> Network:
    """Return ResNet-20 from the folder of shared networks."""
    return Network(
        "ResNet-20, CIFAR-10",
        resnet20,
        shared / "cifar10_resnet20.onnx",
        shared / "cifar10_calibration.npz",
        shared / "cifar10_test.npz",
        scale=1 / 255,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
