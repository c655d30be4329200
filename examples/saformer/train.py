"""Train a SAFormer, or the softmax ViT of its size, on digits, Fashion-MNIST or event streams of digits.

`python train.py --data digits` trains, makes the fixed-point copy, writes `digits_saformer.onnx` beside this
file and prints accuracies; `--model vit` does it for the softmax ViT. Stopped at any moment and started
again with the same options, it goes on after its last whole epoch.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import onnxruntime
import torch
from resumable import Schedule, fit
from saformer_data import DATA, Split
from softmax_vit import SoftmaxViT
from torch import Tensor, nn
from torch.nn import functional

from snnc.nn import SAFormer, export_onnx, export_spiking_onnx, to_fixed_point

HERE = Path(__file__).parent
SIZE_OF_EVENTS = (16, 16)
LABEL_SMOOTHING = 0.1
TEST_BATCH = 200


@dataclass(frozen=True)
class Network:
    """The size that SAFormer and ViT share."""

    channels: int
    image: tuple[int, int]
    stages: tuple[tuple[int, int], ...]
    depth: int
    heads: int
    hidden: int


@dataclass(frozen=True)
class Task:
    """What is trained on one kind of data, and for how long."""

    network: Network
    schedule: Schedule
    steps: int
    augmentation: str


TASKS = {
    "digits": Task(
        Network(1, (8, 8), ((24, 1), (48, 2)), depth=2, heads=4, hidden=96),
        Schedule(epochs=150, rate=3e-3, weight_decay=2e-2, batch=64, seed=4),
        steps=4,
        augmentation="jitter",
    ),
    "events": Task(
        Network(2, (16, 16), ((16, 2), (32, 2)), depth=2, heads=4, hidden=64),
        Schedule(epochs=20, rate=3e-3, weight_decay=2e-2, batch=64, seed=4),
        steps=8,
        augmentation="none",
    ),
    "fashion": Task(
        Network(1, (28, 28), ((24, 2), (48, 2), (64, 2)), depth=2, heads=4, hidden=128),
        Schedule(epochs=5, rate=3e-3, weight_decay=2e-2, batch=128, seed=4),
        steps=4,
        augmentation="flip",
    ),
}


def make(task: Task, model: str) -> nn.Module:
    if model == "saformer":
        return SAFormer(**vars(task.network), steps=task.steps)
    if task.network.image == SIZE_OF_EVENTS:  # a network without time reads all frames at once, as channels
        return SoftmaxViT(**vars(replace(task.network, channels=task.steps * task.network.channels)))
    return SoftmaxViT(**vars(task.network))


def at_every_step(model: nn.Module, x: Tensor) -> Tensor:
    """Return the answer after every step, [T, N, classes]: the mean of the outputs so far."""
    if isinstance(model, SAFormer):
        y = model.outputs(x)
        return y.cumsum(0) / torch.arange(1, len(y) + 1).reshape(-1, 1, 1)
    logits: Tensor = model(frames_as_channels(x))
    return logits.unsqueeze(0)


def frames_as_channels(x: Tensor) -> Tensor:
    """Return event frames [T, N, C, H, W] as [N, T C, H, W], and images as they are."""
    return x.transpose(0, 1).flatten(1, 2) if x.dim() == 5 else x


def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean over the steps of the cross entropy of the answer there, so that early ones count."""
    answers = at_every_step(model, x)
    return functional.cross_entropy(
        answers.flatten(0, 1), y.repeat(len(answers)), label_smoothing=LABEL_SMOOTHING
    )


def augmented(task: Task, data: Split, x: Tensor) -> Tensor:
    """Return inputs for training: shifted and turned a little, mirrored at random, or as they are."""
    inputs = data.input(x)
    if task.augmentation == "jitter":
        from training import jitter

        return jitter(inputs)
    if task.augmentation == "flip":
        return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, inputs.flip(-1), inputs)
    return inputs


