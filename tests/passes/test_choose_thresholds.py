"""Thresholds from calibration: least error, signs, bounds, silent channels, resolution shared out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.ir.codebooks import Binary, Codebook, MultiSpike, Ternary, unit_spikes
from snnc.ir.errors import PassError
from snnc.passes import threshold_rules as rules
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.statistics import SiteStatistics
from tests.passes.build import Builder, N, applied, decoded
from tests.passes.calibration import ArrayCalibration

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Pass

CODEBOOKS: list[Codebook] = [MultiSpike(0, 15), MultiSpike(-7, 7), MultiSpike(0, 1), Binary(), Ternary()]
PLAIN: dict[str, Any] = {"balanced": False, "headroom": None}


def statistics_of(samples: Array, low: float | None = None, high: float | None = None) -> SiteStatistics:
    """Statistics of samples [n, channels]."""
    statistics = SiteStatistics("site", (1,), low, high)
    statistics.update(samples.astype(np.float32))
    return statistics


def squared_error(codebook: Codebook, samples: Array, quantum: Array) -> Array:
    """Mean squared error per channel of samples [n, channels]."""
    x = samples.astype(np.float64)
    return np.asarray(((x - quantum * codebook.quantise(x / quantum)) ** 2).mean(axis=0))


def skewed(channels: int = 4, seed: int = 0) -> Array:
    """Activations with outliers: mostly small, a few large, each channel with its own magnitude."""
    random = np.random.default_rng(seed)
    samples = random.standard_normal((4000, channels)) * 10.0 ** np.arange(-2, channels - 2)
    outliers = random.random(samples.shape) < 0.002
    return np.where(outliers, 8 * samples, samples).astype(np.float32)


# The rules on histograms.


@pytest.mark.parametrize("codebook", CODEBOOKS, ids=str)
def test_least_error_beats_max_and_percentile(codebook: Codebook) -> None:
    samples = skewed() if codebook.payload.lo else np.abs(skewed())
    statistics = statistics_of(samples)
    least = squared_error(codebook, samples, rules.least_error(codebook, statistics))
    for other in (
        rules.largest_magnitude(codebook, statistics),
        rules.percentile(codebook, statistics, 99.9),
        rules.percentile(codebook, statistics, 99),
    ):
        assert (least <= 1.02 * squared_error(codebook, samples, other)).all()
    assert (
        least.sum()
        < 0.8 * squared_error(codebook, samples, rules.largest_magnitude(codebook, statistics)).sum()
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), fraction=st.floats(0.05, 1.0))
def test_no_other_quantum_is_much_better(seed: int, fraction: float) -> None:
    samples, codebook = skewed(3, seed), MultiSpike(-7, 7)
    statistics = statistics_of(samples)
    least = squared_error(codebook, samples, rules.least_error(codebook, statistics))
    other = squared_error(codebook, samples, fraction * np.abs(samples).max(axis=0) / 7)
    assert (least <= 1.05 * other).all()


# Quantisers of least error for the normal distribution: step sizes after J. Max, Quantizing for Minimum
# Distortion, IRE Transactions on Information Theory 1960, table II (odd numbers of levels, step / σ).
@pytest.mark.parametrize(("reach", "step"), [(1, 1.224), (2, 0.8430), (3, 0.6508), (7, 0.3534)])
def test_the_normal_distribution_gives_the_steps_of_the_literature(reach: int, step: float) -> None:
    samples = 3 * np.random.default_rng(2).standard_normal((200_000, 1))
    found = rules.least_error_of("gaussian", MultiSpike(-reach, reach), statistics_of(samples))
    assert found == pytest.approx(3 * step, rel=0.02)


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
@pytest.mark.parametrize("codebook", [MultiSpike(0, 15), MultiSpike(-7, 7), Ternary()], ids=str)
def test_on_its_own_distribution_the_analytic_rule_is_the_measured_one(
    distribution: Literal["gaussian", "laplace"], codebook: Codebook
) -> None:
    random = np.random.default_rng(3)
    draw = random.standard_normal if distribution == "gaussian" else random.laplace
    samples = draw(size=(100_000, 2)) * np.array([0.1, 30])
    if codebook.payload.lo == 0:
        samples = np.maximum(samples, 0)
    statistics = statistics_of(samples, 0.0 if codebook.payload.lo == 0 else None)
    found = squared_error(codebook, samples, rules.least_error_of(distribution, codebook, statistics))
    assert (found < 1.02 * squared_error(codebook, samples, rules.least_error(codebook, statistics))).all()


def test_max_puts_the_largest_payload_on_the_largest_value() -> None:
    samples = skewed()
    found = rules.largest_magnitude(MultiSpike(-7, 15), statistics_of(samples))
    np.testing.assert_allclose(found * 15, np.abs(samples).max(axis=0), rtol=1e-6)


def test_percentile_leaves_zeros_and_outliers_out() -> None:
    samples = np.zeros((10_000, 1), np.float32)
    samples[:1000, 0] = np.linspace(0.001, 1, 1000)
    samples[0] = 50.0
    found = rules.percentile(Binary(), statistics_of(samples, low=0.0), 99.0)
    assert found[0] == pytest.approx(0.99, abs=0.05)


def test_signs_are_settled_by_what_was_seen() -> None:
    positive, signed = statistics_of(np.abs(skewed())), statistics_of(skewed())
    assert rules.settle_sign(MultiSpike(-31, 31), positive) == MultiSpike(0, 63)
    assert rules.settle_sign(Ternary(), positive) == Binary()
    for codebook in CODEBOOKS:
        assert rules.settle_sign(codebook, signed) == codebook


def test_one_negative_channel_keeps_the_sign() -> None:
    samples = np.abs(skewed())
    samples[7, 2] = -0.001
    assert rules.settle_sign(MultiSpike(-7, 7), statistics_of(samples)) == MultiSpike(-7, 7)


def test_silent_channels_take_the_largest_threshold_of_the_others() -> None:
    np.testing.assert_array_equal(rules.fill_silent(np.array([0.0, 0.5, 2.0])), [2.0, 0.5, 2.0])
    np.testing.assert_array_equal(rules.fill_silent(np.zeros(2)), [1.0, 1.0])
    np.testing.assert_array_equal(rules.fill_silent(np.array([1e-45, 0.5])), [0.5, 0.5])


# Resolution shared between channels.


def test_balancing_keeps_the_unit_spikes_and_lowers_the_error_that_matters() -> None:
    random = np.random.default_rng(4)
    samples = (random.standard_normal((4000, 6)) * np.geomspace(0.1, 3, 6)).astype(np.float32)
    gain = np.array([8.0, 0.1, 1.0, 3.0, 0.5, 2.0])
    statistics = statistics_of(samples)
    before = rules.least_error(MultiSpike(-31, 31), statistics)
    after = rules.balance(MultiSpike(-31, 31), before, gain, statistics)

    def cost(quantum: Array) -> tuple[float, float]:
        payload = np.rint(samples / quantum)
        error = (((samples - quantum * payload) * gain) ** 2).sum(axis=1).mean()
        return float(unit_spikes(payload).mean()), float(error)

    (spikes_before, error_before), (spikes_after, error_after) = cost(before), cost(after)
    assert spikes_after == pytest.approx(spikes_before, rel=0.05)
    assert error_after < error_before


def test_balanced_channels_contribute_alike() -> None:
    gain = np.array([4.0, 1.0, 0.25, 2.0])
    statistics = statistics_of(skewed())
    codebook = MultiSpike(-15, 15)
    balanced = rules.balance(codebook, rules.least_error(codebook, statistics), gain, statistics)
    np.testing.assert_allclose(balanced * gain, (balanced * gain)[0], rtol=1e-6)


# The pass.


def neuron_graph(
    codebook: Codebook, *shape: int, low: float | None = None, high: float | None = None
) -> Graph:
    b = Builder(N, *(shape or (4,)))
    return b.outputs(y=b("neuron", b.x, codebook=codebook, low=low, high=high, site="site"))


def chosen(graph: Graph, samples: Array, pass_: Pass) -> tuple[Graph, Node, dict[str, Any]]:
    """Choose thresholds from samples; return the graph, its neuron and the neuron's attributes."""
    after, _ = applied(graph, pass_, calibration=ArrayCalibration({"x": samples}))
    (node,) = [node for node in after if node.op.name == "neuron"]
    return after, node, after.resolve(node)


