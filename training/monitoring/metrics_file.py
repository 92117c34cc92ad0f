"""Read `metrics.jsonl` and the record of a run for its report."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.scores import Scores, is_better, is_record, validation_columns
from ..settings.record import recorded_settings
from ..system.output_folder import CHECKPOINTS, METRICS_FILE, VERSIONS_FILE

TRAIN, VALIDATION, VALIDATION_MEAN = "train", "validation", "validation_mean"
VALIDATION_BASE = "validation_base"  # of the model to fine-tune, before training

Line = Mapping[str, Any]
TRAINING_NUMBERS = ("seconds", "epoch", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "padding_share")


class ReportError(RuntimeError):
    """Raised if the report of a run cannot be made; the message says why and how to fix it."""


@dataclass(frozen=True)
class RunMetrics:
    """The log of a run, finished or not, and its settings.

    Attributes:
        name: of its folder.
        lines: of `metrics.jsonl`, in order.
        settings: keys and values of its recipe; empty without a record.
        versions: of the libraries; empty without a record.
        finished: whether the run has finished.
    """

    name: str
    lines: list[Line]
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]
    finished: bool

    @property
    def training(self) -> list[Line]:
        """Return the lines of training steps."""
        return [line for line in self.lines if line["kind"] == TRAIN]

    @property
    def evaluations(self) -> dict[str, list[Line]]:
        """Return the evaluations by name of the set, in order of first appearance."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            if is_record(line):
                found.setdefault(line["kind"], []).append(line)
        return found

    @property
    def incidents(self) -> dict[str, list[Line]]:
        """Return the lines of any other kind, such as skipped steps, by kind."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            if line["kind"] != TRAIN and not is_record(line):
                found.setdefault(line["kind"], []).append(line)
        return found

    @property
    def best(self) -> Line | None:
        """Return the evaluation of the best model so far; None before the first evaluation."""
        metric = self.settings.get("best_metric", "bleu")

        def better(best: Line, line: Line) -> Line:
            return line if is_better(Scores.from_record(line), Scores.from_record(best), metric) else best

        evaluations = [line for kind in (VALIDATION, VALIDATION_MEAN) for line in self.evaluations.get(kind, [])]
        return functools.reduce(better, evaluations) if evaluations else None


def read_run(folder: Path) -> RunMetrics:
    """Read the log and the record of a run, finished or not, from its output folder.

    Raises:
        ReportError: the log of the run is missing or damaged.
    """
    log, versions = folder / METRICS_FILE, folder / VERSIONS_FILE
    try:
        # Text after the last newline is being written. Sentences may hold other line separators.
        texts = log.read_text(encoding="utf-8").split("\n")[:-1]
        lines = [_parse(text, f"{log}:{number}") for number, text in enumerate(texts, start=1)]
        return RunMetrics(
            folder.resolve().name,
            lines,
            recorded_settings(folder) or {},
            json.loads(versions.read_text(encoding="utf-8")) if versions.exists() else {},
            finished=not (folder / CHECKPOINTS).exists(),
        )
    except FileNotFoundError as error:
        raise ReportError(f"{log} is missing; give the output folder of a run that has started training") from error
    except (OSError, ValueError) as error:
        raise ReportError(f"the record in {folder} cannot be read: {' '.join(str(error).split())}") from error


def _parse(text: str, location: str) -> Line:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise ReportError(f"{location}: not valid JSON ({error}); remove this line") from error
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str) or not isinstance(line.get("step"), int):
        raise ReportError(f"{location}: a line of a log has a kind and a step, this has not; remove it")
    _check_types(line, location)
    return line


def _check_types(line: Line, location: str) -> None:
    if line["kind"] == "skipped":
        return  # shown unchanged
    for key in sorted(line.keys() & {*TRAINING_NUMBERS, *validation_columns()}):
        value = line[key]
        is_word = key == "gradient_norm" and value in ("inf", "-inf", "nan")  # not numbers in JSON
        if isinstance(value, bool) or not (isinstance(value, int | float) or is_word):
            raise ReportError(f"{location}: {key} is not a number but {value!r}; remove this line")
