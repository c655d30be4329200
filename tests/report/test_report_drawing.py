"""The network graph: which boxes there are, and that they lie where a person can read them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnc.data import Normalise, load_data
from snnc.driver import compile_model
from snnc.ir.codebooks import MultiSpike
from snnc.report import drawing
from snnc.report.boxes import diagram
from snnc.report.drawing import network_picture
from snnc.report.layout import lay_out
from tests.passes.build import Builder, N
from tests.report.pages import Page

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
WIDTH, GAP, BEND = 100.0, 10.0, 6.0


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def residual() -> Graph:
    """conv, neurons; then a block conv, neurons, conv beside a scaled shortcut; add, neurons; average."""
    b = Builder(N, 4, 6, 6)

    def neuron(x: object) -> object:
        return b("neuron", x, codebook=MultiSpike(0, 7), quantum=ones(1, 1, 1, 1))  # type: ignore[arg-type]

    def conv(x: object) -> object:
        return b("conv", x, weight=ones(4, 4, 3, 3), pads=(1, 1, 1, 1))  # type: ignore[arg-type]

    stem = neuron(conv(b.x))
    branch = conv(neuron(conv(stem)))
    joined = neuron(b("add", branch, b("mul", stem, 0.5)))  # type: ignore[arg-type]
    pooled = b("reduce_mean", joined, axes=(2, 3))  # type: ignore[arg-type]
    return b.outputs(y=b("reshape", pooled, shape=(N, 4)))


def test_a_residual_block() -> None:
    """Neurons stand in the box that feeds them; the scale of the shortcut is part of its arrow."""
    found = diagram(residual())
    assert [(box.title, box.shape, box.neurons) for box in found.boxes] == [
        ("input x", "4 × 6 × 6", 0),
        ("conv 3×3", "4 × 6 × 6", 144),
        ("conv 3×3", "4 × 6 × 6", 144),
        ("conv 3×3", "4 × 6 × 6", 0),
        ("add", "4 × 6 × 6", 144),
        ("reduce mean", "4 × 1 × 1", 0),
        ("output y", "4", 0),
    ]
    assert [box.kind for box in found.boxes] == [
        "ends",
        "analog",
        "spikes",
        "spikes",
        "other",
        "other",
        "ends",
    ]
    index = {box: number for number, box in enumerate(found.boxes)}
    assert {(index[a], index[b]) for a, b in found.arrows} == {
        (0, 1), (1, 2), (2, 3), (3, 4), (1, 4), (4, 5), (5, 6),
    }  # fmt: skip


def test_neurons_beside_other_readers_have_a_box_of_their_own() -> None:
    b = Builder(N, 4)
    made = b("linear", b.x, weight=ones(4, 4))
    sent = b("neuron", made, codebook=MultiSpike(0, 7), quantum=ones(1, 1))
    graph = b.outputs(y=b("linear", sent, weight=ones(2, 4)), z=made)
    assert [box.title for box in diagram(graph).boxes] == [
        "input x", "linear", "neurons", "linear", "output y", "output z",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def vit() -> Graph:
    data = load_data(DIGITS / "digits_calibration.npz", normalise=Normalise(1 / 16), limit=8)
    return compile_model(DIGITS / "digits_vit.onnx", data).graph


def test_a_vision_transformer(vit: Graph) -> None:
    """Every neuron is drawn once; q, k and v lie side by side above the product of q and k."""
    found = diagram(vit)
    layers = [node for node in vit if node.op.name == "neuron"]
    drawn = [node for box in found.boxes for node in box.nodes if node.op.name == "neuron"]
    assert set(drawn) == set(layers)
    assert len(drawn) == len(layers)
    layout = lay_out(found.boxes, found.arrows, WIDTH, GAP, BEND)
    alone = [box for box in found.boxes if box.title == "neurons"]
    assert len(alone) == 3 * 3
    for block in range(3):
        depths = {layout.places[box].layer for box in alone[3 * block : 3 * block + 3]}
        assert len(depths) == 1
    assert max(len([p for p in layer if p.item is not None]) for layer in layout.layers) == 3


def test_the_picture_names_what_it_shows(vit: Graph) -> None:
    page = Page(network_picture(vit, {node: 0.25 for node in vit if node.op.name == "neuron"}))
    assert "softmax" in page.text
    assert page.text.count("25 %") == 25
    assert "/blocks/blocks.0/attention/attention.1/Softmax" in page.text


def test_a_network_too_large_to_draw_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "LARGEST_DRAWING", 3)
    page = Page(network_picture(residual(), {}))
    assert "7 layers are too many to draw (at most 3)." in page.text
    assert page.all("svg") == []
    assert len(page.all("tr")) == 1 + 7
    monkeypatch.undo()
    monkeypatch.setattr(drawing, "MOST_BENDS", 1)
    page = Page(network_picture(residual(), {}))
    assert "Too many arrows pass too many layers" in page.text
    assert len(page.all("tr")) == 1 + 7


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    count = draw(st.integers(1, 14))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    arrows = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=24)) if pairs else []
    return list(range(count)), arrows


@given(networks())
def test_boxes_never_overlap_and_arrows_point_down(network: tuple[list[int], list[tuple[int, int]]]) -> None:
    items, arrows = network
    layout = lay_out(items, arrows, WIDTH, GAP, BEND)
    for layer in layout.layers:
        for left, right in pairwise(layer):
            assert right.x - left.x >= (left.width + right.width) / 2 + GAP - 1e-6
        assert all(place.x - place.width / 2 >= -1e-6 for place in layer)
    for (source, target), route in zip(arrows, layout.routes, strict=True):
        assert (route[0], route[-1]) == (layout.places[source], layout.places[target])
        assert [place.layer for place in route] == list(range(route[0].layer, route[-1].layer + 1))
        assert all(place.item is None for place in route[1:-1])


def test_a_chain_is_a_straight_line_and_a_shortcut_runs_beside_it() -> None:
    chain = list(range(6))
    layout = lay_out(chain, [*pairwise(chain), (1, 4)], WIDTH, GAP, BEND)
    middle = [layout.places[item].x for item in chain]
    assert max(middle) - min(middle) < WIDTH / 10
    bends = [place.x for place in layout.routes[-1][1:-1]]
    assert max(bends) - min(bends) < 1
    assert min(abs(x - middle[2]) for x in bends) > WIDTH / 2
