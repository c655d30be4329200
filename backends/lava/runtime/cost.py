"""What a run will take, roughly: said before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnc.backends.lava.runtime.worker import sample_count

if TYPE_CHECKING:
    from collections.abc import Mapping

# Measured on two processor cores (benchmarks/lava.py); every layer is an operating system process.
SECONDS_TO_START = 1.5
SECONDS_PER_PROCESS = 0.04
SECONDS_PER_PROCESS_AND_STEP = 0.4e-3
SECONDS_PER_OPERATION = 1.0e-9


def describe_cost(network: Mapping[str, Any], inputs: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return processes, Lava steps, seconds, and all this as text."""
    samples = sample_count(network["inputs"], inputs)
    stock = sum(1 + (link["threshold"] is not None) for link in network.get("stock", []))
    processes = len(network["front"]["sends"]) + len(network["layers"]) + len(network["sinks"]) + stock
    total = samples * steps + max((sink["depth"] for sink in network["sinks"]), default=0)
    operations = sum(plan["operations"] for plan in network["layers"])
    seconds = (
        SECONDS_TO_START
        + SECONDS_PER_PROCESS * processes
        + total * (SECONDS_PER_PROCESS_AND_STEP * processes + SECONDS_PER_OPERATION * operations)
    )
    text = f"{processes} Lava processes, {total} steps: about {seconds:.0f} s"
    return {"processes": processes, "steps": total, "seconds": seconds, "text": text}
