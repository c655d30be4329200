"""`snnc print`: the text of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.options import example, network_argument

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "print",
    epilog=example("snnc print net.sir | less", "snnc print net.sir --weights > net.txt.sir"),
    short_help="Show the text of a .sir file.",
)
@network_argument
@click.option("--weights", is_flag=True, help="Write out every tensor, not only small ones.")
def print_(network: Path, weights: bool) -> None:
    """Print the graph of NET.sir in the .sir language. With --weights the text is a whole .sir file."""
    from snnc.ir.archive import load
    from snnc.ir.text import print_graph

    graph = load(network, check_weights=weights).graph
    click.echo(print_graph(graph, inline_limit=None if weights else 64).encode(), nl=False)
