"""What `--memory` adds to `snnc eval` and `snnc energy`: bytes moved, their energy, what was assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.show import Column, print_table, say, show_energy, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.memory import MemoryStep, Traffic

memory_option = click.option(
    "--memory", is_flag=True, help="Also estimate the bytes moved between memory and arithmetic."
)


def show_memory(steps: Sequence[MemoryStep]) -> None:
    """Print bytes and energy of both networks, where the spiking one loses, and the assumptions."""
    from snnc.memory import ASSUMPTIONS

    last = steps[-1]
    rows = [row("", "ANN fp32", last.ann_fp32), row("", "ANN int8", last.ann_int8)]
    for step in steps:
        rows += [
            row(str(step.t), "SNN fp32", step.snn_fp32),
            row(str(step.t), "SNN int8", step.snn_int8),
        ]
    titles = ("t", "network", "weights", "streams", "state", "moved", "on chip", "weights in DRAM")
    say()
    print_table([Column(title, index != 1) for index, title in enumerate(titles)], rows)
    say()
    for remark in memory_remarks(steps):
        say(remark)
    for assumption in ASSUMPTIONS:
        say(f"assumed: {assumption}")


def row(t: str, name: str, moved: Traffic) -> list[str]:
    return [
        t,
        name,
        size(round(moved.weights)),
        size(round(moved.streams)),
        size(round(moved.state)),
        size(round(moved.bytes)),
        show_energy(moved.on_chip_pj),
        show_energy(moved.weights_off_chip_pj),
    ]


def memory_remarks(steps: Sequence[MemoryStep]) -> list[str]:
    """Say plainly in which precision the spiking network moves more bytes than the ANN, and when."""
    pairs: dict[str, Callable[[MemoryStep], bool]] = {
        "both in float32": lambda step: step.snn_fp32.bytes > step.ann_fp32.bytes,
        "both in int8": lambda step: step.snn_int8.bytes > step.ann_int8.bytes,
    }
    remarks = []
    for name, loses in pairs.items():
        more = [step.t for step in steps if loses(step)]
        if not more:
            remarks.append(f"{name}, the spiking network moves fewer bytes than the ANN at every t")
        else:
            when = "at every t" if len(more) == len(steps) else f"from t = {more[0]} on"
            remarks.append(f"{name}, the spiking network moves MORE bytes than the ANN {when}")
    return remarks
