"""What both training scripts share: the seeded loop, the accuracy, and the clean-up of exported files."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from data import FULL_SCALE, Samples
from torch import Tensor, nn
from torch.nn import functional

BATCH = 64
LABEL_SMOOTHING = 0.1
WARM_UP = 0.1  # share of the steps in which the learning rate rises


def reproducible(seed: int) -> None:
    """Fix the seed, the kernels and the order of every sum."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)


def as_input(samples: Samples) -> Tensor:
    """Return the network's input: float32 (N, 1, 8, 8) in 0..1."""
    return torch.from_numpy(samples.x.astype(np.float32) / FULL_SCALE)


def jitter(x: Tensor) -> Tensor:
    """Rotate (to 15 degrees), scale (to 10 %) and shift (to 1 pixel) each image of (N, 1, 8, 8) at random."""
    n, _, height, _ = x.shape
    angle = (torch.rand(n) * 2 - 1) * torch.pi / 12
    zoom = 1 + (torch.rand(n) * 2 - 1) * 0.1
    shift = (torch.rand(n, 2) * 2 - 1) * 2 / height  # the grid spans -1..1, so 2 / height is one pixel
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    rows = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], dim=1)
    grid = functional.affine_grid(rows.view(n, 2, 3), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def train(model: nn.Module, samples: Samples, *, epochs: int, rate: float, weight_decay: float) -> None:
    """Train with AdamW, one learning-rate cycle and label smoothing; leave the model in evaluation mode."""
    x, y = as_input(samples), torch.from_numpy(samples.y)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay)
    batches = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=epochs * batches, pct_start=WARM_UP
    )
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for picked in torch.randperm(len(x))[: batches * BATCH].view(batches, BATCH):
            loss = functional.cross_entropy(
                model(jitter(x[picked])), y[picked], label_smoothing=LABEL_SMOOTHING
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += loss.item()
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1:3d}: loss {total / batches:.4f}", flush=True)
    model.eval()


def export(model: nn.Module, path: Path) -> None:
    """Write a network in evaluation mode, dynamic in the batch, with its batch norm as nodes of their own."""
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        training=torch.onnx.TrainingMode.PRESERVE,  # EVAL would fold batch norm
        do_constant_folding=False,
    )
    strip(path)


def strip(path: Path) -> None:
    """Rewrite an exported file without the exporter's notes (stack traces with the trainer's paths)."""
    model = onnx.load(path)
    model.doc_string = ""
    del model.metadata_props[:]
    graphs = [model.graph, *model.functions]
    for part in [*graphs, *(node for graph in graphs for node in graph.node)]:
        part.doc_string = ""
        del part.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def report(path: Path, test: Samples) -> None:
    """Print the size of an exported file and its accuracy on the test samples in onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    (logits,) = session.run(None, {name: as_input(test).numpy()})
    accuracy = float(np.mean(logits.argmax(axis=1) == test.y))
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, test accuracy {100 * accuracy:.2f} %")
