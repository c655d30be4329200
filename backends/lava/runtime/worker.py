"""Builds the Lava network of an emitted folder, runs it, and decodes what comes out.

Runs in a process group of its own under `supervisor`; ends with an error without stopping Lava, which would
wait for ever: the supervisor ends the group.
"""

from __future__ import annotations

import json
import resource
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.runtime import shim
from snnc.backends.lava.runtime.program import Program
from snnc.backends.lava.runtime.stock import run_stock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILES = 65536  # file descriptors: Lava needs about ten per process


def work(folder: Path, job_file: Path) -> None:
    """Do a job: {"inputs", "steps", "output", "record", "folder", "token"}."""
    shim.install()
    job = json.loads(job_file.read_text())
    raise_file_limit()
    name_shared_memory(job["token"])
    network = json.loads((folder / "network.json").read_text())
    with np.load(folder / "weights.npz", allow_pickle=False) as archive:
        weights = {name: archive[name] for name in archive.files}
    with np.load(job["inputs"], allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    samples = sample_count(network["inputs"], inputs)
    sources = play_front(network, weights, inputs, samples, job["steps"])
    if "stock" in network:
        series = next(iter(sources.values()))
        streams = {network["tail"]["inputs"][0]: run_stock(network, weights, series, samples, job)}
    else:
        streams = run_lava(network, weights, sources, samples, job)
    outputs = play_tail(network, weights, streams, samples, job["steps"])
    with open(job["output"], "wb") as file:
        np.savez(file, **outputs)


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def name_shared_memory(token: str) -> None:
    """Give the shared memory of this run names that the supervisor can find: psm_TOKEN_…"""
    module: Any = shared_memory
    module._SHM_NAME_PREFIX = f"/psm_{token}_"
    module._SHM_SAFE_NAME_LENGTH = len(module._SHM_NAME_PREFIX) + 8


# In front of the chip and behind it: plain numpy, sample by sample.


def sample_count(described: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]) -> int:
    """Return how many samples the inputs hold."""
    for one in described:
        if one["axis"] is not None:
            array = inputs[one["name"]]
            axis = one["axis"] + (array.ndim > len(one["shape"]))
            return int(array.shape[axis] // one["coefficient"])
    return 1


def sample_of(one: Mapping[str, Any], array: Any, sample: int, t: int) -> Any:
    """Return what an input presents of a sample at step t."""
    if array.ndim > len(one["shape"]):
        array = array[t - 1]
    if one["axis"] is None:
        return array
    count = one["coefficient"]
    return array.take(range(sample * count, (sample + 1) * count), one["axis"])


def play_front(
    network: Mapping[str, Any],
    weights: Mapping[str, Any],
    inputs: Mapping[str, Any],
    samples: int,
    steps: int,
) -> dict[str, Any]:
    """Return the series [samples T, …] of every source."""
    front = network["front"]
    described = network["inputs"]
    program = Program(
        front["program"], [one["shape"] for one in described], weights, chip=False, name="the encoders"
    )
    series: dict[str, list[Any]] = {one["name"]: [] for one in front["sends"]}
    for sample in range(samples):
        for t in range(1, steps + 1):
            given = [sample_of(one, inputs[one["name"]], sample, t) for one in described]
            real = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in given]
            values = program.step(t, real)
            for one in front["sends"]:
                series[one["name"]].append(np.asarray(values[one["value"]]).astype(one["dtype"]))
    return {name: np.stack(parts) for name, parts in series.items()}


def play_tail(
    network: Mapping[str, Any],
    weights: Mapping[str, Any],
    streams: Mapping[str, Any],
    samples: int,
    steps: int,
) -> dict[str, Any]:
    """Return the decoded outputs [T, N, …] from the streams that left the chip."""
    tail = network["tail"]
    shapes = [streams[name].shape[1:] for name in tail["inputs"]]
    program = Program(tail["program"], shapes, weights, chip=False, name="the outputs")
    decoded: dict[str, list[Any]] = {one["name"]: [] for one in tail["outputs"]}
    for sample in range(samples):
        series: dict[str, list[Any]] = {name: [] for name in decoded}
        for t in range(1, steps + 1):
            now = sample * steps + t - 1
            values = program.step(t, [streams[name][now] for name in tail["inputs"]])
            for one in tail["outputs"]:
                series[one["name"]].append(np.asarray(values[one["value"]], np.float64))
        for one in tail["outputs"]:
            decoded[one["name"]].append(decode(one["decode"], np.stack(series[one["name"]])))
    axes = {one["name"]: one["axis"] for one in tail["outputs"]}
    return {name: join(parts, axes[name]) for name, parts in decoded.items()}


def decode(how: str, series: Any) -> Any:
    """Return the answer after every step: the mean or sum of the stream until then, or the step alone."""
    if how == "last":
        return series
    sums = np.cumsum(series, axis=0)
    steps = np.arange(1, len(series) + 1, dtype=np.float64).reshape(-1, *(1,) * (series.ndim - 1))
    return sums if how == "sum" else sums / steps


def join(parts: Sequence[Any], axis: int | None) -> Any:
    return parts[0] if axis is None else np.concatenate(parts, axis=axis + 1)


# The chip.


def run_lava(
    network: Mapping[str, Any], weights: Mapping[str, Any], sources: Mapping[str, Any], samples: int, job: Any
) -> dict[str, Any]:
    """Return the streams [samples T, …] that the tail reads."""
    from lava.magma.core.run_conditions import RunSteps

    from snnc.backends.lava.runtime.processes import layer as processes

    folder = Path(job["folder"])
    steps = samples * job["steps"] + max((sink["depth"] for sink in network["sinks"]), default=0)
    run = {"period": job["steps"], "samples": samples, "steps": steps}
    run |= {"record": job["record"], "error": str(folder / "error")}
    made: dict[str, Any] = {
        name: processes.SourceProcess(name=name, series=series) for name, series in sources.items()
    }
    for plan in network["layers"]:
        made[plan["name"]] = processes.LayerProcess(plan=plan, weights=own(plan, weights), run=run)
        for number, port in enumerate(plan["inputs"]):
            made[port["from"]].out.connect(getattr(made[plan["name"]], f"in{number}"))
    last = None
    for number, sink in enumerate(network["sinks"]):
        last = processes.SinkProcess(
            name=f"sink{number}",
            shape=sink["shape"],
            start=sink["depth"],
            steps=steps,
            file=str(folder / f"sink{number}.npy"),
            progress=str(folder / "progress") if number == 0 else "",
        )
        made[sink["from"]].out.connect(last.in0)
    assert last is not None, "a network without outputs"
    last.run(RunSteps(steps), processes.Configuration(select_tag="fixed_pt"))
    (folder / "finished").touch()  # from here on processes may go
    last.stop()
    total = samples * job["steps"]
    return {
        sink["from"]: np.load(folder / f"sink{number}.npy")[:total]
        for number, sink in enumerate(network["sinks"])
    }


def own(plan: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights that a layer's program refers to."""
    keys = [
        value["tensor"]
        for one in plan["program"]
        for value in one["attributes"].values()
        if isinstance(value, dict) and "tensor" in value
    ]
    return {key: weights[key] for key in keys}
