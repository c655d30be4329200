"""The shape of the source tree: packages, directions of imports, sizes, names."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from snnc.ir.ops import FAMILIES, op_table
from snnc.methods import DIRECT, METHODS
from snnc.passes.base import Pass
from snnc.passes.builtin import BUILTIN
from snnc.passes.registry import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]  # package -> folder
LARGEST_MODULE = 400  # lines
LARGEST_FUNCTION = 40

# Lower layers first: a module imports from its own layer and those before it.
LAYERS = ("snnc.ir", "snnc.passes", "snnc.backends", "snnc")


def modules() -> Iterator[tuple[str, Path]]:
    """Yield every module of the installed package with its file."""
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


MODULES = dict(modules())


def layer(module: str) -> int:
    """Return the number of the layer a module belongs to."""
    for number, prefix in enumerate(LAYERS):
        if module == prefix or module.startswith(prefix + "."):
            return number
    raise AssertionError(module)


def imported(path: Path) -> Iterator[str]:
    """Yield what a module imports, wherever in the file; relative imports with their dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 60
    assert {layer(module) for module in MODULES} == {0, 1, 2, 3}


def test_the_listed_packages_are_those_on_disk() -> None:
    found = {
        module
        for module, path in MODULES.items()
        if path.name == "__init__.py" and "__pycache__" not in path.parts
    }
    assert sorted(SETUPTOOLS["packages"]) == sorted(found)
    assert len(set(SETUPTOOLS["packages"])) == len(SETUPTOOLS["packages"])


def test_every_folder_with_modules_is_a_package() -> None:
    bare = {str(path.parent) for path in MODULES.values() if not (path.parent / "__init__.py").is_file()}
    assert bare == set()


def test_listed_package_data_exist() -> None:
    for package, patterns in SETUPTOOLS["package-data"].items():
        assert all(list(MODULES[package].parent.glob(pattern)) for pattern in patterns), package


def test_other_files_in_packages_are_package_data() -> None:
    for module, path in MODULES.items():
        if path.name != "__init__.py":
            continue
        patterns = SETUPTOOLS["package-data"].get(module, [])
        others = [
            file.name
            for file in path.parent.iterdir()
            if file.is_file()
            and file.suffix != ".py"
            and not any(file.match(pattern) for pattern in patterns)
        ]
        assert others == [], module


def test_imports_are_absolute_and_point_one_way() -> None:
    wrong = []
    for module, path in MODULES.items():
        for name in imported(path):
            own = name == "snnc" or name.startswith("snnc.")
            if name.startswith(".") or (own and layer(name) > layer(module)):
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_no_module_is_large() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count >= LARGEST_MODULE} == {}


def test_no_function_is_large() -> None:
    large = [
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and not fits(node)
    ]
    assert large == []


def fits(function: ast.FunctionDef) -> bool:
    """Tell whether a function's body is a screenful; its signature and docstring do not count."""
    body = [node for node in function.body if not is_text(node)]
    assert function.end_lineno is not None
    return not body or function.end_lineno - body[0].lineno < LARGEST_FUNCTION


def is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_every_module_says_what_it_is() -> None:
    texts = {module: path.read_text() for module, path in MODULES.items()}
    assert [module for module, text in texts.items() if not ast.get_docstring(ast.parse(text))] == []


def test_nothing_is_left_to_do() -> None:
    marks = ("TODO", "FIXME", "XXX")
    texts = {module: path.read_text() for module, path in MODULES.items()}
    assert [module for module, text in texts.items() if any(mark in text for mark in marks)] == []


# Names.


def test_every_pass_has_one_file_and_one_name() -> None:
    for pass_class in BUILTIN:
        file = pass_class.__module__.rsplit(".", 1)[1]
        assert pass_class.name == file.replace("_", "-")
        assert pass_class.__name__ == file.title().replace("_", "")


def test_every_file_with_a_pass_is_builtin() -> None:
    found = []
    for module, path in MODULES.items():
        if layer(module) == 1:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Pass" for base in node.bases):
                    found.append((module, node.name))
    assert sorted(found) == sorted((pass_class.__module__, pass_class.__name__) for pass_class in BUILTIN)
    assert all(issubclass(pass_class, Pass) for pass_class in BUILTIN)


def test_every_op_family_is_in_the_table() -> None:
    declaring = {
        module
        for module, path in MODULES.items()
        if module.startswith("snnc.ir.ops.")
        and any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OPS" for node in body(path))
    }
    assert declaring == {family.__name__ for family in FAMILIES.values()}


def body(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text()).body


def test_ops_are_named_in_lower_case_and_say_their_equation() -> None:
    table = op_table()
    assert [name for name, op in table.items() if name != op.name or not name.islower()] == []
    assert [name for name, op in table.items() if not op.equation or not name.isidentifier()] == []


def test_every_method_has_one_file() -> None:
    files = {path.stem for path in (ROOT / "compiler" / "methods").glob("*.py")} - {"__init__", "base"}
    converting = {method.neurons.__module__.rsplit(".", 1)[1] for method in METHODS.values()}
    assert converting | {DIRECT.name} == files


def test_passes_are_offered_to_third_parties_under_the_documented_group() -> None:
    assert ENTRY_POINT_GROUP == "snnc.passes"
