"""The network to compare with: a vision transformer with softmax attention, of the SAFormer's size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V in every head, then a projection: [N, n, C] -> [N, n, C]."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.project = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens, channels = x.shape[1:]
        qkv = self.qkv(x).reshape(-1, tokens, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        joined: Tensor = self.project(heads.transpose(1, 2).reshape(-1, tokens, channels))
        return joined


class Block(nn.Module):
    """Pre-norm transformer block: x += attention(LN(x)); x += MLP(LN(x))."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(channels), Attention(channels, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return torch.as_tensor(x + self.mlp(x))


class SoftmaxViT(nn.Module):
    """Conv-BN-ReLU stages, blocks, mean over the tokens: [N, C, H, W] -> logits [N, classes].

    The arguments mean what they mean for a SAFormer.
    """

    def __init__(
        self,
        *,
        channels: int,
        image: tuple[int, int],
        stages: Sequence[tuple[int, int]],
        depth: int,
        heads: int,
        hidden: int,
        classes: int = 10,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        height, width = image
        for out, stride in stages:
            layers += [
                nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            channels, height, width = out, -(-height // stride), -(-width // stride)
        self.stem = nn.Sequential(*layers[:-1])
        self.channels, self.tokens = channels, height * width
        self.positions = nn.Parameter(torch.randn(1, self.tokens, channels) * 0.02)
        self.blocks = nn.Sequential(*(Block(channels, heads, hidden) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.stem(image).reshape(-1, self.channels, self.tokens).transpose(1, 2)
        logits: Tensor = self.head(self.norm(self.blocks(patches + self.positions)).mean(dim=1))
        return logits
