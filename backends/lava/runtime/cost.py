"""What a run will take, roughly: said before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnc.backends.lava.runtime.worker import sample_count

if TYPE_CHECKING:
    from collections.abc import Mapping

# Measured on two busy processor cores; every layer is a process of the operating system.
SECONDS_TO_START = 0.7
SECONDS_PER_PROCESS = 0.045
SECONDS_PER_PROCESS_AND_STEP = 0.3e-3
SECONDS_PER_OPERATION = 0.55e-9
SECONDS_PER_STOCK_OPERATION = 1e-8


def describe_cost(network: Mapping[str, Any], inputs: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return processes, Lava steps, seconds, and all this as text."""
    samples = sample_count(network["inputs"], inputs)
    stock = network.get("stock", [])
    processes = len(network["front"]["sends"]) + len(network["layers"]) + len(network["sinks"])
    processes += sum(1 + (link["threshold"] is not None) for link in stock)
    total = samples * steps + max((sink["depth"] for sink in network["sinks"]), default=0)
    computing = SECONDS_PER_OPERATION * sum(plan["operations"] for plan in network["layers"])
    computing += SECONDS_PER_STOCK_OPERATION * sum(link["operations"] for link in stock)
    seconds = (
        SECONDS_TO_START
        + SECONDS_PER_PROCESS * processes
        + total * (SECONDS_PER_PROCESS_AND_STEP * processes + computing)
    )
    text = f"{processes} Lava processes, {total} steps: about {seconds:.0f} s"
    return {"processes": processes, "steps": total, "seconds": seconds, "text": text}
