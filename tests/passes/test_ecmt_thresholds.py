"""ECMT's calibration: quanta of both sides from batch quantiles, against sorting the batches by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc.ir.codebooks import PowerOfTwo
from snnc.ir.errors import OptionError
from snnc.methods import Settings, get_method
from snnc.passes.choose_thresholds import ChooseThresholds
from snnc.passes.statistics import SiteStatistics
from tests.passes.build import Builder, N, applied, decoded, only
from tests.passes.calibration import statistics_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Site

CHANNELS = 4
PUBLISHED = get_method("ecmt").thresholds(Settings())
TOP = get_method("ecmt-top").thresholds(Settings())


@dataclass(frozen=True)
class Batches:
    """Calibration that shows every site the same batches."""

    batches: Sequence[Array]

    def measure(self, graph: Graph, sites: Sequence[Site]) -> list[SiteStatistics]:
        return [statistics_of(site, self.batches) for site in sites]


def batches(count: int = 3, size: int = 250) -> list[Array]:
    """Skewed batches of unequal spread: [size, channels]."""
    random = np.random.default_rng(count)
    spread = np.arange(1, CHANNELS + 1)
    return [
        (random.gumbel(0, 1 + index, (size, CHANNELS)) * spread).astype(np.float32) for index in range(count)
    ]


def graph_of(codebook: PowerOfTwo, activation: str | None = None, **attributes: Any) -> Graph:
    b = Builder(N, CHANNELS)
    x = b.x
    if activation is not None:
        x = b("reshape", b(activation, x, expect=True), shape=(N, CHANNELS))
    return b.outputs(y=b("neuron", x, codebook=codebook, site="site", **attributes))


def chosen(
    shown: Sequence[Array], rule: ChooseThresholds, codebook: PowerOfTwo | None = None, **attributes: Any
) -> dict[str, Any]:
    graph = graph_of(codebook or PowerOfTwo(8), **attributes)
    after, _ = applied(graph, rule, calibration=Batches(shown))
    return after.resolve(only(after, "neuron"))


def sorted_quantiles(shown: Sequence[Array]) -> tuple[float, float]:
    """The means over batches of the value of rank 99 % and of minus that of rank 1 %, of whole tensors."""
    above, below = 0.0, 0.0
    for batch in shown:
        values = sorted(float(value) for value in batch.ravel())
        above += values[int(0.99 * len(values)) - 1] / len(shown)
        below += -values[int((1 - 0.99) * len(values)) - 1] / len(shown)
    return above, below


def test_the_smallest_levels_are_the_mean_quantiles() -> None:
    shown = batches()
    given = chosen(shown, PUBLISHED)
    above, below = sorted_quantiles(shown)
    assert given["quantum"].shape == given["negative"].shape == (1, 1)
    np.testing.assert_allclose(given["quantum"], above, rtol=1e-6)
    np.testing.assert_allclose(given["quantum"] * given["negative"], below, rtol=1e-6)
    np.testing.assert_array_equal(given["scale"], given["quantum"])
    assert given["codebook"] == PowerOfTwo(8)


def test_the_largest_levels_are_the_extremes() -> None:
    shown = batches()
    given = chosen(shown, TOP, PowerOfTwo(8, True, "nearest", 0.75))
    together = np.concatenate(shown)
    np.testing.assert_allclose(128 * given["quantum"], together.max(), rtol=1e-6)
    np.testing.assert_allclose(128 * given["quantum"] * given["negative"], -together.min(), rtol=1e-6)


def test_quantiles_may_be_per_channel_or_of_both_sides_together() -> None:
    shown = batches()
    rule = ChooseThresholds("quantile", 99.0, "channel", sides="separate")
    each = [sorted_quantiles([batch[:, [channel]] for batch in shown]) for channel in range(CHANNELS)]
    given = chosen(shown, rule)
    np.testing.assert_allclose(128 * given["quantum"][0], [above for above, _ in each], rtol=1e-6)
    np.testing.assert_allclose(
        128 * (given["quantum"] * given["negative"])[0], [below for _, below in each], 1e-6
    )
    joint = chosen(shown, ChooseThresholds("quantile", 99.0, "channel"))
    np.testing.assert_allclose(128 * joint["quantum"][0], [max(sides) for sides in each], rtol=1e-6)
    assert joint["negative"] is None


@pytest.mark.parametrize(
    ("activation", "above", "below"),
    [("gelu", 0.25, 0.08), ("softmax", 0.0125, 0.0125), ("silu", None, None)],
)
def test_published_quanta_stand_behind_gelu_and_softmax(
    activation: str, above: float | None, below: float | None
) -> None:
    shown = batches()
    given = chosen(shown, PUBLISHED, activation=activation)
    expected = sorted_quantiles(shown) if above is None or below is None else (above, below)
    np.testing.assert_allclose(given["quantum"], expected[0], rtol=1e-6)
    negative = 1 if given["negative"] is None else given["negative"]
    np.testing.assert_allclose(given["quantum"] * negative, expected[1], rtol=1e-6)


def test_a_tensor_without_negative_values_has_no_negative_side() -> None:
    shown = [np.abs(batch) for batch in batches()]
    for rule in (PUBLISHED, TOP):
        given = chosen(shown, rule)
        assert given["codebook"] == PowerOfTwo(8, False)
        assert given["negative"] is None


def test_a_relu_is_a_codebook_without_negative_side() -> None:
    given = chosen(batches(), PUBLISHED, PowerOfTwo(8, False), low=0.0)
    values = [np.maximum(batch, 0) for batch in batches()]
    np.testing.assert_allclose(given["quantum"], sorted_quantiles(values)[0], rtol=1e-6)


def test_a_side_that_hardly_speaks_reaches_its_largest_value() -> None:
    """Its quantile is 0: the levels then end at the largest value seen."""
    batch = np.zeros((1000, 1), np.float32)
    batch[:5], batch[5:900] = 4.0, -1.0
    given = chosen([np.tile(batch, CHANNELS)], PUBLISHED)
    np.testing.assert_allclose(128 * given["quantum"], 4.0, rtol=1e-6)
    np.testing.assert_allclose(given["quantum"] * given["negative"], 1.0, rtol=1e-6)


def test_a_silent_network_gets_thresholds() -> None:
    given = chosen([np.zeros((5, CHANNELS), np.float32)], PUBLISHED)
    assert (given["quantum"] == 1).all()


@pytest.mark.parametrize("rule", [PUBLISHED, TOP], ids=["published-code", "nearest-top"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (-0.5, 6.0), (None, 2.0), (-2.0, None)])
def test_the_bounds_of_an_activation_hold(
    rule: ChooseThresholds, low: float | None, high: float | None
) -> None:
    """Far outside the bounds, the decoded value is the bound at every step."""
    shown = [np.clip(10 * batch, low, high) for batch in batches()]
    graph = graph_of(PowerOfTwo(8, low != 0.0), low=low, high=high)
    after, _ = applied(graph, rule, calibration=Batches(shown))
    for sign, bound in ((1, high), (-1, low)):
        if bound is not None:
            x = np.full((1, CHANNELS), 1000.0 * sign, np.float32)
            np.testing.assert_allclose(decoded(after, {"x": x}, 4)["y"], bound, atol=1e-5)


def test_a_bound_that_calibration_never_reached_changes_nothing() -> None:
    shown = [np.abs(batch) for batch in batches()]
    free = chosen(shown, TOP, PowerOfTwo(8, False), low=0.0)
    bound = chosen(shown, TOP, PowerOfTwo(8, False), low=0.0, high=1e3)
    assert bound["codebook"] == free["codebook"]
    np.testing.assert_array_equal(bound["quantum"], free["quantum"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "mse", "sides": "separate"}, "with rule=mse sees no sides"),
        ({"rule": "max", "placement": "base"}, "with rule=max places levels below what it finds"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        ChooseThresholds(**options)
    assert caught.value.help


@pytest.mark.parametrize("rule", ["mse", "percentile"])
def test_the_other_rules_serve_powers_of_two_as_well(rule: Any) -> None:
    given = chosen(batches(), ChooseThresholds(rule, 99.0, "tensor"))
    reach = max(-np.concatenate(batches()).min(), np.concatenate(batches()).max())
    assert 0 < given["quantum"] <= 1.1 * reach / 128
    assert given["negative"] is None


def test_quantiles_of_tiny_batches_are_their_extremes() -> None:
    statistics = SiteStatistics("site", (1,), None, None, fractions=(0.99, 0.01))
    statistics.update(np.array([[3, 1], [-2, 5]], np.float32))
    statistics.update(np.array([[7, 1], [-4, 9]], np.float32))
    assert statistics.batch_quantiles.tolist() == [[-3, -3], [1, 1]]
