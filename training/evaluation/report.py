"""Write the report of an evaluation, as JSON and as Markdown."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..system.files import folder_problem, real_path, write_folder
from .languages import has_spaces, tercom_segments
from .scores import LOSS, PERPLEXITY, column, score_table, signature_line, table

JSON_FILE = "evaluation.json"
MARKDOWN_FILE = "evaluation.md"
TRANSLATIONS = "translations.{}.txt"
LONGEST_NAME = 255  # bytes of a file name, on the common file systems

Report = Mapping[str, Any]


def write_report(folder: Path, report: Report, translations: Mapping[str, Sequence[str]]) -> None:
    """Write the report as JSON and Markdown, and the translations of each set, one per line, atomically.

    Raises:
        OSError: the folder cannot be written; an older report is unchanged.
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
    """Return why a report cannot be written there; None if it can. The folder is replaced, so it may hold only an older
    report."""
    problem = folder_problem(folder)
    if problem is not None:
        return f"output folder {problem}"
    ours = re.compile("|".join([re.escape(JSON_FILE), re.escape(MARKDOWN_FILE), TRANSLATIONS.format(".*")]))
    others = sorted(path.name for path in folder.glob("*") if not ours.fullmatch(path.name))
    if others:
        return f"output folder {folder} holds {others[0]}, which is not part of a report; name a new folder"
    return None


def name_problem(name: str) -> str | None:
    """Return why a test set cannot have this name, which is part of a file name, with the fix; None if it can."""
    if "/" in name or len(os.fsencode(TRANSLATIONS.format(name))) > LONGEST_NAME:
        return f"{name!r} cannot be part of a file name; choose another name with --names"
    return None


def markdown(report: Report) -> str:
    """Return the report as Markdown: scores, the comparison and the worst sentences of each set, and settings."""
    settings = ", ".join(f"{key} {value}" for key, value in report["generation"].items())
    parts = [
        f"# Evaluation of {report['model']}",
        published_table(report["sets"], with_intervals=True),
        notes(report),
        signatures(report["sets"]),
        *(_comparison(report, each) for each in report["sets"] if report["compared_with"]),
        *(_worst(report, each) for each in report["sets"]),
        f"Translated with {settings}. Parameters: {report['parameters']:,}. Weights in {report['dtype']}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def notes(report: Report) -> str:
    """Return an explanation of the columns of the table of scores."""
    language, tokenize = report["target_language"], report["bleu_tokenize"]
    said = [f"BLEU: detokenised, with case, tokeniser {tokenize}."]
    if has_spaces(language):
        said += ["BLEU, lower case: over lower-case tokens of the Moses scripts, as in the literature on Multi30k."]
        said += ["TER: lower is better."]
    elif tercom_segments(language):
        said += ["TER: lower is better; text without spaces is segmented by Tercom."]
    units = "one to four words" if has_spaces(language) else "two to eight characters"
    said += [
        "Intervals: 95 %, by bootstrap over the sentences. "
        f"Length: tokens ({tokenize}) of all translations / tokens of all references. "
        f"Repetition: percentage of translations in which {units} are repeated immediately; in brackets, of "
        "references. Loss and perplexity: per target token, end of sentence included, given the preceding "
        "reference, without label smoothing.",
    ]
    return textwrap.fill(" ".join(said), 120)


def published_table(sets: Sequence[Report], with_intervals: bool) -> str:
    """Return the table of the scores of all test sets."""
    names = [*sets[0]["scores"], "exact_match", "length_ratio", "repetition_rate", LOSS, PERPLEXITY]
    return table(*score_table({each["name"]: _shown(each, with_intervals) for each in sets}, ["sentences", *names]))


def _shown(data: Report, with_intervals: bool) -> dict[str, Any]:
    scores = {name: _interval(score, with_intervals) for name, score in data["scores"].items()}
    repeated = (data["repetition_rate"], data["repetition_rate_of_references"])
    return {**data, **scores, "repetition_rate": "{:.1f} % ({:.1f} %)".format(*repeated)}


def _interval(score: Report, with_interval: bool = True) -> str:
    return f"{score['score']:.2f}" + (f" ({score['mean']:.2f} ± {score['ci']:.2f})" if with_interval else "")


def signatures(sets: Sequence[Report]) -> str:
    """Return a sentence with the signatures of the scores."""
    return signature_line({name: each["signature"] for name, each in sets[0]["scores"].items()})


def _comparison(report: Report, data: Report) -> str:
    names = {"model": report["model"], "baseline": report["compared_with"], "neither": "neither"}
    rows = [
        (
            column(name).title,
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
    if not rows:
        return f"## {data['name']}: all translations are equal to their references"
    title = f"## {data['name']}: the {len(rows)} sentences with the lowest chrF"
    return "\n\n".join([title, table(list(columns.values()), rows)])


def _cell(value: str | float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
