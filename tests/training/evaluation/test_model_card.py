import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from sineformer.training.evaluation.model_card import RunRecord, write_model_card
from sineformer.training.evaluation.scores import Example, Scores
from sineformer.training.preflight import read_settings

SIGNATURES = {"bleu": "bleu|signature", "chrf": "chrf|signature"}
VALIDATION = Scores(1.5, {"bleu": 61.0, "chrf": 70.0, "chrf_plus_plus": 68.0, "exact_match": 5.0}, SIGNATURES, 500, 1)
TEST = Scores(1.25, {"bleu": 63.456, "chrf": 71.234, "chrf_plus_plus": 69.0, "exact_match": 7.5}, SIGNATURES, 1000, 4)

LANGUAGES = ("--source_language", "en", "--target_language", "de")


def card_text(folder: Path, model: Any, *flags: str) -> str:
    data = () if "--dataset" in flags else ("--dataset", "embedded")
    settings = read_settings(["--output_dir", str(folder / "unused"), "--max_steps", "7", *data, *flags])
    write_model_card(folder, settings, record(model))
    return (folder / "README.md").read_text(encoding="utf-8")


def record(model: Any) -> RunRecord:
    return RunRecord(
        scores={"validation": VALIDATION, "test": TEST},
        examples=[Example('He said: "a | b"', "Er sagte: „a | b“", "Er sagte")],
        config=model.config,
        parameters=1234567,
        training_pairs=29000,
        step=4200,
        minutes=29.96,
        processes="2 x cpu",
    )


def test_the_model_index_holds_the_measured_scores(tmp_path: Path, small_model: Any) -> None:
    card_text(tmp_path, small_model, "--dataset", "someone/data", "--dataset_name", "Some Data", *LANGUAGES)
    card = ModelCard.load(tmp_path / "README.md")
    results = {result.metric_type: result for result in card.data.eval_results}
    assert {metric: result.metric_value for metric, result in results.items()} == {"bleu": 63.46, "chrf": 71.23}
    for result in results.values():
        assert (result.task_type, result.dataset_type, result.dataset_name) == (
            "translation",
            "someone/data",
            "Some Data",
        )
        assert result.dataset_split == "test"
    assert card.data.model_name == tmp_path.name
    assert card.data.language == ["en", "de"]
    assert card.data.datasets == ["someone/data"]
    assert card.data.library_name == "transformers"


def test_a_card_without_languages_names_none(tmp_path: Path, small_model: Any) -> None:
    for name in ("a.src", "a.tgt"):
        (tmp_path / name).write_text("one\n")
    files = ["--dataset", "files", "--train_files", "a.src", "a.tgt", "--validation_files", "a.src", "a.tgt"]
    text = card_text(tmp_path, small_model, *files, "--data_dir", str(tmp_path))
    assert "None" not in text
    assert "\nThe encoder-decoder Transformer of\n" in text
    assert ModelCard.load(tmp_path / "README.md").data.language is None


def test_the_card_states_scores_examples_and_training(tmp_path: Path, small_model: Any) -> None:
    text = card_text(tmp_path, small_model)
    for part in (
        "| validation | 500 | 1 | 61.00 | 70.00 | 68.00 | 5.0 % | 1.500 | 4.48 |",
        "| test | 1000 | 4 | 63.46 | 71.23 | 69.00 | 7.5 % | 1.250 | 3.49 |",
        "BLEU `bleu|signature`, chrF `chrf|signature`",
        '| He said: "a \\| b" | Er sagte: „a \\| b“ | Er sagte |',
        "1,234,567 parameters: 1 encoder and 1 decoder layers, width 16",
        "29,000 sentence pairs of the embedded English-German task",
        "step 4200, after 30.0 minutes on\n2 x cpu",
    ):
        assert part in text
    assert "{{" not in text
    assert "{%" not in text


def test_the_code_in_the_card_is_python(tmp_path: Path, small_model: Any) -> None:
    text = card_text(tmp_path, small_model)
    code = text.partition("```python\n")[2].partition("```")[0]
    compile(code, "README.md", "exec")
    assert tmp_path.name in code


@pytest.mark.parametrize(
    "text",
    [
        'She said: "no"',
        "it's \"both\" of them'''",
        "a back\\slash at the end \\",
        "two\nlines\r\nand\rthree\x0b\x0c\x85\u2028\u2029",
        "{braces} {{example}} {% if %} {# #} %s",
        "the end of code\n```\nand of text ```",
        "nothing to see: \0 \t \u200b \u202e \ufeff",
        "Schläft der Hund? 犬は寝ていますか。 🐕",
        "",
    ],
)
def test_the_code_in_the_card_quotes_any_sentence_and_any_name(tmp_path: Path, small_model: Any, text: str) -> None:
    folder = tmp_path / (text.translate({0: "-", ord("/"): "-"}).strip() or "none")
    folder.mkdir()
    settings = read_settings(["--dataset", "embedded", "--output_dir", str(tmp_path / "unused"), "--max_steps", "7"])
    examples = [Example(text, "reference", "translation")]
    write_model_card(folder, settings, dataclasses.replace(record(small_model), examples=examples))
    card = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    assert "```" not in code
    strings = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert text in strings
    assert folder.name in strings
    assert re.search(r"^# .+\n\nTranslates", card, re.MULTILINE)


def test_the_card_states_how_the_weights_were_averaged(tmp_path: Path, small_model: Any) -> None:
    flags = [
        "--dataset",
        "embedded",
        "--output_dir",
        str(tmp_path / "unused"),
        "--max_steps",
        "7",
        "--average_checkpoints",
        "5",
    ]
    for is_mean in (True, False):
        settings = read_settings([*flags, "--ema_decay", "0" if is_mean else "0.99"])
        write_model_card(tmp_path, settings, dataclasses.replace(record(small_model), is_mean=is_mean))
        text = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert ("the mean of the last evaluated models, at most 5" in text) == is_mean
        assert ("an exponential moving average over steps, with decay 0.99" in text) == (not is_mean)
