"""Test the recipes of Multi30k, and `make multi30k` on made-up pairs in files of the same names."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import pipeline

from sineformer.training.pretrained.model_folder import folder_problems
from sineformer.training.settings.recipe import read_values

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPES = ROOT / "training" / "recipes" / "multi30k"
STAGES = ("stage1", "stage2", "stage3")
WORDS = {
    "de": ["ein", "hund", "katze", "mann", "frau", "läuft", "schläft", "springt", "sieht", "ball", "park", "und"],
    "fr": ["un", "chien", "chat", "homme", "femme", "court", "dort", "saute", "voit", "ballon", "parc", "et"],
}
TINY = (
    "--vocab_size 290 --d_model 16 --encoder_layers 1 --decoder_layers 1 --encoder_attention_heads 2 "
    "--decoder_attention_heads 2 --encoder_ffn_dim 16 --decoder_ffn_dim 16 --max_tokens 300 --max_steps 8 "
    "--eval_steps 4 --logging_steps 2 --warmup_steps 2 --save_steps 2 --report_to none --use_cpu"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with pairs that translate word by word."""
    rng, folder = random.Random(1), tmp_path / "data"
    folder.mkdir()
    for split, size in (("train", 200), ("val", 20), ("test_2016_flickr", 20)):
        picks = [[rng.randrange(len(WORDS["de"])) for _ in range(rng.randint(2, 8))] for _ in range(size)]
        for language, words in WORDS.items():
            text = "".join(" ".join(words[number] for number in pick) + "\n" for pick in picks)
            (folder / f"{split}.{language}.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def command(tmp_path: Path, *arguments: str) -> list[str]:
    """Return the command in this environment, for German to French, with its output in a temporary folder."""
    folders = [f"RUNS={tmp_path / 'runs'}", f"RELEASE={tmp_path / 'release'}", f"BIN={Path(sys.executable).parent}"]
    return ["make", "-o", ".venv/ready", "multi30k", "SOURCE=de", "TARGET=fr", *folders, *arguments]


def make(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


def kill_in_last_stage(arguments: list[str], runs: Path) -> None:
    process = subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not (runs / "stage3" / "checkpoints" / "step-2").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_one_command_trains_in_stages_resumes_releases_and_evaluates(data: Path, tmp_path: Path) -> None:
    arguments = command(tmp_path, f"DATA={data}", f"FLAGS={TINY}")
    kill_in_last_stage(arguments, tmp_path / "runs")
    done = make(arguments)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("has finished") == 3, "all trainings but the last"
    assert "resuming from" in done.stderr
    records = [tmp_path / "runs" / stage / "training_args.yaml" for stage in STAGES]
    stages = [yaml.safe_load(record.read_text(encoding="utf-8")) for record in records]
    assert [each["lr_scheduler_type"] for each in stages] == ["inverse_sqrt", "linear", "linear"]
    assert len(stages[2]["train_files"]) == 6
    back, targets = (
        gzip.decompress(path.read_bytes()).decode().splitlines()
        for path in (tmp_path / "runs" / "train.back.de.gz", data / "train.fr.gz")
    )
    assert len(back) == len(targets) == 200
    check_release(tmp_path / "release", data)
    quoting = [path for path in (tmp_path / "release").iterdir() if str(tmp_path).encode() in path.read_bytes()]
    assert quoting == []

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = make(arguments)
    assert again.returncode == 0, again.stderr
    assert (again.stdout + again.stderr).count("has finished") == 4
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


def check_release(release: Path, data: Path) -> None:
    """Check that a folder is complete, with card, scores and notice, and quotes no sentence of the validation set."""
    assert folder_problems(release) == []
    card = ModelCard.load(release / "README.md")
    assert (card.data.language, card.data.license) == (["de", "fr"], "other")
    results = {(result.dataset_name, result.dataset_split) for result in card.data.eval_results}
    assert results == {("Multi30k", "test_2016_flickr")}
    assert [line for line in card.text.splitlines() if line.startswith("## ")] == [
        *("## Use", "## Scores", "## Model", "## Limits", "## Training", "## License", "## Citation"),
    ]
    assert "non-commercial" in (release / "NOTICE").read_text(encoding="utf-8")
    sentences = gzip.decompress((data / "val.de.gz").read_bytes()).decode().splitlines()
    texts = [path.read_text(encoding="utf-8") for path in release.iterdir() if path.suffix != ".safetensors"]
    assert not [line for line in sentences if len(line.split()) > 3 and any(line in text for text in texts)]
    assert pipeline("translation", model=str(release), trust_remote_code=True)("ein hund")[0]["translation_text"]


def test_without_data_the_command_says_what_is_needed(tmp_path: Path) -> None:
    refused = make(command(tmp_path))
    assert refused.returncode == 2
    assert "make multi30k DATA=DIR" in refused.stderr


def test_the_stages_differ_only_where_they_should() -> None:
    first, *later = (read_values(["--config", str(RECIPES / f"{stage}.yaml")]) for stage in STAGES)
    assert first[1] == []
    schedule = {"lr_scheduler_type", "learning_rate", "warmup_steps", "max_steps", "seed"}
    for (values, unknown), others in zip(later, (schedule, schedule | {"train_files"}), strict=True):
        assert unknown == []
        assert values.keys() == later[0][0].keys() < first[0].keys()
        assert {key for key, value in values.items() if value != first[0][key]} == others
