"""The report of an evaluation as JSON and as Markdown, and the scores of a model card, all from the same numbers."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard

from ..system.files import file_problem, folder_problem, real_path, write_file, write_folder
from ..system.output_folder import CARD
from .languages import has_asian_words, has_blanks
from .model_card import table
from .published_scores import TITLES

JSON_FILE = "evaluation.json"
MARKDOWN_FILE = "evaluation.md"
TRANSLATIONS = "translations.{}.txt"
LONGEST_NAME = 255  # bytes of a file name, on the common file systems
SCORES = re.compile(r"^## Scores\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)

Report = Mapping[str, Any]


def write_report(folder: Path, report: Report, translations: Mapping[str, Sequence[str]]) -> None:
    """Write the report as JSON and as Markdown and the translations of each set, one a line: all of it or nothing.

    Raises:
        OSError: the folder cannot be written; what was there still is.
    """

    def write(aside: Path) -> None:
        text = json.dumps(report, indent=2, ensure_ascii=False)
        (aside / JSON_FILE).write_text(text + "\n", encoding="utf-8")
        (aside / MARKDOWN_FILE).write_text(markdown(report), encoding="utf-8")
        for name, lines in translations.items():
            content = "".join(f"{line}\n" for line in lines)
            (aside / TRANSLATIONS.format(name)).write_text(content, encoding="utf-8", newline="\n")

    write_folder(real_path(folder), write)


def report_folder_problem(folder: Path) -> str | None:
    """Why a report cannot go there, if so: what is in the folder is replaced, so it may hold an older report alone."""
    problem = folder_problem(folder)
    if problem is not None:
        return f"output folder {problem}"
    ours = re.compile("|".join([re.escape(JSON_FILE), re.escape(MARKDOWN_FILE), TRANSLATIONS.format(".*")]))
    others = sorted(path.name for path in folder.glob("*") if not ours.fullmatch(path.name))
    if others:
        return f"output folder {folder} holds {others[0]}, which is not of a report; name a new folder"
    return None


def name_problem(name: str) -> str | None:
    """Return why a test set cannot be called so, with the fix; None if it can: its translations go into such a file."""
    if "/" in name or len(os.fsencode(TRANSLATIONS.format(name))) > LONGEST_NAME:
        return f"{name!r} cannot be part of a file name; choose another name with --names"
    return None


def markdown(report: Report) -> str:
    """The report for people: settings, a table of scores, the comparison, and the worst sentences of each set."""
    settings = ", ".join(f"{key} {value}" for key, value in report["generation"].items())
    parts = [
        f"# Evaluation of {report['model']}",
        f"Translated with {settings}. Parameters: {report['parameters']:,}. Weights in {report['dtype']}.",
        _score_table(report["sets"], with_intervals=True),
        _notes(report),
        _signatures(report["sets"]),
        *(_comparison(report, each) for each in report["sets"] if report["compared_with"]),
        *(_worst(report, each) for each in report["sets"]),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _notes(report: Report) -> str:
    """Return what the columns of the table of scores mean."""
    language, tokenize = report["target_language"], report["bleu_tokenize"]
    notes = [f"BLEU: detokenised, with case, tokeniser {tokenize}."]
    if has_blanks(language):
        notes += ["BLEU, lower case: over lower-case tokens of the Moses scripts, as in the literature on Multi30k."]
        notes += ["TER: less is better."]
    elif has_asian_words(language):
        notes += ["TER: less is better; text without blanks is divided as Tercom divides it."]
    units = "one to four words" if has_blanks(language) else "two to eight characters"
    notes += [
        "Intervals: 95 %, by bootstrap over the sentences. "
        f"Length: tokens ({tokenize}) of all translations / tokens of all references. "
        f"Repetition: share of translations in which {units} follow themselves at once; in brackets, the same for the "
        "references. Loss and perplexity: per target token, end of sentence included, given the "
        "reference before it, without label smoothing.",
    ]
    return textwrap.fill(" ".join(notes), 120)


def _score_table(sets: Sequence[Report], with_intervals: bool) -> str:
    names = list(sets[0]["scores"])
    header = [
        "Set",
        "Sentences",
        *(TITLES[name] for name in names),
        "Exact match",
        "Length",
        "Repetition",
        "Loss",
        "Perplexity",
    ]
    rows = [
        [
            each["name"],
            str(each["sentences"]),
            *(_interval(each["scores"][name], with_intervals) for name in names),
            f"{each['exact_match']:.1f} %",
            f"{each['length_ratio']:.3f}",
            f"{each['repetition_rate']:.1f} % ({each['repetition_rate_of_references']:.1f} %)",
            f"{each['loss']:.3f}",
            f"{each['perplexity']:.2f}",
        ]
        for each in sets
    ]
    return table(header, rows)


def _interval(score: Report, with_interval: bool = True) -> str:
    return f"{score['score']:.2f}" + (f" ({score['mean']:.2f} ± {score['ci']:.2f})" if with_interval else "")


def _signatures(sets: Sequence[Report]) -> str:
    signatures = ", ".join(f"{TITLES[name]} `{each['signature']}`" for name, each in sets[0]["scores"].items())
    return f"sacrebleu signatures: {signatures}."


def _comparison(report: Report, data: Report) -> str:
    names = {"model": report["model"], "baseline": report["compared_with"], "neither": "neither"}
    rows = [
        (
            TITLES[name],
            _interval(score),
            _interval(score["baseline"]),
            f"{score['p_value']:.4f}",
            names[score["better"]],
        )
        for name, score in data["scores"].items()
    ]
    header = ("Score", report["model"], report["compared_with"], "p", "Better (p < 0.05)")
    note = "p: two-sided, of the difference, by paired bootstrap resampling of the sentences."
    return "\n\n".join([f"## {data['name']}: comparison", table(header, rows), note])


def _worst(report: Report, data: Report) -> str:
    columns = {
        "line": "Line",
        "chrf": "chrF",
        "source": "Source",
        "reference": "Reference",
        "translation": "Translation",
    }
    if report["compared_with"]:
        columns["baseline"] = report["compared_with"]
    rows = [[_cell(row[key]) for key in columns] for row in data["worst"]]
    title = f"## {data['name']}: the {len(rows)} sentences with the lowest chrF"
    return "\n\n".join([title, table(list(columns.values()), rows)])


def _cell(value: str | float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def card_problem(folder: Path) -> str | None:
    """Why the scores of a model card cannot be renewed, if so."""
    path = folder / CARD
    if not path.is_file():
        return f"{path} is missing, so there is no model card to renew; give the folder of a finished training"
    try:
        card = ModelCard.load(path)
    except (ValueError, OSError, yaml.YAMLError) as error:
        return f"{path} cannot be read as a model card: {' '.join(str(error).split())}"
    if not SCORES.search(card.text):
        return f"{path} has no section '## Scores' to renew; add the heading"
    return file_problem(path)


def update_model_card(folder: Path, report: Report) -> None:
    """Put the scores of a report into `README.md`: its section "Scores" and the model-index hold these alone then, and
    the rest stays as it is.

    Raises:
        OSError: the file cannot be written; it is as it was.
    """
    card = ModelCard.load(folder / CARD)
    card.data.eval_results = [result for each in report["sets"] for result in _eval_results(each)]
    card.data.metrics = list(dict.fromkeys(_metric_type(name) for name in report["sets"][0]["scores"]))
    if not card.data.model_name:
        card.data.model_name = folder.resolve().name
    parts = [
        "## Scores",
        _score_table(report["sets"], with_intervals=False),
        _signatures(report["sets"]),
        _notes(report),
    ]
    section = "\n\n".join([*parts, f"Beams: {report['generation']['num_beams']}.\n\n"])
    card.text = SCORES.sub(lambda _: section, card.text, count=1)
    write_file(folder / CARD, str(card))


def _metric_type(name: str) -> str:
    return name.partition("_")[0]


def _eval_results(data: Report) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="translation",
            task_name="Translation",
            dataset_type=data["dataset"]["type"],
            dataset_name=data["dataset"]["name"],
            dataset_split=data["dataset"]["split"],
            metric_type=_metric_type(name),
            metric_name=TITLES[name],
            metric_value=round(score["score"], 2),
        )
        for name, score in data["scores"].items()
    ]
