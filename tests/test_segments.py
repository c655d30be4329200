"""Large graphs run in onnxruntime segment by segment: the same numbers, and no session is ever large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from snnc import segments, sensitivity
from snnc.backends.onnx.session import AnalogSession
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import DataError
from snnc.passes.allocate_levels import adjustable_neurons
from snnc.segments import SegmentedSession, analog_session
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

BLOCKS, WIDTH, NODES = 24, 6, 16
X = np.random.default_rng(1).standard_normal((8, WIDTH)).astype(np.float32)


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_NODES", NODES)


def residual(*, quantised: bool = False) -> Graph:
    """x <- x + W neuron(W' x), one block on top of the other, and a constant that all of them add."""
    b, random = Builder(N, WIDTH), np.random.default_rng(0)
    shift = b.graph.constant_value(np.full((1, WIDTH), 0.1, np.float32), "shift")
    quantum = b.graph.add_tensor("quantum", np.full((1, 1), 0.1, np.float32))
    given = dict.fromkeys(("quantum", "scale", "unit"), quantum) if quantised else {}
    x = b.x
    for _ in range(BLOCKS):
        weights = 0.3 * random.standard_normal((2, WIDTH, WIDTH)).astype(np.float32)
        inner = b("linear", b("add", x, shift), weight=weights[0])
        sent = b("neuron", inner, codebook=MultiSpike(-31, 31), **given)
        x = b("add", x, b("linear", sent, weight=weights[1]))
    b.outputs(y=x, early=b.graph.inputs[0])
    return b.graph


def test_the_same_numbers_as_in_one_piece() -> None:
    graph = residual()
    values = [node.result for node in list(graph)[::5]] + graph.inputs
    session = analog_session(graph, values)
    assert isinstance(session, SegmentedSession)
    found, wanted = session.run({"x": X}), AnalogSession(graph, values).run({"x": X})
    assert found.outputs.keys() == wanted.outputs.keys()
    for name, array in wanted.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], array)
    for one, other in zip(found.values, wanted.values, strict=True):
        np.testing.assert_array_equal(one, other)


def test_segments_are_cut_where_little_is_read_across() -> None:
    """Between blocks only x is: one number per unit, where inside a block there would be two."""
    session = SegmentedSession(residual())
    assert len(session.segments) > BLOCKS * 5 // NODES
    assert all(len(segment.writes) == 1 for segment in session.segments)
    assert set(session.part_of.values()) == set(range(len(session.segments)))


def test_nothing_is_kept_longer_than_it_is_read() -> None:
    session = SegmentedSession(residual())
    streams = session.start({"x": X})
    for segment in session.segments:
        assert len(streams) <= 2  # the input, which is an output too, and x
        segment.run(streams)


def test_a_segment_without_a_batch_learns_its_size() -> None:
    b = Builder(N, WIDTH)
    x = b.x
    for _ in range(NODES):
        x = b("relu", x)
    table = b.graph.constant_value(np.ones((1, WIDTH), np.float32), "table")
    for _ in range(NODES):
        table = b("relu", table)
    b.outputs(y=b("add", x, b("expand", table, shape=(N, WIDTH))))
    np.testing.assert_array_equal(analog_session(b.graph).run(X).outputs["y"], np.maximum(X, 0) + 1)


def test_inputs_are_refused_by_their_name() -> None:
    session = analog_session(residual())
    with pytest.raises(DataError, match="input 'x' has shape"):
        session.run({"x": X[:, 1:]})
    with pytest.raises(DataError, match="input 'x' varies in time"):
        session.run({"x": np.stack([X, X])})


def test_calibration_opens_no_large_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime's time to open a model grows like the square of its nodes."""
    opened: list[int] = []
    plain = AnalogSession.__init__

    def counted(self: AnalogSession, graph: Graph, *given: Any) -> None:
        opened.append(len(graph))
        plain(self, graph, *given)

    monkeypatch.setattr(AnalogSession, "__init__", counted)
    graph = residual(quantised=True)
    calibration, neurons = DatasetCalibration(Dataset({"x": X})), adjustable_neurons(graph)
    list(calibration.walk(graph, dict.fromkeys(neurons, (1,)), 2))
    calibration.moments(graph, [node for node in graph if node.op.synaptic])
    calibration.sensitivity(graph, neurons)
    assert len(opened) > 20
    assert max(opened) <= NODES + 1  # a constant belongs to every segment that reads it


class TestSensitivity:
    def found(self, limit: int, followed: int, monkeypatch: pytest.MonkeyPatch) -> Array:
        monkeypatch.setattr(segments, "SEGMENT_NODES", limit)
        monkeypatch.setattr(sensitivity, "FOLLOWED", followed)
        graph = self.graph
        return np.array(DatasetCalibration(Dataset({"x": X})).sensitivity(graph, adjustable_neurons(graph)))

    def test_followed_to_the_outputs_it_is_that_of_the_whole_graph(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.graph = residual(quantised=True)
        whole = self.found(10**6, 1, monkeypatch)
        assert whole.min() > 0
        np.testing.assert_allclose(self.found(24, BLOCKS, monkeypatch), whole, rtol=1e-3)

    def test_in_between_it_is_close(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A quantum follows its square root: what is a factor of 2 here is one of 1.4 there."""
        self.graph = residual(quantised=True)
        whole = self.found(10**6, 1, monkeypatch)
        ratio = self.found(100, 3, monkeypatch) / whole
        assert np.exp(np.std(np.log(ratio))) < 2
