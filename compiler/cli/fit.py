"""`snnc fit`: where a network would lie on a neuromorphic chip, and what would make it fit."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from snnc.cli.choice import Choice
from snnc.cli.options import (
    FILE,
    check_writable,
    example,
    json_option,
    network_argument,
    quiet_option,
)
from snnc.cli.progress import Activity
from snnc.cli.show import Column, Notes, count, one_line, print_json, print_table, size
from snnc.ir.errors import OptionError
from snnc.placement.chips import CHIPS, RESOURCES, Limits, with_limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.placement.advice import Option
    from snnc.placement.fit import PlacedLayer, Placement

ESTIMATE = "an estimate from published limits (docs/loihi.md); no hardware or vendor compiler was asked"
ASSUMED_INT8 = "the network has real weights: 8 bits each are assumed"
TITLES = {"neurons": "neurons", "memory": "memory", "input_axons": "in axons", "output_axons": "out axons"}


@click.command(
    epilog=example(
        "snnc fit net.sir --chip loihi2",
        "snnc fit net.sir --chip loihi2 --chips 8 --picture fit.svg",
        "snnc fit net.sir --chip loihi1 --no-weight-sharing --limit input_axons=8192 --json",
    ),
    short_help="Does it fit a neuromorphic chip, and what binds.",
)
@network_argument
@click.option("--chip", "chip_name", type=Choice(list(CHIPS)), default="loihi2", show_default=True)
@click.option(
    "--chips", type=click.IntRange(min=1), default=1, show_default=True, help="How many of them there are."
)
@click.option(
    "--weight-sharing/--no-weight-sharing",
    "shared",
    default=None,
    help="Whether a core stores a kernel once for all positions.  [default: as the chip can; both can]",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=NUMBER",
    help=f"Another limit of a core: {', '.join(field.name for field in fields(Limits))}. Repeat for more.",
)
@click.option("--picture", type=FILE, metavar="FILE.svg", help="Draw the placement.")
@json_option
@quiet_option
@click.pass_context
def fit(
    ctx: click.Context,
    *,
    network: Path,
    chip_name: str,
    chips: int,
    shared: bool | None,
    limits: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Place the layers of NET.sir on the cores of a chip: an estimate from published limits.

    For each layer: its cores, how full the fullest one is of neurons, memory, input and output axons, and
    which of these binds. Nodes that compute with real numbers stay on the host and are named. The exit code
    is 1 if the network needs more than --chips; then it is said what would make it fit.
    """
    from snnc.api import load
    from snnc.placement.advice import advise
    from snnc.placement.fit import place
    from snnc.placement.grouping import group

    if picture is not None:
        check_picture(picture, network)
    chip = CHIPS[chip_name]
    allowed = with_limits(chip.limits, read_limits(limits))
    sharing = chip.shared_weights if shared is None else shared
    with Activity("placing", quiet=quiet) as activity:
        found = place(group(load(network)), chip, allowed, shared=sharing)
        activity.stage("looking for what would help")
        options = advise(found, chips)
    if not found.network.integer:
        Notes(quiet).note(ASSUMED_INT8)
    if as_json:
        print_json(describe_placement(found, chips, options))
    else:
        show_placement(found, chips, options)
    if picture is not None:
        write_picture(found, picture)
    ctx.exit(0 if found.fits(chips) else 1)


def read_limits(texts: Sequence[str]) -> dict[str, int]:
    """Return `--limit NAME=NUMBER` as a dictionary."""
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not number.isdecimal():
            raise OptionError(
                f"--limit {text} is not NAME=NUMBER", help="for example --limit input_axons=8192"
            )
        found[name] = int(number)
    return found


def check_picture(picture: Path, network: Path) -> None:
    if picture.suffix != ".svg":
        raise OptionError(f"{picture} is not a .svg file", help=f"name it {picture.stem}.svg")
    check_writable(picture, network)


def write_picture(found: Placement, picture: Path) -> None:
    from snnc.ir.output import atomic_write
    from snnc.placement.picture import draw

    with atomic_write(picture) as file:
        file.write(draw(found).encode())


# Tables.


def show_placement(found: Placement, chips: int, options: Sequence[Option]) -> None:
    columns = [Column("layer"), Column("kind"), Column("count", True), Column("cores", True)]
    columns += [Column(TITLES[name], True) for name in RESOURCES] + [Column("bottleneck")]
    print_table(columns, [layer_row(placed, found.limits) for placed in found.layers])
    click.echo()
    for sentence in verdict(found, chips):
        click.echo(one_line(sentence))
    for placed in found.too_large:
        click.echo(one_line(describe_excess(placed)))
    if found.network.unplaced:
        click.echo()
        rows = [(node.name, node.reason) for node in found.network.unplaced]
        print_table([Column("on the host"), Column("why")], rows)
    if not found.fits(chips):
        click.echo()
        show_options(found, options)


def layer_row(placed: PlacedLayer, limits: Limits) -> list[str]:
    layer, full = placed.layer, placed.fullest(limits)
    shares = [f"{100 * full[name]:.0f} %" if placed.cores else "" for name in RESOURCES]
    cores = f"{len(placed.cores):,}" if placed.cores else "-"
    return [layer.name, layer.kind, f"{layer.neurons:,}", cores, *shares, TITLES[placed.bottleneck(limits)]]


