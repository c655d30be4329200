"""Networks as people write them, one for each way of building that needs something of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

Tensors = tuple[torch.Tensor, ...]
TOKENS, WIDTH = 6, 16


def block(inputs: int, outputs: int, *, groups: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), act())


class Mobile(nn.Module):
    """Channel shuffle, squeeze and excitation, hard swish, dense concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = block(3, 8, act=nn.Hardswish), block(4, 4, groups=4)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(x)
        left, right = x.chunk(2, 1)
        y = torch.cat([left, self.depthwise(right)], 1)
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return self.head(torch.cat([x, y * gate], 1).mean((2, 3)))


class UNet(nn.Module):
    """Down by max pooling, up by transposed convolution and by interpolation, skip connections."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.down, self.middle = block(3, 6), block(6, 12)
        self.up = nn.ConvTranspose2d(12, 6, 2, 2)
        self.head = nn.Conv2d(18, 2, 1)

    def forward(self, x: torch.Tensor) -> Any:
        skip = self.down(x)
        low = self.middle(F.max_pool2d(skip, 2))
        wide = F.interpolate(low[:, :6], scale_factor=2.0, mode=self.mode, align_corners=False)
        return self.head(torch.cat([skip, self.up(low), wide], 1))


def style() -> nn.Module:
    """Reflection padding, group and instance norm."""
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(3, 8, 3),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.InstanceNorm2d(8, affine=True),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(8, 3, 3, padding=1),
        nn.Tanh(),
    )


class Temporal(nn.Module):
    """Dilated causal convolutions in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 8, 3, padding=2)
        self.second = nn.Conv1d(8, 8, 3, padding=4, dilation=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> Any:
        y = torch.relu(self.first(x)[:, :, :-2])
        return self.head(torch.relu(y + self.second(y)[:, :, :-4])[:, :, -1])


class Gated(nn.Module):
    """RMS norm written out, SwiGLU, GLU, rotary positions, grouped causal attention."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.query, self.keys = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.gate, self.up, self.down = nn.Linear(WIDTH, 24), nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)
        self.head = nn.Linear(WIDTH, 8)
        angles = torch.outer(torch.arange(TOKENS), 1 / 10 ** (torch.arange(0, 8, 2) / 8)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return x * self.get_buffer("cos") + torch.cat([-right, left], -1) * self.get_buffer("sin")

    def forward(self, x: torch.Tensor) -> Any:
        y = self.norm(x)
        q = self.query(y).view(-1, TOKENS, 2, 8).transpose(1, 2)
        k, v = (part.view(-1, TOKENS, 1, 8).transpose(1, 2) for part in self.keys(y).chunk(2, -1))
        k, v = self.rotate(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        x = x + F.scaled_dot_product_attention(self.rotate(q), k, v, is_causal=True).transpose(1, 2).flatten(
            2
        )
        y = self.norm(x)
        return F.glu(self.head(x + self.down(F.silu(self.gate(y)) * self.up(y))), -1)


class MaskedText(nn.Module):
    """A mask read sample by sample, as transformers 5 does; all tokens or the last one of every sample."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.words = nn.Embedding(50, WIDTH)
        self.qkv, self.head = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        samples, positions = torch.arange(ids.shape[0]), torch.arange(ids.shape[1])
        visible = mask.bool()[samples[:, None, None, None], positions[None, None, None, :]]
        q, k, v = self.qkv(self.words(ids)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=visible).transpose(1, 2).flatten(2)
        x = torch.relu(x)
        return self.head(x[samples, mask.sum(1).clamp(min=1) - 1] if self.last else x)


class Padded(nn.Module):
    """`nn.TransformerEncoder` with a padding mask and a causal mask of infinities."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 24, dropout=0.0, batch_first=True)
        self.words = nn.Embedding(50, WIDTH)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        causal = torch.triu(torch.ones(TOKENS, TOKENS, dtype=torch.bool), 1)
        return self.encoder(self.words(ids), mask=causal, src_key_padding_mask=mask == 0)


class LinearAttention(nn.Module):
    """Attention by feature maps, einsum, and a division of streams."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: torch.Tensor) -> Any:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        total = 1 / (q @ k.sum(1).unsqueeze(-1) + 1e-6)
        return torch.einsum("bnd,bde->bne", q, torch.einsum("bnd,bne->bde", k, v)) * total


class Branching(nn.Module):
    """Comparisons of activity: hard shrinkage, a mask from the data, a step."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> Any:
        y = F.hardshrink(self.first(x), 0.3).masked_fill(x[:, :8] < -1, 0.0)
        return self.second(y) * (x[:, :4] >= 0).float()


def normal(*shape: int) -> Callable[[int], Tensors]:
    return lambda batch: (torch.randn(batch, *shape),)


def text(batch: int) -> Tensors:
    lengths = TOKENS - torch.arange(batch) % 3
    mask = (torch.arange(TOKENS) < lengths[:, None]).to(torch.int64)
    return torch.randint(3, 50, (batch, TOKENS)), mask


# Network, its inputs for a batch size, with the newer exporter, opset.
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensors], bool, int]] = {
    "mobile": (Mobile, normal(3, 8, 8), False, 14),
    "unet": (lambda: UNet("bilinear"), normal(3, 8, 8), False, 16),
    "unet-cubic": (lambda: UNet("bicubic"), normal(3, 8, 8), True, 22),
    "style": (style, normal(3, 8, 8), True, 20),
    "temporal": (Temporal, normal(4, 20), False, 13),
    "gated": (Gated, normal(TOKENS, WIDTH), True, 23),
    "masked-text": (lambda: MaskedText(last=False), text, False, 17),
    "masked-text-dynamo": (lambda: MaskedText(last=False), text, True, 19),
    "last-token": (lambda: MaskedText(last=True), text, False, 14),
    "last-token-dynamo": (lambda: MaskedText(last=True), text, True, 18),
    "padded": (Padded, text, False, 15),
    "linear-attention": (LinearAttention, normal(TOKENS, WIDTH), True, 21),
    "branching": (Branching, normal(12), False, 18),
    "branching-dynamo": (Branching, normal(12), True, 18),
}
