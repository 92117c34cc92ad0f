"""Test that a pushed model loads from the Hub and its cache, in processes with torch and transformers only."""

from __future__ import annotations

import ctypes
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from huggingface_hub import HfApi
from transformers import AutoTokenizer

from sineformer import SineformerForConditionalGeneration

if TYPE_CHECKING:
    from sineformer.tests.conftest import BarePython, Hub

NAME = "user/small.model-2"  # with every character that is not allowed in module names
CAPABILITY_TO_IGNORE_PERMISSIONS = 1
DROP_CAPABILITY = 24

# Print the logits and translation of a model, loaded with each JSON object of arguments on the command line.
LOAD = """
import hashlib, json, sys, torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
name, *loads = sys.argv[1:]
for arguments in map(json.loads, loads):
    as_pipeline = arguments.pop("as_pipeline", False)
    name = arguments.pop("name", name)
    if as_pipeline:
        translate = pipeline("translation", model=name, trust_remote_code=True, **arguments)
        model, tokenizer = translate.model, translate.tokenizer
        text = translate("the dog sleeps", num_beams=2, max_new_tokens=8)[0]["translation_text"]
    else:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=True, **arguments)
        model = AutoModelForSeq2SeqLM.from_pretrained(name, trust_remote_code=True, **arguments).eval()
        text = None
    ids = tokenizer("the dog sleeps", return_tensors="pt").input_ids
    logits = model(input_ids=ids, decoder_input_ids=ids).logits
    code = sys.modules[type(model).__module__]
    assert code.__name__.startswith("transformers_modules."), code
    digest = hashlib.sha256(logits.detach().numpy().tobytes()).hexdigest()
    print(json.dumps({"logits": digest, "text": text, "edition": getattr(code, "EDITION", 1)}))
"""


def said_here(folder: Path) -> dict[str, Any]:
    """Return what `LOAD` must print for a folder."""
    import hashlib

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = SineformerForConditionalGeneration.from_pretrained(folder).eval()
    ids = tokenizer("the dog sleeps", return_tensors="pt").input_ids
    with torch.inference_mode():
        logits = model(input_ids=ids, decoder_input_ids=ids).logits
        translation = tokenizer.batch_decode(
            model.generate(ids, num_beams=2, max_new_tokens=8), skip_special_tokens=True
        )
    return {"logits": hashlib.sha256(logits.numpy().tobytes()).hexdigest(), "text": translation[0]}


@dataclass(frozen=True)
class Pushed:
    """Push two commits of one repository, with different weights and editions of the code."""

    first: dict[str, Any]
    second: dict[str, Any]
    first_commit: str
    second_commit: str


def upload(hub: Hub, folder: Path, name: str) -> str:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(name, private=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        patch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        patch.setenv("NO_PROXY", "127.0.0.1")
        return api.upload_folder(folder_path=folder, repo_id=name).oid


@pytest.fixture(scope="module")
def pushed(hub: Hub, make_model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    folders = tmp_path_factory.mktemp("pushed")
    old, new = make_model_folder(folders / "old", 1), make_model_folder(folders / "new", 2)
    code = new / "modeling_sineformer.py"
    code.write_text(f"{code.read_text(encoding='utf-8')}\nEDITION = 2\n", encoding="utf-8")
    commits = [upload(hub, folder, NAME) for folder in (old, new)]
    return Pushed({**said_here(old), "edition": 1}, {**said_here(new), "edition": 2}, *commits)


def load(python: BarePython, hub: Hub, *arguments: dict[str, Any], **changes: str) -> list[dict[str, Any]]:
    printed = python.run(LOAD, NAME, *map(json.dumps, arguments), changes=hub.environment | changes)
    return [json.loads(line) for line in printed.splitlines()]


def of_model(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "text": None}


@pytest.mark.slow
def test_the_model_and_the_pipeline_load_from_the_hub_and_then_offline(
    own_bare_python: BarePython, hub: Hub, pushed: Pushed
) -> None:
    expected = [of_model(pushed.second), pushed.second]
    assert load(own_bare_python, hub, {}, {"as_pipeline": True}) == expected
    assert load(own_bare_python, hub, {}, {"as_pipeline": True}, HF_HUB_OFFLINE="1", HF_TOKEN="") == expected


def test_a_revision_loads_its_own_weights_and_code(own_bare_python: BarePython, hub: Hub, pushed: Pushed) -> None:
    first, second = {"revision": pushed.first_commit}, {"revision": pushed.second_commit}
    loads = (first, {}, {**first, "as_pipeline": True}, {**first, "code_revision": pushed.second_commit}, second)
    new_code = {**pushed.first, "edition": 2}
    expected = [of_model(pushed.first), of_model(pushed.second), pushed.first, of_model(new_code)]
    assert load(own_bare_python, hub, *loads) == [*expected, of_model(pushed.second)]


def bind_permissions() -> None:
    """Make file permissions apply to the next process also if it runs as root."""
    ctypes.CDLL(None).prctl(DROP_CAPABILITY, CAPABILITY_TO_IGNORE_PERMISSIONS, 0, 0, 0)


@pytest.mark.slow
def test_a_read_only_cache_is_enough(own_bare_python: BarePython, hub: Hub, pushed: Pushed) -> None:
    load(own_bare_python, hub, {})
    cache = own_bare_python.home / "hf"
    for path in (cache, *cache.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    command = [str(own_bare_python.executable), "-I", "-c", f"{TRY_TO_WRITE}\n{LOAD}", NAME, "{}"]
    said = []
    try:
        for changes in (hub.environment, {"HF_HUB_OFFLINE": "1"}, {"HF_MODULES_CACHE": str(cache.parent / "modules")}):
            environment = own_bare_python.environment | changes
            done = subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=bind_permissions)
            assert done.returncode == 0, done.stderr
            said.append(json.loads(done.stdout))
    finally:
        for path in (cache, *cache.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
    assert said == 3 * [of_model(pushed.second)]


TRY_TO_WRITE = """
import os
from pathlib import Path
try:
    (Path(os.environ["HF_HOME"]) / "written").touch()
except PermissionError:
    pass
else:
    raise AssertionError("the cache can be written to, so nothing is tested here")
"""


def test_the_working_directory_and_links_load_like_other_folders(
    tmp_path: Path, bare_python: BarePython, make_model_folder: Callable[..., Path]
) -> None:
    folder = make_model_folder(tmp_path / "model", 3)
    (tmp_path / "a link").symlink_to(folder)
    names = (".", "./", "../model", "../a link", str(tmp_path / "a link"))
    program = LOAD.replace("for arguments in", f"import os\nos.chdir({str(folder)!r})\nfor arguments in", 1)
    printed = bare_python.run(program, "", *(json.dumps({"name": name}) for name in names))
    assert [json.loads(line) for line in printed.splitlines()] == len(names) * [
        {**of_model(said_here(folder)), "edition": 1}
    ]
