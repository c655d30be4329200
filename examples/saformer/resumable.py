"""A seeded training loop that can be stopped at any moment and picked up where its last epoch ended."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

WARM_UP = 0.1  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW with one learning-rate cycle."""

    epochs: int
    rate: float
    weight_decay: float
    batch: int
    seed: int


class OtherTrainingError(ValueError):
    """The checkpoint belongs to another training."""


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    schedule: Schedule,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    *,
    augment: Callable[[Tensor], Tensor] | None = None,
    checkpoint: Path | None = None,
    note: str = "",
    stop_after: int | None = None,
) -> list[float]:
    """Train, leave the model in evaluation mode, and return the mean loss of every epoch.

    After every epoch the checkpoint gets all that the rest depends on: weights, optimiser, learning rate and
    random state. Where one exists, training goes on from it: the weights at the end are those of a training
    that was never stopped. A checkpoint of other settings (`note`, schedule) is refused. `stop_after` ends
    the call after that many epochs in all.
    """
    torch.manual_seed(schedule.seed)
    batches = len(x) // schedule.batch
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=schedule.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.rate, total_steps=schedule.epochs * batches, pct_start=WARM_UP
    )
    settings = asdict(schedule) | {"note": note, "samples": len(x)}
    parts = {"model": model, "optimiser": optimiser, "cycle": cycle}
    losses = resume(checkpoint, parts, settings)
    last = schedule.epochs if stop_after is None else min(stop_after, schedule.epochs)
    model.train()
    with progress() as bar:
        task = bar.add_task(
            note or "training", total=last * batches, completed=len(losses) * batches, loss=""
        )
        for epoch in range(len(losses), last):
            total = 0.0
            for picked in torch.randperm(len(x))[: batches * schedule.batch].view(batches, schedule.batch):
                inputs = x[picked] if augment is None else augment(x[picked])
                value = loss(model, inputs, y[picked])
                optimiser.zero_grad()
                torch.autograd.backward(value)
                optimiser.step()
                cycle.step()
                total += value.item()
                bar.update(task, advance=1, loss=f"{value.item():.3f}")
            losses.append(total / batches)
            save(checkpoint, parts, settings, losses)
            bar.console.print(f"epoch {epoch + 1:3d}: loss {losses[-1]:.4f}")
    model.eval()
    return losses


def progress() -> Progress:
    """Return a progress bar; without a terminal only the lines of the epochs are printed."""
    console = Console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
        console=console,
        disable=not console.is_terminal,
    )


def save(
    path: Path | None, parts: dict[str, object], settings: dict[str, object], losses: list[float]
) -> None:
    """Write a checkpoint beside the old one, then put it in its place: there is always a whole one."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]  # of torch
    state |= {"settings": settings, "losses": losses, "random": torch.get_rng_state()}
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def resume(path: Path | None, parts: dict[str, object], settings: dict[str, object]) -> list[float]:
    """Read a checkpoint into the parts and return the losses so far; none where there is no checkpoint."""
    if path is None or not path.is_file():
        return []
    state = torch.load(path, weights_only=True)
    if state["settings"] != settings:
        raise OtherTrainingError(
            f"{path} is of another training: {state['settings']}, not {settings}; "
            "delete it, or give another --checkpoint"
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])  # type: ignore[attr-defined]  # whatever torch can restore
    torch.set_rng_state(state["random"])
    return list(state["losses"])
