"""Test the folder to publish that is made from a run: half precision, no sentence and no path, loads as fp32."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.conversion.release import release_model
from sineformer.training.pretrained.model_folder import folder_problems
from sineformer.training.settings.record import recorded_settings

SENTENCE = "Zwei geheime Papageien."
LOG = [
    {"kind": "train", "step": 1, "seconds": 2.5, "loss": 3.0},
    {"kind": "skipped", "step": 2, "loss": "nan", "examples": ["train.en:7"]},
    {"kind": "validation", "step": 2, "bleu": 9.0, "bleu_signature": "x", "samples": [{"source": SENTENCE}]},
]


@pytest.fixture
def run(tmp_path: Path, make_model_folder: Callable[..., Path]) -> Path:
    """Return the output folder of a run with a record, a report and a card that quote the data."""
    folder = make_model_folder(tmp_path / "run")
    (folder / "training_args.yaml").write_text("source_language: en\ntarget_language: de\n")
    (folder / "versions.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LOG))
    for name in ("README.md", "report.html"):
        (folder / name).write_text(f"A translation: {SENTENCE}")
    return folder


def test_a_release_is_complete_and_quotes_neither_data_nor_paths(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    release_model(run, folder)
    assert folder_problems(folder) == []
    for path in folder.rglob("*"):
        content = path.read_bytes()
        assert SENTENCE.encode() not in content, path
        assert str(tmp_path).encode() not in content, path
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        LOG[0],
        {"kind": "skipped", "step": 2, "loss": "nan"},
        {"kind": "validation", "step": 2, "bleu": 9.0, "bleu_signature": "x"},
    ]
    assert recorded_settings(folder) == {"source_language": "en", "target_language": "de"}


def test_weights_are_stored_in_half_precision_and_loaded_in_single(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    release_model(run, folder)
    single, half = load_file(run / "model.safetensors"), load_file(folder / "model.safetensors")
    assert half.keys() == single.keys()
    for name, weight in half.items():
        assert weight.dtype == torch.float16
        assert torch.equal(weight, single[name].half())
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True)
    assert model.dtype == model.config.dtype == torch.float32
    assert torch.equal(model.model.shared.weight, half["model.shared.weight"].float())
    assert AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True, dtype="float16").dtype == torch.float16
    original: Any = AutoModelForSeq2SeqLM.from_pretrained(run, trust_remote_code=True)
    batch = AutoTokenizer.from_pretrained(folder)(["the dog sleeps"], return_tensors="pt")
    torch.testing.assert_close(
        model(**batch, labels=batch.input_ids).logits,
        original(**batch, labels=batch.input_ids).logits,
        rtol=0,
        atol=5e-3,
    )


def test_notes_and_notice_are_added(run: Path, tmp_path: Path) -> None:
    notes, notice, folder = (tmp_path / name for name in ("notes.md", "TERMS", "release"))
    notes.write_text("---\nlicense: other\nlicense_link: NOTICE\n---\n## License\n\nTerms.\n")
    notice.write_text("No commerce.")
    release_model(run, folder, notes, notice)
    assert (folder / "NOTICE").read_text() == "No commerce."
    assert ModelCard.load(folder / "README.md").data.license == "other"
    assert folder_problems(folder) == []


def test_nothing_is_written_if_anything_is_wrong(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    with pytest.raises(ConversionError, match=r"missing\.md cannot be read as notes"):
        release_model(run, folder, tmp_path / "missing.md")
    with pytest.raises(ConversionError, match=r"cannot be written: .*TERMS"):
        release_model(run, folder, notice=tmp_path / "TERMS")
    (run / "metrics.jsonl").write_text("not JSON\n")
    with pytest.raises(ConversionError, match=r"metrics\.jsonl:1: not a line of a log"):
        release_model(run, folder)
    (run / "metrics.jsonl").unlink()
    weights = load_file(run / "model.safetensors")
    weights["model.encoder.layers.0.fc1.bias"][0] = 1e6
    save_file(weights, run / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ConversionError, match=r"half precision cannot hold values of model\.encoder\.layers\.0\.fc1\.bias"
    ):
        release_model(run, folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(ConversionError, match="already exists"):
        release_model(run, folder)
    with pytest.raises(ConversionError, match=r"holds no config\.json"):
        release_model(tmp_path, tmp_path / "other")


def test_the_script_prints_one_line(run: Path, tmp_path: Path) -> None:
    def call(*arguments: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sineformer.scripts.release_model", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    done = call(run, tmp_path / "release")
    assert (done.returncode, done.stderr) == (0, "")
    line = done.stdout.splitlines()[-1]  # DeepSpeed, where it is installed, has its own say before
    assert line.startswith(f"{tmp_path / 'release'}: ")
    assert line.endswith(" in half precision")
    again = call(run, tmp_path / "release")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("error: ")
    assert "already exists" in again.stderr
