"""`push_to_hub`: the model of a finished run is uploaded; what prevents it is found before, or costs nothing."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from huggingface_hub import HfApi

from sineformer.training import train
from sineformer.training.preflight import read_settings
from sineformer.training.settings.recipe import RecipeError

if TYPE_CHECKING:
    from sineformer.tests.conftest import Hub

SMALL = [
    *("--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"),
    *("--decoder_attention_heads", "2", "--encoder_ffn_dim", "16", "--decoder_ffn_dim", "16", "--vocab_size", "400"),
    *("--dataset", "embedded", "--train_size", "50", "--validation_size", "5", "--test_size", "5", "--use_cpu"),
    *("--max_tokens", "400", "--max_steps", "1", "--report_to", "none", "--push_to_hub"),
]


def problems(folder: Path, *flags: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read_settings([*SMALL, "--output_dir", str(folder), *flags])
    return caught.value.problems


def test_a_missing_repository_is_a_problem_of_the_recipe(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path)
    assert problem == "hub_model_id: set the repository that push_to_hub uploads to, for example your-name/en-de"


@pytest.mark.parametrize(
    ("token", "repository", "expected"),
    [
        ("hf_write", "model", "push_to_hub: 'model' has no owner; write owner/model"),
        ("hf_stranger", "user/model", "push_to_hub: the token belongs to stranger, who cannot write to user"),
        ("hf_read", "user/model", "push_to_hub: the token is read-only"),
        ("", "user/model", "push_to_hub: there is no token; log in with `hf auth login`, or set HF_TOKEN"),
    ],
)
def test_what_would_prevent_the_upload_is_found_before_training(
    hub_client: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, repository: str, expected: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    (problem,) = problems(tmp_path, "--hub_model_id", repository)
    assert problem.startswith(expected)


def test_the_visibility_of_an_existing_repository_is_not_changed(hub_client: Hub, tmp_path: Path) -> None:
    HfApi().create_repo("user/shown", private=False, exist_ok=True)  # a slow answer is asked for again
    (problem,) = problems(tmp_path, "--hub_model_id", "user/shown")
    assert "exists and is public" in problem
    assert "hub_private_repo: false" in problem
    read_settings([*SMALL, "--output_dir", str(tmp_path), "--hub_model_id", "user/shown", "--no_hub_private_repo"])


@pytest.mark.slow
def test_the_model_of_a_finished_run_is_uploaded(
    hub_client: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*SMALL, "--output_dir", str(tmp_path / "run"), "--hub_model_id", "user/trained"]) == 0
    assert f"Uploaded: {hub_client.endpoint}/user/trained/commit/" in capsys.readouterr().err
    info = HfApi().model_info("user/trained")
    assert info.private
    uploaded = {each.rfilename for each in info.siblings or []}
    assert {"README.md", "config.json", "model.safetensors", "modeling_sineformer.py", "tokenizer.json"} <= uploaded
    assert 'from_pretrained("user/trained"' in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    repeated = yaml.safe_load((tmp_path / "run" / "training_args.yaml").read_text(encoding="utf-8"))
    assert repeated["push_to_hub"] is False, "whoever repeats the run would upload to this repository"


@pytest.mark.slow
def test_an_upload_that_fails_leaves_the_model_and_names_the_command_that_tries_again(
    hub_client: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.run

    def run_until_the_token_is_revoked(settings: object) -> object:
        scores = run(settings)
        monkeypatch.setenv("HF_TOKEN", "hf_revoked")
        return scores

    monkeypatch.setattr(train, "run", run_until_the_token_is_revoked)
    folder = tmp_path / "my run"
    flags = ["--output_dir", str(folder), "--hub_model_id", "user/later", "--no_hub_private_repo"]
    assert train.main([*SMALL, *flags]) == 1
    results, notes = capsys.readouterr()
    assert results.startswith(f"Model:   {folder}")
    *_, error, command = notes.splitlines()
    assert error.startswith(f"error: the model in {folder} is complete, but was not uploaded: the Hub answered 401")
    words = shlex.split(command.removeprefix("To try again: "))
    assert words == ["sineformer-push", str(folder), "user/later", "--public"]

    monkeypatch.setenv("HF_TOKEN", hub_client.token)
    script = Path(sys.executable).with_name(words[0])
    done = subprocess.run([script, *words[1:]], env=os.environ | hub_client.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in HfApi().list_repo_files("user/later")
    assert not HfApi().model_info("user/later").private
