"""Levels from data: each rule against what it says it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from snnc.ir.errors import DataError, OptionError  # noqa: E402 -- after the skip
from snnc.nn import PolarityQuant, initialise, replace_activations  # noqa: E402 -- after the skip
from tests.nn.networks import images, trained_cnn  # noqa: E402 -- after the skip


def noise(count: int = 20000, shift: float = 0.0) -> Any:
    return shift + torch.randn(count, 1, generator=torch.Generator().manual_seed(1))


def layer(levels: int = 15, **options: Any) -> Any:
    return torch.nn.Sequential(PolarityQuant(levels // 2, levels - levels // 2, **options))


def code_entropy(x: Any, part: Any) -> float:
    """Count the codes the layer gives, one by one."""
    quantum = float(part.theta.detach()) / max(part.negative, part.positive)
    codes = np.round(part(x).detach().numpy() / quantum)
    _, counts = np.unique(codes, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


@pytest.mark.parametrize("rule", ["mse", "energy", "entropy", "max", "percentile"])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_reported_bits_are_those_of_the_code(rule: Any, shift: float) -> None:
    net, x = layer().eval(), noise(shift=shift)
    (report,) = initialise(net, x, rule)
    assert report.bits == pytest.approx(code_entropy(x, net[0]), abs=0.01)
    assert report.negative + report.positive == 15
    assert (report.negative, report.positive) == (net[0].negative, net[0].positive)


def test_entropy_finds_the_most_bits() -> None:
    """No other theta and no other number of negative levels on a grid has more."""
    net, x = layer().eval(), noise(4000, shift=0.7)
    (best,) = initialise(net, x, "entropy")
    for negative in range(16):
        for theta in np.geomspace(0.2, 8, 25):
            other = PolarityQuant(negative, 15 - negative, float(theta)).eval()
            assert code_entropy(x, other) <= best.bits + 0.02
    assert 0 < best.negative < best.positive


def test_mse_finds_the_least_error() -> None:
    """No other theta and no other number of negative levels on a grid has less."""

    def error(part: Any) -> float:
        return float(((part(x) - x) ** 2).mean().detach())

    net, x = layer().eval(), noise(4000, shift=0.7)
    initialise(net, x, "mse")
    for negative in range(16):
        for theta in np.geomspace(0.2, 8, 25):
            assert error(PolarityQuant(negative, 15 - negative, float(theta)).eval()) > 0.99 * error(net)
    assert 0 < net[0].negative < net[0].positive


def test_a_channel_of_one_sign_does_not_lose_it() -> None:
    """Levels that would send a whole channel to 0 cost its energy; they do not come free."""
    net = torch.nn.Sequential(PolarityQuant(2, 1, axis=1)).eval()
    x = torch.cat([noise(2000).abs() + 1, -noise(2000).abs()], dim=1)
    for rule in ("mse", "energy", "entropy"):
        (report,) = initialise(net, x, rule)
        assert report.positive > 0, rule


def test_a_wide_gaussian_gets_levels_on_both_sides() -> None:
    (report,) = initialise(layer(), noise(), "entropy")
    assert abs(report.negative - report.positive) <= 1
    assert report.bits > 3.7


def test_the_largest_value_is_reached() -> None:
    net, x = layer(), torch.tensor([[-2.0], [0.5], [6.0]])
    (report,) = initialise(net, x, "max")
    quantum = report.theta[0] / max(report.negative, report.positive)
    assert report.positive * quantum == pytest.approx(6.0)
    assert report.negative * quantum >= 2.0


def test_percentiles_leave_outliers_out() -> None:
    x = torch.cat([noise(), torch.tensor([[1000.0]])])
    (by_max,), (by_percentile,) = (initialise(layer(), x, rule) for rule in ("max", "percentile"))
    assert by_max.theta[0] > 900
    assert 2.5 < by_percentile.theta[0] < 4.5


def test_a_rectifier_without_negative_levels_keeps_none() -> None:
    net = torch.nn.Sequential(PolarityQuant(0, 15, rectifier=True))
    for rule in ("mse", "energy", "entropy", "max", "percentile"):
        (report,) = initialise(net, noise(), rule)
        assert (report.negative, report.positive) == (0, 15)


def test_theta_per_channel_follows_the_channels() -> None:
    net = torch.nn.Sequential(PolarityQuant(8, 7, axis=1))
    x = noise(5000) * torch.tensor([[1.0, 10.0, 0.0]])
    (report,) = initialise(net, x)
    assert report.theta[1] == pytest.approx(10 * report.theta[0], rel=1e-3)
    assert report.theta[2] == pytest.approx(report.theta[1])  # silent: the largest of the others


def test_the_network_is_observed_without_its_quantisers_and_left_as_it_was() -> None:
    quantised = replace_activations(trained_cnn(), 2).train()
    x, _ = images("digits_calibration.npz", 64)
    first = initialise(quantised, x, "max")
    again = initialise(quantised, x, "max")
    assert first == again
    assert quantised.training
    assert all(part.active for part in quantised.modules() if isinstance(part, PolarityQuant))


def test_the_default_keeps_more_of_a_trained_network_than_the_other_rules() -> None:
    """2 bits, before any fine-tuning, for three draws of 64 images: how far the answers move."""
    images_, _ = images("digits_calibration.npz")
    test, _ = images("digits_test.npz")
    with torch.no_grad():
        wanted = trained_cnn()(test)
    for start in (0, 32, 64):
        found = {}
        for rule in ("mse", "energy", "entropy", "max", "percentile"):
            quantised = replace_activations(trained_cnn(), 2)
            initialise(quantised, images_[start : start + 64], rule)
            with torch.no_grad():
                found[rule] = float((quantised(test) - wanted).norm() / wanted.norm())
        assert found["mse"] == min(found.values())
        assert found["energy"] < found["percentile"] < found["max"] < found["entropy"]


def test_refusals() -> None:
    with pytest.raises(OptionError, match="no rule 'median'"):
        initialise(layer(), noise(), "median")
    with pytest.raises(DataError, match="NaN or infinite"):
        initialise(layer(), torch.tensor([[1.0], [float("nan")]]))
