"""Compare snnc with other converters on the same networks, data and time steps.

    python benchmarks/alternatives/compare.py [--limit N] [--parts FOLDER] [--write docs/comparison.md]

It runs in an environment of its own, with the converters installed: `make alternatives`. ResNet-20 is
measured where the environment variable SNNC_SHARED names the folder with it. Parts of the page that are ready
are kept in the folder until the page is: a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from converters import CNN_CONVERTERS, TRANSFORMER_CONVERTERS
from exports import EXPORTS
from networks import CNN, VIT, resnet
from operators import OPERATORS, STEPS, TREATMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from converters import Converter
    from networks import Network

TIMES = (1, 2, 4, 8, 16, 32, 64)
SMALL_LIMIT, LARGE_LIMIT = 600, 300  # test images

INTRODUCTION = """# Comparison with other converters

The same networks, test images and calibration images, measured by `make alternatives`. SpikingJelly and
sinabs convert PyTorch modules; they get the networks as modules with the weights of the ONNX files,
every activation an `nn.ReLU()` of its own, as their documentation asks for. Settings are those of their
own examples:

- **SpikingJelly** {spikingjelly}: the recipes of `ann2snn` as its examples configure them, readout
  delayed as `estimate_delay_start` proposes (never below 8 steps). `LocalThresholdBalancingRecipe` sees
  {batches} batches, the calibration images over and over. `STATransformerRecipe` gets the image in step
  1 and nothing afterwards, and is converted for every T anew, both as in its ImageNet example.
- **sinabs** {sinabs}: `from_torch.from_model`, image at every step. One threshold serves all layers;
  any other than 1 would change the network, since a spike counts 1 whatever the threshold.
  `utils.normalize_weights` is for chains of layers and cannot be used on networks with branches.
- **snnc** {snnc}: methods at their defaults, image at every step.

