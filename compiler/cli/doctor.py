"""`snnc doctor`: what is installed, what is missing and why."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from snnc.cli.options import example, json_option, quiet_option
from snnc.cli.show import Column, Notes, one_line, print_json, print_table

if TYPE_CHECKING:
    from snnc.health import Health


@click.command(
    epilog=example("snnc doctor", "snnc doctor --json"),
    short_help="Say what is installed, and whether snnc works.",
)
@json_option
@quiet_option
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool, quiet: bool) -> None:
    """Show versions, optional packages (or why they cannot be used) and threads, and try a small network.

    The exit code is 1 if snnc cannot work as it is; a missing optional package is no reason.
    """
    from snnc.health import examine

    health = examine()
    if as_json:
        print_json(describe(health))
    elif not quiet:
        show(health)
    notes = Notes(quiet or as_json)
    for text in health.notes:
        notes.note(text)
    ctx.exit(1 if health.problems else 0)


def describe(health: Health) -> dict[str, Any]:
    plain = dataclasses.asdict(health)
    return {**plain, "problems": health.problems, "works": not health.problems}


def show(health: Health) -> None:
    click.echo(f"snnc {health.snnc}, Python {health.python}, {health.platform}\n")
    if health.packages:
        columns = [Column("package"), Column("version"), Column("wanted"), Column("for"), Column("state")]
        rows = [
            (
                package.name,
                package.version or "",
                package.wanted,
                package.extra or "snnc",
                package.problem or "ok",
            )
            for package in health.packages
        ]
        print_table(columns, rows)
        click.echo()
    click.echo(f"lava: {one_line(health.lava or str(health.no_lava))}")
    if health.threads:
        pools = "; ".join(
            f"{pool['library']} {pool['threads']}" + (f" ({pool['kernels']})" if pool["kernels"] else "")
            for pool in health.threads["libraries"]
        )
        given = "".join(f", {name}={value}" for name, value in health.threads["variables"].items())
        click.echo(f"cores: {health.threads['cores']}; threads: {pools or 'unknown'}{given}")
    for problem in health.problems:
        click.echo(f"problem: {one_line(problem)}")
    if not health.problems:
        click.echo(f"a network of two layers compiles and runs in {health.seconds:.1f} s")
