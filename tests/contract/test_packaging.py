"""Test the contents of the wheel, and that every way of installing gives a working package."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import TYPE_CHECKING

import sineformer

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython
    from sineformer.tests.contract.conftest import Pip

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("configuration", "modeling", "training", "scripts")
ROOT_FILES = {"__init__.py", "py.typed", "model_card.md"}
# Scripts that measure or test the project itself.
NEED_A_CLONE = ("benchmark", "hf_suite")
PUBLIC_NAMES = {
    "SineformerConfig",
    "SineformerDecoder",
    "SineformerEncoder",
    "SineformerForConditionalGeneration",
    "SineformerModel",
    "SineformerPreTrainedModel",
    "SineformerTokenizer",
}
USE_THE_PACKAGE = """
import sys
sys.path[:0] = sys.argv[1:]
import sineformer
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM
config = AutoConfig.for_model("sineformer", vocab_size=9, d_model=4, encoder_layers=1, decoder_layers=1,
                              encoder_attention_heads=1, decoder_attention_heads=1)
assert type(config) is sineformer.SineformerConfig
assert type(AutoModel.from_config(config)) is sineformer.SineformerModel
assert type(AutoModelForSeq2SeqLM.from_config(config)) is sineformer.SineformerForConditionalGeneration
print(sineformer.__version__, sineformer.__file__)
"""


def _declared_version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found[1]


def _contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_exactly_the_files_of_the_package(wheel: Path, project_files: list[str]) -> None:
    owned = {f"sineformer/{name}" for name in project_files if name.split("/")[0] in FOLDERS or name in ROOT_FILES}
    assert _contents(wheel) == owned


def _console_commands(wheel: Path) -> dict[str, str]:
    """Return the console commands of a wheel and their functions."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        found = ConfigParser()
        found.read_string(archive.read(name).decode())
    return dict(found["console_scripts"])


def test_each_script_is_a_console_command_or_needs_a_clone(wheel: Path, project_files: list[str]) -> None:
    commands = _console_commands(wheel)
    scripts = {Path(name).stem for name in project_files if Path(name).parent == Path("scripts")} - {"__init__"}
    called = [target.removeprefix("sineformer.scripts.").removesuffix(":command") for target in commands.values()]
    assert sorted([*called, *NEED_A_CLONE]) == sorted(scripts)


def test_the_readme_names_the_console_commands(wheel: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(sineformer-[a-z-]+)`", readme)) == set(_console_commands(wheel))


def test_the_source_distribution_builds_the_same_wheel(
    tree: Path, wheel: Path, tmp_path: Path, build_wheel: Callable[[Path, Path], Path]
) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=tree, check=True, capture_output=True)
    (source_distribution,) = tmp_path.glob("*.tar.gz")
    assert _contents(build_wheel(source_distribution, tmp_path)) == _contents(wheel)


def test_an_installed_wheel_needs_only_torch_and_transformers(
    wheel: Path, bare_python: BarePython, tmp_path: Path, pip: Pip
) -> None:
    pip("install", "--target", str(tmp_path), str(wheel))
    printed = bare_python.run(USE_THE_PACKAGE, tmp_path)
    assert printed.split() == [_declared_version(), str(tmp_path / "sineformer" / "__init__.py")]


def test_an_editable_installation_works_from_anywhere(tree: Path, own_bare_python: BarePython, pip: Pip) -> None:
    pip("--python", str(own_bare_python.executable), "install", "--no-build-isolation", "--editable", str(tree))
    printed = own_bare_python.run(USE_THE_PACKAGE)
    assert printed.split() == [_declared_version(), str(tree / "__init__.py")]


def test_the_folders_of_the_repository_do_not_shadow_the_installed_package() -> None:
    # In the repository, Python searches there first: for `training`, not for `sineformer.training`.
    program = "import sineformer.training, sineformer.modeling as m; print(m.__name__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "sineformer.modeling\n"), done.stderr


def test_the_public_names_are_the_classes_and_the_version() -> None:
    assert set(sineformer.__all__) == PUBLIC_NAMES | {"__version__"}
    assert {name for name in PUBLIC_NAMES if getattr(sineformer, name).__name__ != name} == set()


def test_the_version_is_written_in_one_place(project_files: list[str]) -> None:
    assert sineformer.__version__ == _declared_version()
    assignment = re.compile(r"^\s*(__version__|VERSION|version)\s*=\s*[\"']", re.MULTILINE)
    sources = [name for name in project_files if name.endswith(".py")]
    assert [name for name in sources if assignment.search((ROOT / name).read_text(encoding="utf-8"))] == []