def accuracies(model: nn.Module, data: Split) -> list[float]:
    """Return the accuracy on the test samples after every step, in percent."""
    right = []
    with torch.no_grad():
        for x, y in zip(data.x_test.split(TEST_BATCH), data.y_test.split(TEST_BATCH), strict=True):
            right.append((at_every_step(model, data.input(x)).argmax(-1) == y).sum(1))
    return [100 * float(count) / len(data.y_test) for count in torch.stack(right).sum(0)]


def write(model: nn.Module, data: Split, path: Path) -> nn.Module:
    """Write the network as ONNX, a SAFormer as its fixed-point copy; return what was written."""
    example = data.input(data.x_test[:2])
    if isinstance(model, SAFormer):
        bits = round(-math.log2(data.scale))
        fixed = to_fixed_point(model, example[:, :1] if example.dim() == 5 else example[:1], input_bits=bits)
        step = example[0] if example.dim() == 5 else example
        export_spiking_onnx(fixed, step, path, input_name="image", output_name="logits")
        return fixed
    export_onnx(model, frames_as_channels(example), path, input_name="image", output_name="logits")
    return model


def equal_in_onnxruntime(model: nn.Module, data: Split, path: Path) -> bool:
    """Tell whether onnxruntime finds torch's outputs to the bit, at every step for every test sample."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image, *states = session.get_inputs()
    assert isinstance(model, SAFormer)
    for x in data.x_test.split(TEST_BATCH):
        inputs = data.input(x)
        with torch.no_grad():
            wanted = model.outputs(inputs)
        membranes = {one.name: np.zeros((len(x), *one.shape[1:]), np.float32) for one in states}
        for t in range(len(wanted)):
            frame = inputs[t] if inputs.dim() == 5 else inputs
            y, *after = session.run(None, {image.name: frame.numpy(), **membranes})
            membranes = dict(zip(membranes, after, strict=True))
            if not np.array_equal(y, wanted[t].numpy()):
                return False
    return True


def save_test_samples(kind: str, data: Split, folder: Path) -> None:
    """Write the test samples for `snnc eval`: x uint8, streams with time first; and y."""
    x = data.x_test.transpose(0, 1) if data.x_test.dim() == 5 else data.x_test
    np.savez_compressed(folder / f"{kind}_test.npz", x=x.numpy(), y=data.y_test.numpy())


def record(name: str, found: list[float], folder: Path) -> None:
    """Keep the accuracies after every step in accuracy.json."""
    path = folder / "accuracy.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    known[name] = [round(value, 2) for value in found]
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


@click.command()
@click.option("--data", "kind", type=click.Choice(list(TASKS)), default="digits", show_default=True)
@click.option("--model", type=click.Choice(["saformer", "vit"]), default="saformer", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=HERE, help="Where files go. [default: here]")
@click.option(
    "--threads", default=1, show_default=True, help="Of PyTorch; more are not bit for bit the same."
)
def main(kind: str, model: str, out: Path, threads: int) -> None:
    """Train one network on one kind of data, write it as ONNX and print its accuracy.

    Checkpoints are in build/ of the output folder; a training that was stopped goes on from there.
    """
    task, data = TASKS[kind], DATA[kind]()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)
    torch.manual_seed(task.schedule.seed)
    network = make(task, model)
    fit(
        network,
        data.x,
        data.y,
        task.schedule,
        loss,
        augment=lambda x: augmented(task, data, x),
        checkpoint=out / "build" / f"{kind}_{model}.pt",
        note=f"{kind} {model} {task.network}",
    )
    path = out / f"{kind}_{model}.onnx"
    written = write(network, data, path)
    parameters = sum(values.numel() for values in network.parameters())
    print(f"{path.name}: {parameters} parameters, {path.stat().st_size / 1024:.0f} KiB")
    if model == "saformer":
        print(f"equal in onnxruntime at every step: {equal_in_onnxruntime(written, data, path)}")
    found = accuracies(written, data)
    print("test accuracy:", *(f"T={t} {value:.2f} %" for t, value in enumerate(found, 1)))
    record(path.stem, found, out)
    if kind != "digits":
        save_test_samples(kind, data, out if kind == "events" else out / "build")


if __name__ == "__main__":
    main()
