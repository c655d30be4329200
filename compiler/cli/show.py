"""What the commands print. Results go to stdout, everything about them to stderr.

Names come from files that nobody vouches for: whatever does not print is escaped, and nothing in them is
taken for markup.
"""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

WIDE = 100_000  # columns of a file or pipe: nothing is wrapped there


@dataclass(frozen=True, slots=True)
class Notes:
    """Remarks for the user on stderr; none of them if `quiet`."""

    quiet: bool = False

    def note(self, text: str) -> None:
        if not self.quiet:
            _to_stderr("note: ", "cyan", text)

    def warning(self, text: str) -> None:
        if not self.quiet:
            _to_stderr("warning: ", "yellow", text)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; numbers are aligned to the right."""

    title: str
    number: bool = False


def plain(text: str) -> str:
    """Return the text with everything that does not print escaped; lines stay lines."""
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def one_line(text: str) -> str:
    """Return the text as `plain`, on one line."""
    return plain(text).replace("\n", "\\n")


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode()


def say(text: str = "", *, to_stderr: bool = False) -> None:
    """Print a line."""
    click.echo(plain(text), err=to_stderr)


def show_error(text: str) -> None:
    """Print a refusal; what precedes its first colon is set off."""
    label, colon, rest = text.partition(": ")
    _to_stderr(label + colon, "bold red", rest) if colon else _to_stderr("", "", text)


def _to_stderr(label: str, style: str, text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    console.print(Text.assemble((plain(label), style), plain(text)))


def print_json(value: Any) -> None:
    """Print plain data as JSON; numbers that are not finite become null."""
    click.echo(json.dumps(_finite(value), indent=2))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, to_stderr: bool = False) -> None:
    """Print a table: folded to the width of a terminal, as wide as it needs to be in a file or pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column.title, justify="right" if column.number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        Console(file=stream, highlight=False).print(table)
    else:
        click.echo(_rendered(Console(file=io.StringIO(), width=WIDE), table), err=to_stderr)


def _rendered(console: Console, table: Any) -> str:
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 node`, `1,024 nodes`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: int) -> str:
    """Return a number of bytes for people."""
    amount, unit = float(number), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def show_energy(picojoules: float) -> str:
    """Return an energy in the unit that suits it."""
    amount, unit = picojoules, "pJ"
    for larger in ("nJ", "µJ", "mJ"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}" if amount < 100 else f"{amount:.0f} {unit}"
