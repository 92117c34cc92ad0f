import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from transformers import GenerationConfig

from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.evaluation import report as report_module
from sineformer.training.evaluation.evaluate_model import _chosen
from sineformer.training.evaluation.languages import bleu_tokenizer
from sineformer.training.evaluation.model_card import RunRecord, card_problem, update_model_card, write_model_card
from sineformer.training.evaluation.published_scores import corpus_scores, worst_sentences
from sineformer.training.evaluation.report import markdown, report_folder_problem, write_report
from sineformer.training.evaluation.scores import Example, Scores
from sineformer.training.preflight import read_settings

SOURCES = ["a | b", "two\nlines", "back\\|slash `x`"]
REFERENCES = ["eins | zwei drei vier", "das ist gut so", "noch ein Satz hier"]
TRANSLATIONS = ["eins | zwei drei", "das ist\tgut so", "*noch* <b> [x](y)"]
BASELINE = ["|", "\\", "\\|"]
CELL = re.compile(r"(?:\\.|[^|\\])*")  # as in GitHub's parser: a backslash escapes the next character


def cells(line: str) -> list[str]:
    return [each.strip() for each in CELL.findall(line[1:]) if each.strip()]


def make_report(
    names: tuple[str, ...] = ("test",), compared_with: str | None = None, language: str = "de"
) -> dict[str, Any]:
    baseline = BASELINE if compared_with else None
    text = ParallelText(SOURCES, REFERENCES, ["f"] * 3, [1, 2, 3])
    numbers = {"exact_match": 0.0, "length_ratio": 0.9, "repetition_rate": 1.5, "repetition_rate_of_references": 0.5}
    sets = [
        {
            "name": name,
            "dataset": {"type": "files", "name": "Some Data", "split": name},
            "sentences": 3,
            "scores": corpus_scores(TRANSLATIONS, REFERENCES, language, baseline),
            "worst": worst_sentences(text, TRANSLATIONS, 3, baseline),
            "loss": 1.25,
            "perplexity": 3.49,
            **numbers,
        }
        for name in names
    ]
    about = {"model": "tiny", "parameters": 1234, "compared_with": compared_with, "dtype": "float32"}
    about |= {"target_language": language, "bleu_tokenize": bleu_tokenizer(language)}
    return about | {"generation": {"num_beams": 4}, "sets": sets, "versions": {"torch": "2"}}


@pytest.fixture
def model_dir(tmp_path: Path, small_model: Any) -> Path:
    """Return a folder with a card as written by training."""
    scores = Scores(1.5, {"bleu": 61.0, "chrf": 70.0, "exact_match": 5.0}, {"bleu": "b", "chrf": "c"}, 500, 1)
    record = RunRecord({"test": scores}, [Example("a", "b", "c")], small_model.config, 7, 9, 4, 1.0, "1 x cpu")
    folder = tmp_path / "model"
    folder.mkdir()
    write_model_card(
        folder,
        read_settings(["--dataset", "embedded", "--output_dir", str(tmp_path / "o"), "--max_steps", "7"]),
        record,
    )
    return folder


@pytest.mark.parametrize("compared_with", [None, "other | model"])
def test_every_row_of_every_table_has_the_cells_of_its_header_whatever_the_text(compared_with: str | None) -> None:
    text = markdown(make_report(("test", "later"), compared_with))
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == (5 if compared_with else 3)
    for header, rule, *rows in tables:
        assert rows
        assert {len(cells(row)) for row in (header, rule, *rows)} == {len(cells(header))}


def test_sentences_are_escaped() -> None:
    text = markdown(make_report())
    for cell in (r"| a \| b |", "| two lines |", r"| back\\\|slash \`x\` |", r"\*noch\* \<b> \[x](y) |"):
        assert cell in text


def test_a_report_begins_with_the_scores_and_ends_with_the_settings() -> None:
    blocks = markdown(make_report() | {"generation": {"num_beams": 4, "length_penalty": 0.6}}).split("\n\n")
    assert blocks[0] == "# Evaluation of tiny"
    assert blocks[1].startswith("| Set | Sentences | BLEU |")
    assert blocks[-2].startswith("Translated with num_beams 4, length_penalty 0.6. Parameters: 1,234.")


def test_generation_settings_that_are_the_defaults_are_left_out() -> None:
    # As `Seq2SeqTrainer` saves them.
    values = {"num_beams": 4, "length_penalty": 0.6, "do_sample": False, "top_k": 50, "temperature": 1.0, "top_p": 1.0}
    assert _chosen(GenerationConfig(**values)) == {"num_beams": 4, "length_penalty": 0.6}


def test_a_set_without_errors_has_no_worst_sentences() -> None:
    report = make_report()
    report["sets"][0]["worst"] = []
    assert "## test: all translations are equal to their references\n" in markdown(report)


