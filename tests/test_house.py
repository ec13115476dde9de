"""The house: who may import whom, how long things are, and that what is public is described.

Read from the source, so imports inside functions count as well. docs/architecture.md draws it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from functools import cache
from pathlib import Path

import pytest

import comporta
from comporta import errors

PACKAGE = Path(comporta.__file__).parent
ROOT = PACKAGE.parent
# Each room may import itself and the rooms named here, nothing else of the project.
ROOMS = {
    "errors": "",
    "cells": "errors",
    "kernels": "errors cells",
    "nn": "errors cells kernels",
    "models": "errors cells kernels nn",
    "data": "errors",
    "training": "errors cells nn",
    "tasks": "errors cells nn models data training",
    "cli": "errors cells data models training tasks",
    "__main__": "cli",
}
# What a room may use of the world beside Python itself; None is anything.
LIBRARIES: dict[str, set[str] | None] = {"errors": set(), "cells": set()}
COMPILER = "llvmlite"


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
CODE = sorted(
    path
    for folder in ("comporta", "tests", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """The modules that a module imports, anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(source), names=names, level=0):
                whole = [f"{source}.{alias.name}" for alias in names]
                found |= {name if name in MODULES else source for name in whole}
            case ast.ImportFrom():
                raise AssertionError(f"{module} has a relative import in line {node.lineno}")
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[argument]):
                assert isinstance(argument, ast.Constant), f"{module} computes what it imports"
                found.add(argument.value)
    return frozenset(found)


def inside(module: str) -> set[str]:
    """Those of its imports that are of the project."""
    return {name for name in imports(module) if name.partition(".")[0] == "comporta"}


def room(module: str) -> str:
    return module.split(".")[1]


# The front door brings all rooms together, each when it is asked for.
HOUSE = [module for module in MODULES if module != "comporta"]


def test_the_rooms_are_known() -> None:
    assert {room(module) for module in HOUSE} == set(ROOMS)
    order = list(ROOMS)
    for name, allowed in ROOMS.items():
        assert set(allowed.split()) <= set(order[: order.index(name)])


@pytest.mark.parametrize("module", HOUSE)
def test_imports_run_one_way(module: str) -> None:
    allowed = {room(module), *ROOMS[room(module)].split()}
    for name in inside(module):
        assert name in MODULES, f"{module} imports {name}, which is no module"
        assert name != "comporta", f"{module} imports the front door; import the room itself"
        assert room(name) in allowed, f"{module} imports {name}"


def test_there_are_no_cycles_between_modules() -> None:
    waiting = {module: inside(module) - {module} for module in HOUSE}
    while waiting:
        done = [module for module, needs in waiting.items() if not needs & waiting.keys()]
        assert done, f"these import each other: {sorted(waiting)}"
        for module in done:
            del waiting[module]


def test_the_front_door_needs_no_torch() -> None:
    """At its top level it imports cells and errors; the rest waits until it is asked for."""
    now = {
        f"{node.module}.{alias.name}"
        for node in tree("comporta").body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("comporta")
        for alias in node.names
    }
    assert now == {"comporta.cells", "comporta.errors", "comporta.cells.Cell"}


@pytest.mark.parametrize("module", [m for m in HOUSE if room(m) in LIBRARIES])
def test_cells_import_nothing_but_python(module: str) -> None:
    outside = {name.partition(".")[0] for name in imports(module) - inside(module)}
    assert outside <= set(sys.stdlib_module_names), module


def test_the_compiler_has_one_home() -> None:
    users = {m for m in HOUSE if any(i.split(".")[0] == COMPILER for i in imports(m))}
    assert users
    assert all(module.startswith("comporta.kernels.cpu.") for module in users)


def test_layers_alone_run_kernels() -> None:
    """Everything above meets kernels through a layer, and layers through the one seam."""
    callers: set[str] = set()
    for module in HOUSE:
        for node in ast.walk(tree(module)):
            match node:
                case ast.ImportFrom(module="comporta.kernels" | "comporta.kernels.backend"):
                    if "run" in {alias.name for alias in node.names}:
                        callers.add(module)
                case ast.Attribute(value=ast.Name(id="kernels"), attr="run"):
                    callers.add(module)
    assert callers - {"comporta.kernels"}
    assert {room(module) for module in callers - {"comporta.kernels"}} == {"nn"}
    for module in HOUSE:
        if room(module) not in ("kernels", "nn"):
            assert not {i for i in inside(module) if i.startswith("comporta.kernels.")}, module
        elif room(module) == "nn":
            assert not {i for i in inside(module) if i.startswith("comporta.kernels.cpu")}, module


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    parsed = ast.parse(text)
    assert not text or ast.get_docstring(parsed), "a file begins by saying what it is"
    for node in ast.walk(parsed):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            start = first.end_lineno if documented else node.lineno
            assert start is not None
            assert node.end_lineno - start <= 60, f"{node.name}() is too long"


PACKAGES = [module for module, path in MODULES.items() if path.name == "__init__.py"]


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_public_is_described(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__
    public = getattr(package, "__all__", [])
    assert public == sorted(public, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    for item in public:
        assert not item.startswith("_")
        value = getattr(package, item)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
            assert value.__doc__, f"{name}.{item} has no docstring"


@pytest.mark.parametrize("module", HOUSE)
def test_every_public_function_and_class_has_a_docstring(module: str) -> None:
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
            assert ast.get_docstring(node), f"{module}.{node.name}"


def test_what_a_newcomer_calls_first_has_an_example() -> None:
    from comporta import cells, nn

    for value in (comporta.Cell, cells.names, cells.get, nn.Recurrent, nn.explain, nn.detach):
        assert ">>> " in (value.__doc__ or ""), value


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    tree_of_errors = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert all(issubclass(value, errors.ComportaError) for value in tree_of_errors)
    assert issubclass(errors.ComportaError, ValueError)
    for value in tree_of_errors:
        assert f" {value.__name__} " in errors.__doc__, value.__name__


def test_every_error_on_purpose_is_of_the_tree() -> None:
    """Raised are errors of the tree, or what a protocol of Python asks for."""
    protocol = {"AttributeError", "StopIteration", "KeyboardInterrupt", "AssertionError",
                "SystemExit", "NotImplementedError", "Exit"}  # fmt: skip
    known = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    for module in HOUSE:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                raised = ast.unparse(node.exc.func).split(".")[-1]
                if raised[0].isupper():
                    assert raised in known | protocol, f"{module}, line {node.lineno}: {raised}"