def test_every_channel_has_its_quantum() -> None:
    samples = skewed()
    _, _, given = chosen(neuron_graph(MultiSpike(-7, 7)), samples, ChooseThresholds("max", **PLAIN))
    np.testing.assert_allclose(given["quantum"], np.abs(samples).max(axis=0, keepdims=True) / 7, rtol=1e-6)
    for name in ("scale", "unit"):
        np.testing.assert_array_equal(given[name], given["quantum"])


def test_per_tensor_there_is_one() -> None:
    samples = skewed()
    _, _, given = chosen(
        neuron_graph(MultiSpike(-7, 7)), samples, ChooseThresholds("max", per="tensor", **PLAIN)
    )
    assert given["quantum"].shape == (1, 1)
    assert given["quantum"].item() == pytest.approx(np.abs(samples).max() / 7)


def test_channels_of_an_image_lie_along_axis_one() -> None:
    samples = np.random.default_rng(0).random((8, 3, 4, 5)).astype(np.float32)
    _, _, given = chosen(neuron_graph(MultiSpike(0, 7), 3, 4, 5), samples, ChooseThresholds("max", **PLAIN))
    np.testing.assert_allclose(given["quantum"], samples.max(axis=(0, 2, 3), keepdims=True) / 7, rtol=1e-6)


