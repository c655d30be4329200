"""When a layer does what: every connection takes one step, so layer d computes step t at t + d - 1.

Until its first input has arrived a layer stands still and sends zeros. Samples follow each other without a
gap: after `period` steps every layer starts afresh, each at its own time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.runtime.program import Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Layer:
    """One Lava process's work: delayed inputs, a program, what it sends, and a record of that."""

    def __init__(self, plan: Mapping[str, Any], weights: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        chip = plan["kind"] == "chip"
        self.name = plan["name"]
        shapes = [port["shape"] for port in plan["inputs"]]
        self.program = Program(plan["program"], shapes, weights, chip=chip, name=self.name)
        self.number = np.int64 if chip else np.float64
        self.sent = np.dtype(plan["dtype"])
        self.start = plan["depth"] - 1
        self.period, self.total = run["period"], run["period"] * run["samples"]
        self.held = np.zeros(plan["shape"], self.sent)
        self.queues: list[list[Any]] = [[np.zeros(p["shape"])] * p["delay"] for p in plan["inputs"]]
        self.record: list[Any] | None = [] if run["record"] else None

    def advance(self, step: int, inputs: Sequence[Any]) -> None:
        """Take the streams of a Lava step (counted from 1); `held` becomes what is sent at the next one."""
        arrived = []
        for queue, x in zip(self.queues, inputs, strict=True):
            queue.append(np.array(x, self.number))
            arrived.append(queue.pop(0))
        step -= self.start
        if not 1 <= step <= self.total:
            return
        try:
            result = self.program.step((step - 1) % self.period + 1, arrived)[-1]
        except ArithmeticError as error:
            raise ArithmeticError(f"{error} (step {step} of the network)") from error
        self.held = np.asarray(result).astype(self.sent)
        if self.record is not None:
            self.record.append(self.held)
