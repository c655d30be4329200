"""Turn the digits vision transformer's attention into spikes and fine-tune it against itself.

`python swap_attention.py` prints the accuracy before, after the swap and after fine-tuning, with the
distillation loss and, to compare, with the labels alone.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from snnc.nn import distillation_loss, swap_attention

DIGITS = Path(__file__).parent.parent / "digits"
sys.path.append(str(DIGITS))

from data import load_split  # noqa: E402 -- a script beside, not a package
from train_vit import HEADS, DigitsViT  # noqa: E402 -- likewise
from training import as_input, jitter, reproducible  # noqa: E402 -- likewise

SEED = 6
EPOCHS = 40
RATE = 3e-3
BATCH = 64
STEPS = 4


def trained_vit() -> DigitsViT:
    """Return the network with the weights of its committed file."""
    graph = onnx.load(DIGITS / "digits_vit.onnx").graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    model = DigitsViT()
    # The exporter stores linear layers transposed and nameless; they come in the order they run.
    products = (node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in stored)
    model.load_state_dict(dict(assign(model.state_dict(), stored, products)))
    return model.eval()


def assign(
    wanted: dict[str, Tensor], stored: dict[str, np.ndarray], products: Iterator[str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter with its stored value."""
    for name in wanted:
        array = stored[name] if name in stored else stored[next(products)].T
        yield name, torch.tensor(np.ascontiguousarray(array))


def fine_tune(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor, *, weight: float) -> None:
    """Train with AdamW and one cosine; `weight` is the teacher's share of the loss."""
    batches = len(x) // BATCH
    optimiser = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * batches)
    torch.manual_seed(SEED)
    student.train()
    for _ in range(EPOCHS):
        for picked in torch.randperm(len(x))[: batches * BATCH].view(batches, BATCH):
            images = jitter(x[picked])
            with torch.no_grad():
                wanted = teacher(images)
            loss = distillation_loss(student(images), wanted, y[picked], weight=weight)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    student.eval()


def main() -> None:
    reproducible(SEED)
    training, test = load_split()
    x, y = as_input(training), torch.from_numpy(training.y)

    def show(name: str, model: nn.Module) -> None:
        with torch.no_grad():
            right = model(as_input(test)).argmax(1).numpy() == test.y
        print(f"{name:38} {100 * right.mean():6.2f} %", flush=True)

    teacher = trained_vit()
    show("softmax attention", teacher)
    for name, weight in (("distillation", 0.5), ("labels alone", 0.0)):
        student = swap_attention(teacher, x[:1], heads=HEADS, steps=STEPS)
        if weight:
            show("swapped", student)
        fine_tune(student, teacher, x, y, weight=weight)
        show(f"fine-tuned, {name}", student)


if __name__ == "__main__":
    main()
