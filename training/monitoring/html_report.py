"""The report of a run as one HTML file that needs no other, and its curves as a picture, from what the run recorded."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..settings.arguments import CONCERNS, keys_with
from ..settings.facts import Fact
from ..system.files import file_problem, write_file
from ..system.output_folder import PICTURE_FILE, REPORT_FILE, REPORT_FILES
from .metrics_file import (
    TRAIN,
    VALIDATION,
    VALIDATION_MEAN,
    Line,
    ReportError,
    RunMetrics,
    read_run,
)
from .plots import Curve, Panel, png, svg

MOST_SAMPLED_STEPS = 12
MOST_INCIDENTS = 20
SCORES = {
    "step": ("Step", "{:,}"),
    "sentences": ("Sentences", "{:,}"),
    "num_beams": ("Beams", "{}"),
    "bleu": ("BLEU", "{:.2f}"),
    "chrf": ("chrF", "{:.2f}"),
    "exact_match": ("Exact match, %", "{:.1f}"),
    "loss": ("Loss, nats per token", "{:.3f}"),
    "perplexity": ("Perplexity", "{:.2f}"),
}
CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem; margin: 0 auto;
  padding: 1rem; }
h1 { margin-bottom: 0; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
.curves img { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: start; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #ddd; }
th { white-space: nowrap; }
p, td { overflow-wrap: anywhere; }
.numbers td, .samples td:first-child { white-space: nowrap; font-variant-numeric: tabular-nums; }
.samples { width: 100%; margin-bottom: 2rem; }
.samples td:first-child { width: 6rem; color: #555; }
.best { font-weight: 600; }
"""


