"""Fine-tune the digits networks with 4-bit quantisers, compile them with `--method pmsm`, and measure.

`python fine_tune.py` prints the tables of README.md and writes `digits_cnn_4bit.onnx` and
`digits_vit_4bit.onnx` beside this file. Seeded: the same processor and PyTorch give the same files.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import evaluate
from snnc.nn import export_onnx, fine_tune, initialise, quantisers, replace_activations

HERE = Path(__file__).parent
DIGITS = HERE.parent / "digits"
sys.path.insert(0, str(DIGITS))

from data import CALIBRATION_SAMPLES, load_split  # noqa: E402 -- a script beside, not a package
from train_cnn import digits_cnn  # noqa: E402 -- likewise
from train_vit import DigitsViT  # noqa: E402 -- likewise
from training import LABEL_SMOOTHING, as_input, jitter, reproducible, strip  # noqa: E402 -- likewise

SEED = 5
BITS = 4
RULES = ("energy", "entropy", "percentile", "max")
SWEEP = (0.25, 0.5, 1.0, 2.0, 4.0)
SWEEP_EPOCHS = 15
SWEEP_THRESHOLD_RATE = 3e-2  # of log theta: fast enough to come back from a factor of 4 in so few epochs


@dataclass(frozen=True)
class Recipe:
    """A float network and how it is fine-tuned."""

    name: str
    make: Callable[[], nn.Module]
    epochs: int
    rate: float
    threshold_rate: float
    per: Literal["tensor", "channel"]

    def trained(self) -> nn.Module:
        """Return the network with the weights of its committed file."""
        model = self.make()
        graph = onnx.load(DIGITS / f"{self.name}.onnx").graph
        stored = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in graph.initializer}
        # The exporter stores linear layers transposed and nameless; they come in the order they run.
        nameless = (
            stored[node.input[1]].T for node in graph.node if node.input[1:] and is_product(node, stored)
        )
        weights = dict(assign(model.state_dict(), stored, nameless))
        model.load_state_dict(weights)
        return model.eval()


def is_product(node: onnx.NodeProto, stored: dict[str, np.ndarray]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in stored


def assign(
    wanted: dict[str, Tensor], stored: dict[str, np.ndarray], nameless: Iterator[np.ndarray]
) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter of a network with its stored value."""
    for name, parameter in wanted.items():
        if name.endswith("num_batches_tracked"):
            yield name, parameter
        else:
            array = stored[name] if name in stored else next(nameless)
            yield name, torch.from_numpy(np.ascontiguousarray(array))


RECIPES = (
    Recipe("digits_cnn", digits_cnn, epochs=30, rate=1e-3, threshold_rate=3e-2, per="tensor"),
    Recipe("digits_vit", DigitsViT, epochs=40, rate=1e-3, threshold_rate=1e-2, per="channel"),
)


@dataclass(frozen=True)
class Data:
    """Training, calibration and test images; calibration images are training images, no test image is."""

    x: Tensor
    y: Tensor
    calibration: Tensor
    test: Tensor
    labels: Tensor


def load() -> Data:
    train, test = load_split()
    _, calibration = train.split(CALIBRATION_SAMPLES)
    return Data(
        as_input(train),
        torch.from_numpy(train.y),
        as_input(calibration),
        as_input(test),
        torch.from_numpy(test.y),
    )


def accuracy(model: nn.Module, data: Data) -> float:
    with torch.no_grad():
        return 100 * float((model(data.test).argmax(1) == data.labels).float().mean())


def initialised(recipe: Recipe, bits: int, data: Data, rule: str) -> tuple[nn.Module, float]:
    """Return the network with quantisers initialised, and the mean entropy of their codes."""
    quantised = replace_activations(recipe.trained(), bits, per=recipe.per).eval()
    reports = initialise(quantised, data.calibration, rule)
    return quantised, float(np.mean([report.bits for report in reports]))


def tuned(quantised: nn.Module, recipe: Recipe, data: Data, epochs: int, threshold_rate: float) -> float:
    """Fine-tune with the float network as teacher, in the way the float network was trained."""
    fine_tune(
        quantised,
        data.x,
        data.y,
        epochs=epochs,
        rate=recipe.rate,
        threshold_rate=threshold_rate,
        weight_decay=5e-2,
        seed=SEED,
        loss=partial(functional.cross_entropy, label_smoothing=LABEL_SMOOTHING),
        teacher=recipe.trained(),
        augment=jitter,
    )
    return accuracy(quantised, data)


def compare_rules(data: Data) -> None:
    print("\n## Before fine-tuning: test accuracy (mean entropy of the codes in bits)\n")
    print("| network | bits | " + " | ".join(RULES) + " |")
    print("|---|---|" + "---|" * len(RULES))
    for recipe in RECIPES:
        for bits in (2, 3, 4, 5):
            cells = []
            for rule in RULES:
                quantised, entropy = initialised(recipe, bits, data, rule)
                cells.append(f"{accuracy(quantised, data):.2f} % ({entropy:.2f})")
            print(f"| {recipe.name} | {bits} | " + " | ".join(cells) + " |", flush=True)


def sweep(data: Data) -> None:
    print(f"\n## The initial theta times a factor: test accuracy before and after {SWEEP_EPOCHS} epochs\n")
    print("| network | " + " | ".join(f"{factor}x" for factor in SWEEP) + " |")
    print("|---|" + "---|" * len(SWEEP))
    for recipe in RECIPES:
        cells = []
        for factor in SWEEP:
            quantised, _ = initialised(recipe, BITS, data, "energy")
            for part in quantisers(quantised).values():
                part.set_levels(part.negative, part.positive, part.theta * factor)
            before = accuracy(quantised, data)
            cells.append(
                f"{before:.2f} → {tuned(quantised, recipe, data, SWEEP_EPOCHS, SWEEP_THRESHOLD_RATE):.2f} %"
            )
        print(f"| {recipe.name} | " + " | ".join(cells) + " |", flush=True)


def convert(data: Data) -> None:
    print(f"\n## Fine-tuned with {BITS} bits, and compiled: test accuracy\n")
    print("| network | float | fine-tuned | T=1 | T=2 | T=4 | unit spikes per neuron, energy / fp32 at T=1 |")
    print("|---|---|---|---|---|---|---|")
    normalise = Normalise(1 / 16)
    test = load_data(DIGITS / "digits_test.npz", normalise=normalise)
    calibration = load_data(DIGITS / "digits_calibration.npz", normalise=normalise)
    for recipe in RECIPES:
        before = accuracy(recipe.trained(), data)
        quantised, _ = initialised(recipe, BITS, data, "energy")
        after = tuned(quantised, recipe, data, recipe.epochs, recipe.threshold_rate)
        path = HERE / f"{recipe.name}_{BITS}bit.onnx"
        export_onnx(quantised, data.test[:2], path, input_name="image", output_name="logits")
        strip(path)
        graph = compile_model(path, calibration, Options(method="pmsm")).graph
        found = evaluate(graph, path, test, 4)
        steps = [f"{100 * found.steps[t - 1].value:.2f} %" for t in (1, 2, 4)]
        first = found.steps[0]
        cost = f"{first.unit_spikes_per_neuron:.2f}, {first.energy.ratio_fp32:.3f}"
        print(f"| {path.name} | {before:.2f} % | {after:.2f} % | {' | '.join(steps)} | {cost} |", flush=True)


def main() -> None:
    reproducible(SEED)
    data = load()
    compare_rules(data)
    convert(data)
    sweep(data)


if __name__ == "__main__":
    main()
