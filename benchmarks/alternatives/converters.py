"""The compared converters, each with settings its own documentation or examples use.

A converter turns a module into logits after every time step, [T, N, classes]: the running sum of its outputs.
"""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import snnc
from snnc.backends.onnx.spiking import OnnxSimulator
from snnc.driver import Options, compile_model
from snnc.methods import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from networks import Network
    from torch import Tensor, nn

CPU = torch.device("cpu")
BATCH = 64  # calibration samples per batch
CHUNK = 25  # test images that are simulated together where time is a part of the batch
BALANCING_BATCHES = 390  # as many as 50,000 images in batches of 128, the defaults of SpikingJelly's example


@dataclass(frozen=True)
class Answer:
    """What a converter made of a network: logits at each T, and the processor seconds it took."""

    logits: dict[int, Tensor]
    converting: float
    running: float
    note: str = ""


@dataclass(frozen=True)
class Converter:
    """A row of the tables. `spikes`: what a neuron may send in one step."""

    tool: str
    settings: str
    spikes: str
    answer: Callable[[Network, Tensor, tuple[int, ...]], Answer]


def loader(network: Network, batches: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """Return the calibration data in batches, over and over again if `batches` are wanted."""
    x, _ = network.images(network.calibration, labels=False)
    parts = [(part, torch.zeros(len(part))) for part in x.split(BATCH)]
    return parts if batches is None else (parts * (batches // len(parts) + 1))[:batches]


# SpikingJelly


def spikingjelly(recipe: str, *, batches: int | None = None, **options: object) -> Callable[..., Answer]:
    """Return a converter by a recipe of spikingjelly.activation_based.ann2snn, with delayed readout."""

    def answer(network: Network, x: Tensor, times: tuple[int, ...]) -> Answer:
        from spikingjelly.activation_based import ann2snn, functional

        data = loader(network, batches)
        start = time.process_time()
        made = getattr(ann2snn, recipe)(dataloader=data, **options)
        with quiet():
            spiking = ann2snn.Converter(recipe=made, device=CPU).convert(network.module())
        converted = time.process_time()
        functional.reset_net(spiking)
        with torch.no_grad():
            steps = torch.stack([spiking(x) for _ in range(max(times))])
        done = time.process_time()
        with quiet():
            delays = {t: ann2snn.estimate_delay_start(spiking, loader(network), CPU, t) for t in times}
        logits = {t: steps[delays[t] : t].sum(dim=0) for t in times}
        return Answer(logits, converted - start, done - converted)

    return answer


def spatio_temporal(network: Network, x: Tensor, times: tuple[int, ...]) -> Answer:
    """STATransformerRecipe as in its ImageNet example: converted for every T anew, input in step 1 only."""
    from spikingjelly.activation_based import ann2snn, functional

    logits: dict[int, Tensor] = {}
    converting = running = 0.0
    for t in times:
        start = time.process_time()
        recipe = ann2snn.STATransformerRecipe(
            dataloader=loader(network),
            time_steps=t,
            mode="spiking_encoder",
            threshold_mode="mse",
            threshold_scale=0.5,
        )
        with quiet():
            spiking = ann2snn.Converter(recipe=recipe, device=CPU).convert(network.module()).eval()
        converted = time.process_time()
        functional.set_step_mode(spiking, "m")
        functional.reset_net(spiking)
        sequence = torch.zeros(t, *x.shape)
        sequence[0] = x
        with torch.no_grad():
            logits[t] = spiking(sequence).sum(dim=0)
        converting += converted - start
        running += time.process_time() - converted
    return Answer(logits, converting, running)


class quiet(warnings.catch_warnings):  # noqa: N801 - a context manager, as its base class
    """Mute warnings and progress bars."""

    def __enter__(self) -> None:
        import functools

        from spikingjelly.activation_based.ann2snn.recipes import local_threshold_balancing, rate_coding

        super().__enter__()
        warnings.simplefilter("ignore")
        for module in (local_threshold_balancing, rate_coding):
            if not isinstance(module.tqdm, functools.partial):
                module.tqdm = functools.partial(module.tqdm, disable=True)


# sinabs


def sinabs(spike_fn: str) -> Callable[..., Answer]:
    """Return a converter by sinabs.from_torch.from_model at its defaults, with multiple or single spikes."""

    def answer(network: Network, x: Tensor, times: tuple[int, ...]) -> Answer:
        start = time.process_time()
        steps = run_sinabs(network.module(), x, spike_fn, max(times))
        seconds = time.process_time() - start
        return Answer({t: steps[:t].sum(dim=0) for t in times}, 0.0, seconds)

    return answer


def run_sinabs(module: nn.Module, x: Tensor, spike_fn: str, steps: int) -> Tensor:
    """Return the outputs of every step, [T, N, classes]."""
    from sinabs import activation
    from sinabs.from_torch import from_model

    network = from_model(
        copy.deepcopy(module),
        spike_fn=getattr(activation, spike_fn),
        num_timesteps=steps,
    ).spiking_model
    parts = []
    with torch.no_grad():
        for part in x.split(CHUNK):
            network.apply(reset_state)
            repeated = part.repeat_interleave(steps, dim=0)  # [N T, …], time fastest
            parts.append(network(repeated).unflatten(0, (len(part), steps)))
    return torch.cat(parts).transpose(0, 1)


def reset_state(module: nn.Module) -> None:
    if hasattr(module, "reset_states"):
        module.reset_states()


# snnc


def compile_with(network: Network, **options: Any) -> snnc.Graph:
    """Return the network as snnc compiles it with these options of `snnc.driver.Options`."""
    normalise = snnc.Normalise(network.scale, network.mean, network.std)
    data = snnc.load_data(network.calibration, normalise=normalise)
    return compile_model(network.model, data, Options(**options)).graph


def compiled(
    method: str, *, rule: str | None = None, target: str | None = None, per_steps: bool = False
) -> Callable[..., Answer]:
    """Return snnc with a method; with `per_steps` it compiles for every T anew."""

    def answer(network: Network, x: Tensor, times: tuple[int, ...]) -> Answer:
        logits: dict[int, Tensor] = {}
        converting = running = 0.0
        for group in [(t,) for t in times] if per_steps else [times]:
            start = time.process_time()
            graph = compile_with(
                network, method=method, settings=Settings(rule=rule), steps=max(group), target=target
            )
            converted = time.process_time()
            (decoded,) = run_snnc(graph, x.numpy(), max(group)).values()
            logits |= {t: torch.from_numpy(decoded[t - 1].copy()) for t in group}
            converting += converted - start
            running += time.process_time() - converted
        return Answer(logits, converting, running)

    return answer


def run_snnc(graph: snnc.Graph, x: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Return the decoded outputs after every step, [T, N, classes]."""
    # Integers are the same in both; the reference simulator has them in double precision.
    simulator = OnnxSimulator(graph, threads=1) if graph.computes_integers else snnc.Simulator(graph)
    parts = [
        simulator.run(x[start : start + 4 * CHUNK], steps=steps).outputs
        for start in range(0, len(x), 4 * CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


CNN_CONVERTERS = (
    Converter("snnc", "`multi-spike` (default)", "integers", compiled("multi-spike")),
    Converter("snnc", "`signed-memory`", "integers", compiled("signed-memory")),
    Converter(
        "snnc",
        "`signed-memory --target int8 -T t`",
        "integers",
        compiled("signed-memory", target="int8", per_steps=True),
    ),
    Converter("snnc", "`if`", "0, 1", compiled("if")),
    Converter("snnc", "`qcfs`", "0, 1", compiled("qcfs")),
    Converter("snnc", "`if --thresholds mse -T t`", "0, 1", compiled("if", rule="mse", per_steps=True)),
    Converter(
        "SpikingJelly",
        '`RateCodingRecipe(mode="99.9%")`',
        "0, 1",
        spikingjelly("RateCodingRecipe", mode="99.9%"),
    ),
    Converter(
        "SpikingJelly",
        "the same, `channel_wise`, `half_threshold`",
        "0, 1",
        spikingjelly("RateCodingRecipe", mode="99.9%", channel_wise=True, half_threshold=True),
    ),
    Converter(
        "SpikingJelly",
        "the same, `pre_spike_maxpool`",
        "0, 1",
        spikingjelly(
            "RateCodingRecipe", mode="99.9%", channel_wise=True, half_threshold=True, pre_spike_maxpool=True
        ),
    ),
    Converter(
        "SpikingJelly",
        "`LocalThresholdBalancingRecipe`",
        "0, 1",
        spikingjelly("LocalThresholdBalancingRecipe", batches=BALANCING_BATCHES),
    ),
    Converter("sinabs", "`from_model` (default: `MultiSpike`)", "integers ≥ 0", sinabs("MultiSpike")),
    Converter("sinabs", "`from_model`, `SingleSpike`", "0, 1", sinabs("SingleSpike")),
)

TRANSFORMER_CONVERTERS = (
    Converter("snnc", "`multi-spike` (default)", "integers", compiled("multi-spike")),
    Converter("snnc", "`signed-memory`", "integers", compiled("signed-memory")),
    Converter("snnc", "`ternary`", "-1, 0, 1", compiled("ternary")),
    Converter("snnc", "`ecmt`", "±2^k", compiled("ecmt")),
    Converter(
        "SpikingJelly",
        '`STATransformerRecipe(mode="spiking_encoder", threshold_scale=0.5)`',
        "integers",
        spatio_temporal,
    ),
)
