"""Test the order configuration <- modeling <- training <- scripts: a folder imports only from folders to its left.

The same holds for the folders of `training`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sineformer

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ["configuration", "modeling", "training", "scripts"]
# Folders of `training`; the files next to them may import from all.
ROOMS = [
    "system",
    "settings",
    "data",
    "pretrained",
    "evaluation",
    "monitoring",
    "explanation",
    "page",
    "learning",
    "checkpoints",
]
SOURCES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imported_modules(source: str, file: Path) -> Iterator[str]:
    """Yield absolute names of all modules that a file of the package imports, at the top or inside functions.

    `from package import name` gives `package.name`, because the text does not show whether `name` is a module.
    """
    package = ["sineformer", *file.parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = [*parents, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def backward_imports(source: str, file: Path) -> list[str]:
    """Return the imports of a file from folders to the right of its own.

    The public names of the root are right of `modeling`, from which the root imports them.
    """
    allowed = {*FOLDERS[: FOLDERS.index(file.parts[0]) + 1]}
    public = set(sineformer.__all__) if allowed > {"configuration", "modeling"} else set()
    ours = [name.split(".") for name in imported_modules(source, file) if name.split(".")[0] == "sineformer"]
    return [".".join(name) for name in ours if len(name) < 2 or name[1] not in allowed | public]


@pytest.mark.parametrize("file", SOURCES, ids=str)
def test_no_import_points_against_the_arrow(file: Path) -> None:
    assert backward_imports((ROOT / file).read_text(encoding="utf-8"), file) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ..training.run import run",
        "from .. import training",
        "from .. import SineformerConfig",
        "import sineformer",
        "import sineformer.training.run as run",
        "from sineformer.scripts import demo",
        "def function():\n    from ..training import run",
    ],
)
def test_every_form_of_import_against_the_arrow_is_found(source: str) -> None:
    assert backward_imports(source, Path("modeling/attention.py")) != []


@pytest.mark.parametrize(
    "source", ["from .layers import Layer", "from ..configuration import SineformerConfig", "import torch"]
)
def test_imports_along_the_arrow_are_allowed(source: str) -> None:
    assert backward_imports(source, Path("modeling/attention.py")) == []


def imports_from_above(source: str, file: Path) -> list[str]:
    """Return the imports of a file in a room of `training` from a later room or from the files next to the rooms."""
    allowed = ROOMS[: ROOMS.index(file.parts[1]) + 1]
    ours = [name.split(".") for name in imported_modules(source, file) if name.startswith("sineformer.training")]
    return [".".join(name) for name in ours if len(name) < 3 or name[2] not in allowed]


IN_ROOMS = [file for file in SOURCES if file.parts[0] == "training" and len(file.parts) > 2]


@pytest.mark.parametrize("file", IN_ROOMS, ids=str)
def test_a_room_of_training_imports_only_those_below(file: Path) -> None:
    assert imports_from_above((ROOT / file).read_text(encoding="utf-8"), file) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ..learning.loop import Learner",
        "from .. import checkpoints",
        "from ..run import run",
        "from sineformer.training import train",
        "import sineformer.training",
        "def function():\n    from ..evaluation.evaluator import Scores",
    ],
)
def test_every_form_of_import_from_above_is_found(source: str) -> None:
    assert imports_from_above(source, Path("training/data/cleaning.py")) != []


def test_all_rooms_exist_and_have_files() -> None:
    assert {file.parts[1] for file in IN_ROOMS} == set(ROOMS)


def _loaded_with(file: Path) -> Iterator[str]:
    """Return the names that a file imports at its top level, not inside functions."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return imported_modules(ast.unparse(tree), file)


def _file_of(name: str) -> Path | None:
    """Return the file of the package that defines a dotted name, or None."""
    parts = name.split(".")[1:] if name.startswith("sineformer.") else []
    while parts:
        for path in (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")):
            if (ROOT / path).is_file():
                return path
        parts.pop()
    return None


def test_finished_models_need_no_extra() -> None:
    files = [file for file in IN_ROOMS if file.parts[1] == "pretrained"]
    libraries = set()
    for file in files:  # grows in the loop
        for name in _loaded_with(file):
            found = _file_of(name)
            if found is None:
                libraries.add(name.split(".")[0])
            elif found not in files:
                files.append(found)
    providers = metadata.packages_distributions()
    needed = {canonicalize_name(each) for name in libraries for each in providers.get(name, [])}
    assert "torch" in needed
    assert needed <= _declared_distributions("sineformer") | _declared_distributions("transformers")


def _declared_distributions(name: str, *extras: str) -> set[str]:
    requirements = [Requirement(line) for line in metadata.requires(name) or []]
    needed = {
        each.name
        for each in requirements
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras or ("",))
    }
    return {canonicalize_name(name) for name in needed}


@pytest.mark.parametrize("file", SOURCES, ids=str)
def test_imports_of_a_file_are_declared_dependencies(file: Path) -> None:
    optional = ("train", "lora", "deepspeed", "sentences", "app", "ctranslate2", "onnx")
    extras = optional if file.parts[0] in ("training", "scripts") else ()
    providers = metadata.packages_distributions()
    imported = {name.split(".")[0] for name in imported_modules((ROOT / file).read_text(encoding="utf-8"), file)}
    third_party = {canonicalize_name(each) for name in imported - {"sineformer"} for each in providers.get(name, [])}
    # Files of the model may use dependencies of transformers: huggingface_hub makes configurations strict.
    assert third_party <= _declared_distributions("sineformer", *extras) | _declared_distributions("transformers")


each_script = pytest.mark.parametrize("file", sorted((ROOT / "scripts").glob("[!_]*.py")), ids=lambda file: file.name)


@each_script
def test_a_script_runs_as_a_command_and_accepts_a_tilde_in_every_path(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    before, last = map(ast.unparse, tree.body[-2:])
    called = last.replace("command()", before.removeprefix("command = "))  # also the console command
    ways = ("run_command(main", "partial(run_command, main")
    assert called.startswith(tuple(f"if __name__ == '__main__':\n    sys.exit({way}" for way in ways))
    types = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "type"]
    assert "Path" not in map(ast.unparse, types)


@each_script
def test_a_script_imports_no_other_script(file: Path) -> None:
    names = imported_modules(file.read_text(encoding="utf-8"), file.relative_to(ROOT))
    assert [name for name in names if name.startswith("sineformer.scripts")] == []


@each_script
def test_no_script_shadows_a_library_when_run_by_its_path(file: Path) -> None:
    # `python scripts/x.py` puts scripts/ first on sys.path: a scripts/evaluate.py would be imported as `evaluate`.
    assert file.stem not in sys.stdlib_module_names | metadata.packages_distributions().keys()
