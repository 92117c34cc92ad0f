"""Test that `pip install .` is enough for finished models: translating, converting and publishing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from sineformer import SineformerConfig

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython, Hub
    from sineformer.tests.contract.conftest import Pip

OF_FINISHED_MODELS = (
    *("translate", "export", "convert_marian", "convert_torch_transformer", "release_model", "push_to_hub"),
    "walkthrough",
)
OTHERS = ("train", "evaluate_model", "report_run", "demo", "app")
COMMANDS_OF_FINISHED_MODELS = {
    f"sineformer-{name}"
    for name in ("translate", "export", "convert-marian", "convert-torch-transformer", "release", "push", "walkthrough")
}
# In one process, because each import of torch takes seconds.
RUN_ALL = """
import contextlib, io, pathlib, runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            if name.startswith("sineformer-"):
                runpy.run_path(str(pathlib.Path(sys.executable).with_name(name)), run_name="__main__")
            else:
                runpy.run_module(f"sineformer.{name}", run_name="__main__")
            status = None
        except SystemExit as end:
            status = end.code
    print(name, status, said.getvalue().splitlines()[0], said.getvalue().count("\\n"), sep="|")
    for module in [each for each in sys.modules if each.startswith("sineformer")]:
        del sys.modules[module]
"""


@pytest.fixture(scope="session")
def plain_install(link_environment: Callable[..., BarePython], wheel: Path, pip: Pip) -> BarePython:
    """Install Sineformer from its wheel, next to torch, transformers and sentencepiece (for Marian's tokenizer)."""
    python = link_environment("plain", "sentencepiece")
    pip("--python", str(python.executable), "install", str(wheel))
    return python


def run(python: BarePython, name: str, *arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [str(python.executable), "-I", "-m", f"sineformer.scripts.{name}", *map(str, arguments)]
    environment = python.environment | changes
    return subprocess.run(command, cwd=python.home, env=environment, capture_output=True, text=True)


def check_help(python: BarePython, complete: list[str], lacking: list[str]) -> None:
    """Check that some commands show their help, and that others name the missing extra in one line."""
    lines = [line.split("|") for line in python.run(RUN_ALL, *complete, *lacking).splitlines()]
    assert [name for name, *_ in lines] == [*complete, *lacking]
    for name, status, first, count in lines[: len(complete)]:
        program = name if name.startswith("sineformer-") else ""
        assert (name, status, int(count) > 5) == (name, "0", True)
        assert first.startswith(f"usage: {program}")
    for name, status, line, count in lines[len(complete) :]:
        assert (name, status, int(count)) == (name, "1", 1)
        assert line.startswith("error: this needs ")
        assert line.endswith(f": pip install 'sineformer[{'app' if name.endswith('app') else 'train'}]'")


def test_scripts_for_finished_models_show_their_help_and_others_name_the_extra(plain_install: BarePython) -> None:
    names = [*(f"scripts.{name}" for name in (*OF_FINISHED_MODELS, *OTHERS)), "training.train"]
    check_help(plain_install, names[: len(OF_FINISHED_MODELS)], names[len(OF_FINISHED_MODELS) :])


def test_console_commands_behave_like_the_scripts(plain_install: BarePython) -> None:
    commands = {path.name for path in plain_install.executable.parent.glob("sineformer-*")}
    assert commands > COMMANDS_OF_FINISHED_MODELS
    check_help(plain_install, sorted(COMMANDS_OF_FINISHED_MODELS), sorted(commands - COMMANDS_OF_FINISHED_MODELS))


def test_a_console_command_ends_quietly_on_a_closed_pipe(plain_install: BarePython) -> None:
    line = f"{plain_install.executable.parent}/sineformer-push --help | true; echo ${{PIPESTATUS[0]}}"
    environment = plain_install.environment
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.slow
def test_marian_is_converted_and_translates(plain_install: BarePython, make_marian: Callable[..., Path]) -> None:
    output = plain_install.home / "converted"
    done = run(plain_install, "convert_marian", make_marian(), output)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{output}: ")
    done = run(plain_install, "translate", "--model", output, "--num_beams", "2", "the dog sleeps", "")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2
    assert done.stdout.strip()


@pytest.mark.slow
def test_a_marian_model_without_sentencepiece_is_an_error_of_one_line(
    bare_python: BarePython, wheel: Path, pip: Pip, make_marian: Callable[..., Path], tmp_path: Path
) -> None:
    pip("install", "--target", str(tmp_path / "packages"), str(wheel))
    program = f"import sys; sys.path.insert(0, {str(tmp_path / 'packages')!r}); sys.argv[0] = 'translate'\n"
    program += "from sineformer.scripts import convert_marian, translate\n"
    program += "sys.argv[1:], words = sys.argv[1:3], sys.argv[3:]; assert convert_marian.main() == 0\n"
    program += "sys.argv[1:] = words; sys.stderr = sys.stdout; assert translate.main() == 1"
    said = bare_python.run(program, make_marian(), tmp_path / "out", "--model", tmp_path / "out", "the dog")
    assert said.splitlines()[-1] == "error: the tokenizer needs sentencepiece: pip install sentencepiece"


@pytest.mark.slow
def test_a_torch_model_is_converted(plain_install: BarePython, tmp_path: Path) -> None:
    core = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    state = {f"core.{name}": weight for name, weight in core.state_dict().items()}
    torch.save(state | {"embed.weight": torch.randn(11, 8)}, tmp_path / "state.pt")
    ids = ("--pad_token_id", "1", "--start_token_id", "2", "--eos_token_id", "3", "--positions", "interleaved")
    source = tmp_path / "state.pt"
    done = run(plain_install, "convert_torch_transformer", source, tmp_path / "out", "--heads", "2", *ids)
    assert (done.returncode, done.stderr) == (0, "")
    assert SineformerConfig.from_pretrained(tmp_path / "out").vocab_size == 11


@pytest.mark.slow
def test_a_folder_is_checked_and_published(
    plain_install: BarePython, hub: Hub, make_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model_folder(tmp_path / "model")
    done = run(plain_install, "push_to_hub", folder, "user/from-plain-install", **hub.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{hub.endpoint}/user/from-plain-install/commit/")
