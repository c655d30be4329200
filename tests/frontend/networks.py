"""Small PyTorch networks and their export with both exporters."""

from __future__ import annotations

import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOKENS = 6


class Residual(nn.Module):
    """Depthwise and residual convolutions with batch norm, global average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.pointwise = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(x)
        x = torch.relu(x + self.pointwise(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


class VisionTransformer(nn.Module):
    """Patches, class token, position embedding, one pre-norm block with scaled dot-product attention."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])

    def attention(self, x: torch.Tensor) -> Any:
        batch, tokens, width = x.shape
        q, k, v = (
            self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, width))


class TextEncoder(nn.Module):
    """Token and position embeddings of int64 ids, attention with a padding mask, a pooled output."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.words, self.positions = nn.Embedding(11, width), nn.Embedding(32, width)
        self.norm, self.final = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.ff = nn.Sequential(nn.Linear(width, 32), nn.GELU(approximate="tanh"), nn.Linear(32, width))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(self.words(ids) + self.positions(torch.arange(ids.shape[1])))
        penalty = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        q, k, v = (self.split(layer(x)) for layer in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5) + penalty, -1)
        x = x + (weights @ v).transpose(1, 2).flatten(2)
        x = self.final(x + self.ff(x))
        return x, torch.tanh(x[:, 0])

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class Attention(nn.Module):
    """`nn.MultiheadAttention` with a residual connection."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=batch_first)

    def forward(self, x: torch.Tensor) -> Any:
        return x + self.attention(x, x, x, need_weights=False)[0]


def encoder(batch_first: bool) -> nn.Module:
    # Wrapped, because the TorchScript exporter makes tensors of the layer's own default arguments.
    return nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=batch_first))


def plain() -> nn.Module:
    """A convolution with stride and dilation, max and average pooling, two dense layers."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=2, dilation=2),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 12),
        nn.SiLU(),
        nn.Dropout(),
        nn.Linear(12, 4),
    )


def image(batch: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(batch, 3, 8, 8),)


def tokens_first(batch: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(TOKENS, batch, 16),)


def batch_first(batch: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(batch, TOKENS, 16),)


def text(batch: int) -> tuple[torch.Tensor, ...]:
    mask = torch.ones(batch, TOKENS, dtype=torch.int64)
    mask[:, TOKENS - 2 :] = 0
    return torch.randint(0, 11, (batch, TOKENS)), mask


# Network, its inputs for a batch size, the batch axis of its inputs.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[torch.Tensor, ...]], int]] = {
    "plain": (plain, image, 0),
    "residual": (Residual, image, 0),
    "vision": (VisionTransformer, image, 0),
    "text": (TextEncoder, text, 0),
    "attention": (lambda: Attention(True), batch_first, 0),
    "attention-tokens-first": (lambda: Attention(False), tokens_first, 1),
    "encoder": (lambda: encoder(True), batch_first, 0),
    "encoder-tokens-first": (lambda: encoder(False), tokens_first, 1),
}


def export(name: str, *, dynamo: bool, dynamic: bool, opset: int = 18, batch: int = 1) -> onnx.ModelProto:
    """Export a network with seeded weights; `dynamic` leaves the batch open."""
    torch.manual_seed(0)
    make, inputs, axis = NETWORKS[name]
    network = make().eval()
    example = inputs(2 if dynamic and dynamo else batch)  # dynamo takes a size of 1 for fixed
    return export_module(network, example, axis, dynamo=dynamo, dynamic=dynamic, opset=opset)


def export_module(
    network: nn.Module,
    example: Sequence[torch.Tensor],
    axis: int,
    *,
    dynamo: bool,
    dynamic: bool,
    opset: int,
) -> onnx.ModelProto:
    names = [f"in{index}" for index in range(len(example))]
    buffer: Any = io.BytesIO()
    options: dict[str, Any] = {"input_names": names, "opset_version": opset, "dynamo": dynamo}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    if dynamic and dynamo:
        options["dynamic_shapes"] = tuple({axis: torch.export.Dim("batch")} for _ in names)
    elif dynamic:
        options["dynamic_axes"] = {name: {axis: "batch"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(network, tuple(example), verbose=False, **options)
            assert program is not None
            return program.model_proto
        torch.onnx.export(network, tuple(example), buffer, **options)
    return onnx.load_model_from_string(buffer.getvalue())