def write_run_report(folder: Path) -> Path:
    """Write `report.html` and `report.png` of the run in `folder`, finished or not; returns the first.

    Raises:
        ReportError: there is no log of a run, it is damaged, or the files cannot be written.
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
        raise ReportError(f"cannot write the report of {folder}: {error}; what else is there is as it was") from error
    return folder / REPORT_FILE


def panels_of(run: RunMetrics) -> list[Panel]:
    """What there is to see of a run."""
    training, validation = run.training, run.evaluations.get(VALIDATION, [])
    smoothing = run.settings.get("label_smoothing")
    smoothed = f"training, label smoothing {smoothing}" if smoothing else "training"
    losses = [_curve(smoothed, training, "loss"), _curve(VALIDATION, validation, "loss")]
    scores = [_curve("BLEU", validation, "bleu"), _curve("chrF", validation, "chrf")]
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
    """The whole HTML document."""
    parts = [
        f"<h1>{html.escape(run.name)}</h1>",
        f"<p>{_summary(run)}</p>",
        "<h2>Curves</h2>",
        f'<div class="curves">{"".join(map(_picture, panels))}</div>',
        "<h2>Scores</h2>",
        _scores(run),
        *_incidents(run),
        "<h2>Translations over time</h2>",
        _samples(run),
        "<h2>Settings</h2>",
        _settings(run.settings),
    ]
    if run.versions:
        known = ", ".join(f"{name} {value}" for name, value in run.versions.items() if isinstance(value, str))
        parts.append(f"<p>{html.escape(known)}</p>")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(run.name)}: training</title><style>{CSS}</style>"
    )
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _summary(run: RunMetrics) -> str:
    if not run.lines:
        return "The run has reported nothing yet."
    last = max(run.lines, key=lambda line: line["step"])
    parts = [f"{'Finished' if run.finished else 'Not finished'}, {last['step']:,} steps"]
    if run.training:
        parts.append(f"{run.training[-1]['epoch']:.2f} epochs")
    if "seconds" in run.lines[-1]:
        parts.append(f"{run.lines[-1]['seconds'] / 60:.1f} minutes")
    return html.escape(", ".join(parts) + ".")


def _picture(panel: Panel) -> str:
    curves = " and ".join(curve.name for curve in panel.curves)
    text = f"{panel.title}: {curves} in {panel.unit}, over optimiser steps"
    data = base64.b64encode(svg(panel).encode()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/svg+xml;base64,{data}">'


def _table(rows: Iterable[Iterable[str]], kind: str, header: Sequence[str] = ()) -> str:
    """A table of cells that are HTML already."""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    if header:
        lines.insert(0, "".join(f"<th>{html.escape(cell)}</th>" for cell in header))
    content = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="wide"><table class="{kind}">\n{content}</table></div>'


def _scores(run: RunMetrics) -> str:
    """The best model on the validation set, the last one if it is another, and the tests at the end."""
    evaluations, best = run.evaluations, run.best
    shown = [] if best is None else [("validation, best model", best)]
    for name, lines in evaluations.items():
        if name == VALIDATION_MEAN:
            if lines[-1] is best:
                shown[0] = ("validation, mean of the last models", best)
        elif name != VALIDATION:
            shown.append((f"{name}, best model", lines[-1]))
        elif lines[-1] is not best:
            shown.append(("validation, last model", lines[-1]))
    if not shown:
        return "<p>No evaluation yet.</p>"
    rows = [
        [
            html.escape(name),
            *(html.escape(text.format(line[key])) if key in line else "" for key, (_, text) in SCORES.items()),
        ]
        for name, line in shown
    ]
    table = _table(rows, "numbers", ["Set", *(title for title, _ in SCORES.values())])
    last = shown[-1][1]
    signatures = f"sacrebleu: BLEU {last['bleu_signature']}, chrF {last['chrf_signature']}"
    return f"{table}<p>{html.escape(signatures)}</p>"


def _incidents(run: RunMetrics) -> list[str]:
    parts = []
    for kind, lines in run.incidents.items():
        parts.append(f"<h2>{html.escape(kind.replace('_', ' ').capitalize())}: {len(lines):,}</h2>")
        rows = [
            [f"{line['step']:,}", html.escape(_brief({k: v for k, v in line.items() if k not in ("kind", "step")}))]
            for line in lines[-MOST_INCIDENTS:]
        ]
        parts.append(_table(rows, "samples", ["Step", "What was recorded (the last of them)"]))
    return parts


def _brief(values: Mapping[str, object]) -> str:
    """The values as JSON; examples by the name of their file alone, without the folders of the machine."""
    examples = values.get("examples")
    if isinstance(examples, list):
        values = {**values, "examples": [re.split(r"[/\\]", str(each))[-1] for each in examples]}
    text = json.dumps(values, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _samples(run: RunMetrics) -> str:
    """A table for each sentence: its translations at some steps from the first evaluation to the last."""
    lines = [line for line in run.evaluations.get(VALIDATION, []) if line.get("samples")]
    if not lines:
        return "<p>None were recorded.</p>"
    best, count = run.best, len(lines)
    picked = sorted({round(index * (count - 1) / (MOST_SAMPLED_STEPS - 1)) for index in range(MOST_SAMPLED_STEPS)})
    shown = [line for number, line in enumerate(lines) if number in picked or line is best]
    languages = [run.settings.get(f"{side}_language", "") for side in ("source", "target")]
    tables = []
    for number, sample in enumerate(lines[-1]["samples"]):
        rows = [
            ("source", _text(sample["source"], languages[0])),
            ("reference", _text(sample["reference"], languages[1])),
        ]
        for line in shown:
            mark = " (best)" if line is best else ""
            rows.append((f"step {line['step']:,}{mark}", _text(line["samples"][number]["translation"], languages[1])))
        tables.append(_table(rows, "samples"))
    omitted = f"<p>{len(shown)} of {count} evaluations.</p>" if len(shown) < count else ""
    return omitted + "\n".join(tables)


def _text(text: str, language: str) -> str:
    """A sentence that reads from right to left where its letters do."""
    return f'<span dir="auto" lang="{html.escape(language)}">{html.escape(text)}</span>'


def _settings(settings: Mapping[str, object]) -> str:
    """Those that differ from the defaults; the others folded away. The folders of the machine concern nobody else."""
    private = keys_with(Fact.PRIVATE)
    settings = {key: value for key, value in settings.items() if key not in private}
    if not settings:
        return "<p>The run has left no record of them.</p>"
    defaults = {key: value for concern in CONCERNS.values() for key, value in vars(concern()).items()}
    chosen = {key: value for key, value in settings.items() if key not in defaults or defaults[key] != value}
    others = {key: value for key, value in settings.items() if key not in chosen}
    parts = [_setting_table(chosen)]
    if others:
        parts.append(f"<details><summary>{len(others)} defaults</summary>{_setting_table(others)}</details>")
    return "\n".join(parts)


def _setting_table(settings: Mapping[str, object]) -> str:
    def shown(value: object) -> str:
        return " ".join(map(str, value)) if isinstance(value, list) else str(value)

    return _table([[html.escape(key), html.escape(shown(value))] for key, value in settings.items()], "settings")
