"""The deployable copy: batch norms folded, weights on a grid, every sum exact in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402 -- after the skip

from snnc.ir.errors import OptionError, UnsupportedOpError  # noqa: E402 -- after the skip
from snnc.nn import LIF, to_fixed_point  # noqa: E402 -- after the skip
from snnc.nn.fixed_point import fold_batch_norms, fraction_bits  # noqa: E402 -- after the skip
from snnc.nn.lif import neurons  # noqa: E402 -- after the skip
from tests.nn.networks import image_grid, small_saformer  # noqa: E402 -- after the skip

if TYPE_CHECKING:
    from snnc.nn import SAFormer

EXAMPLE = torch.zeros(1, 1, 8, 8)


def deployed(**options: int) -> SAFormer:
    return to_fixed_point(small_saformer(), EXAMPLE, input_bits=4, **options)


def test_folding_changes_nothing_but_rounding() -> None:
    network = small_saformer()
    folded = fold_batch_norms(network)
    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in folded.modules())
    reached: list[list[Tensor]] = []
    for one in (network, folded):
        currents: list[Tensor] = []
        one.patches.register_forward_hook(lambda _, __, y, currents=currents: currents.append(y))
        with torch.no_grad():
            one(image_grid(8))
        reached.append(currents)
    torch.testing.assert_close(*reached, atol=1e-5, rtol=1e-5)


def test_every_current_and_membrane_is_the_same_in_twice_the_precision() -> None:
    """In float64 nothing rounds; float32 finds the same numbers, to the last bit, so neither does it."""
    network, x = deployed(), image_grid(16)
    seen: list[list[Tensor]] = []
    for one in (network, deployed().double()):
        values: list[Tensor] = []

        def watch(
            part: nn.Module, given: tuple[Tensor, ...], s: Tensor, values: list[Tensor] = values
        ) -> None:
            assert isinstance(part, LIF)
            assert part.v is not None
            values.extend([given[0].double(), s.double(), part.v.double()])

        for part in neurons(one).values():
            part.register_forward_hook(watch)
        with torch.no_grad():
            values.append(one.outputs(x.to(one.head.weight.dtype)).double())
        seen.append(values)
    assert len(seen[0]) == 3 * 14 + 1
    assert all(torch.equal(ours, exact) for ours, exact in zip(*seen, strict=True))


def test_the_order_of_samples_and_sums_does_not_matter() -> None:
    """One at a time, in a batch, or with every linear layer's inputs reversed: the same bits."""
    network, x = deployed(), image_grid(6)
    with torch.no_grad():
        wanted = network.outputs(x)
        assert torch.equal(torch.cat([network.outputs(one[None]) for one in x], 1), wanted)

        def reversed_sum(part: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> Tensor:
            assert isinstance(part, nn.Linear)
            total = torch.zeros(*given[0].shape[:-1], part.out_features) + part.bias
            for column in reversed(range(part.in_features)):
                total = total + given[0][..., column : column + 1] * part.weight[:, column]
            return total

        for part in network.modules():
            if isinstance(part, nn.Linear):
                part.register_forward_hook(reversed_sum)
        assert torch.equal(network.outputs(x), wanted)


def test_more_steps_leave_fewer_bits() -> None:
    def bits(network: nn.Module) -> int:
        return max(fraction_bits(w) for w in network.blocks[0].mlp.expand[0].weight.flatten().tolist())

    few, many = bits(deployed(steps=2)), bits(deployed(steps=8))
    assert few > many >= 4


def test_what_cannot_be_exact_is_refused() -> None:
    with pytest.raises(
        OptionError, match=r"can reach .* in multiples of 2\^-.*: .* bits, and a float32 has 24"
    ):
        deployed(steps=24)
    network = small_saformer(neuron=lambda: LIF(3.0))
    with pytest.raises(OptionError, match=r"leak 0\.66.* of 'patches\.neurons\.0' is no multiple"):
        to_fixed_point(network, EXAMPLE)
    heavy = small_saformer()
    with torch.no_grad():
        heavy.head.weight.fill_(1e6)
    with pytest.raises(OptionError, match=r"the output|head"):
        to_fixed_point(heavy, EXAMPLE)


def test_layers_without_a_known_bound_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match=r"sums of 1 \(GELU\)"):
        to_fixed_point(nn.Sequential(nn.Linear(2, 2), nn.GELU()), torch.zeros(1, 2))
    added = small_saformer()
    added.blocks[0].positions = nn.Parameter(torch.ones(1, 16, 12))
    with pytest.raises(UnsupportedOpError, match=r"sums of blocks\.0\.positions \(a parameter\)"):
        to_fixed_point(added, EXAMPLE)
    alone = nn.Sequential(nn.Linear(2, 2), LIF(), nn.BatchNorm1d(2))
    with pytest.raises(UnsupportedOpError, match=r"sums of 2 \(BatchNorm1d\)"):
        to_fixed_point(alone, torch.zeros(1, 2))


def test_the_network_stays_as_it_was() -> None:
    network = small_saformer()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    to_fixed_point(network, EXAMPLE, input_bits=4)
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
