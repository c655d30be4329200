"""The command line reference: the help of every subcommand."""

from __future__ import annotations

import click

from snnc.cli import main
from snnc.reference import markup
from snnc.reference.markup import fenced

WIDTH = 96  # columns of a help page
INTRODUCTION = """What `snnc COMMAND --help` prints. Every refusal is one message that says what, where and
what to do, and an exit code that is not 0."""


def page() -> str:
    sections = [section("snnc", main, None)]
    sections += [section(f"snnc {name}", command, "snnc") for name, command in main.commands.items()]
    return markup.page("Command line", INTRODUCTION, sections)


def section(name: str, command: click.Command, parent: str | None) -> str:
    """Return the help page of one command."""
    above = click.Context(main, info_name=parent) if parent else None
    info_name = name.removeprefix(f"{parent} ") if parent else name
    context = click.Context(command, info_name=info_name, parent=above, terminal_width=WIDTH)
    return f"## {name}\n\n{fenced(command.get_help(context))}"
