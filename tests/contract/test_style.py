"""Test size limits that keep the code readable, and that file names are concepts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ["configuration", "modeling", "training", "scripts", "tests"]
SOURCES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

FILE_LINES = 350
FUNCTION_LINES = 40
FORWARD_LINES = 60
PARAMETERS = 6
# Signatures fixed by transformers and by callers of its models.
FIXED_SIGNATURES = {"forward", "__init__"}

each_source = pytest.mark.parametrize("file", SOURCES, ids=str)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(file: Path) -> list[Function]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def _lines(function: Function) -> int:
    """Return the number of lines of a function, without decorators and docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or 0) - docstring.lineno + 1)


@each_source
def test_a_file_can_be_read_in_one_sitting(file: Path) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= FILE_LINES


@each_source
def test_a_function_fits_on_a_screen(file: Path) -> None:
    budgets = {"forward": FORWARD_LINES}
    too_long = {
        f"{function.name} (line {function.lineno})": _lines(function)
        for function in _functions(file)
        if _lines(function) > budgets.get(function.name, FUNCTION_LINES)
    }
    assert too_long == {}


@each_source
def test_a_function_has_few_parameters(file: Path) -> None:
    counts = {
        f"{function.name} (line {function.lineno})": len(
            [each for each in function.args.posonlyargs + function.args.args if each.arg not in ("self", "cls")]
            + function.args.kwonlyargs
        )
        for function in _functions(file)
        if function.name not in FIXED_SIGNATURES
    }
    assert {name: count for name, count in counts.items() if count > PARAMETERS} == {}


@each_source
def test_a_file_is_named_after_a_concept(file: Path) -> None:
    assert file.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "base"}
