"""Backends of `snnc emit` by name: built-in ones, those of installed packages, those of `--load` files."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from snnc.emission import TARGETS, AnyTarget, FolderTarget, Target
from snnc.ir.errors import BackendError, OptionError, did_you_mean
from snnc.passes.registry import run_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

ENTRY_POINT_GROUP = "snnc.backends"


def find_target(name: str, files: Sequence[Path] = ()) -> AnyTarget:
    """Return the target of that name; `OptionError` with a suggestion if there is none."""
    targets = known_targets(files)
    if name not in targets:
        raise OptionError(f"there is no backend {name!r}", help=did_you_mean(name, targets))
    return targets[name]


def known_targets(files: Sequence[Path] = ()) -> dict[str, AnyTarget]:
    """Return all targets by name; `BackendError` where two have one name."""
    found = dict(TARGETS)
    for target in (*installed_targets(), *(target for path in files for target in targets_in(path))):
        if found.setdefault(target.name, target) != target:
            raise BackendError(
                f"the backend {target.name!r} is defined twice",
                help="leave out --load if it is installed; else rename one of the two",
            )
    return found


def installed_targets() -> Iterable[AnyTarget]:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        target = point.load()
        if not isinstance(target, Target | FolderTarget):
            raise BackendError(f"entry point {point.name!r} ({point.value}) is no snnc.emission.Target")
        yield target


def targets_in(path: Path) -> Sequence[AnyTarget]:
    """Run a Python file and return the targets it defines."""
    module = run_file(path, "backends")
    found = [member for member in vars(module).values() if isinstance(member, Target | FolderTarget)]
    if not found:
        raise BackendError(
            f"{path} defines no backend",
            help='define one: TARGET = snnc.emission.Target("name", ".suffix", write)',
        )
    return found
