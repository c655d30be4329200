"""Runs a chain of layers with Lava's own processes: Conv, Dense, LIFReset and ring buffers.

Images lie as (W, H, C) there and kernels are turned round. A synapse takes one step, a neuron none, so layer
d (from 0) computes step t at t + d + 1, and its membrane is cleared at the first one of every sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_CURRENT_DECAY = 4095  # du: nothing of the current is left a step later
GRADED = 24  # num_message_bits; any positive number lets payloads through


def run_stock(
    network: Mapping[str, Any], weights: Mapping[str, Any], series: Any, samples: int, job: Mapping[str, Any]
) -> Any:
    """Return the chain's answers [samples T, 1, …] to a series of payloads [samples T, 1, …]."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    if job["steps"] > network["steps"]:
        raise ValueError(f"exact for at most {network['steps']} steps per sample, as emitted with -T")
    if job["record"]:
        raise ValueError("Lava's own processes record nothing: leave out --record")
    widen_convolution()
    links = network["stock"]
    total = len(series) + len(links)
    data = np.moveaxis(series[:, 0], 0, -1)
    data = np.concatenate([data, np.zeros((*data.shape[:-1], len(links)), data.dtype)], axis=-1)
    port = Source(data=turned(data, data.ndim - 1).astype(np.int32)).s_out
    for number, link in enumerate(links):
        synapse = make_synapse(link, weights[f"stock{number}.weight"], graded=number == 0)
        source = port.transpose([2, 1, 0]).flatten() if link["flatten"] else port
        source.connect(synapse.s_in)
        port = synapse.a_out
        if link["threshold"] is not None:
            neuron = make_neuron(link, weights[f"stock{number}.bias"], number, job["steps"])
            port.connect(neuron.a_in)
            port = neuron.s_out
    last = links[-1]
    sink = Sink(shape=tuple(turned(np.empty(last["shape"]), len(last["shape"])).shape), buffer=total)
    port.connect(sink.a_in)
    sink.run(RunSteps(total), Loihi2SimCfg(select_tag="fixed_pt"))
    answers = np.asarray(sink.data.get())
    sink.stop()
    answers = np.moveaxis(turned(answers, answers.ndim - 1), -1, 0)[len(links) :]
    if last["threshold"] is None:
        bias = weights[f"stock{len(links) - 1}.bias"]
        answers = answers + bias.reshape(-1, *(1,) * (answers.ndim - 2))
    return answers[:, None]


def turned(array: Any, rank: int) -> Any:
    """Return [C, H, W, …] as [W, H, C, …] and back; a row stays a row."""
    return array.transpose(2, 1, 0, *range(3, array.ndim)) if rank == 3 else array


def make_synapse(link: Mapping[str, Any], weight: Any, *, graded: bool) -> Any:
    from lava.proc.conv.process import Conv
    from lava.proc.dense.process import Dense
    from lava.utils.weightutils import SignMode

    bits = GRADED if graded else 0
    if weight.ndim == 2:
        # In mixed mode the lowest bit of a weight is lost: twice the weight, at half the exponent.
        exponent = link["exponent"] - 1
        return Dense(weights=2 * weight, weight_exp=exponent, sign_mode=SignMode.MIXED, num_message_bits=bits)
    geometry = link["geometry"]
    return Conv(
        weight=(weight << link["exponent"])[:, :, ::-1, ::-1].transpose(0, 3, 2, 1),  # Conv has no exponent
        input_shape=tuple(link["reads"][::-1]),
        stride=tuple(geometry["strides"] or [1, 1])[::-1],
        padding=tuple(geometry["pads"][:2] or [0, 0])[::-1],
        dilation=tuple(geometry["dilations"] or [1, 1])[::-1],
        groups=geometry["group"],
        num_message_bits=bits,
    )


def make_neuron(link: Mapping[str, Any], bias: Any, number: int, steps: int) -> Any:
    from lava.proc.lif.process import LIFReset

    shape = tuple(link["shape"][::-1])
    return LIFReset(
        shape=shape,
        du=NO_CURRENT_DECAY,
        dv=0,
        vth=link["threshold"],
        bias_mant=np.broadcast_to(bias, shape).copy(),  # the channels are last
        bias_exp=6,
        reset_interval=steps,
        reset_offset=(number + 2) % steps,
    )


def widen_convolution() -> None:
    """Make Lava's convolution count in Python's integers: its 8-bit ones overflow with numpy 2."""
    from lava.proc.conv import utils

    original = utils.conv

    def conv(x: Any, weight: Any, *geometry: Any) -> Any:
        *pairs, groups = geometry
        return original(x, weight, *(tuple(int(n) for n in pair) for pair in pairs), int(groups))

    utils.conv = conv
