"""Reference pages, written from what the code declares: `python -m snnc.reference --write docs/reference`.

- `operations`: the op table; `passes`: the built-in passes; `methods`: their pipelines;
- `commands`: the help of every subcommand; `markup`: Markdown.

A page is a function without arguments that returns its text; `PAGES` names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.reference import commands, methods, operations, passes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGES: Mapping[str, Callable[[], str]] = {
    "ops.md": operations.page,
    "passes.md": passes.page,
    "methods.md": methods.page,
    "cli.md": commands.page,
}
