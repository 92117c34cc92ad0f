"""Test the rules for files that are saved with the weights, in one folder, and load without this package.

transformers finds the siblings of a file by a text pattern (`transformers.dynamic_module_utils`), so the pattern must
find exactly the imports of Python.
"""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports

from sineformer.modeling.code_files import write_code

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGURATION = ROOT / "configuration" / "configuration_sineformer.py"
MODELING = ROOT / "modeling" / "modeling_sineformer.py"
HUB_FILES = [CONFIGURATION, *sorted(path for path in (ROOT / "modeling").glob("*.py") if path.name != "__init__.py")]
CROSS_FOLDER_IMPORT = "from ..configuration.configuration_sineformer import SineformerConfig"
# huggingface_hub is a dependency of transformers, whose configurations import `strict` from it.
ALLOWED_LIBRARIES = sys.stdlib_module_names | {"torch", "transformers", "huggingface_hub"}

# Modules of transformers below its top level, where names move, and the feature that needs each.
BELOW_THE_TOP_LEVEL = {
    "transformers.activations": "every activation function that a configuration can name",
    "transformers.generation": "outputs with the classes that `generate` returns",
    "transformers.initialization": "loaded weights are not initialised again",
    "transformers.masking_utils": "masks for every attention implementation, for sliding windows and static caches",
    "transformers.modeling_outputs": "outputs with the classes and names that other programs expect",
    "transformers.pipelines": "pipeline('translation') of a loaded model, since transformers has no such task",
    "transformers.utils": "warnings that appear once, at the verbosity of the user",
    "transformers.utils.output_capturing": "attentions and hidden states on request",
}

each_hub_file = pytest.mark.parametrize("file", HUB_FILES, ids=lambda file: file.name)


def _imports(file: Path) -> list[ast.Import | ast.ImportFrom]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def _relative_imports(file: Path) -> list[ast.ImportFrom]:
    return [node for node in _imports(file) if isinstance(node, ast.ImportFrom) and node.level]


@each_hub_file
def test_only_the_standard_library_torch_and_transformers_are_imported(file: Path) -> None:
    names = [
        name
        for node in _imports(file)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if isinstance(node, ast.Import) or not node.level
    ]
    assert {name.split(".")[0] for name in names} <= ALLOWED_LIBRARIES


def _modules_of_transformers(file: Path) -> set[str]:
    """Return the modules of transformers below its top level that a file imports, or imports names from."""
    found = set()
    for node in _imports(file):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "transformers":
            names = [f"transformers.{alias.name}" for alias in node.names]
            below = [name for name in names if node.module == "transformers" and find_spec(name) is not None]
            found |= {str(node.module), *below} - {"transformers"}
    return found


def test_the_files_depend_on_few_modules_of_transformers() -> None:
    used = set().union(*map(_modules_of_transformers, HUB_FILES))
    assert used == BELOW_THE_TOP_LEVEL.keys()


@each_hub_file
def test_siblings_are_imported_by_name_from_their_file(file: Path) -> None:
    siblings = {path.stem for path in HUB_FILES if path.parent == file.parent}
    for node in _relative_imports(file):
        if ast.unparse(node) != CROSS_FOLDER_IMPORT:
            assert node.level == 1, ast.unparse(node)
            assert node.module in siblings, ast.unparse(node)


def test_one_import_crosses_folders() -> None:
    crossing = [(file, ast.unparse(node)) for file in HUB_FILES for node in _relative_imports(file) if node.level > 1]
    assert crossing == [(ROOT / "modeling" / "pretrained_model.py", CROSS_FOLDER_IMPORT)]


@each_hub_file
def test_the_text_patterns_of_transformers_find_the_imports_of_python_and_no_others(file: Path) -> None:
    written = {("." * (node.level - 1)) + (node.module or "") for node in _relative_imports(file)}
    assert set(get_relative_imports(file)) == written
    # A docstring line that looks like an import would be copied, or searched among the installed packages.
    assert set(get_imports(file)) <= ALLOWED_LIBRARIES


def test_the_modeling_file_imports_every_other_file_itself() -> None:
    # transformers copies the imports of a file only if it copies the file. If several processes fill one module cache,
    # each finds files copied by others, but perhaps not yet their imports.
    siblings = {file.stem for file in HUB_FILES} - {MODELING.stem, CONFIGURATION.stem}
    assert {name for name in get_relative_imports(MODELING) if not name.startswith(".")} == siblings


def test_the_exported_configuration_imports_every_other_file_too(tmp_path: Path) -> None:
    # It is loaded first, and what was copied by another process may lack its own imports then.
    write_code(tmp_path)
    siblings = {path.stem for path in tmp_path.glob("*.py")} - {CONFIGURATION.stem}
    assert (
        set(get_relative_imports(tmp_path / CONFIGURATION.name))
        == siblings
        == {file.stem for file in HUB_FILES} - {CONFIGURATION.stem}
    )


@each_hub_file
def test_the_class_of_a_config_is_never_checked(file: Path) -> None:
    # The class loaded with the weights and the installed class are different objects of one name.
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"]
    assert [ast.unparse(call) for call in calls if "SineformerConfig" in ast.unparse(call)] == []


def test_names_are_distinct_so_that_one_folder_can_have_all_files() -> None:
    assert len({file.name for file in HUB_FILES}) == len(HUB_FILES)
