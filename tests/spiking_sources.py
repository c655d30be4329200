"""Small spiking networks in two forms: an ONNX model of one time step with states, and the same as a graph.

Weights are small multiples of 1/8, so that both forms agree to the last bit whatever the order of additions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from snnc.ir.codebooks import Binary
from tests.harness import onnx_model
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

INPUTS, HIDDEN, CLASSES = 6, 8, 3
RANDOM = np.random.default_rng(4)
FIRST = (RANDOM.integers(-4, 8, (HIDDEN, INPUTS)) / 8).astype(np.float32)
SECOND = (RANDOM.integers(-8, 8, (CLASSES, HIDDEN)) / 8).astype(np.float32)


def one_step_model(
    decode: Decode | None = None, *, batch: int | str = "N", frame: tuple[int, ...] = (INPUTS,)
) -> onnx.ModelProto:
    """Linear, integrate-and-fire neurons (threshold 1, subtracted reset), linear; the state is `if.v`."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "first"], ["current"], transB=1),
        helper.make_node("Add", ["if.v", "current"], ["m"]),
        helper.make_node("GreaterOrEqual", ["m", "one"], ["fires"]),
        helper.make_node("Cast", ["fires"], ["spikes"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["m", "spikes"], ["if.v_next"]),
        helper.make_node("Gemm", ["spikes", "second"], ["y"], transB=1),
    ]
    model = onnx_model(
        nodes,
        {"x": (batch, *frame), "if.v": (batch, HIDDEN)},
        {"y": (batch, CLASSES), "if.v_next": (batch, HIDDEN)},
        {"first": FIRST, "second": SECOND, "one": np.ones((), np.float32)},
    )
    if decode is not None:
        model.metadata_props.add(key="snnc.decode", value=decode)
    return model


def graph_of_it(decode: Decode = "mean", frame: tuple[int, ...] = (INPUTS,)) -> Graph:
    """Return the same network as a graph."""
    b = Builder(N, *frame)
    current = b("linear", b("reshape", b.x, shape=(N, INPUTS)), weight=FIRST)
    quantum = np.ones((1, 1), np.float32)
    spikes = b("neuron", current, codebook=Binary(), quantum=quantum, site="spikes", name="if")
    graph = b.outputs(y=b("linear", spikes, weight=SECOND))
    graph.decode_outputs(decode)
    return graph


def outputs_of_it(x: Array) -> Array:
    """Return y(t) for inputs [T, N, INPUTS]."""
    v, outputs = np.zeros((x.shape[1], HIDDEN), np.float32), []
    for frame in x:
        m = v + frame @ FIRST.T
        spikes = (m >= 1).astype(np.float32)
        v = m - spikes
        outputs.append(spikes @ SECOND.T)
    return np.stack(outputs)


def event_frames(steps: int, samples: int) -> Array:
    """Return random frames of events, [T, N, INPUTS]."""
    return np.random.default_rng(5).poisson(0.8, (steps, samples, INPUTS)).astype(np.float32)
