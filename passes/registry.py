"""The passes by name: built-in ones, those of installed packages, and those of files given by `--load`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from snnc.ir.errors import OptionError, PassError, did_you_mean
from snnc.passes.base import Pass

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

ENTRY_POINT_GROUP = "snnc.passes"
LOADED_MODULE = "snnc_loaded_"  # begins the name of a module that `--load` made of a file


@dataclass(slots=True)
class Registry:
    """Finds pass classes by name."""

    passes: dict[str, type[Pass]] = field(default_factory=dict)

    def add(self, pass_class: type[Pass]) -> None:
        """Register a pass class; refuse one without a name, or with a name another class already has."""
        if not isinstance(getattr(pass_class, "name", None), str):
            raise PassError(
                f"pass {pass_class.__name__} in {pass_class.__module__} has no name",
                help='give its class a line such as: name: ClassVar[str] = "my-pass"',
            )
        known = self.passes.setdefault(pass_class.name, pass_class)
        if known is not pass_class:
            raise PassError(
                f"pass {pass_class.name!r} is defined twice",
                help=f"leave out --load if it is installed; else rename that of {pass_class.__module__}",
            )

    def get(self, name: str) -> type[Pass]:
        if name not in self.passes:
            raise OptionError(f"there is no pass {name!r}", help=did_you_mean(name, self.passes))
        return self.passes[name]

    def load_file(self, path: Path) -> list[str]:
        """Run a Python file and register every pass class it defines; return their names."""
        module = run_file(path, "passes")
        found = passes_in(module)
        if not found:
            raise PassError(
                f"{path} defines no pass", help="define a frozen dataclass that derives from snnc.passes.Pass"
            )
        for pass_class in found:
            self.add(pass_class)
        return [pass_class.name for pass_class in found]


def run_file(path: Path, what: str) -> ModuleType:
    """Run a Python file that a user gave for the passes or backends in it, and return its module."""
    module_name = f"{LOADED_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise OptionError(f"cannot load {what} from {path}", help="give a Python file (.py) that exists")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (
        Exception,
        SystemExit,
    ) as error:  # a user's file may fail in any way; all are the same news here
        raise PassError(f"{path} failed while loading: {type(error).__name__}: {error}") from error
    return module


def passes_in(module: ModuleType) -> list[type[Pass]]:
    """Return the concrete pass classes a module defines itself, in order of definition."""
    return [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, Pass)
        and not inspect.isabstract(member)
        and member.__module__ == module.__name__
    ]


def default_registry() -> Registry:
    """Return a registry with the built-in passes and those of installed packages."""
    from snnc.passes.builtin import BUILTIN

    registry = Registry()
    for pass_class in BUILTIN:
        registry.add(pass_class)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        loaded = point.load()
        if not (inspect.isclass(loaded) and issubclass(loaded, Pass)):
            raise PassError(f"entry point {point.name!r} ({point.value}) is not a pass class")
        registry.add(loaded)
    return registry