def test_a_product_takes_no_thresholds_along_the_axis_it_sums() -> None:
    b = Builder(N, 3, 4)
    left = b("neuron", b("linear", b.x, weight=np.eye(4, dtype=np.float32)), codebook=MultiSpike(-7, 7))
    right = b("neuron", b("linear", b.x, weight=np.eye(4, dtype=np.float32)), codebook=MultiSpike(-7, 7))
    moved = b("transpose", b.x, perm=(0, 2, 1))
    graph = b.outputs(y=b("matmul", left, moved), z=b("matmul", moved, right))
    samples = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    after, _ = applied(graph, ChooseThresholds("max"), calibration=ArrayCalibration({"x": samples}))
    shapes = [after.resolve(node)["quantum"].shape for node in after if node.op.name == "neuron"]
    assert shapes == [(1, 1, 1), (1, 1, 4)]


def test_headroom_lets_rare_values_pass() -> None:
    samples = np.random.default_rng(0).random((64, 4)).astype(np.float32)
    plain, _, narrow = chosen(
        neuron_graph(MultiSpike(0, 15)), samples, ChooseThresholds("max", headroom=None)
    )
    roomy, _, wide = chosen(neuron_graph(MultiSpike(0, 15)), samples, ChooseThresholds("max", headroom=1))
    np.testing.assert_array_equal(narrow["quantum"], wide["quantum"])
    assert narrow["codebook"] == MultiSpike(0, 15)
    assert wide["codebook"].hi >= 30
    rare = {"x": np.full((1, 4), 1.9, np.float32)}
    assert decoded(plain, rare, 1)["y"].max() < 1.01
    np.testing.assert_allclose(decoded(roomy, rare, 1)["y"], 1.9, atol=0.04)


@pytest.mark.parametrize("levels", [14, 15])
@pytest.mark.parametrize("lo", [0, -1])
def test_headroom_stops_at_the_largest_payload(levels: int, lo: int) -> None:
    codebook = MultiSpike(lo * (2**levels - 1), 2**levels - 1)
    samples = skewed() if lo else np.abs(skewed())
    _, _, given = chosen(neuron_graph(codebook), samples, ChooseThresholds(headroom=3))
    assert given["codebook"].payload.hi <= 2**15 - 1


