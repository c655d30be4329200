"""Layers on cores: numbers worked out by hand, and laws for networks nobody thought of."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.ir.errors import OptionError
from snnc.placement.advice import advise, separate, thin
from snnc.placement.chips import CHIPS, RESOURCES, Limits, with_limits
from snnc.placement.fit import Placement, place
from snnc.placement.grouping import group
from snnc.placement.picture import draw
from snnc.placement.tiling import Excess, Tiling, cut
from tests.passes.build import Builder, N
from tests.placement.networks import fire, one_layer, ones

if TYPE_CHECKING:
    from snnc.ir.graph import Graph

LOIHI2 = CHIPS["loihi2"]
ROOMY = Limits(neurons=10**9, memory=10**9, state=0, input_axons=10**9, output_axons=10**9)


def placed(graph: Graph, limits: Limits, *, shared: bool = True) -> Placement:
    return place(group(graph), LOIHI2, limits, shared=shared)


def convolution(channels: int = 16, size: int = 8) -> Graph:
    weight = ones(channels, channels, 3, 3)
    return one_layer("conv", channels, size, size, weight=weight, pads=(1, 1, 1, 1))


# By hand.


@pytest.mark.parametrize(
    ("shared", "memory"),
    [
        # 1,024 neurons of 24 bytes and 16 × 16 kernels of 9 weights.
        (True, 1024 * 24 + 16 * 16 * 9),
        # Without sharing, along each axis 8 positions have 3 taps but for the two at the border: 22 squared.
        (False, 1024 * 24 + 16 * 16 * 22 * 22),
    ],
)
def test_a_layer_on_one_core(shared: bool, memory: int) -> None:
    (core,) = placed(convolution(), LOIHI2.limits, shared=shared).cores
    assert core.used == {"neurons": 1024, "memory": memory, "input_axons": 1024, "output_axons": 1024}


def test_neurons_are_cut_into_equal_parts() -> None:
    found = placed(convolution(), replace(ROOMY, neurons=300))
    # 1,024 neurons are 4 cores of 256; cutting channels would make every core read everything.
    assert [core.used["neurons"] for core in found.cores] == [256] * 4
    assert found.cores[0].box == ((0, 1), (0, 16), (0, 4), (0, 4))
    # A block of 4 × 4 at a corner reads 5 × 5 positions of 16 channels.
    assert {core.used["input_axons"] for core in found.cores} == {5 * 5 * 16}


def test_output_axons_count_the_cores_that_read() -> None:
    b = Builder(N, 2)
    first = fire(b, b("linear", b.x, weight=ones(8, 2)), "first")
    graph = b.outputs(y=fire(b, b("linear", first, weight=ones(12, 8)), "second"))
    limits = replace(ROOMY, neurons=4)
    one, two = placed(graph, limits).layers
    assert len(two.cores) == 3
    assert [core.used["output_axons"] for core in one.cores] == [4 * 3] * 2
    # 8 neurons with 3 readers each and 9 output axons a core are 3 cores: 2 or 3 neurons each.
    assert len(placed(graph, replace(limits, output_axons=9)).layers[0].cores) == 3


def test_too_many_axons_for_one_neuron_fit_no_number_of_chips() -> None:
    found = placed(one_layer("linear", 5000, weight=ones(10, 5000)), LOIHI2.limits)
    (excess,) = [layer.cut for layer in found.too_large]
    assert excess == Excess("input_axons", 5000, 4096)
    assert found.chips is None
    helps = {option.change: (option.cores, option.chips) for option in advise(found, 1)}
    assert helps == {"cores with more room (--limit input_axons=5000)": (1, 1)}


def test_the_bottleneck_is_the_limit_that_asks_for_most_cores() -> None:
    (layer,) = placed(convolution(), replace(ROOMY, neurons=512, input_axons=400)).layers
    assert isinstance(layer.cut, Tiling)
    assert layer.cut.alone == {"neurons": 2, "memory": 1, "input_axons": 4, "output_axons": 1}
    assert layer.bottleneck(replace(ROOMY, neurons=512, input_axons=400)) == "input_axons"


# Laws.


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Convolutions one after the other, some of them residual, then a linear layer."""
    channels = draw(st.integers(1, 5))
    b = Builder(N, channels, draw(st.integers(3, 7)), draw(st.integers(3, 7)))
    x = fire(b, b("conv", b.x, weight=ones(channels, channels, 1, 1)), "first")
    for number in range(draw(st.integers(1, 2))):
        kernel = draw(st.sampled_from([1, 3]))
        group_ = draw(st.sampled_from([1, channels]))
        weight = ones(channels, channels // group_, kernel, kernel)
        y = b("conv", x, weight=weight, group=group_, pads=(kernel // 2,) * 4)
        x = fire(b, b("add", x, y) if draw(st.booleans()) else y, f"layer{number}")
    _, *sizes = x.type.shape
    count = int(np.prod([size for size in sizes if isinstance(size, int)]))
    if draw(st.booleans()):
        mixed = b("reshape", b("conv", x, weight=ones(channels, channels, 1, 1)), shape=(N, count))
        chosen = draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=6))
        return b.outputs(y=fire(b, b("gather", mixed, axis=1, indices=np.array(chosen)), "mixed"))
    return b.outputs(y=b("linear", b("reshape", x, shape=(N, count)), weight=ones(3, count)))


LIMITS = st.builds(
    Limits,
    neurons=st.integers(1, 60),
    memory=st.integers(50, 2000),
    state=st.integers(0, 24),
    input_axons=st.integers(1, 200),
    output_axons=st.integers(1, 200),
)


@settings(max_examples=60, deadline=None)
@given(graph=networks(), limits=LIMITS, shared=st.booleans())
def test_every_neuron_is_placed_once_and_no_core_is_over_a_limit(
    graph: Graph, limits: Limits, shared: bool
) -> None:
    found = placed(graph, limits, shared=shared)
    for layer in found.layers:
        if isinstance(layer.cut, Excess):
            assert layer.cut.needed > layer.cut.limit
            assert layer.cores == ()
            continue
        times = np.zeros(layer.layer.shape, int)
        for core in layer.cores:
            times[tuple(slice(*span) for span in core.box)] += 1
            assert all(core.used[name] <= getattr(limits, name) for name in RESOURCES)
        assert (times == 1).all()
    again = placed(graph, limits, shared=shared)
    assert [core.box for core in again.cores] == [core.box for core in found.cores]


@settings(max_examples=60, deadline=None)
@given(graph=networks(), limits=LIMITS, shared=st.booleans())
def test_output_axons_and_input_axons_meet(graph: Graph, limits: Limits, shared: bool) -> None:
    """What all cores read of a layer is what its cores send, but for the answer, which the host reads."""
    found = placed(graph, limits, shared=shared)
    if found.chips is None:
        return
    for layer in found.layers:
        numbers = layer.layer.numbers.ravel()
        read = sum(
            int(np.isin(connection.sources(core.box), numbers).sum())
            for core in found.cores
            for connection in core.layer.connections
        )
        answer = sum(int(np.isin(by_host, numbers).sum()) for by_host in found.network.read_by_host)
        assert sum(core.used["output_axons"] for core in layer.cores) == read + answer


@settings(max_examples=60, deadline=None)
@given(graph=networks(), limits=LIMITS, name=st.sampled_from(RESOURCES), more=st.integers(1, 500))
def test_more_room_never_takes_more_cores(graph: Graph, limits: Limits, name: str, more: int) -> None:
    """With as many readers of each neuron: these are cores of the layers behind it."""
    larger = replace(limits, **{name: getattr(limits, name) + more})
    for layer in group(graph).layers:
        reach = np.ones(layer.shape, np.int64)
        before, after = (cut(layer, each, True, reach) for each in (limits, larger))
        if isinstance(before, Tiling):
            assert isinstance(after, Tiling)
            assert after.cores <= before.cores


# What would help.


def test_half_the_channels_is_the_network_with_half_the_channels() -> None:
    def network(channels: int) -> Graph:
        b = Builder(N, 3, 6, 6)
        x = fire(b, b("conv", b.x, weight=ones(channels, 3, 3, 3)), "a")
        y = b("conv", x, weight=ones(channels, 1, 3, 3), group=channels, pads=(1, 1, 1, 1))
        x = fire(b, b("add", x, y), "b")
        flat = b("reshape", x, shape=(N, 16 * channels))
        return b.outputs(y=b("linear", flat, weight=ones(10, 16 * channels)))

    half = place(thin(group(network(8)), 0.5), LOIHI2, replace(ROOMY, neurons=20), shared=False)
    wanted = placed(network(4), replace(ROOMY, neurons=20), shared=False)
    assert [core.used for core in half.cores] == [core.used for core in wanted.cores]


def test_a_separated_convolution_is_a_depthwise_and_a_pointwise_one() -> None:
    network = group(convolution(channels=4, size=6))
    found = place(separate(network, set(network.layers)), LOIHI2, ROOMY, shared=True)
    b = Builder(N, 4, 6, 6)
    x = fire(b, b("conv", b.x, weight=ones(4, 1, 3, 3), group=4, pads=(1, 1, 1, 1)), "depthwise")
    wanted = placed(b.outputs(y=fire(b, b("conv", x, weight=ones(4, 4, 1, 1)), "layer")), ROOMY)
    assert [core.used for core in found.cores] == [core.used for core in wanted.cores]


def test_options_are_placed_and_only_those_that_help_are_given() -> None:
    chip = replace(LOIHI2, cores=4, limits=replace(ROOMY, memory=20_000))
    found = place(group(convolution()), chip, chip.limits, shared=False)
    assert (found.core_count, found.chips) == (8, 2)  # 16 × 16 × 22 × 22 weights: 123,904 bytes
    options = {option.change: (option.cores, option.chips) for option in advise(found, 1)}
    assert options["shared weights (leave out --no-weight-sharing)"] == (1, 1)
    assert options["more chips (--chips 2)"] == (8, 2)
    # A quarter of the positions has 11 × 11 taps: 10 of 16 channels take 19,360 bytes of it, 11 take 21,296.
    assert options["5/8 of the channels of every layer"] == (4, 1)
    assert options["every convolution as a depthwise and a pointwise one"] == (2, 1)
    assert advise(found, 2) == []


def test_a_limit_has_a_known_name_and_is_positive() -> None:
    assert with_limits(LOIHI2.limits, {"neurons": 7}).neurons == 7
    with pytest.raises(OptionError, match="has no limit 'neuron'"):
        with_limits(LOIHI2.limits, {"neuron": 7})
    with pytest.raises(OptionError, match="the limit memory is 0"):
        with_limits(LOIHI2.limits, {"memory": 0})


def test_every_number_of_a_chip_has_a_source() -> None:
    for chip in CHIPS.values():
        names = {"cores", "longest_delay", "shared_weights", *Limits.__slots__}
        assert set(chip.sources) == names


def test_the_picture_shows_every_core_once() -> None:
    found = placed(convolution(), replace(ROOMY, neurons=100))
    root = ET.fromstring(draw(found))
    hints = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(hints) == found.core_count
    assert "input axons" in (hints[0] or "")
    free = [element for element in root.iter() if element.get("class") == "free"]
    assert len(free) == 128 - found.core_count
