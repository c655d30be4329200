"""Where quantisers go in a torch module, and what cannot be traced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 -- after the skip
from torch.nn import functional  # noqa: E402 -- after the skip

from snnc.ir.errors import OptionError, UnsupportedOpError  # noqa: E402 -- after the skip
from snnc.nn import initialise, quantisers, quantising, replace_activations  # noqa: E402 -- after the skip
from tests.nn.networks import images, plain_cnn, random_vit, trained_cnn  # noqa: E402 -- after the skip

NETWORKS = {"plain": plain_cnn, "residual": trained_cnn, "vit": random_vit}


@pytest.mark.parametrize("name", NETWORKS)
def test_switched_off_the_network_is_the_one_it_was(name: str) -> None:
    model = NETWORKS[name]()
    x, _ = images("digits_test.npz", 8)
    quantised = replace_activations(model).eval()
    with quantising(quantised, False), torch.no_grad():
        np.testing.assert_allclose(quantised(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_given_network_is_left_alone(name: str) -> None:
    model = NETWORKS[name]()
    before = str(model)
    replace_activations(model)
    assert str(model) == before
    assert quantisers(model) == {}


@pytest.mark.parametrize(
    ("name", "everywhere", "count"),
    [
        ("plain", False, 2), ("plain", True, 3),  # the average pool makes other numbers than levels
        ("residual", False, 7), ("residual", True, 8),
        ("vit", False, 3), ("vit", True, 25),  # per block: qkv, q, k, v, weights, project, two of the MLP
    ],
)  # fmt: skip
def test_how_many_sites_there_are(name: str, everywhere: bool, count: int) -> None:
    assert len(quantisers(replace_activations(NETWORKS[name](), everywhere=everywhere))) == count


@pytest.mark.parametrize(("relu", "sides"), [("rectify", (0, 15)), ("polarity", (8, 7))])
def test_levels_of_a_replaced_relu(relu: Any, sides: tuple[int, int]) -> None:
    found = [
        part for part in quantisers(replace_activations(plain_cnn(), relu=relu)).values() if part.rectifier
    ]
    assert [(part.negative, part.positive) for part in found] == [sides, sides]


def test_axes_of_channels() -> None:
    conv = quantisers(replace_activations(plain_cnn(), per="channel"))
    assert [part.axis for part in conv.values()] == [1, 1, -1]
    vit = quantisers(replace_activations(random_vit(), per="channel"))
    assert {part.axis for name, part in vit.items() if "attention" in name and "." in name} == {None}
    assert {part.axis for name, part in vit.items() if "." not in name} == {-1}


class Spellings(nn.Module):
    """The same ReLU and product however they are called."""

    def __init__(self, relu: Any, product: Any) -> None:
        super().__init__()
        self.first, self.relu, self.product = nn.Linear(4, 4), relu, product

    def forward(self, x: Any) -> Any:
        hidden = self.relu(self.first(x))
        return self.product(hidden, hidden.transpose(-2, -1))


@pytest.mark.parametrize(
    "relu", [nn.ReLU(), functional.relu, torch.relu, lambda x: x.relu(), nn.ReLU(inplace=True)]
)
@pytest.mark.parametrize("product", [torch.matmul, torch.bmm, lambda a, b: a @ b, lambda a, b: a.matmul(b)])
def test_spellings_of_one_network(relu: Any, product: Any) -> None:
    torch.manual_seed(0)
    model, x = Spellings(relu, product).eval(), torch.rand(2, 3, 4)
    quantised = replace_activations(model, 8).eval()
    initialise(quantised, x, "max")
    assert len(quantisers(quantised)) == 1
    wanted, found = model(x).detach(), quantised(x).detach()
    assert 0 < float((found - wanted).abs().max()) < 0.02 * float(wanted.abs().max())


class Attention(nn.Module):
    """Attention with a mask and a scale of its own, no weights."""

    def __init__(self, mask: Any, **options: Any) -> None:
        super().__init__()
        self.mask, self.options = mask, options

    def forward(self, x: Any) -> Any:
        return functional.scaled_dot_product_attention(x, 2 * x, x + 1, attn_mask=self.mask, **self.options)


MASK = torch.tensor([[True, True, False], [True, False, True], [True, True, True]])


@pytest.mark.parametrize("mask", [None, MASK, torch.where(MASK, 0.5, -1.0)], ids=["none", "bool", "float"])
@pytest.mark.parametrize("options", [{}, {"scale": 0.3}])
def test_attention_is_written_out(mask: Any, options: dict[str, Any]) -> None:
    x = torch.randn(2, 4, 3, 8, generator=torch.Generator().manual_seed(0))
    model = Attention(mask, **options)
    quantised = replace_activations(model).eval()
    assert len(quantisers(quantised)) == 4
    with quantising(quantised, False):
        np.testing.assert_allclose(quantised(x), model(x), rtol=1e-4, atol=1e-5)


class Branches(nn.Module):
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x)[0]


@pytest.mark.parametrize(
    ("module", "message"),
    [(Branches(), "torch.fx cannot trace"), (Hidden(), "MultiheadAttention 'attention' hides its synapses")],
)
def test_what_cannot_be_traced_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(UnsupportedOpError, match=message) as caught:
        replace_activations(module)
    assert caught.value.help


def test_causal_attention_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="is_causal"):
        replace_activations(Attention(None, is_causal=True))(torch.rand(1, 3, 4))


@pytest.mark.parametrize("bits", [0, 16])
def test_impossible_bits_are_refused(bits: int) -> None:
    with pytest.raises(OptionError, match=rf"2\^{bits} levels"):
        replace_activations(plain_cnn(), bits)