def verdict(found: Placement, chips: int) -> list[str]:
    """Say whether it fits, how full the cores in use are, and what was assumed."""
    size_of_chip, used = found.chip.cores, found.core_count
    place = f"{chips} × {found.chip.title} ({count(size_of_chip * chips, 'core')})"
    if found.chips is None:
        said = f"fits no number of {found.chip.title}: {count(used, 'core')} and the layers below"
    elif found.fits(chips):
        said = f"fits {place}: {count(used, 'core')}, {100 * used / size_of_chip / chips:.0f} % of them"
    else:
        factor = used / (size_of_chip * chips)
        said = f"does not fit {place}: it takes {count(used, 'core')}, {factor:.2f} times as many"
    mean = ", ".join(f"{TITLES[name]} {100 * share:.0f} %" for name, share in mean_shares(found).items())
    weights = "stored once per core" if found.shared else "stored for every position"
    delay = found.longest_delay
    waits = f"skips wait up to {count(delay, 'step')}" if delay else "no stream has to wait for another"
    if delay > found.chip.longest_delay:
        waits += f", more than the {found.chip.longest_delay} of a synapse: relays are needed, not counted"
    remarks = [said, f"cores in use are filled, on average: {mean}", f"kernels {weights}; {waits}"]
    return [*remarks, *without_assumed(found), ESTIMATE]


def without_assumed(found: Placement) -> list[str]:
    """Say how much hangs on limits that nobody published, where the user gave none."""
    from snnc.placement.fit import relaxed

    names = [
        name for name in found.chip.assumed if getattr(found.limits, name) == getattr(found.chip.limits, name)
    ]
    if not names:
        return []
    cores = relaxed(found, names).core_count
    shown = " and ".join(TITLES[name] for name in names)
    taken = "as many cores" if cores == found.core_count else count(cores, "core")
    return [f"limits of {shown} are assumed: without them it takes {taken}"]


def mean_shares(found: Placement) -> dict[str, float]:
    shares = [core.shares(found.limits) for core in found.cores]
    return {name: sum(share[name] for share in shares) / max(len(shares), 1) for name in RESOURCES}


def describe_excess(placed: PlacedLayer) -> str:
    from snnc.placement.tiling import Excess

    assert isinstance(placed.cut, Excess)
    needed, limit = placed.cut.needed, placed.cut.limit
    amount = (
        f"{size(needed)} of memory; a core has {size(limit)}"
        if placed.cut.resource == "memory"
        else f"{needed:,} {TITLES[placed.cut.resource]}; a core has {limit:,}"
    )
    return f"{placed.layer.name}: one neuron alone needs {amount} (factor {placed.cut.factor:.2f})"


def show_options(found: Placement, options: Sequence[Option]) -> None:
    """Say which layer takes most, and what each change would come to."""
    placed = [layer for layer in found.layers if layer.cores]
    if placed:
        most = max(placed, key=lambda layer: len(layer.cores))
        click.echo(
            one_line(
                f"largest layer: {most.layer.name}, {len(most.cores):,} of "
                f"{count(found.core_count, 'core')}, because of {TITLES[most.bottleneck(found.limits)]}"
            )
        )
    rows = [(option.change, f"{option.cores:,}", f"{option.chips:,}") for option in options]
    if rows:
        print_table([Column("what would help"), Column("cores", True), Column("chips", True)], rows)


# Plain data.


def describe_placement(found: Placement, chips: int, options: Sequence[Option]) -> dict[str, Any]:
    limits = {
        field.name: {
            "value": getattr(found.limits, field.name),
            "source": found.chip.sources[field.name]
            if getattr(found.limits, field.name) == getattr(found.chip.limits, field.name)
            else "given by --limit",
        }
        for field in fields(Limits)
    }
    return {
        "estimate": ESTIMATE,
        "chip": found.chip.name,
        "cores_per_chip": {"value": found.chip.cores, "source": found.chip.sources["cores"]},
        "limits": limits,
        "integer": found.network.integer,
        "weight_sharing": found.shared,
        "fits": found.fits(chips),
        "chips": chips,
        "chips_needed": found.chips,
        "cores": found.core_count,
        "mean_utilisation": mean_shares(found),
        "longest_delay": found.longest_delay,
        "layers": [describe_layer(placed, found) for placed in found.layers],
        "host": [{"node": node.name, "reason": node.reason} for node in found.network.unplaced],
        "options": [
            {"change": option.change, "cores": option.cores, "chips": option.chips} for option in options
        ],
    }


def describe_layer(placed: PlacedLayer, found: Placement) -> dict[str, Any]:
    from snnc.placement.tiling import Excess

    layer = placed.layer
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": list(layer.shape),
        "neurons": layer.neurons,
        "bottleneck": placed.bottleneck(found.limits),
        "fullest_core": placed.fullest(found.limits),
        "one_neuron_needs": placed.cut.needed if isinstance(placed.cut, Excess) else None,
        "cores": [
            {"from": [a for a, _ in core.box], "to": [b for _, b in core.box], **core.used}
            for core in placed.cores
        ],
    }
