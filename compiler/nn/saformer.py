"""SAFormer: a transformer whose attention is made of spikes alone, trained directly.

Source: SAFormer (arXiv 2412.13553), of which we read the abstract: Spike Aggregated Self-Attention computes
its weights from the spike matrices Q and K alone, a depthwise convolution module enriches the features.
Every equation below is our reconstruction.

Shapes: B = steps · N samples, time first; n tokens on a grid of height · width = n; C channels. A current is
real, in units of the neurons' threshold; a spike is 0 or 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn

from snnc.ir.errors import DataError, OptionError
from snnc.nn.lif import LIF, neurons, reset_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Grid: TypeAlias = tuple[int, int]
    Neuron: TypeAlias = Callable[[], LIF]
    Stages: TypeAlias = Sequence[tuple[int, int]]

Decode: TypeAlias = Literal["mean", "sum", "last"]

DECODES = ("mean", "sum", "last")


class TokenNorm(nn.BatchNorm1d):
    """Batch norm of tokens [B, n, C], per channel over all tokens of all samples and steps."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:  # one matrix is quicker; the other form is one node in an exported file
            return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class SpikeAggregate(nn.Module):
    """a[b, i, h] = Σ q[b, i, c] over the channels c of head h: [B, n, C] -> [B, n, heads], whole numbers."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, q: Tensor) -> Tensor:
        return q.reshape(-1, q.shape[1], self.heads, q.shape[2] // self.heads).sum(-1)


class DepthwiseConvModule(nn.Module):
    """y = BN(w * s), a 3x3 convolution of every channel over the token grid: spikes -> current, [B, n, C].

    It is the only place where tokens of a block see each other. Tokens in front of the grid (`prefix`, class
    tokens) have no neighbours: they get y = BN(Σ u s) over the whole grid, u a weight per place and channel.
    """

    def __init__(self, channels: int, grid: Grid, *, prefix: int = 0) -> None:
        super().__init__()
        self.channels, self.grid, self.prefix = channels, grid, prefix
        self.local = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
        )
        if prefix:
            self.everywhere = nn.Sequential(
                nn.Conv2d(channels, channels, grid, groups=channels, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, s: Tensor) -> Tensor:
        height, width = self.grid
        image = s[:, self.prefix :].transpose(1, 2).reshape(-1, self.channels, height, width)
        local: Tensor = self.local(image).reshape(-1, self.channels, height * width).transpose(1, 2)
        if not self.prefix:
            return local
        whole = self.everywhere(image).reshape(-1, self.channels, 1).transpose(1, 2)
        return torch.cat([whole.expand(-1, self.prefix, -1), local], dim=1)


class SpikeAggregatedSelfAttention(nn.Module):
    """Attention weights from spikes alone, without softmax: spikes [B, n, C] -> current [B, n, C].

        Q = LIF(BN(W_q x)),  K = LIF(BN(W_k x))
        a = LIF(Σ Q over the channels of a head)          one spike or none per token and head
        y = BN(W_o (a ⊙ K)) + DWC(K)

    a ⊙ K is spikes again, so every sum is a sum of weights. There is no n x n matrix and no value
    projection: the cost is linear in n. The neuron that reads y is the next layer's.
    """

    def __init__(
        self, channels: int, heads: int, grid: Grid, neuron: Neuron = LIF, *, prefix: int = 0
    ) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise OptionError(f"{channels} channels do not divide into {heads} heads")
        self.channels, self.heads, self.tokens = channels, heads, prefix + grid[0] * grid[1]
        self.query, self.key = synapse(channels, channels), synapse(channels, channels)
        self.query_neuron, self.key_neuron = neuron(), neuron()
        self.aggregate, self.attention_neuron = SpikeAggregate(heads), neuron()
        self.project = synapse(channels, channels)
        self.depthwise = DepthwiseConvModule(channels, grid, prefix=prefix)

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        q = self.query_neuron(self.query(x), steps)
        k = self.key_neuron(self.key(x), steps)
        a = self.attention_neuron(self.aggregate(q), steps)
        by_head = k.reshape(-1, self.tokens, self.heads, self.channels // self.heads)
        gated = (a.unsqueeze(-1) * by_head).reshape(-1, self.tokens, self.channels)
        y: Tensor = self.project(gated) + self.depthwise(k)
        return y


class SpikingMLP(nn.Module):
    """y = BN(W_2 LIF(BN(W_1 s))): spikes -> current, [B, n, C]."""

    def __init__(self, channels: int, hidden: int, neuron: Neuron = LIF) -> None:
        super().__init__()
        self.expand, self.neuron, self.contract = (
            synapse(channels, hidden), neuron(), synapse(hidden, channels),
        )  # fmt: skip

    def forward(self, s: Tensor, steps: int = 1) -> Tensor:
        y: Tensor = self.contract(self.neuron(self.expand(s), steps))
        return y


class SpikingBlock(nn.Module):
    """u += SASA(LIF(u));  u += MLP(LIF(u)): currents [B, n, C], which are added and nothing else."""

    def __init__(self, channels: int, heads: int, grid: Grid, hidden: int, neuron: Neuron = LIF) -> None:
        super().__init__()
        self.attention_input, self.mlp_input = neuron(), neuron()
        self.attention = SpikeAggregatedSelfAttention(channels, heads, grid, neuron)
        self.mlp = SpikingMLP(channels, hidden, neuron)

    def forward(self, u: Tensor, steps: int = 1) -> Tensor:
        u = u + self.attention(self.attention_input(u, steps), steps)
        u = u + self.mlp(self.mlp_input(u, steps), steps)
        return u


class SpikingPatches(nn.Module):
    """Conv-BN stages of 3x3 kernels with a LIF between two: [B, C_in, H, W] -> current [B, n, C].

    The first stage reads the image or event frame itself, every other one spikes.
    """

    def __init__(self, channels: int, image: Grid, stages: Stages, neuron: Neuron = LIF) -> None:
        super().__init__()
        height, width = image
        self.synapses, self.neurons = nn.ModuleList(), nn.ModuleList()
        for number, (out, stride) in enumerate(stages):
            if number:
                self.neurons.append(neuron())
            conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
            self.synapses.append(nn.Sequential(conv, nn.BatchNorm2d(out)))
            channels, height, width = out, -(-height // stride), -(-width // stride)
        self.channels, self.grid = channels, (height, width)

    def forward(self, x: Tensor, steps: int = 1, *, repeat: int = 1) -> Tensor:
        """Advance `steps` steps; an image that stays for `repeat` of them comes once, as steps / repeat."""
        first, *others = self.synapses
        current: Tensor = first(x)
        if repeat > 1:
            current = current.repeat(repeat, *[1] * (current.dim() - 1))
        for neuron, synapse in zip(self.neurons, others, strict=True):
            current = synapse(neuron(current, steps))
        tokens = self.grid[0] * self.grid[1]
        return current.reshape(-1, self.channels, tokens).transpose(1, 2)


class SAFormer(nn.Module):
    """A spiking transformer: images [N, C, H, W], shown every step, or event frames [T, N, C, H, W].

        u = patches(x),  then every block,  y(t) = W Σ LIF(u) over the tokens + b

    The result [N, classes] is the mean of y(t) over the steps (`decode`: or the sum, or the last). The
    residual stream u is a membrane current that is only ever added to; every synapse but the first reads
    spikes, the head whole numbers of spikes (its 1/n is in W). Each call starts from v(0) = 0.

    stages: (channels, stride) of each 3x3 convolution in front; the last one's channels are the width.
    steps: how long an image is shown. tau, threshold, reset: of every neuron, see LIF.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        channels: int = 1,
        image: Grid = (8, 8),
        stages: Stages = ((24, 1), (48, 2)),
        depth: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        steps: int = 4,
        decode: Decode = "mean",
        neuron: Neuron = LIF,
    ) -> None:
        super().__init__()
        if not stages or depth < 0 or steps < 1 or decode not in DECODES:
            raise OptionError(
                f"{len(stages)} stages, {depth} blocks, {steps} steps and decode {decode!r} make no SAFormer",
                help="at least one stage and one step; decode is " + ", ".join(DECODES),
            )
        self.steps, self.decode = steps, decode
        self.patches = SpikingPatches(channels, image, stages, neuron)
        width, grid = self.patches.channels, self.patches.grid
        hidden = 2 * width if hidden is None else hidden
        self.blocks = nn.ModuleList(SpikingBlock(width, heads, grid, hidden, neuron) for _ in range(depth))
        self.head_neuron, self.head = neuron(), nn.Linear(width, classes)
        with torch.no_grad():
            self.head.weight /= grid[0] * grid[1]
        start_near_threshold(self)

    def forward(self, x: Tensor) -> Tensor:
        y = self.outputs(x)
        if self.decode == "last":
            return y[-1]
        return y.mean(0) if self.decode == "mean" else y.sum(0)

    def outputs(self, x: Tensor) -> Tensor:
        """Return the head's result at every step, [T, N, classes], from v(0) = 0."""
        if x.dim() not in (4, 5):
            raise DataError(
                f"a SAFormer cannot read {tuple(x.shape)}", help="give [N, C, H, W] or [T, N, C, H, W]"
            )
        reset_state(self)
        if x.dim() == 5:
            y = self.advance(x.flatten(0, 1), len(x))
            return y.reshape(len(x), -1, y.shape[-1])
        y = self.advance(x, self.steps, repeat=self.steps)
        return y.reshape(self.steps, -1, y.shape[-1])

    def advance(self, x: Tensor, steps: int = 1, *, repeat: int = 1) -> Tensor:
        """Run further steps from the state there is: [steps · N, C, H, W] -> [steps · N, classes]."""
        u = self.patches(x, steps, repeat=repeat)
        for block in self.blocks:
            u = block(u, steps)
        y: Tensor = self.head(self.head_neuron(u, steps).sum(1))
        return y


def synapse(inputs: int, outputs: int) -> nn.Sequential:
    """Return BN(W s) for tokens [B, n, inputs] -> [B, n, outputs]."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), TokenNorm(outputs))


def start_near_threshold(module: nn.Module) -> None:
    """Let batch norms give currents of the spread that makes a neuron fire now and then: threshold / gain."""
    first = next(iter(neurons(module).values()), None)
    if first is None:
        return
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.constant_(part.weight, first.threshold / first.gain)
