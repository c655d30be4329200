"""Fine-tune the digits networks with 4-bit quantisers, compile them with `--method pmsm`, and measure.

`python fine_tune.py` prints the tables of README.md and writes `digits_*_4bit.onnx` beside this file;
`python fine_tune.py PART ...` runs only some of `select`, `rules`, `convert`, `steps` and
`sweep`; a network's name leaves out the others. Seeded: the same processor and PyTorch give the same files.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn
from torch.nn import functional

from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.evaluation import StepResult, evaluate
from snnc.methods import Settings
from snnc.nn import export_onnx, fine_tune, initialise, quantisers, replace_activations
from snnc.nn.initialisation import Rule

HERE = Path(__file__).parent
DIGITS = HERE.parent / "digits"
sys.path.insert(0, str(DIGITS))

from data import CALIBRATION_SAMPLES, Samples, load_split  # noqa: E402 -- a script beside, not a package
from train_cnn import digits_cnn  # noqa: E402 -- likewise
from train_vgg import digits_vgg  # noqa: E402 -- likewise
from train_vit import EPOCHS, DigitsViT  # noqa: E402 -- likewise
from training import LABEL_SMOOTHING, as_input, jitter, reproducible, strip, train  # noqa: E402 -- likewise

Reset = Literal["subtract"] | None  # None: restart, the default of pmsm

SEED = 5
BITS = 4
RULES = ("mse", "energy", "entropy", "percentile", "max")
DRAWS = 3  # of calibration images, for the comparison of rules
SWEEP = (0.25, 0.5, 1.0, 2.0, 4.0)
# Fast enough to come back from a factor of 4; the transformer's weights wait longer for their thetas.
SWEEP_CHANGES: dict[str, dict[str, Any]] = {
    "tensor": {"epochs": 30, "rate": 1e-3, "threshold_rate": 3e-2},
    "channel": {"epochs": 100, "rate": 1e-3, "threshold_rate": 3e-2, "warm_up": 0.2},
}
# The choice of a recipe: quarters of the training images, how many of them are held out in turn, copies.
QUARTERS, HELD_OUT, COPIES = 4, 2, 8
CANDIDATES: dict[str, dict[str, Any]] = {
    "150 epochs": {"epochs": 150},
    "150 epochs, teacher alone": {"epochs": 150, "labels": False},
    "300 epochs": {"epochs": 300},
}
STEPS = (1, 2, 4, 8)
RESETS: tuple[Reset, ...] = (None, "subtract")


@dataclass(frozen=True)
class Recipe:
    """A float network and how it is fine-tuned."""

    name: str
    make: Callable[[], nn.Module]
    epochs: int
    rate: float
    threshold_rate: float
    per: Literal["tensor", "channel"]
    warm_up: float = 0.1  # share of the steps
    labels: bool = True  # else only the float network teaches

    @property
    def tuned(self) -> Path:
        return HERE / f"{self.name}_{BITS}bit.onnx"

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
    Recipe("digits_cnn", digits_cnn, epochs=30, rate=2e-4, threshold_rate=6e-3, per="tensor"),
    Recipe("digits_vgg", digits_vgg, epochs=30, rate=2e-4, threshold_rate=6e-3, per="tensor"),
    Recipe("digits_vit", DigitsViT, epochs=300, rate=1e-3, threshold_rate=1e-2, per="channel"),
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


def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return 100 * float((model(x).argmax(1) == labels).float().mean())


def initialised(recipe: Recipe, model: nn.Module, bits: int, calibration: Tensor, rule: Rule) -> nn.Module:
    """Return a network with quantisers that have levels."""
    quantised = replace_activations(model, bits, per=recipe.per).eval()
    initialise(quantised, calibration, rule)
    return quantised


def tuned(
    recipe: Recipe, quantised: nn.Module, teacher: nn.Module, samples: tuple[Tensor, Tensor], epochs: int
) -> None:
    """Fine-tune with the float network as teacher, in the way the float network was trained."""
    fine_tune(
        quantised,
        *samples,
        epochs=epochs,
        rate=recipe.rate,
        threshold_rate=recipe.threshold_rate,
        warm_up=recipe.warm_up,
        weight_decay=5e-2,
        seed=SEED,
        loss=partial(functional.cross_entropy, label_smoothing=LABEL_SMOOTHING) if recipe.labels else nothing,
        teacher=teacher,
        augment=jitter,
    )


def nothing(logits: Tensor, labels: Tensor) -> Tensor:
    """Return a loss that labels have no say in."""
    del labels
    return logits.new_zeros(())


def table(title: str, columns: Sequence[str]) -> None:
    print(f"\n## {title}\n\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))


def row(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def compare_rules(recipes: Sequence[Recipe], data: Data) -> None:
    """What each rule leaves of a network that is not fine-tuned, mean over draws of calibration images."""
    table("Rules for the initial levels: test accuracy, error of the logits", ["network", "bits", *RULES])
    for recipe, bits in product(recipes, (2, 3, 4)):
        model, cells = recipe.trained(), []
        with torch.no_grad():
            wanted = model(data.test)
        for rule in RULES:
            found = []
            for draw in range(DRAWS):
                generator = torch.Generator().manual_seed(draw)
                picked = torch.randperm(len(data.x), generator=generator)[:CALIBRATION_SAMPLES]
                quantised = initialised(recipe, model, bits, data.x[picked], rule)
                with torch.no_grad():
                    error = float((quantised(data.test) - wanted).norm() / wanted.norm())
                found.append((accuracy(quantised, data.test, data.labels), error))
            right, error = np.mean(found, axis=0)
            cells.append(f"{right:.2f} %, {error:.3f}")
        row([recipe.name, str(bits), *cells])


def folds() -> Iterator[tuple[Samples, Samples]]:
    """Yield (training images less those held out, images held out); no image is held out twice."""
    samples, _ = load_split()
    quarters = StratifiedKFold(QUARTERS, shuffle=True, random_state=SEED)
    for rest, held in islice(quarters.split(samples.x, samples.y), HELD_OUT):
        yield Samples(samples.x[rest], samples.y[rest]), Samples(samples.x[held], samples.y[held])


def select(recipes: Sequence[Recipe], data: Data) -> None:
    """Compare ways to fine-tune the transformer on training images its float network never saw."""
    del data
    (recipe,) = [recipe for recipe in recipes if recipe.name == "digits_vit"] or sys.exit(
        "error: select compares recipes for digits_vit alone"
    )
    splits = []
    for rest, held in folds():
        torch.manual_seed(SEED)
        model = DigitsViT()
        train(model, rest, epochs=EPOCHS, rate=2e-3, weight_decay=5e-2)
        splits.append((model, rest, held))
    table(
        f"Recipes: accuracy on training images held out, and on {COPIES} jittered copies of each",
        ["recipe", "held out", "jittered", "cross entropy, jittered"],
    )
    floats = [judge(model, held) for model, _, held in splits]
    row(["float", *verdict(floats)])
    for name, changes in CANDIDATES.items():
        candidate, found = replace(recipe, **changes), []
        for model, rest, held in splits:
            x = as_input(rest)
            quantised = initialised(candidate, model, BITS, x[:CALIBRATION_SAMPLES], "mse")
            tuned(candidate, quantised, model, (x, torch.from_numpy(rest.y)), candidate.epochs)
            found.append(judge(quantised, held))
        row([name, *verdict(found)])


def judge(model: nn.Module, held: Samples) -> tuple[float, float, float]:
    """Return the accuracy on images, on jittered copies of them, and the cross entropy on the copies."""
    x, y = as_input(held), torch.from_numpy(held.y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        copies, labels = jitter(x.repeat(COPIES, 1, 1, 1)), y.repeat(COPIES)
    with torch.no_grad():
        loss = float(functional.cross_entropy(model(copies), labels))
    return accuracy(model, x, y), accuracy(model, copies, labels), loss


def verdict(found: Sequence[tuple[float, float, float]]) -> list[str]:
    held, jittered, loss = np.mean(found, axis=0)
    return [f"{held:.2f} %", f"{jittered:.2f} %", f"{loss:.3f}"]


def sweep(recipes: Sequence[Recipe], data: Data) -> None:
    table(
        "The initial theta times a factor: test accuracy before and after fine-tuning",
        ["network", "epochs", *(f"{factor}x" for factor in SWEEP)],
    )
    for recipe in recipes:
        fast = replace(recipe, **SWEEP_CHANGES[recipe.per])
        cells = []
        for factor in SWEEP:
            quantised = initialised(recipe, recipe.trained(), BITS, data.calibration, "mse")
            for part in quantisers(quantised).values():
                part.set_levels(part.negative, part.positive, part.theta * factor)
            before = accuracy(quantised, data.test, data.labels)
            tuned(fast, quantised, recipe.trained(), (data.x, data.y), fast.epochs)
            cells.append(f"{before:.2f} → {accuracy(quantised, data.test, data.labels):.2f} %")
        row([recipe.name, str(fast.epochs), *cells])


def convert(recipes: Sequence[Recipe], data: Data) -> None:
    table(
        f"Fine-tuned with {BITS} bits, and compiled: test accuracy",
        ["network", "float", "fine-tuned", "T=1", "unit spikes per neuron", "energy / fp32"],
    )
    for recipe in recipes:
        before = accuracy(recipe.trained(), data.test, data.labels)
        quantised = initialised(recipe, recipe.trained(), BITS, data.calibration, "mse")
        tuned(recipe, quantised, recipe.trained(), (data.x, data.y), recipe.epochs)
        after = accuracy(quantised, data.test, data.labels)
        export_onnx(quantised, data.test[:2], recipe.tuned, input_name="image", output_name="logits")
        strip(recipe.tuned)
        (first,) = spiking(recipe, 1)
        cells = [f"{before:.2f} %", f"{after:.2f} %", f"{100 * first.value:.2f} %"]
        row([recipe.name, *cells, f"{first.unit_spikes_per_neuron:.2f}", f"{first.energy.ratio_fp32:.3f}"])


def more_steps(recipes: Sequence[Recipe], data: Data) -> None:
    """What more steps do to the files as they are."""
    del data
    table(
        "More steps: test accuracy, agreement with the fine-tuned network",
        ["network", "reset", *map(str, STEPS)],
    )
    for recipe, reset in product(recipes, RESETS):
        steps = spiking(recipe, STEPS[-1], reset)
        cells = [f"{100 * steps[t - 1].value:.2f} %, {100 * steps[t - 1].agreement:.2f} %" for t in STEPS]
        row([recipe.name, reset or "restart (default)", *cells])


def spiking(recipe: Recipe, steps: int, reset: Reset = None) -> list[StepResult]:
    """Compile a fine-tuned network's file and compare it with that file on the test images, at every step."""
    options = Options(method="pmsm", settings=Settings(reset=reset))
    test = load_data(DIGITS / "digits_test.npz", normalise=Normalise(1 / 16))
    return evaluate(compile_model(recipe.tuned, None, options).graph, recipe.tuned, test, steps).steps


PARTS = {
    "select": select,
    "rules": compare_rules,
    "convert": convert,
    "steps": more_steps,
    "sweep": sweep,
}


def main(wanted: Sequence[str]) -> None:
    known = [*PARTS, *(recipe.name for recipe in RECIPES)]
    if unknown := [name for name in wanted if name not in known]:
        sys.exit(f"error: no part or network {unknown[0]!r}; known: {', '.join(known)}")
    reproducible(SEED)
    torch.set_flush_denormal(True)
    data = load()
    recipes = [recipe for recipe in RECIPES if recipe.name in wanted] or RECIPES
    for part in [part for part in PARTS if part in wanted] or PARTS:
        PARTS[part](recipes, data)


if __name__ == "__main__":
    main(sys.argv[1:])
