"""Which of our own files each stage runs: read from the code, and written under the stage's deps in dvc.yaml.

``python tests/import_closure.py`` prints what dvc.yaml lacks or lists in vain; ``--write`` puts it right.
"""

from __future__ import annotations

import argparse
import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PACKAGE = "radsynth"
ROOT = Path(__file__).resolve().parent.parent


def closure(entry: Path, root: Path = ROOT) -> list[str]:
    """Files of the package that a program imports, at once or later, directly or through others.

    Imports inside functions count, those under `if TYPE_CHECKING` do not. A module's packages run before it, so their
    `__init__.py` counts where it holds more than a docstring. A file that a string names, as code to be stored with a
    model or as a part of a page, counts as well.

    Parameters
    ----------
    entry
        The program, e.g. ``stages/split_chest.py``.
    root
        The checkout.

    Returns
    -------
    list of str
        Sorted paths relative to `root`, without `entry`.
    """
    source = root / "src"
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        for file in _imported(waiting.pop(), source):
            if file not in found:
                found.add(file)
                if file.suffix == ".py":
                    waiting.append(file)
    return sorted(file.relative_to(root).as_posix() for file in found if file.suffix != ".py" or not _empty(file))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module or name that is imported for use at run time, dotted, with its level (0 is absolute)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield from imports(ast.Module([other], []))
        elif isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = f"{node.module}." if node.module else ""
            yield from ((base + alias.name, node.level) for alias in node.names)
        else:
            yield from imports(node)


def _imported(file: Path, source: Path) -> Iterator[Path]:
    imported, named, _ = _read(file.read_text(encoding="utf-8"))
    for name, level in imported:
        parts = name.split(".")
        if level:
            parts = [*file.relative_to(source).parts[:-level], *parts]
        if parts[0] == PACKAGE:
            yield from _files(parts, source)
    if source in file.parents:
        yield from (file.with_name(name) for name in named if file.with_name(name).is_file())


@functools.cache
def _read(text: str) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...], bool]:
    """The imports of a module, the names of files of code in its strings, and whether it holds but a docstring."""
    tree = ast.parse(text)
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    named = tuple(sorted({value for value in strings if re.fullmatch(r"\w+\.(py|html|css|js)", value)}))
    empty = all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)
    return tuple(imports(tree)), named, empty


def _empty(file: Path) -> bool:
    return _read(file.read_text(encoding="utf-8"))[2]


def _files(parts: list[str], source: Path) -> Iterator[Path]:
    """The files that run when `parts` is imported; its end may be a name inside a module."""
    for depth in range(1, len(parts) + 1):
        path = source.joinpath(*parts[:depth])
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"
        elif path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")


def stage_file(stage: dict[str, Any]) -> str | None:
    """The file that a stage of dvc.yaml runs, ``stages/<name>.py``; None where it runs something else."""
    found = re.search(r"-m\s+stages\.(\w+)", str(stage.get("do", stage).get("cmd", "")))
    return f"stages/{found[1]}.py" if found else None


def expected_deps(stage: dict[str, Any], root: Path = ROOT) -> list[str]:
    """Deps of a stage as they should be: its data as written, then its own file, then what that imports.

    A file that one of the stage's `${section.key}` deps may stand for, in params.yaml or under conf/, is not listed
    again: DVC takes no dep twice.
    """
    deps = [str(dep) for dep in stage.get("do", stage).get("deps", [])]
    data = [dep for dep in deps if not dep.startswith(("stages/", f"src/{PACKAGE}/"))]
    named = {value for dep in data for value in _values(dep, root)}
    program = stage_file(stage)
    code = [program, *closure(root / program, root)] if program else []
    return data + [file for file in code if file not in named]


def _values(dep: str, root: Path) -> Iterator[str]:
    keys = re.findall(r"\$\{([\w.]+)\}", dep)
    for file in [root / "params.yaml", *sorted((root / "conf").rglob("*.yaml"))]:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) if keys and file.is_file() else None
        for key in keys:
            value = values
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, str):
                yield value


def wrong_deps(root: Path = ROOT) -> dict[str, list[str]]:
    """By stage, what its deps lack (``+ file``) and list in vain (``- file``)."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    wrong = {}
    for name, stage in stages.items():
        program = stage_file(stage)
        if program is None or not (root / program).is_file():
            continue
        listed, expected = stage.get("do", stage).get("deps", []), expected_deps(stage, root)
        lines = [f"+ {dep}" for dep in expected if dep not in listed]
        lines += [f"- {dep}" for dep in listed if dep not in expected]
        if lines:
            wrong[name] = lines
    return wrong


def write_deps(root: Path = ROOT) -> None:
    """Rewrite the deps of every stage in dvc.yaml that runs a stage file; comments and the rest stay."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedSeq

    reader = YAML()
    reader.preserve_quotes, reader.width = True, 120
    reader.indent(mapping=2, sequence=4, offset=2)
    path = root / "dvc.yaml"
    pipeline = reader.load(path.read_text(encoding="utf-8"))
    for stage in pipeline["stages"].values():
        program = stage_file(stage)
        if program is None or not (root / program).is_file():
            continue
        body = stage.get("do", stage)
        expected = expected_deps(stage, root)
        written = {str(dep): dep for dep in body.get("deps", [])}
        if list(written) != expected:
            deps = CommentedSeq([written.get(dep, dep) for dep in expected])
            if "deps" in body:
                body["deps"] = deps
            else:
                body.insert(1 + list(body).index("cmd"), "deps", deps)
    with open(path, "w", encoding="utf-8") as file:
        reader.dump(pipeline, file)


def main() -> None:
    """Print or repair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="rewrite dvc.yaml")
    if parser.parse_args().write:
        write_deps()
    wrong = wrong_deps()
    for name, lines in wrong.items():
        print(f"{name}:", *lines, sep="\n  ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
