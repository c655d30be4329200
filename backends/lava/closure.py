"""Which modules of snnc an emitted folder needs, and their text under another package name."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "snnc_lava"  # what `snnc` is called in the folder
ENTRY = "snnc.backends.lava.runtime.supervisor"
EMPTY = '"""A package of the copied modules."""\n'


def copied_modules() -> dict[str, str]:
    """Return relative path -> text of every module to write; the same snnc gives the same bytes."""
    found = dict(sorted(modules_reached(ENTRY).items()))
    files: dict[str, str] = {}
    for name in found:
        for parent in parents(name):
            files.setdefault(str(folder_of(parent) / "__init__.py"), EMPTY)
    for name, path in found.items():
        place = folder_of(name)
        file = place / "__init__.py" if path.name == "__init__.py" else place.with_suffix(".py")
        files[str(file)] = renamed(path.read_text(encoding="utf-8"))
    return dict(sorted(files.items()))


def modules_reached(*names: str) -> dict[str, Path]:
    """Return the modules of snnc that these import when they run, themselves included."""
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = file_of(name)
            waiting += imported(found[name])
    return found


def file_of(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"there is no module {name}"
    assert spec.origin is not None, f"{name} has no file"
    return Path(spec.origin)


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of snnc that a file imports, except for type checkers."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("snnc."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "snnc":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if is_module(inner) else str(node.module)


def parents(name: str) -> list[str]:
    """Return the packages a module lies in."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def folder_of(name: str) -> Path:
    return Path(PACKAGE, *name.split(".")[1:])


def renamed(text: str) -> str:
    """Return a module's text with `import snnc…` and `from snnc…` under the folder's name."""
    return re.sub(r"^(\s*(?:from|import) )snnc\b", rf"\1{PACKAGE}", text, flags=re.MULTILINE)