@pytest.mark.parametrize("rule", ["mse", "max", "percentile"])
@pytest.mark.parametrize(
    ("codebook", "low", "high"),
    [
        (MultiSpike(0, 63), 0.0, 6.0),
        (MultiSpike(-31, 31), -1.0, 1.0),
        (MultiSpike(-31, 31), None, 0.5),
        (MultiSpike(-31, 31), -0.5, None),
        (Binary(), 0.0, 6.0),
        (Ternary(), -1.0, 1.0),
        (Ternary(), -0.5, 6.0),
        (Ternary(), -6.0, 0.5),
    ],
)
def test_the_bounds_of_an_activation_hold(
    rule: Any, codebook: Codebook, low: float | None, high: float | None
) -> None:
    """Far outside the bounds, the decoded value is the bound at every step."""
    samples = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32) * 5
    graph = neuron_graph(codebook, low=low, high=high)
    after, node, _ = chosen(graph, samples, ChooseThresholds(rule))
    assert (node.attributes.get("low"), node.attributes.get("high")) == (low, high)
    for sign, bound in ((1, high), (-1, low)):
        if bound is None:
            continue
        found = decoded(after, {"x": np.full((1, 4), 100.0 * sign, np.float32)}, 4)["y"]
        if isinstance(codebook, MultiSpike):
            np.testing.assert_allclose(found, bound, atol=1e-5)
        else:  # one threshold, of least error: below the bound
            assert (np.abs(found) <= abs(bound) + 1e-5).all()


def test_bounds_of_unequal_width_are_met_to_half_a_quantum() -> None:
    samples = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32) * 5
    graph = neuron_graph(MultiSpike(-31, 31), low=-0.5, high=6.0)
    after, _, given = chosen(graph, samples, ChooseThresholds())
    low = decoded(after, {"x": np.full((1, 4), -100.0, np.float32)}, 2)["y"]
    assert (np.abs(low + 0.5) <= given["quantum"] / 2 + 1e-5).all()
    high = decoded(after, {"x": np.full((1, 4), 100.0, np.float32)}, 2)["y"]
    np.testing.assert_allclose(high, 6.0, atol=1e-5)


def test_an_upper_bound_of_zero_leaves_negative_payloads() -> None:
    samples = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32) * 5
    graph = neuron_graph(MultiSpike(-31, 31), low=-1.0, high=0.0)
    _, _, given = chosen(graph, samples, ChooseThresholds())
    assert given["codebook"].hi == 0
    np.testing.assert_allclose(given["quantum"] * given["codebook"].lo, -1.0, rtol=1e-6)


def test_a_bound_that_calibration_never_reached_changes_nothing() -> None:
    samples = np.random.default_rng(0).random((500, 4)).astype(np.float32)
    _, _, free = chosen(neuron_graph(MultiSpike(0, 63), low=0.0), samples, ChooseThresholds())
    _, _, bound = chosen(neuron_graph(MultiSpike(0, 63), low=0.0, high=6.0), samples, ChooseThresholds())
    np.testing.assert_allclose(bound["quantum"], free["quantum"], rtol=1e-6)


def test_a_silent_channel_works() -> None:
    samples = skewed()
    samples[:, 1] = 0
    after, _, given = chosen(neuron_graph(MultiSpike(-7, 7)), samples, ChooseThresholds("max", **PLAIN))
    assert given["quantum"][0, 1] == given["quantum"].max()
    assert np.isfinite(decoded(after, {"x": samples[:3]}, 2)["y"]).all()


def test_a_network_that_is_silent_everywhere_works() -> None:
    after, _, given = chosen(neuron_graph(MultiSpike(0, 7)), np.zeros((5, 4), np.float32), ChooseThresholds())
    assert (given["quantum"] > 0).all()
    assert np.isfinite(decoded(after, {"x": np.ones((2, 4), np.float32)}, 2)["y"]).all()


def test_the_initial_membrane_is_written_only_if_there_is_one() -> None:
    _, node, _ = chosen(neuron_graph(MultiSpike(0, 7)), skewed(), ChooseThresholds())
    assert "initial" not in node.attributes
    _, node, given = chosen(neuron_graph(MultiSpike(0, 7)), skewed(), ChooseThresholds(initial=0.5))
    assert given["initial"] == 0.5


def test_without_calibration_it_says_what_to_do() -> None:
    with pytest.raises(PassError, match="needs calibration") as caught:
        applied(neuron_graph(MultiSpike(0, 7)), ChooseThresholds())
    assert caught.value.help == "give calibration data with --calibration DATA"


def test_neurons_with_thresholds_need_no_calibration() -> None:
    b = Builder(N, 2)
    quantum = np.ones((1, 2), np.float32)
    graph = b.outputs(y=b("neuron", b.x, codebook=MultiSpike(0, 7), quantum=quantum))
    after, _ = applied(graph, ChooseThresholds())
    np.testing.assert_array_equal(after.resolve(next(iter(after)))["quantum"], quantum)