def test_the_report_states_both_protocols_the_signatures_and_the_better_system() -> None:
    report = make_report(compared_with="other")
    text = markdown(report)
    scores = report["sets"][0]["scores"]
    for each in scores.values():
        assert f"{each['score']:.2f} ({each['mean']:.2f} ± {each['ci']:.2f})" in text
        assert f"`{each['signature']}`" in text
    assert "| BLEU, lower case |" in text
    assert "## test: comparison" in text
    assert f"| {scores['chrf']['p_value']:.4f} | tiny |" in text
    assert "comparison" not in markdown(make_report())


@pytest.mark.parametrize(("language", "missing"), [("zh", ["BLEU, lower case"]), ("th", ["BLEU, lower case", "TER"])])
def test_report_and_card_of_a_language_without_spaces_have_the_meaningful_scores(
    model_dir: Path, language: str, missing: list[str]
) -> None:
    report = make_report(compared_with="other", language=language)
    update_model_card(model_dir, report)
    card = ModelCard.load(model_dir / "README.md")
    for text in (markdown(report), card.text):
        assert f"tokeniser {bleu_tokenizer(language)}." in text
        assert f"tok:{bleu_tokenizer(language)}|" in text
        assert "two to eight characters are repeated" in text.replace("\n", " ")
        assert not any(title in text for title in missing)
        assert "13a" not in text
    titles = [each.metric_name for each in card.data.eval_results]
    assert titles == [title for title in ("BLEU", "chrF", "chrF++", "TER") if title not in missing]
    assert card.data.metrics == [title.lower() for title in titles if title != "chrF++"]


def test_a_report_is_complete_and_replaces_an_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    write_report(folder, make_report(), {"test": TRANSLATIONS, "gone": ["x"]})
    report = make_report()
    assert report_folder_problem(folder) is None
    write_report(folder, report, {"test": TRANSLATIONS})
    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluation.json",
        "evaluation.md",
        "translations.test.txt",
    ]
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == report
    assert (folder / "evaluation.md").read_text(encoding="utf-8") == markdown(report)
    assert (folder / "translations.test.txt").read_text(encoding="utf-8").split("\n") == [*TRANSLATIONS, ""]


def test_a_failure_while_writing_leaves_the_older_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(tmp_path / "report", make_report(), {"test": ["old"]})

    def fail(report: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_module, "markdown", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path / "report", make_report(), {"test": ["new"]})
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (tmp_path / "report" / "translations.test.txt").read_text() == "old\n"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    assert report_folder_problem(tmp_path / "new" / "deeper") is None
    (tmp_path / "thesis.tex").touch()
    assert "holds thesis.tex, which is not part of a report" in str(report_folder_problem(tmp_path))
    assert "is a file" in str(report_folder_problem(tmp_path / "thesis.tex"))
    assert "is a file" in str(report_folder_problem(tmp_path / "thesis.tex" / "report"))


def test_the_card_gets_the_scores_of_the_report_and_keeps_the_rest(model_dir: Path) -> None:
    before = ModelCard.load(model_dir / "README.md")
    report = make_report(("test", "other_test"))
    update_model_card(model_dir, report)
    card = ModelCard.load(model_dir / "README.md")
    found = {(each.dataset_split, each.metric_name): each for each in card.data.eval_results}
    titles = {"bleu": "BLEU", "bleu_lowercase": "BLEU, lower case", "chrf": "chrF", "ter": "TER"}
    titles["chrf_plus_plus"] = "chrF++"
    assert {key: each.metric_value for key, each in found.items()} == {
        (data["name"], titles[name]): round(score["score"], 2)
        for data in report["sets"]
        for name, score in data["scores"].items()
    }
    assert found["test", "TER"].metric_type == "ter"
    assert found["test", "BLEU, lower case"].metric_type == "bleu"
    assert found["test", "BLEU"].dataset_name == "Some Data"
    assert (card.data.model_name, card.data.language) == (before.data.model_name, before.data.language)
    for heading in ("## Use", "## Examples", "## Model", "## Training", "## Limits"):
        assert (
            before.text.partition(heading)[2].partition("\n## ")[0]
            == (card.text.partition(heading)[2].partition("\n## ")[0])
        )
    assert card.data.metrics == ["bleu", "chrf", "ter"]
    assert "61.00" not in card.text
    assert "Beams: 4." in card.text
    assert card.text.count("## Scores") == 1
    assert sorted(path.name for path in model_dir.iterdir()) == ["README.md"]


def test_updating_the_card_twice_is_the_same_as_once(model_dir: Path) -> None:
    update_model_card(model_dir, make_report())
    once = (model_dir / "README.md").read_bytes()
    assert card_problem(model_dir) is None
    update_model_card(model_dir, make_report())
    assert (model_dir / "README.md").read_bytes() == once


def test_a_card_that_cannot_be_updated_is_found_beforehand(tmp_path: Path) -> None:
    assert "README.md is missing" in str(card_problem(tmp_path))
    (tmp_path / "README.md").write_text("---\nlanguage: [en\n---\n## Scores\n")
    assert "cannot be read as a model card" in str(card_problem(tmp_path))
    (tmp_path / "README.md").write_text("---\nlanguage: en\n---\n# Mine\n")
    assert "has no section '## Scores'" in str(card_problem(tmp_path))
