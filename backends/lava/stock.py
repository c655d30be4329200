"""Writes a chain of layers as a folder for Lava's own processes (`snnc emit --backend lava --stock`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from snnc.backends.lava.chain import chain_of
from snnc.backends.lava.network import Describer

if TYPE_CHECKING:
    from snnc.backends.lava.chain import Link
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array


def describe_stock(graph: Graph, steps: int) -> tuple[dict[str, Any], dict[str, Array], str]:
    """Return network.json, the weights and a few words; what Lava lacks is refused by name."""
    partition, links = chain_of(graph, steps)
    describer = Describer(graph, partition)
    network = describer.network(steps)
    weights = {
        key: array
        for key, array in describer.weights.items()
        if any(uses(program, key) for program in (network["front"]["program"], network["tail"]["program"]))
    }
    network["layers"] = []
    network["stock"] = [link_data(number, link, weights) for number, link in enumerate(links)]
    network["sinks"][0]["depth"] = len(links)
    processes = 2 + sum(1 + (link.threshold is not None) for link in links)
    return network, weights, f"{len(links)} layers, {processes} of Lava's own processes"


def uses(program: list[dict[str, Any]], key: str) -> bool:
    return any({"tensor": key} in one["attributes"].values() for one in program)


def link_data(number: int, link: Link, weights: dict[str, Array]) -> dict[str, Any]:
    weights[f"stock{number}.weight"] = link.weight
    weights[f"stock{number}.bias"] = link.bias
    geometry = {
        key: list(value) if isinstance(value, tuple) else value for key, value in link.geometry.items()
    }
    return {
        "name": link.name,
        "exponent": link.exponent,
        "geometry": geometry,
        "flatten": link.flatten,
        "reads": list(link.reads),
        "shape": list(link.shape),
        "threshold": link.threshold,
        "operations": math.prod(link.shape) * link.weight[0].size,
    }
