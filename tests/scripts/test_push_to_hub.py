"""Test `scripts/push_to_hub.py`: the upload of a folder, and one message with all problems."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi

if TYPE_CHECKING:
    from sineformer.tests.conftest import Hub

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "push_to_hub.py"


def push(hub: Hub, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | hub.environment, capture_output=True, text=True)


def test_all_problems_are_reported_together_and_nothing_is_uploaded(
    hub: Hub, hub_client: Hub, tmp_path: Path, make_model_folder: Callable[..., Path]
) -> None:
    folder = make_model_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "README.md").unlink()
    done = push(hub, folder, "stranger/model")
    assert done.returncode == 1
    first, *problems = done.stderr.splitlines()[-5:]
    assert first == "error: 4 problems; nothing was uploaded:"
    assert [problem.split(":")[0].strip(" -") for problem in problems[:3]] == [
        *("README.md", "model.safetensors", "pytorch_model.bin"),
    ]
    assert "who cannot write to stranger" in problems[3]
    assert not HfApi().repo_exists("stranger/model")


@pytest.mark.slow
def test_a_dry_run_lists_what_a_run_uploads(
    hub: Hub, hub_client: Hub, tmp_path: Path, make_model_folder: Callable[..., Path]
) -> None:
    folder = make_model_folder(tmp_path / "model")
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events").touch()
    dry = push(hub, folder, "user/by-script", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    *files, left_out, total, verdict = dry.stdout.splitlines()
    assert left_out.split() == ["left", "out", "tensorboard/"]
    sizes = {path.name: f"{path.stat().st_size:,}" for path in folder.iterdir() if path.is_file()}
    assert dict(reversed(line.split()) for line in files) == sizes
    assert total.endswith("to user/by-script (private), branch main")
    assert "this was a dry run" in verdict
    assert not HfApi().repo_exists("user/by-script")

    done = push(hub, folder, "user/by-script", "--commit_message", "As I say")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:-1] == [*files, left_out, total]
    assert HfApi().list_repo_commits("user/by-script")[0].title == "As I say"
    assert HfApi().model_info("user/by-script").private
    assert {*HfApi().list_repo_files("user/by-script")} == {".gitattributes", *sizes}


@pytest.fixture
def trained_by_transformers(tmp_path: Path, make_model_folder: Callable[..., Path]) -> Path:
    """Return the output folder of a `Seq2SeqTrainer`: with checkpoint and training arguments, without a card."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
    )

    base, folder = make_model_folder(tmp_path / "base"), tmp_path / "tuned"
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForSeq2SeqLM.from_pretrained(base)
    pairs = Dataset.from_list([dict(tokenizer("the dog", text_target="der Hund"))] * 4)
    arguments = Seq2SeqTrainingArguments(str(folder), max_steps=1, save_steps=1, report_to=[], use_cpu=True)
    collator = DataCollatorForSeq2Seq(tokenizer)
    trainer = Seq2SeqTrainer(model, arguments, collator, pairs, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    return folder


@pytest.mark.slow
def test_the_folder_of_a_seq2seq_trainer_is_published(
    hub: Hub, hub_client: Hub, trained_by_transformers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained_by_transformers
    assert {"training_args.bin", "checkpoint-1", "trainer_state.json"} <= {path.name for path in folder.iterdir()}
    refused = push(hub, folder, "user/tuned")
    assert refused.stderr.splitlines()[-1] == "  - README.md: missing; --card writes one"
    refused = push(hub, folder, "user/tuned", "--card")
    assert "add --languages SOURCE TARGET" in refused.stderr

    without_token = [sys.executable, str(SCRIPT), str(folder), "user/tuned", "--dry-run", "--card"]
    environment = {name: value for name, value in (os.environ | hub.environment).items() if name != "HF_TOKEN"}
    dry = subprocess.run([*without_token, "--languages", "en", "de"], env=environment, capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr
    assert "left out  training_args.bin" in dry.stdout
    assert dry.stdout.splitlines()[-1].startswith("user/tuned was not checked: there is no token")

    done = push(hub, folder, "user/tuned")
    assert done.returncode == 0, done.stderr
    uploaded = {*HfApi().list_repo_files("user/tuned")}
    assert {"README.md", "model.safetensors", "modeling_sineformer.py", "tokenizer.json"} <= uploaded
    assert not {name for name in uploaded if "/" in name or name.endswith(".bin") or name == "trainer_state.json"}
