"""`python -m snnc.reference`: print the reference pages, or write them into a folder."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.reference import PAGES


@click.command()
@click.option(
    "--write",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the pages into this folder.  [default: print them]",
)
def write(write: Path | None) -> None:
    """Write the reference pages from the op table, the passes, the methods and the command line."""
    for name, page in PAGES.items():
        if write is None:
            click.echo(page())
        else:
            write.mkdir(parents=True, exist_ok=True)
            (write / name).write_text(page(), encoding="utf-8")


write()
