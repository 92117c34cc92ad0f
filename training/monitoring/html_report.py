"""Write the report of a run: one self-contained HTML file, and its curves as a PNG file.

This module collects the content of the page; its layout is in `report.html.j2`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined

from ..evaluation.scores import METRICS, Scores, column, score_table, validation_columns
from ..settings.arguments import CONCERNS, keys_with, without_folders
from ..settings.facts import Fact
from ..system.files import file_problem, write_file
from ..system.output_folder import PICTURE_FILE, REPORT_FILE, REPORT_FILES
from .metrics_file import (
    TRAIN,
    VALIDATION,
    VALIDATION_BASE,
    VALIDATION_MEAN,
    Line,
    ReportError,
    RunMetrics,
    read_run,
)
from .plots import Curve, Panel, png, svg

MOST_SAMPLED_STEPS = 12
MOST_INCIDENTS = 20
TEMPLATE = Path(__file__).parent / "report.html.j2"


Rows = list[tuple[str, str]]


class Incidents(NamedTuple):
    """A heading for lines of one kind, and the step and content of each of the last ones."""

    heading: str
    rows: Rows


def write_run_report(folder: Path) -> Path:
    """Write `report.html` and `report.png` of the run in `folder`, finished or not; return the path of the first.

    Raises:
        ReportError: the log of the run is missing or damaged, or the files cannot be written.
    """
    run = read_run(folder)
    problems = list(filter(None, (file_problem(folder / name) for name in REPORT_FILES)))
    if problems:
        raise ReportError("; ".join(problems))
    panels = panels_of(run)
    try:
        write_file(folder / PICTURE_FILE, png(panels))
        write_file(folder / REPORT_FILE, page(run, panels))
    except OSError as error:
        raise ReportError(f"cannot write the report of {folder}: {error}; all other files are unchanged") from error
    return folder / REPORT_FILE


def panels_of(run: RunMetrics) -> list[Panel]:
    """Return the plots of a run."""
    training = run.training
    validation = [line for kind in (VALIDATION_BASE, VALIDATION) for line in run.evaluations.get(kind, [])]
    smoothing = run.settings.get("label_smoothing")
    smoothed = f"training, label smoothing {smoothing}" if smoothing else "training"
    losses = [_curve(smoothed, training, "loss"), _curve(VALIDATION, validation, "loss")]
    scores = [_curve(metric.column.title, validation, name) for name, metric in METRICS.items()]
    return [
        Panel("Loss", "nats per target token", losses),
        Panel("Validation scores", "score, 0 to 100", scores, from_zero=True),
        Panel("Learning rate", "learning rate", [_curve(TRAIN, training, "learning_rate")], from_zero=True),
        Panel("Gradient norm", "norm before clipping", [_curve(TRAIN, training, "gradient_norm")], logarithmic=True),
        Panel("Speed", "target tokens per second", [_curve(TRAIN, training, "tokens_per_second")], from_zero=True),
        Panel(
            "Padding",
            "% of source and target positions",
            [_curve(TRAIN, training, "padding_share", 100)],
            from_zero=True,
        ),
    ]


def _curve(name: str, lines: Iterable[Line], key: str, factor: float = 1) -> Curve:
    points = [(line["step"], factor * float(line[key])) for line in lines if key in line]
    steps, values = np.array(points, np.float64).reshape(-1, 2).T
    return Curve(name, steps, values)


def page(run: RunMetrics, panels: Sequence[Panel]) -> str:
    """Return the HTML document, `report.html.j2` filled in."""
    # Logs and settings may hold any text: `autoescape` turns tags in them into plain text.
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    shown = _shown_evaluations(run)
    header, scores = score_table(shown, ["step", *validation_columns()])
    chosen, defaults = _settings(run.settings)
    omitted, sentences = _sentences(run)
    return template.render(
        name=run.name,
        summary=_summary(run),
        pictures=[(_description(panel), base64.b64encode(svg(panel).encode()).decode()) for panel in panels],
        score_header=header,
        scores=scores,
        signatures=_signatures(shown),
        incidents=_incidents(run),
        omitted=omitted,
        sentences=sentences,
        chosen=chosen,
        defaults=defaults,
        versions=[f"{name} {value}" for name, value in run.versions.items() if isinstance(value, str)],
    )


def _summary(run: RunMetrics) -> str:
    if not run.lines:
        return "The run has logged nothing yet."
    last = max(run.lines, key=lambda line: line["step"])
    parts = [f"{'Finished' if run.finished else 'Not finished'}, {last['step']:,} steps"]
    if run.training:
        parts.append(f"{run.training[-1]['epoch']:.2f} epochs")
    if "seconds" in run.lines[-1]:
        parts.append(f"{run.lines[-1]['seconds'] / 60:.1f} minutes")
    return ", ".join(parts) + "."


def _description(panel: Panel) -> str:
    curves = " and ".join(curve.name for curve in panel.curves)
    return f"{panel.title}: {curves} in {panel.unit}, over optimiser steps"


def _shown_evaluations(run: RunMetrics) -> dict[str, Line]:
    """Return the validation of the base model, if any, of the best model and of the last one, if different, and the
    tests at the end."""
    best = run.best
    if best is None:
        return {}
    shown = {"validation, best model": best}
    for name, lines in run.evaluations.items():
        if name == VALIDATION_BASE:
            shown = {"validation, base model": lines[-1], **shown}
        elif name == VALIDATION_MEAN:
            if lines[-1] is best:
                shown = {"validation, mean of the last models": shown.pop("validation, best model"), **shown}
        elif name != VALIDATION:
            shown[f"{name}, best model"] = lines[-1]
        elif lines[-1] is not best:
            shown["validation, last model"] = lines[-1]
    return shown


def _signatures(shown: Mapping[str, Line]) -> list[str]:
    if not shown:
        return []
    signatures = Scores.from_record(list(shown.values())[-1]).signatures
    return [f"{column(name).title} {signature}" for name, signature in signatures.items()]


def _incidents(run: RunMetrics) -> list[Incidents]:
    found = []
    for kind, lines in run.incidents.items():
        rows = [
            (f"{line['step']:,}", _brief({k: v for k, v in line.items() if k not in ("kind", "step")}))
            for line in lines[-MOST_INCIDENTS:]
        ]
        found.append(Incidents(f"{kind.replace('_', ' ').capitalize()}: {len(lines):,}", rows))
    return found


def _brief(values: Mapping[str, object]) -> str:
    """Return the values as JSON, with the file names of examples but without their folders."""
    examples = values.get("examples")
    if isinstance(examples, list):
        values = {**values, "examples": [re.split(r"[/\\]", str(each))[-1] for each in examples]}
    text = json.dumps(values, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _sentences(run: RunMetrics) -> tuple[str, list[list[tuple[str, str, str]]]]:
    """Return a note if only some evaluations are shown, and for each sentence its translations from the first
    evaluation to the last: label, text and language code."""
    lines = [line for line in run.evaluations.get(VALIDATION, []) if line.get("samples")]
    if not lines:
        return "", []
    best, count = run.best, len(lines)
    picked = {round(index * (count - 1) / (MOST_SAMPLED_STEPS - 1)) for index in range(MOST_SAMPLED_STEPS)}
    shown = [line for number, line in enumerate(lines) if number in picked or line is best]
    source, target = (run.settings.get(f"{side}_language") or "" for side in ("source", "target"))
    labels = [f"step {line['step']:,}{' (best)' if line is best else ''}" for line in shown]
    sentences = []
    for number, sample in enumerate(lines[-1]["samples"]):
        translations = [line["samples"][number]["translation"] for line in shown]
        head = [("source", sample["source"], source), ("reference", sample["reference"], target)]
        sentences.append([*head, *((*pair, target) for pair in zip(labels, translations, strict=True))])
    return f"{len(shown)} of {count} evaluations." if len(shown) < count else "", sentences


def _settings(settings: Mapping[str, object]) -> tuple[Rows, Rows]:
    """Return the settings that differ from their defaults, and the others, without folders of the machine."""
    defaults = {key: value for concern in CONCERNS.values() for key, value in vars(concern()).items()}
    private = keys_with(Fact.PRIVATE)
    chosen: Rows = []
    others: Rows = []
    for key, value in without_folders(settings).items():
        if key not in private:
            is_default = key in defaults and defaults[key] == value
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            (others if is_default else chosen).append((key, shown))
    return chosen, others
