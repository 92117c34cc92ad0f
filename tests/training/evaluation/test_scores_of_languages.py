"""Test BLEU of a run into Chinese: validation, model card and evaluation report all count characters."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import BLEU

from sineformer.training.evaluation.evaluate_model import EvaluationRequest, evaluate_model
from sineformer.training.evaluation.evaluator import choose_tokenizer
from sineformer.training.preflight import read_settings
from sineformer.training.train import main

WORDS = [{"dog": "狗", "cat": "猫", "king": "国王"}, {"small": "小", "old": "老"}, {"sleeps": "睡觉", "runs": "跑步"}]
PAIRS = [
    (f"The {s[0]} {n[0]} {v[0]}.", f"那只{s[1]}{n[1]}{v[1]}。")
    for n, s, v in itertools.product(*map(dict.items, WORDS))
]
FLAGS = [
    *("--dataset", "files", "--train_files", "a.en", "a.zh", "--validation_files", "a.en", "a.zh", "--use_cpu"),
    *("--source_language", "en", "--target_language", "zh-CN", "--vocab_size", "300", "--max_steps", "20"),
    *("--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"),
    *("--decoder_attention_heads", "2", "--encoder_ffn_dim", "16", "--decoder_ffn_dim", "16", "--dropout", "0"),
    *(
        "--max_tokens",
        "400",
        "--warmup_steps",
        "10",
        "--learning_rate",
        "0.02",
        "--num_beams",
        "1",
        "--max_length",
        "64",
    ),
    *("--report_to", "none", "--eval_steps", "20"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with texts and a run trained on them."""
    folder = tmp_path_factory.mktemp("chinese")
    for side, name in enumerate(("a.en", "a.zh")):
        (folder / name).write_text("".join(f"{pair[side]}\n" for pair in PAIRS), encoding="utf-8")
    assert main([*FLAGS, "--data_dir", str(folder), "--output_dir", str(folder / "run")]) == 0
    return folder


def evaluate(folder: Path, run: str = "run") -> dict[str, Any]:
    files = [str(folder / "a.en"), str(folder / "a.zh")]
    return evaluate_model(EvaluationRequest(str(folder / run), [files], folder / "report", num_beams=1))


def test_training_card_and_report_have_the_same_bleu_of_characters(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "bleu" in line]
    assert len(measured) == 2
    assert all("|tok:zh|" in line["bleu_signature"] for line in measured)
    assert "|tok:zh|" in (folder / "run" / "README.md").read_text(encoding="utf-8")
    (data,) = evaluate(folder)["sets"]
    translations = (folder / "report" / "translations.a.txt").read_text(encoding="utf-8").split("\n")[:-1]
    expected = BLEU(tokenize="zh").corpus_score(translations, [[target for _, target in PAIRS]]).score
    assert data["scores"]["bleu"]["score"] == expected > 0
    assert measured[-1]["bleu"] == pytest.approx(expected)


def test_the_tokenizer_set_in_a_recipe_is_recorded_with_the_model(folder: Path) -> None:
    flags = [*FLAGS, "--data_dir", str(folder), "--model_name_or_path", str(folder / "run"), "--bleu_tokenize", "char"]
    flags = [flag for flag in flags if flag not in ("--vocab_size", "300")]
    flags[flags.index("--max_steps") + 1] = "1"
    flags[flags.index("--eval_steps") + 1] = "1"
    assert main([*flags, "--output_dir", str(folder / "further")]) == 0
    lines = (folder / "further" / "metrics.jsonl").read_text().splitlines()
    assert "|tok:char|" in json.loads(lines[-1])["bleu_signature"]
    assert evaluate(folder, "further")["bleu_tokenize"] == "char"
    assert evaluate(folder)["bleu_tokenize"] == "zh"


@pytest.mark.parametrize(
    ("flags", "tokenizer", "warned"),
    [
        (["--target_language", "de"], "13a", True),
        (["--target_language", "de", "--bleu_tokenize", "13a"], "13a", False),
        (["--target_language", "zh"], "zh", False),
    ],
)
def test_references_that_do_not_fit_target_language_cause_a_warning(
    folder: Path, flags: list[str], tokenizer: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--dataset", "files", "--train_files", "a.en", "a.zh", "--validation_files", "a.en", "a.zh"]
    run = ["--data_dir", str(folder), "--output_dir", str(folder / "none"), "--max_steps", "1"]
    settings = read_settings([*files, *run, *flags])
    assert choose_tokenizer(settings, [target for _, target in PAIRS]) == tokenizer
    assert ("set target_language, or bleu_tokenize" in capsys.readouterr().err) is warned
    assert choose_tokenizer(settings, [source for source, _ in PAIRS]) == tokenizer
    assert capsys.readouterr().err == ""