"spikes" is what a neuron may send in one step. An integer k costs hardware as many accumulates as k has
non-zero signed digits ([semantics](semantics.md#unit-spikes)), so rows are best compared with rows of
the same kind. Seconds are processor seconds for the conversion and for simulating {last} steps of all
images (of every T where a row converts for every T), on one thread (Python {python}, PyTorch {torch});
they compare simulators in PyTorch with one in numpy, and say nothing about hardware.
"""

OPERATORS_INTRODUCTION = """## Operators

One operator at a time behind a spiking layer: linear, ReLU (for `STATransformerRecipe`: GELU), linear,
**the operator**, linear. The figure is the relative error of the decoded output after {steps} steps.
*Refused by name* is an exception that says which operator; *kept as it was* means that it is neither
replaced nor mentioned and meets single steps instead of means.
"""

EXPORTS_INTRODUCTION = """## Getting the network out

The converted digits CNN, handed to every exporter that the tool documents for spiking networks:
"""

SPEED_INTRODUCTION = """## Speed

Compiled or converted networks at the same T on the same images, with the same number of threads, in one
process and in turns (`benchmarks/alternatives/timing.py`). SpikingJelly: `RateCodingRecipe(mode="99.9%")`,
`eval`, `torch.inference_mode()`, state reset before every call, either step by step or all steps at once
(`set_step_mode(network, "m")`). "Times as fast" is against the faster of the two: median (lowest..highest)
of the rounds. snnc: `multi-spike`, the default, in each of its backends, and `signed-memory`, with 8-bit
kernels (`--target int8`) too, for which a network is compiled for the T it runs.
"""

READING = """## How to read it

- With integers as spikes, the default of snnc has the source network's accuracy at T=1 on all three
  networks, but for one image of 600. SpikingJelly's transformer recipe is about two points below at T=1,
  and there at T=8; its encoders send all of a value in the first step, and T sets their resolution. sinabs
  is there from some 16 steps on for the digits CNN, and close to it at T=64 for ResNet-20.
- With spikes of 0 and 1, thresholds that are chosen for the number of steps (`--thresholds mse -T t`) are
  the best of all up to T=8. With more steps than that they clip on ResNet-20, and a percentile per channel
  is better: with delayed readout (SpikingJelly) from T=16 on, without (`qcfs`) at T=64.
- On transformers one bit or sign per step is too little: `ternary` has half of the images at T=64.
- Max pooling in front of the neuron (`pre_spike_maxpool`, and `LocalThresholdBalancingRecipe`, which does
  the same) pools currents that come in bursts: on the digits CNN, which has a max pooling layer, both are
  more than ten points below the source network even at T=64. ResNet-20 has none.
- Whatever is not a ReLU: snnc compiles all of it. SpikingJelly's recipes each know a list of modules and
  refuse the rest by name. sinabs replaces `nn.ReLU` and leaves everything else as it was, without a word.
"""

NOT_MEASURED = """## Not measured

- **nengo-dl** 3.6.0: its `Converter` needs `keras.engine`, which the TensorFlow that `pip install
  nengo-dl` brings (2.21.0) no longer has.
- **snnTorch** and **Norse** train spiking networks and have no converter.
- **snntoolbox** reads Keras models (and PyTorch by way of them); we have not translated the networks
  for it.
"""


def accuracies(network: Network, converters: Sequence[Converter], limit: int, *, timed: bool = True) -> str:
    """Return the table of one network: accuracy at every T and processor seconds, a row per converter."""
    x, labels = network.images(network.test, limit)
    with torch.no_grad():
        source = float((network.module()(x).argmax(dim=1) == labels).float().mean())
    titles = [
        "tool",
        "settings",
        "spikes",
        *(f"T={t}" for t in TIMES),
        *(["convert", "run"] if timed else []),
    ]
    rows = []
    for converter in converters:
        answer = converter.answer(network, x, TIMES)
        shares = [float((answer.logits[t].argmax(dim=1) == labels).float().mean()) for t in TIMES]
        seconds = [f"{answer.converting:.1f} s", f"{answer.running:.0f} s"] if timed else []
        found = [f"{100 * share:.1f}" for share in shares]
        rows.append([converter.tool, converter.settings, converter.spikes, *found, *seconds])
        print(network.title, *rows[-1], sep=" | ", flush=True)
    lead = f"{len(labels)} test images; the source network: {100 * source:.1f} %."
    return f"## {network.title}\n\n{lead}\n\n{table(titles, rows)}\n"


def operators() -> str:
    rows = []
    for name, operator in OPERATORS.items():
        rows.append([name, *(treat(operator) for treat in TREATMENTS.values())])
        print(*rows[-1], sep=" | ", flush=True)
    return OPERATORS_INTRODUCTION.format(steps=STEPS) + "\n" + table(["operator", *TREATMENTS], rows) + "\n"


def exports() -> str:
    rows = [[tool, form, outcome(CNN)] for tool, form, outcome in EXPORTS]
    return EXPORTS_INTRODUCTION + "\n" + table(["tool", "format", "outcome"], rows) + "\n"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, ["---"] * len(titles), *rows])


def introduction() -> str:
    from converters import BALANCING_BATCHES

    return INTRODUCTION.format(
        spikingjelly=version("spikingjelly"),
        sinabs=version("sinabs"),
        snnc=version("snnc"),
        batches=BALANCING_BATCHES,
        last=TIMES[-1],
        python=platform.python_version(),
        torch=torch.__version__,
    )


def speed() -> str:
    """Return the table of timing.py, which has a process of its own for as many threads as it likes."""
    script = Path(__file__).with_name("timing.py")
    found = subprocess.run([sys.executable, script], check=True, stdout=subprocess.PIPE, text=True)
    return f"{SPEED_INTRODUCTION}\n{found.stdout}"


def parts(limit: int | None) -> dict[str, Callable[[], str]]:
    """Return what makes every part of the page, in order."""
    found: dict[str, Callable[[], str]] = {"introduction": introduction}
    found["cnn"] = lambda: accuracies(CNN, CNN_CONVERTERS, limit or SMALL_LIMIT)
    if shared := os.environ.get("SNNC_SHARED"):
        network = resnet(Path(shared) / "models")
        found["resnet"] = lambda: accuracies(network, CNN_CONVERTERS, limit or LARGE_LIMIT, timed=False)
    found["transformer"] = lambda: accuracies(VIT, TRANSFORMER_CONVERTERS, limit or SMALL_LIMIT)
    return found | {
        "speed": speed,
        "operators": operators,
        "exports": exports,
        "reading": lambda: READING,
        "not-measured": lambda: NOT_MEASURED,
    }


def kept(folder: Path | None, name: str, make: Callable[[], str]) -> str:
    """Return a part of the page from the folder if it is there, else make it and keep it there."""
    if folder is None:
        return make()
    path = folder / f"{name}.md"
    if not path.exists():
        text = make()
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path.read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--limit", type=int, help="test images per network")
    parser.add_argument("--parts", type=Path, metavar="FOLDER", help="keep parts that are ready here")
    parser.add_argument("--write", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = parts(options.limit)
    text = "\n".join(kept(options.parts, name, make) for name, make in made.items())
    if options.write:
        options.write.write_text(text)
    else:
        sys.stdout.write(text)
    if options.parts:
        shutil.rmtree(options.parts)


if __name__ == "__main__":
    main()
