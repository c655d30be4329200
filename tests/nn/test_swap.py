"""Softmax attention out, spikes in; and the loss that holds the new network to the old one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 -- after the skip

from snnc.ir.errors import OptionError, UnsupportedOpError  # noqa: E402 -- after the skip
from snnc.nn import (  # noqa: E402 -- after the skip
    SpikeAggregatedSelfAttention,
    distillation_loss,
    swap_attention,
)
from snnc.nn.swap import SwappedAttention  # noqa: E402 -- after the skip
from tests.nn.networks import image_grid, random_vit  # noqa: E402 -- after the skip


def test_the_digits_vit() -> None:
    """Three attentions become spikes' with the trained Q, K and projection; its 17 tokens are 1 + 4 x 4."""
    vit = random_vit()
    spiking = swap_attention(vit, image_grid(1), heads=4)
    swapped = [part for part in spiking.modules() if isinstance(part, SwappedAttention)]
    assert len(swapped) == 3
    attention = swapped[1].attention
    assert (attention.heads, attention.depthwise.grid, attention.depthwise.prefix) == (4, (4, 4), 1)
    trained = vit.blocks[1].attention[1]
    assert torch.equal(attention.query[0].weight, trained.qkv.weight[:48])
    assert torch.equal(attention.key[0].weight, trained.qkv.weight[48:96])
    assert torch.equal(attention.project[0].weight, trained.project.weight)
    assert spiking(image_grid(3)).shape == (3, 10)
    assert not spiking.training
    assert not any(isinstance(part, SwappedAttention) for part in vit.modules())


def test_it_learns_from_what_it_was() -> None:
    """A few steps against the old network bring it nearer; all new weights take part."""
    vit, x = random_vit(), image_grid(64)
    spiking = swap_attention(vit, x[:1], heads=4, steps=2).train()
    new = [part for part in spiking.modules() if isinstance(part, SpikeAggregatedSelfAttention)]
    weights = [weight for part in new for weight in part.parameters()]
    optimiser = torch.optim.Adam(spiking.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = distillation_loss(spiking(x), vit(x))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        assert all(weight.grad is not None for weight in weights)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_own_attention(batch_first: bool) -> None:
    """nn.MultiheadAttention in torch's encoder layer, with either order of axes, in both modes."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0.0)
    x = torch.randn(3, 9, 8) if batch_first else torch.randn(9, 3, 8)
    swapped = swap_attention(layer, x)
    attention = swapped.self_attn.attention
    assert torch.equal(attention.query[0].weight, layer.self_attn.in_proj_weight[:8])
    assert attention.depthwise.grid == (3, 3)
    assert swapped(x).shape == x.shape
    swapped.eval()
    with torch.no_grad():
        samples = swapped(x)
        one = swapped(x[:1] if batch_first else x[:, :1])
    torch.testing.assert_close(one, samples[:1] if batch_first else samples[:, :1])


def test_every_call_starts_from_rest() -> None:
    vit = swap_attention(random_vit(), image_grid(1), heads=4)
    with torch.no_grad():
        assert torch.equal(vit(image_grid(5)), vit(image_grid(5)))


def test_what_cannot_be_swapped_is_refused() -> None:
    x = image_grid(1)
    with pytest.raises(UnsupportedOpError, match="no softmax attention"):
        swap_attention(nn.Linear(2, 2), x)
    with pytest.raises(OptionError, match=r"'blocks.0.attention.1' does not say how many heads"):
        swap_attention(random_vit(), x)
    with pytest.raises(OptionError, match=r"17 tokens of 'blocks.0.attention.1' are no 5 x 5 grid"):
        swap_attention(random_vit(), x, heads=4, grid=(5, 5))
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with pytest.raises(OptionError, match="6 tokens of 'self_attn' are no square"):
        swap_attention(layer, torch.randn(1, 6, 8))
    swapped = swap_attention(layer, torch.randn(1, 6, 8), grid=(2, 3))
    with pytest.raises(UnsupportedOpError, match="without a mask"):
        swapped(torch.randn(1, 6, 8), src_mask=torch.zeros(6, 6))


def test_the_loss_is_its_formula() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    teacher = torch.tensor([[3.0, 0.0], [0.0, 1.0]], requires_grad=True)
    targets = torch.tensor([0, 0])

    def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
        powers = [2.718281828459045 ** (one / temperature) for one in row]
        return [one / sum(powers) for one in powers]

    from math import log

    kl = ce = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), targets.tolist(), strict=True):
        p, q = softmax(t, 4.0), softmax(s, 4.0)
        kl += sum(a * (log(a) - log(b)) for a, b in zip(p, q, strict=True)) / 2
        ce -= log(softmax(s)[y]) / 2
    loss = distillation_loss(student, teacher, targets, temperature=4.0, weight=0.25)
    assert float(loss.detach()) == pytest.approx(0.75 * ce + 0.25 * 16 * kl, rel=1e-5)
    alone = distillation_loss(student, teacher, temperature=4.0, features=[(student, teacher)])
    assert float(alone.detach()) == pytest.approx(16 * kl + (4 + 1) / (9 + 1), rel=1e-5)
    assert float(distillation_loss(teacher, teacher).detach()) == pytest.approx(0, abs=1e-7)
    torch.autograd.backward(alone)
    assert teacher.grad is None
    assert student.grad is not None
