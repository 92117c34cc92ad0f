"""Test that eight processes load one model simultaneously, as in training on several devices.

transformers copies the code of any model into its module cache file by file, in place and without a lock
(`get_cached_module_file`). Two things can go wrong with an empty cache:

- From the Hub, a process skips files that others have copied, together with the imports of these. So the modeling file
  imports all others; then no file is missing later.
- A process may import a file that another is writing. The copied code cannot prevent that: its first file, the
  configuration, is copied before any of it runs. Afterwards the cache is complete, so a new process loads; nobody
  writes to it again, and any number of processes can load at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import HfApi

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython, Hub

pytestmark = pytest.mark.slow

PROCESSES = 8
ROUNDS = 3

# The parent imports everything beforehand, so that the children reach the module cache at the same time.
LOAD_AT_ONCE = """
import json, multiprocessing, sys, tempfile
from pathlib import Path
import torch, transformers
from transformers import AutoModelForSeq2SeqLM, dynamic_module_utils

name, folder, kind, rounds, processes = *sys.argv[1:4], *map(int, sys.argv[4:])
fork = multiprocessing.get_context("fork")
ids = torch.arange(5, 12).unsqueeze(0)

def load():
    model = AutoModelForSeq2SeqLM.from_pretrained(name, trust_remote_code=True).eval()
    return model(input_ids=ids, decoder_input_ids=ids).logits[0, -1, :5].tolist()

def child(barrier, said):
    barrier.wait()
    try:
        said.put(load())
    except Exception as error:
        said.put(repr(error))

def all_at_once(count):
    barrier, said = fork.Barrier(count), fork.SimpleQueue()
    children = [fork.Process(target=child, args=(barrier, said)) for _ in range(count)]
    for each in children:
        each.start()
    results = [said.get() for _ in children]
    for each in children:
        each.join()
    return results

transformers.utils.logging.disable_progress_bar()
expected = load()
for module in [module for module in sys.modules if module.startswith("transformers_modules")]:
    del sys.modules[module]
for number in range(rounds):
    with tempfile.TemporaryDirectory() as cache:
        dynamic_module_utils.HF_MODULES_CACHE = cache
        before = [] if kind == "empty" else all_at_once(1)
        results = all_at_once(processes)
        copies = [path for path in Path(cache).rglob("*.py") if path.name != "__init__.py"]
        print(json.dumps({
            "loaded": sum(each == expected for each in results),
            "errors": [each for each in results if isinstance(each, str)],
            "first and next load": all(each == expected for each in before + all_at_once(1)),
            "whole": all(path.read_bytes() == (Path(folder) / path.name).read_bytes() for path in copies),
            "files": len(copies),
        }))
"""


@dataclass(frozen=True)
class Model:
    """A model folder, the name to load it by, and the environment variables for that."""

    folder: Path
    name: str
    environment: dict[str, str]


@pytest.fixture(scope="module", params=["folder", "hub"])
def model(
    request: pytest.FixtureRequest,
    hub: Hub,
    make_model_folder: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Model:
    folder = make_model_folder(tmp_path_factory.mktemp("at-once") / "model", 7)
    if request.param == "folder":
        return Model(folder, str(folder), {})
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("user/at-once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        patch.setenv("NO_PROXY", "127.0.0.1")
        api.upload_folder(folder_path=folder, repo_id="user/at-once")
    return Model(folder, "user/at-once", hub.environment)


def load_at_once(python: BarePython, model: Model, kind: str, rounds: int) -> list[dict[str, Any]]:
    arguments = (model.name, model.folder, kind, str(rounds), str(PROCESSES))
    printed = python.run(LOAD_AT_ONCE, *arguments, changes=model.environment)
    return [json.loads(line) for line in printed.splitlines()]


def test_eight_processes_load_at_once_from_a_filled_cache(bare_python: BarePython, model: Model) -> None:
    (result,) = load_at_once(bare_python, model, "filled", 1)
    assert result["errors"] == []
    assert result["loaded"] == PROCESSES
    assert result["first and next load"]


def test_eight_processes_at_once_complete_an_empty_cache(bare_python: BarePython, model: Model) -> None:
    for result in load_at_once(bare_python, model, "empty", ROUNDS):
        assert result["whole"]
        assert result["files"] > PROCESSES
        assert result["first and next load"]
        assert not [error for error in result["errors"] if "FileNotFoundError" in error]
        assert all("transformers_modules" in error for error in result["errors"]), result["errors"]
