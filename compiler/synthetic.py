"""Calibration without data: inputs that look like what the input's type suggests.

An image-shaped input gets "dead leaves": overlapping discs of random brightness and size, whose edges and
power spectrum resemble natural images (Lee, Mumford and Huang 2001), at zero mean and unit variance as after
the usual normalisation. Other float inputs get white noise; token ids are drawn from their embedding;
masks are ones. What the network really sees may differ: thresholds chosen so are a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.data import Dataset
from snnc.energy import synaptic_macs
from snnc.ir.shapes import concrete

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

MOST_SAMPLES, FEWEST_SAMPLES = 64, 16
# What one pass over the samples may cost; a large network has enough positions for fewer to do.
MULTIPLY_ACCUMULATES = 3e11
LEAVES = 60  # discs per image
SEED = 20240229


def synthetic_samples(graph: Graph) -> int:
    """Return how many synthetic samples calibrate a network: fewer for one that takes long to run."""
    one = sum(synaptic_macs(node, graph) for node in graph if node.op.synaptic)
    return int(min(MOST_SAMPLES, max(FEWEST_SAMPLES, MULTIPLY_ACCUMULATES // max(1, one))))


def synthetic_dataset(graph: Graph, samples: int) -> Dataset:
    """Return `samples` synthetic inputs for every graph input, the same at every call."""
    random = np.random.default_rng(SEED)
    arrays = {value.name or "": synthetic_input(graph, value, samples, random) for value in graph.inputs}
    return Dataset(arrays, source="synthetic inputs")


def synthetic_input(graph: Graph, value: Value, samples: int, random: np.random.Generator) -> Array:
    """Return synthetic samples for one input."""
    shape = concrete(value.type.shape, samples)
    if value.type.dtype == "bool":
        return np.ones(shape, np.bool_)
    if value.type.is_real:
        image = len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) >= 4
        return dead_leaves(shape, random) if image else random.standard_normal(shape, np.float32)
    vocabulary = vocabulary_of(graph, value)
    return random.integers(0, vocabulary, shape) if vocabulary else np.ones(shape, np.int64)


def vocabulary_of(graph: Graph, value: Value) -> int:
    """Return the rows of the smallest table the input indexes; 0 if it indexes none (a mask)."""
    rows = []
    for user in value.users:
        if user.op.name == "embedding":
            rows.append(int(graph.resolve(user)["table"].shape[0]))
    return min(rows, default=0)


def dead_leaves(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Return images of overlapping discs, normalised to zero mean and unit variance per channel."""
    samples, channels, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    images = np.zeros(shape, np.float32)
    size = max(height, width)
    for _ in range(LEAVES):
        # Radii follow a power law, the scale invariance of natural scenes.
        radius = size / 2 * random.random(samples) ** 3 + 1
        row, column = random.random(samples) * height, random.random(samples) * width
        distance = (rows - row[:, None, None]) ** 2 + (columns - column[:, None, None]) ** 2
        inside = distance < radius[:, None, None] ** 2
        # Channels share most of their brightness, as colours do.
        colour = random.random((samples, 1)) + 0.35 * random.standard_normal((samples, channels))
        images = np.where(inside[:, None], colour[:, :, None, None].astype(np.float32), images)
    images += 0.02 * random.standard_normal(shape, np.float32)
    mean = images.mean(axis=(0, 2, 3), keepdims=True)
    return np.asarray((images - mean) / images.std(axis=(0, 2, 3), keepdims=True), np.float32)
