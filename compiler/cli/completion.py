"""`snnc completion`: what a shell needs to complete commands, options, names and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from snnc.cli.choice import Choice
from snnc.cli.options import example
from snnc.cli.shell_scripts import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from snnc.passes.registry import Registry


@click.command(
    epilog=example(
        'snnc completion bash               # a script: eval "$(snnc completion bash)" in ~/.bashrc',
        'eval "$(snnc completion zsh)"       # in ~/.zshrc, behind "autoload -U compinit; compinit"',
        "snnc completion fish > ~/.config/fish/completions/snnc.fish",
    ),
    short_help="Let the shell complete commands and names.",
)
@click.argument("shell", type=Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print the script with which SHELL completes snnc: commands, options, files, methods, passes, ops.

    Bash needs version 4.4 or later. In zsh, quote a pipeline with braces: it would expand them.
    """
    click.echo(SCRIPTS[shell], nl=False)


# What options complete to. Shells ask while the user types: nothing here may fail or be slow.


def starting(names: Iterable[str], incomplete: str, prefix: str = "") -> list[CompletionItem]:
    return [CompletionItem(prefix + name) for name in names if name.startswith(incomplete)]


def methods(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from snnc.methods import DIRECT, METHODS

    return starting([*METHODS, DIRECT.name], incomplete)


def backends(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from snnc.emission import TARGETS

    return starting(TARGETS, incomplete)


def op_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from snnc.ir.ops import op_table

    return starting(op_table(), incomplete)


def pass_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return starting(known_passes().passes, incomplete)


def pipeline(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the last name of a pipeline: a pass, or behind `pass{` an option of it."""
    registry = known_passes()
    before, brace, options = incomplete.rpartition("{")
    if brace and "}" not in options:
        pass_class = registry.passes.get(before.rpartition(",")[2])
        done, comma, last = options.rpartition(",")
        names = [] if pass_class is None else [f"{name}=" for name in pass_class.__dataclass_fields__]
        return starting(names, last, f"{before}{{{done}{comma}")
    done, comma, last = incomplete.rpartition(",")
    return starting(registry.passes, last, done + comma)


def known_passes() -> Registry:
    """Return the installed passes; the built-in ones alone where an installed one is broken."""
    from snnc.ir.errors import SnncError
    from snnc.passes.builtin import BUILTIN
    from snnc.passes.registry import Registry, default_registry

    try:
        return default_registry()
    except (SnncError, ImportError):
        return Registry({pass_class.name: pass_class for pass_class in BUILTIN})
