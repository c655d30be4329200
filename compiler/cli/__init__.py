"""The command line, one subcommand per file.

- `options`, `choice`: options that several subcommands share; `failures`: how refusals reach the user;
- `show`: tables, JSON, notes and names from untrusted files; `progress`: bars for what takes long.

A subcommand imports what it works with inside its function, so that `snnc --help` is quick.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import click

from snnc.cli import (
    check,
    compile,
    completion,
    doctor,
    emit,
    energy,
    eval,
    fit,
    ops,
    opt,
    passes,
    print,
    report,
    run,
    verify,
)
from snnc.cli.choice import question_after
from snnc.cli.failures import reported_failures, the_last_word

COMMANDS = (
    check.check,
    compile.compile_,
    print.print_,
    ops.ops,
    passes.passes,
    opt.opt,
    run.run,
    emit.emit,
    eval.eval_,
    verify.verify,
    energy.energy,
    fit.fit,
    report.report,
    doctor.doctor,
    completion.completion,
)


class Commands(click.Group):
    """The subcommands, in the order of a first visit; every refusal is one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and args[0][:1] != "-":
            ctx.fail(f"No such command {args[0]!r}." + question_after(args[0], self.commands))
        return super().resolve_command(ctx, args)

    def main(self, *arguments: Any, **named: Any) -> Any:
        open_streams_that_are_closed()
        escape_what_cannot_be_encoded()
        with the_last_word():  # on --help and --version, which come before any command
            return super().main(*arguments, **named)

    def invoke(self, ctx: click.Context) -> object:
        with reported_failures():
            return super().invoke(ctx)


def open_streams_that_are_closed() -> None:
    """Let what is written to a stream that the shell closed (`>&-`) go nowhere: Python sets it to None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good


def escape_what_cannot_be_encoded() -> None:
    """Let names in any script be printed on a terminal of any encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        import snnc

        click.echo(f"snnc {snnc.__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each command explains itself and shows an example: snnc compile --help",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Compile trained networks (ONNX) into spiking networks (.sir), run them and compare the two."""


for _command in COMMANDS:
    main.add_command(_command)
