"""The command line reference: the help of every subcommand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli import main
from snnc.reference import markup
from snnc.reference.markup import fenced

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 84  # columns of a help page
INTRODUCTION = """What `snnc COMMAND --help` prints. Every refusal is one message that says what, where and
what to do, and an exit code that is not 0."""


def page() -> str:
    context = click.Context(main, info_name="snnc", terminal_width=WIDTH, **main.context_settings)
    return markup.page("Command line", INTRODUCTION, sections(context))


def sections(context: click.Context) -> Iterator[str]:
    """Return the help pages of the group and of its commands."""
    yield section(context)
    for name, command in main.commands.items():
        yield section(click.Context(command, info_name=name, parent=context))


def section(context: click.Context) -> str:
    return f"## {context.command_path}\n\n{fenced(context.get_help())}"
