"""Test `scripts/evaluate_model.py`: report, model card, comparisons, and error messages."""

import importlib
import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from sacrebleu.metrics import BLEU, CHRF, TER

from sineformer.training.evaluation import model_card
from sineformer.training.evaluation.published_scores import lower_case_bleu
from sineformer.training.pretrained.translator import load_translator

PAIRS = [
    ("the dog sleeps", "der Hund schläft"),
    ("a | b", "ein | b"),
    ("the dog", "der Hund"),
    ("x", "viel mehr als x"),
]


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("sineformer.scripts.evaluate_model")


@pytest.fixture
def workspace(tmp_path: Path, make_model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with an untrained model and a test set, as two text files and as a table."""
    folder = make_model_folder(tmp_path / "model")
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write("\n## Scores\n\nold\n\n## Limits\n\nnone\n")
    for side, name in enumerate(("test.en", "test.de")):
        (tmp_path / name).write_text("".join(f"{pair[side]}\n" for pair in PAIRS), encoding="utf-8")
    rows = "".join(json.dumps({"en": pair[0], "de": pair[1]}) + "\n" for pair in PAIRS[:2])
    (tmp_path / "table.jsonl").write_text(rows, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: str) -> int:
    common = ["evaluate_model.py", "--model", "model", "--device", "cpu", "--output_dir", "report"]
    monkeypatch.setattr(sys, "argv", [*common, *arguments.split()])
    return int(script.main())


def read_report(folder: Path = Path("report")) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return report


def loss_one_by_one() -> tuple[float, int]:
    """Return the loss per target token, from single sentences, and the number of tokens."""
    model, tokenizers = load_translator("model", "cpu", torch.float32)
    total, tokens = 0.0, 0
    for source, target in PAIRS:
        labels = tokenizers.target(target, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(**tokenizers.source(source, return_tensors="pt"), labels=labels).logits
        total -= logits[0].log_softmax(-1).gather(1, labels[0][:, None]).sum().item()
        tokens += labels.shape[1]
    return total / tokens, tokens


def test_the_report_has_the_scores_of_the_model_on_exactly_this_set(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "--data test.en test.de --target_language de --num_beams 2 --worst 2"
    assert call(script, monkeypatch, arguments) == 0
    report = read_report()
    (data,) = report["sets"]
    translations = (workspace / "report" / "translations.test.txt").read_text(encoding="utf-8").split("\n")[:-1]
    references = [target for _, target in PAIRS]
    metrics = {"bleu": BLEU(), "bleu_lowercase": lower_case_bleu("de"), "chrf": CHRF(), "ter": TER()}
    for name, metric in metrics.items():
        assert data["scores"][name]["score"] == metric.corpus_score(translations, [references]).score
    loss, tokens = loss_one_by_one()
    assert data["loss"] == pytest.approx(loss, rel=1e-5)
    assert data["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert (data["target_tokens"], data["sentences"], len(data["worst"])) == (tokens, len(PAIRS), 2)
    assert (report["model"], report["generation"]["num_beams"], report["compared_with"]) == ("model", 2, None)
    assert report["bootstrap"]["seed"] == 12345
    assert {"torch", "sacrebleu", "sineformer"} <= report["versions"].keys()
    assert "test: 4 sentences" in capsys.readouterr().out


def test_a_report_is_reproducible_and_does_not_depend_on_the_batch_size(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, reports = [], []
    for batch_size in (1, 64, 64):
        assert call(script, monkeypatch, f"--data test.en test.de --batch_size {batch_size}") == 0
        contents.append({path.name: path.read_bytes() for path in (workspace / "report").iterdir()})
        reports.append(read_report())
    assert contents[1] == contents[2]
    assert reports[0]["sets"] == reports[1]["sets"]


def test_several_test_sets_are_in_one_report_and_in_the_card(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = "--data test.en test.de --data table.jsonl --columns en de --dataset_name Mine --update_model_card"
    assert call(script, monkeypatch, arguments) == 0
    assert [(each["name"], each["sentences"]) for each in read_report()["sets"]] == [("test", 4), ("table", 2)]
    card = ModelCard.load(workspace / "model" / "README.md")
    assert [each.dataset_split for each in card.data.eval_results] == ["test"] * 5 + ["table"] * 5
    assert {each.dataset_name for each in card.data.eval_results} == {"Mine"}
    assert card.data.model_name == "small"
    assert "old" not in card.text
    assert card.text.endswith("## Limits\n\nnone\n")


def test_a_test_set_of_the_training_run_keeps_its_name(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(script, monkeypatch, "--data test.en test.de --names mine") == 0
    digest = read_report()["sets"][0]["sha256"]
    (workspace / "model" / "versions.json").write_text(json.dumps({"data_sha256": {"train": "0", "test": digest}}))
    recipe = "dataset: someone/data\ndataset_name: Some Data\nsource_language: en\ntarget_language: de\n"
    (workspace / "model" / "training_args.yaml").write_text(recipe)
    arguments = "--data test.en test.de --data table.jsonl --columns en de --names mine table"
    assert call(script, monkeypatch, arguments) == 0
    found = [each["dataset"] for each in read_report()["sets"]]
    assert found == [
        {"type": "someone/data", "name": "Some Data", "split": "test"},
        {"type": "files", "name": "local files", "split": "table"},
    ]


def test_lower_case_bleu_tokenises_for_the_given_or_recorded_language(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def language_of_the_report(flags: str = "") -> str:
        assert call(script, monkeypatch, f"--data test.en test.de {flags}") == 0
        signature: str = read_report()["sets"][0]["scores"]["bleu_lowercase"]["signature"]
        return signature.partition("tok:moses-")[2].partition("-")[0]

    assert language_of_the_report() == "en"
    config = workspace / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"source_language": "en", "target_language": "pl"}))
    assert language_of_the_report() == "pl"
    (workspace / "model" / "versions.json").write_text("{}")
    recipe = "dataset: files\ndataset_name: null\nsource_language: en\ntarget_language: fr\n"
    (workspace / "model" / "training_args.yaml").write_text(recipe)
    assert language_of_the_report() == "fr"
    assert language_of_the_report("--target_language de") == "de"


def test_bleu_tokenises_by_language_recipe_or_flag(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tokenizer_of_the_report(flags: str = "") -> str:
        assert call(script, monkeypatch, f"--data test.en test.de {flags}") == 0
        report = read_report()
        assert f"tokeniser {report['bleu_tokenize']}" in Path("report/evaluation.md").read_text(encoding="utf-8")
        signature: str = report["sets"][0]["scores"]["bleu"]["signature"]
        return signature.partition("tok:")[2].partition("|")[0]

    assert tokenizer_of_the_report() == "13a"
    assert tokenizer_of_the_report("--target_language zh-CN") == "zh"
    assert tokenizer_of_the_report("--target_language jpn --bleu_tokenize intl") == "intl"
    (workspace / "model" / "versions.json").write_text("{}")
    recipe = "dataset: files\ndataset_name: null\nsource_language: en\ntarget_language: th\n"
    (workspace / "model" / "training_args.yaml").write_text(recipe)
    assert tokenizer_of_the_report() == "char"
    (workspace / "model" / "training_args.yaml").write_text(recipe + "bleu_tokenize: intl\n")
    assert tokenizer_of_the_report() == "intl"
    assert tokenizer_of_the_report("--target_language de") == "13a"
    assert tokenizer_of_the_report("--bleu_tokenize char") == "char"


def test_a_damaged_record_of_the_run_is_a_clear_problem(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "model" / "versions.json").write_text("{")
    (workspace / "model" / "training_args.yaml").write_text("dataset: files\n")
    assert call(script, monkeypatch, "--data test.en test.de") == 1
    error = capsys.readouterr().err
    assert error.count("versions.json and training_args.yaml there were changed after training") == 1


def test_a_model_is_compared_with_itself_and_with_a_file_of_perfect_translations(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(script, monkeypatch, "--data test.en test.de --compare model") == 0
    assert {each["better"] for each in read_report()["sets"][0]["scores"].values()} == {"neither"}
    assert call(script, monkeypatch, "--data test.en test.de --compare test.de") == 0
    report = read_report()
    assert report["compared_with"] == "test.de"
    assert report["sets"][0]["scores"]["chrf"]["baseline"]["score"] == pytest.approx(100)
    assert report["sets"][0]["worst"][0]["baseline"] == report["sets"][0]["worst"][0]["reference"]


def test_all_problems_are_reported_together_and_nothing_is_written(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "short.txt").write_text("one line\n")
    (workspace / "model" / "README.md").unlink()
    data = "--data test.en test.de --data none.en none.de --data hub someone/data --data table.jsonl --names a b"
    assert call(script, monkeypatch, f"{data} --update_model_card --output_dir model --compare none1 none2") == 1
    error = capsys.readouterr().err
    for part in (
        "7 problems; nothing was written",
        "2 names for 4 test sets",
        "output folder model holds",
        "README.md is missing",
        "none.en: no such file",
        "a set of the Hub needs: hub ID SPLIT",
        "table.jsonl: .jsonl rows have named columns",
        "none1 is not a file",
    ):
        assert part in error
    assert not (workspace / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data test.en test.de --compare short.txt", "short.txt has 1 lines, but test has 4 sentences"),
        ("--data test.en test.de --data test.en test.de", "2 test sets are called 'test'; name them with --names"),
        ("--data test.en short.txt", "test.en has 4 lines and short.txt has 1"),
        ("--data test.en gaps.txt", "empty target side: 1 (test.en:2)"),
        ("--data test.en test.de --model ./no/such/model", "./no/such/model is neither a folder nor the id of a model"),
        ("--data test.en chinese.txt", "the language of the references is unknown"),
        ("--data test.en test.de --bleu_tokenize moses", "'moses' is not one of sacrebleu's tokenizers"),
        ("--data test.en test.de --names a/b", "'a/b' cannot be part of a file name"),
        (f"--data test.en test.de --names {'x' * 250}", "cannot be part of a file name; choose another name"),
        ("--data test.en test.de --output_dir short.txt", "short.txt is a file; name another folder"),
        ("--data test.en test.de --output_dir short.txt/report", "short.txt is a file; name another folder"),
        ("--data test.en test.de --output_dir .", "output folder . is the working directory, which cannot be replaced"),
        ("--data test.en test.de --model carded --update_model_card", "README.md cannot be written"),
    ],
)
def test_wrong_arguments_are_one_clear_problem(
    script: ModuleType,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
) -> None:
    (workspace / "short.txt").write_text("one line\n")
    (workspace / "gaps.txt").write_text("a\n\nb\nc\n")
    (workspace / "chinese.txt").write_text("狗睡觉。\n一只猫\n狗\n好\n", encoding="utf-8")
    shutil.copytree(workspace / "model", workspace / "carded")
    monkeypatch.setattr(
        model_card, "file_problem", lambda path: f"{path} cannot be written" if "carded" in str(path) else None
    )
    assert call(script, monkeypatch, arguments) == 1
    error = capsys.readouterr().err
    assert "1 problem; nothing was written" in error
    assert message in error
    assert not (workspace / "report").exists()


def test_rows_that_are_not_pairs_are_dropped_on_request_and_counted(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "gaps.txt").write_text("a\n\nb\nc\n")
    assert call(script, monkeypatch, "--data test.en gaps.txt --on_bad_rows drop") == 0
    (data,) = read_report()["sets"]
    assert (data["sentences"], data["bad_rows"]) == (3, {"empty target side": 1})


def test_a_tilde_is_the_home_folder_in_every_path(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(workspace))
    arguments = "--model=~/model --output_dir=~/report --data ~/test.en ~/test.de --compare ~/test.de"
    assert call(script, monkeypatch, arguments) == 0
    assert read_report(workspace / "report")["compared_with"] == "test.de"


def test_several_processes_are_refused_before_anything_is_read(
    script: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert call(script, monkeypatch, "--data absent.en absent.de") == 1
    message = "error: evaluation takes one process, but a launcher has started several; run it without one\n"
    assert capsys.readouterr().err == message
