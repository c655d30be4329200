"""The report: one page that says what was measured, loads nothing, and lets no name act on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, save_model

import snnc
from snnc.backends.reference import Simulator
from snnc.cli import main
from snnc.ir.codebooks import MultiSpike, PowerOfTwo
from snnc.report.charts import nice_ticks, step_ticks
from snnc.report.histograms import Histograms
from tests.harness import onnx_model
from tests.passes.build import Builder, N
from tests.report.pages import DIGITS, Page, run_snnc, write_report

if TYPE_CHECKING:
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array

SECTIONS = ("accuracy", "energy", "operations", "network", "layers", "histograms", "thresholds", "record")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def vit(folder: Path) -> Page:
    return Page(write_report(folder, "vit", "-T", "2").read_text())


@pytest.fixture(scope="module")
def cnn(folder: Path) -> Page:
    return Page(write_report(folder, "cnn", "-T", "8").read_text())


# The page as a whole.


def test_the_page_has_every_section_and_links_to_it(vit: Page) -> None:
    sections = [attributes["id"] for attributes in vit.all("section")]
    assert tuple(sections) == SECTIONS
    links = [attributes["href"] for attributes in vit.all("a")]
    assert links == ["#content", *(f"#{name}" for name in SECTIONS)]
    ids = [attributes["id"] for _, attributes in vit.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["aria-labelledby"] for attributes in vit.all("section")} <= set(ids)


def test_the_page_loads_nothing_and_runs_nothing(vit: Page) -> None:
    tags = {tag for tag, _ in vit.elements}
    assert tags.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "base", "image", "use"})
    for _, attributes in vit.elements:
        assert not any(name.startswith("on") or name == "src" for name in attributes)
        assert attributes.get("href", "#").startswith("#") or attributes["href"] == "data:,"
    (policy,) = [meta["content"] for meta in vit.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    style = Path(snnc.__file__).parent.joinpath("report", "page.css").read_text()
    assert "@import" not in style
    assert set(re.findall(r"url\(([^)]*)\)", style)) <= {"#tip"}


def test_the_page_reads_without_eyes_and_without_a_mouse(vit: Page) -> None:
    """Charts have names, tables captions, boxes that scroll take the focus; the language is said."""
    assert vit.all("html") == [{"lang": "en"}]
    assert len(vit.all("h1")) == 1
    for drawing in vit.all("svg"):
        assert drawing["role"] == "img"
        assert drawing["aria-label"]
    scrolling = [one for one in vit.all("div") if one.get("class", "").startswith("scroll")]
    assert len(scrolling) >= len(vit.all("table")) == len(vit.all("caption"))
    for box in scrolling:
        assert (box["tabindex"], box["role"]) == ("0", "region")
        assert box["aria-label"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in vit.all("meta")


def test_the_figures_are_those_of_eval(folder: Path, vit: Page) -> None:
    result = CliRunner().invoke(
        main,
        ["eval", str(folder / "vit.sir"), "--model", str(DIGITS / "digits_vit.onnx"), "--data",
         str(DIGITS / "digits_test.npz"), "--limit", "40", "-T", "2", "--json"],
    )  # fmt: skip
    measured = json.loads(result.stdout)
    assert f"of {measured['samples']} samples" in vit.text
    for step in measured["steps"]:
        row = [str(step["t"]), f"{100 * step['value']:.2f} %", f"{100 * step['agreement']:.2f} %",
               f"{step['relative_error']:.4f}", f"{step['unit_spikes_per_neuron']:.3f}"]  # fmt: skip
        assert " ".join(row) in vit.text
        assert f"{step['energy']['ratio_fp32']:.3f}" in vit.text
        shares = step["operations"]["shares"]
        assert " ".join(f"{100 * shares[kind]:.1f} %" for kind in ("binary", "multi", "negative")) in vit.text
    assert "q, k, v and softmax send spikes in 3 of 3 attentions" in vit.text


def test_the_page_names_every_layer_in_every_table(folder: Path, vit: Page) -> None:
    neurons = [node for node in snnc.load(folder / "vit.sir") if node.op.name == "neuron"]
    assert len(neurons) == 25
    squeezed = "".join(vit.words).replace(" ", "")
    for node in neurons:
        # Once with its rate and error, once with its histograms, once with its threshold.
        assert squeezed.count(str(node.attributes["site"])) >= 3


def test_the_page_says_where_the_spiking_network_loses(vit: Page, cnn: Page) -> None:
    assert "MORE energy than the ANN in float32 from t = 6 on" in cnn.text
    assert "in float32 from" not in vit.text
    assert "MORE energy than the ANN quantised to int8 at every t" in vit.text
    assert "With both in int8 it needs less at every t" in vit.text
    assert "With both in int8 it needs MORE from t = 8 on" in cnn.text
    assert "Both in float32, the spiking network moves MORE bytes than the ANN from t = 2 on." in cnn.text


def test_the_record_is_on_the_page(folder: Path, vit: Page) -> None:
    meta = snnc.load(folder / "vit.sir").meta
    for said in (meta["source"]["name"], meta["source"]["sha256"], meta["pipeline"], "multi-spike"):
        assert said in vit.text
    assert "48 samples of digits_calibration.npz" in vit.text
    assert "--scale 0.0625" in vit.text


def test_the_same_measurement_gives_the_same_page(folder: Path, cnn: Page) -> None:
    before = (folder / "cnn.html").read_text()
    assert write_report(folder, "cnn", "-T", "8").read_text() == before


# Names.


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--></style><svg/onload=alert(1)>",
    "\x1b[31m\x00\u202e",
)


def test_no_name_acts_on_the_page(tmp_path: Path) -> None:
    """Names of nodes, tensors, outputs, files and records, from a model that nobody vouches for."""
    weight = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
    first, second, third, escape = HOSTILE
    model = onnx_model(
        [
            helper.make_node("Gemm", [first, "w"], [second], name=third),
            helper.make_node("Relu", [second], [third], name=first),
            helper.make_node("Gemm", [third, "w"], [escape[:4] + "y"], name=second),
        ],
        [helper.make_tensor_value_info(first, TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info(escape[:4] + "y", TensorProto.FLOAT, ["N", 6])],
        {"w": weight},
    )
    path, data = tmp_path / "<b>m&amp;.onnx", tmp_path / "x<i>.npy"
    save_model(model, path)
    np.save(data, np.random.default_rng(1).standard_normal((8, 6)).astype(np.float32))
    run_snnc("compile", path, "-o", tmp_path / "plain.sir", "--calibration", data, "-q")
    graph = snnc.load(tmp_path / "plain.sir")
    graph.meta |= {"method": first, "pipeline": second, "calibration": {"samples": third, "data": escape}}
    snnc.save(graph, tmp_path / "n<u>.sir")
    arguments = (tmp_path / "n<u>.sir", "--model", path, "--data", data, "--scale", "1")
    run_snnc("report", *arguments, "-o", tmp_path / "r.html", "-q", "-T", "2")
    source = (tmp_path / "r.html").read_text()
    page = Page(source)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "img", "b", "u", "style>"})
    assert len(page.all("style")) == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    squeezed = "".join(page.words)
    for name in (first, second, third, "\\x1b[31m\\x00\\u202e", "n<u>.sir", "<b>m&amp;.onnx"):
        assert name in squeezed.replace(" ", "") or name in page.text
    assert not any(char in source for char in "\x1b\x00\u202e")


# Other networks.


def test_a_network_without_labels_is_judged_by_its_error(folder: Path, vit: Page, tmp_path: Path) -> None:
    with np.load(DIGITS / "digits_test.npz") as archive:
        np.save(tmp_path / "x.npy", archive["x"][:10])
    source = ("--model", DIGITS / "digits_vit.onnx", "--data", tmp_path / "x.npy")
    run_snnc("report", folder / "vit.sir", *source, "-T", "1", "-o", tmp_path / "r.html", "-q")
    page = Page((tmp_path / "r.html").read_text())
    assert "relative error at t = 1" in page.text
    assert "t agreement relative error" in page.text


def test_a_network_without_neurons_says_so(folder: Path, vit: Page, tmp_path: Path) -> None:
    run_snnc("opt", folder / "vit.sir", "-p", "identity-neurons", "-o", tmp_path / "analog.sir")
    source = ("--model", DIGITS / "digits_vit.onnx", "--data", DIGITS / "digits_test.npz", "--limit", "8")
    run_snnc("report", tmp_path / "analog.sir", *source, "-T", "2", "-o", tmp_path / "r.html", "-q")
    page = Page((tmp_path / "r.html").read_text())
    assert page.text.count("The network has no neurons.") == 3
    assert "0 of 6 products of streams multiply spikes by spikes" in page.text


def test_a_model_that_is_one_time_step_is_compared_step_by_step(tmp_path: Path) -> None:
    """A directly trained network of LIF neurons on address events, stepped beside its own compilation."""
    folder = DIGITS.parent / "saformer"
    source = ("--model", folder / "events_saformer.onnx", "--data", folder / "events_test.npz")
    run_snnc("compile", source[1], "-o", tmp_path / "n.sir", "-q")
    run_snnc("report", tmp_path / "n.sir", *source, "--limit", "10", "-o", tmp_path / "r.html", "-q")
    page = Page((tmp_path / "r.html").read_text())
    assert "t accuracy ANN agreement" in page.text
    assert "the model is one time step with states" in page.text
    assert "ANN, t = 8" in page.text


def test_differential_coding_is_named_and_its_payloads_have_both_signs(tmp_path: Path) -> None:
    page = write_report(tmp_path, "cnn", "-T", "2", compile_options=("--coding", "differential"))
    assert "coding differential" in Page(page.read_text()).text
    assert re.search(r"payloads other than 0, from -\d+ to \d+", page.read_text())


# Refusals.


def test_what_cannot_be_written_is_refused_before_any_work(folder: Path, vit: Page, tmp_path: Path) -> None:
    data = tmp_path / "x.html"  # a data file by another name would be overwritten
    data.write_bytes(b"precious")
    command = ("report", folder / "vit.sir", "--model", DIGITS / "digits_vit.onnx", "--data")
    cases = {
        tmp_path / "report.txt": (2, "is not a .html file"),
        tmp_path / "nowhere" / "report.html": (1, "does not exist"),
        data: (2, "is an input of this command"),
    }
    for output, (code, says) in cases.items():
        source = data if output == data else DIGITS / "digits_test.npz"
        assert says in run_snnc(*command, source, "-o", output, code=code)
    assert data.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


def test_a_failed_report_leaves_the_old_one(folder: Path, vit: Page, tmp_path: Path) -> None:
    old, model = tmp_path / "r.html", tmp_path / "other.onnx"
    old.write_text("old")
    model.write_bytes(b"no model")
    run_snnc("report", folder / "vit.sir", "--model", model, "--data", DIGITS / "digits_test.npz", "-o", old,
             "-q", code=1)  # fmt: skip
    assert old.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.onnx", "r.html"]


# What the charts show.


@pytest.mark.parametrize(
    ("codebook", "form"),
    [
        (MultiSpike(-7, 7), "plain"),
        (MultiSpike(-7, 7), "scaled"),
        *((PowerOfTwo(3), form) for form in ("plain", "scaled", "uneven", "lines")),
    ],
)
def test_histograms_count_payloads_and_last_membranes(codebook: MultiSpike | PowerOfTwo, form: str) -> None:
    quantum = np.array([[0.5, 0.25, 1.0]], np.float32)
    negative = np.array([[0.5]], np.float32)
    given: dict[str, Any] = {
        "plain": {},
        "scaled": {"scale": quantum},
        "uneven": {"negative": negative},
        "lines": {"level_axis": 1},
    }[form]
    b = Builder(N, 3)
    graph = b.outputs(y=b("neuron", b.x, codebook=codebook, quantum=quantum, **given))
    x = np.random.default_rng(2).standard_normal((50, 3)).astype(np.float32)
    histograms, membranes = Histograms(graph, 3), []

    class Keep:
        def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
            if membrane is not None:
                membranes.append(membrane / quantum)

    Simulator(graph).run({"x": x}, 3, observers=[histograms, Keep()])
    (found,) = histograms.found.values()
    ratio = 0.5 if form == "uneven" else 1.0
    expected = payloads_one_by_one(x, quantum[0], codebook, ratio)
    for k in range(codebook.payload.lo, codebook.payload.hi + 1):
        assert found.share(k) == pytest.approx(expected.count(k) / len(expected)), k
    assert found.saturated == pytest.approx(
        (expected.count(codebook.payload.lo) + expected.count(codebook.payload.hi)) / len(expected)
    )
    assert found.membranes.sum() + found.below + found.above == membranes[-1].size
    assert (found.below, found.above) == ((membranes[-1] < -2).sum(), (membranes[-1] > 2).sum())
    middle = membranes[-1][(membranes[-1] >= 0.1) & (membranes[-1] < 0.15)]
    assert found.membranes[42] == middle.size


def test_payloads_beyond_the_codebook_are_counted_where_sums_are_bounded() -> None:
    """5, then -5 and 10 of a neuron with payloads from 0 to 7: what was sent too early is taken back."""
    b = Builder(N, 1)
    one = np.ones((1, 1), np.float32)
    graph = b.outputs(y=b("neuron", b.x, codebook=MultiSpike(0, 7), quantum=one, bounds="sum"))
    histograms = Histograms(graph, 3)
    x = np.array([5, -15, 20], np.float32).reshape(3, 1, 1)
    Simulator(graph).run({"x": x}, 3, observers=[histograms])
    (found,) = histograms.found.values()
    assert (found.lowest, found.highest) == (-5, 10)
    assert {k: found.share(k) for k in (-5, 5, 10)} == pytest.approx(dict.fromkeys((-5, 5, 10), 1 / 3))
    assert not found.bounded


def payloads_one_by_one(
    x: Array, quantum: Array, codebook: MultiSpike | PowerOfTwo, ratio: float
) -> list[int]:
    """Three steps of every neuron on its own: v += x; k = Q(v/q); v -= q k, where k < 0 times the ratio."""
    sent = []
    for sample in x:
        for value, q in zip(sample, quantum, strict=True):
            v = np.float32(0)
            for _ in range(3):
                v = np.float32(v + value)
                u = v / q if v >= 0 else v / q / np.float32(ratio)
                k = float(codebook.quantise(np.array([u], np.float32))[0])
                v = np.float32(v - q * np.float32(k * (ratio if k < 0 else 1)))
                sent.append(int(k))
    return sent


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.9867, 1), (98.5, 98.6), (-3, 7e5), (0.2, 0.2), (0, 0)])
def test_axes_have_few_round_numbers_that_hold_everything(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


@pytest.mark.parametrize("steps", [1, 4, 9, 10, 64, 1000])
def test_time_axes_name_few_steps(steps: int) -> None:
    ticks = step_ticks(steps)
    assert ticks[0] == 1
    assert len(ticks) <= 12
    assert all(1 <= t <= steps for t in ticks)


# Colours.


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_lines_stand_out_in_both_themes(theme: int) -> None:
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what charts draw."""
    style = Path(snnc.__file__).parent.joinpath("report", "page.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style.split("prefers-color-scheme")[theme]))
    for paper in ("paper", "card"):
        for ink in ("ink", "soft", "link", "loses"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    for kind in ("ends", "spikes", "analog", "expect", "other"):
        for ink in ("ink", "soft"):
            assert contrast(colours[ink], colours[f"{kind}-fill"]) >= 4.5, (ink, kind)
    drawn = ("snn", "ann", "second", "bar", "error-bar", "source", "spikes", "macs", "neurons", "binary",
             "multi", "negative", "analog", "expectation", "other")  # fmt: skip
    for name in drawn:
        assert contrast(colours[name], colours["paper"]) >= 3, name


def test_a_network_of_integers_has_a_section_about_its_chip(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, "cnn", "-T", "1", compile_options=("--target", "loihi2")).read_text())
    assert [attributes["id"] for attributes in page.all("section")] == [*SECTIONS[:-1], "fit", SECTIONS[-1]]
    (picture,) = page.all("img")
    assert picture["src"].startswith("data:image/svg+xml;base64,")
    assert picture["alt"] == "10 cores of Loihi 2; the table lists them"
    assert "Fits 1 × Loihi 2 (128 cores): 10 cores, 8 % of them." in "".join(page.words)
