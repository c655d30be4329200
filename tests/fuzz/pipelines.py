"""Pipelines of passes as text, and the text of options: numbers, lists of numbers, shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.options import DataOptions, parse_shapes, show_normalise
from snnc.passes.pipeline import parse_pipeline, show_pipeline
from snnc.passes.registry import default_registry
from tests.fuzz.mutation import reworded
from tests.fuzz.target import FindingError, Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

PASSES = (
    "fuse-batch-norm", "dce", "simplify", "insert-neurons", "choose-thresholds", "allocate-levels",
    "set-coding", "{", "}", "=", ",", "{rule=mse}", "{steps=4}", "{accumulates=1e9}", "none", "true", " ",
)  # fmt: skip
NUMBERS = (
    "1/255",
    "1/0",
    "1e999",
    "1e999999999",
    "1_000",
    "٣",
    "nan",
    "inf",
    "-0",
    ",",
    ".485,.456",
    "/",
    "N",
    "=",
    "x",
)


def feed_pipeline(data: bytes, folder: Path) -> None:
    registry = default_registry()
    passes = parse_pipeline(data.decode("utf-8", "surrogateescape"), registry)
    text = show_pipeline(passes)
    if parse_pipeline(text, registry) != passes:
        raise FindingError(f"the pipeline {text!r} does not read back")


def feed_options(data: bytes, folder: Path) -> None:
    """Lines: --scale, --mean, --std, then --shape."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    scale, mean, std, *shapes = [*lines, "1", "0", "1"][:6]
    show_normalise(DataOptions(scale, mean, std, None, None).normalise())
    try:
        context = click.Context(click.Command("fuzzed"))
        parse_shapes(context, click.Option(["--shape"]), shapes)
    except click.BadParameter:
        pass  # wrong usage: the command line reports it itself


def pipeline_seeds() -> Sequence[bytes]:
    return [
        b"simplify,raise-patterns,fuse-batch-norm{into=thresholds},dce",
        b"insert-neurons{codebook=multi,levels=15},choose-thresholds{rule=mse,per=channel},normalise-thresholds",
        b"set-coding{coding=differential}, expectation-compensation",
    ]


def option_seeds() -> Sequence[bytes]:
    return [b"1/255\n.485,.456,.406\n.229,.224,.225\nx=N,3,224,224\ny=N,4", b"0.0625\n0\n1\ntokens=N,128"]


def mutate_pipeline(data: bytes, rng: Random) -> bytes:
    return reworded(data, rng, PASSES)


def mutate_options(data: bytes, rng: Random) -> bytes:
    return reworded(data, rng, NUMBERS)


PIPELINES = Target("pipelines", feed_pipeline, pipeline_seeds, mutate_pipeline)
OPTIONS = Target("options", feed_options, option_seeds, mutate_options)
