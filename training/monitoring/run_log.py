"""Log a run: a progress bar or plain lines, `metrics.jsonl`, and the trackers of Accelerate."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator
from tqdm.auto import tqdm

from ..evaluation.scores import Example, Scores, log_line
from ..settings.arguments import public
from ..system.files import flush, writing
from ..system.output_folder import METRICS_FILE
from .trackers import track_samples, wandb_id

EXAMPLES_SHOWN = 10
# Between lines of progress, beside those every `logging_steps`: first, later, and for the bar of a terminal.
FIRST_SECONDS, LATER_SECONDS, BAR_SECONDS = 5.0, 60.0, 1.0
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # tqdm's own time left ignores evaluations


class Skipped(NamedTuple):
    """A skipped step.

    Attributes:
        loss: of the step.
        gradient_norm: of the step.
        examples: locations of the examples in micro-batches whose loss is not finite; if there are none, of all.
        in_a_row: consecutive steps skipped, this one included.
        total: steps skipped in the run so far.
        finite_weights: whether the weights are finite, so that a later step can succeed.
    """

    loss: float
    gradient_norm: float
    examples: list[str]
    in_a_row: int
    total: int
    finite_weights: bool

    def __str__(self) -> str:
        shown = ", ".join(self.examples[:EXAMPLES_SHOWN]) + (", ..." if len(self.examples) > EXAMPLES_SHOWN else "")
        return (
            f"the loss is {self.loss}, the gradient norm {self.gradient_norm}. "
            f"{len(self.examples)} examples are in the affected batches: {shown}"
        )


@dataclasses.dataclass
class StepReport:
    """One optimiser step: mean loss per target token, gradient norm before clipping, and the target tokens of all
    processes.

    Attributes:
        skipped: why the step left the weights unchanged; None if it was taken.
        parts: number of splits of each micro-batch, if memory ran out in this step; otherwise None.
    """

    loss: float
    gradient_norm: float
    target_tokens: int
    skipped: Skipped | None = None
    parts: int | None = None


class Fill(NamedTuple):
    """Source and target positions in the batches of a step, over all processes: with a token, and all."""

    filled: int
    positions: int


@dataclasses.dataclass
class Sums:
    """Sums over the steps since the last report; the fields are keys of checkpoints.

    Attributes:
        loss_sum: loss over all target tokens, in nats.
        tokens: target tokens of steps that were not skipped.
        filled, positions: as in `Fill`.
        gradient_norm: of the last step that was not skipped.
        seconds_summed: duration of the steps.
        steps: number of steps.
    """

    loss_sum: float = 0.0
    tokens: int = 0
    filled: int = 0
    positions: int = 0
    gradient_norm: float = 0.0
    seconds_summed: float = 0.0
    steps: int = 0

    def add(self, report: StepReport, fill: Fill, seconds: float) -> None:
        """Add a step."""
        if report.skipped is None:
            self.loss_sum += report.loss * report.target_tokens
            self.tokens += report.target_tokens
            self.gradient_norm = report.gradient_norm
        self.filled += fill.filled
        self.positions += fill.positions
        self.seconds_summed += seconds
        self.steps += 1


class RunLog:
    """Log a run on the main process; on other processes all methods do nothing.

    Notes and progress go to stderr. Progress is shown after every report, and also by time, so that a slow run visibly
    advances; `metrics.jsonl` and the trackers receive only the reports.

    Args:
        accelerator: of the run, with its trackers initialised.
        folder: for `metrics.jsonl`.
        logging_steps: number of steps per report.
        planned_steps: last step of training; None if unknown.
        max_minutes: time limit of training; None for no limit.

    Attributes:
        latest: number of steps done.
        after_step: called after every step, on every process.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: Path,
        logging_steps: int,
        planned_steps: int | None,
        max_minutes: float | None,
    ) -> None:
        self.accelerator = accelerator
        self.main = accelerator.is_main_process
        self.path = folder / METRICS_FILE
        self.logging_steps = logging_steps
        self.planned_steps = planned_steps
        self.max_seconds = None if max_minutes is None else 60 * max_minutes
        self.on_terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=planned_steps,
            unit=" steps",
            disable=not (self.main and self.on_terminal),
            dynamic_ncols=True,
            bar_format=None if planned_steps is None else BAR,
        )
        self.started = time.monotonic()
        self.seconds_training = 0.0
        self.latest = 0
        self.shown_at, self.patience = self.started, BAR_SECONDS if self.on_terminal else FIRST_SECONDS
        self.after_step: Callable[[], object] = lambda: None
        self.sums = Sums()

    def seconds(self) -> float:
        """Return the duration of the run, including the time before it was resumed."""
        return time.monotonic() - self.started

    def state(self) -> dict[str, Any]:
        """Return the state for resuming this log. The main process flushes `metrics.jsonl` to disk and includes its
        size."""
        size = 0
        if self.main and self.path.exists():
            flush(self.path)
            size = self.path.stat().st_size
        return {
            "bytes": size,
            "seconds": self.seconds(),
            "seconds_training": self.seconds_training,
            "sums": dataclasses.asdict(self.sums),
            "wandb_id": wandb_id(self.accelerator),
        }

    def restore(self, state: dict[str, Any], step: int) -> None:
        """Resume the log of a run stopped after `step` steps: truncate lines that were written later."""
        self.started = time.monotonic() - state["seconds"]
        self.seconds_training = state["seconds_training"]
        self.sums = Sums(**state["sums"])
        self.latest = step
        self.bar.initial = self.bar.n = step
        self.bar.refresh()
        if not self.main:
            return
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < state["bytes"]:
            self.message(f"warning: {self.path} has lost lines: it had {state['bytes']} bytes, now {size}")
        elif size:
            os.truncate(self.path, state["bytes"])

    def message(self, text: str) -> None:
        """Write a line of text, above the bar if there is one."""
        if self.main:
            self.bar.write(text, file=sys.stderr)

    def step(
        self, number: int, epoch: float, report: StepReport, fill: Fill, learning_rate: float, seconds: float
    ) -> None:
        """Log a step; every `logging_steps` steps, report on those that were not skipped."""
        self.latest = number
        self.after_step()
        if report.parts is not None:
            self._out_of_memory(number, report.parts)
        if report.skipped is not None:
            self._skipped(number, report.skipped)
        self.sums.add(report, fill, seconds)
        self.seconds_training += seconds
        is_due = self.sums.steps >= self.logging_steps
        if self.sums.tokens > 0 and (is_due or time.monotonic() - self.shown_at >= self.patience):
            values = self._values(epoch, learning_rate)
            if is_due:
                self._record("train", number, values)
            self._show(number, values)
        if is_due:
            self.sums = Sums()

    def _values(self, epoch: float, learning_rate: float) -> dict[str, Any]:
        """Return the values of a report on the steps since the last one."""
        sums = self.sums
        return {
            "loss": sums.loss_sum / sums.tokens,
            "learning_rate": learning_rate,
            # JSON has no numbers that are not finite, as gradients in fp16 may be; `float` parses these strings.
            "gradient_norm": sums.gradient_norm if math.isfinite(sums.gradient_norm) else str(sums.gradient_norm),
            "tokens_per_second": sums.tokens / sums.seconds_summed,
            "padding_share": 1 - sums.filled / sums.positions,
            "epoch": epoch,
        }

    def _skipped(self, number: int, skipped: Skipped) -> None:
        # JSON has no numbers that are not finite; `float` parses these strings.
        values = {"loss": str(skipped.loss), "gradient_norm": str(skipped.gradient_norm)}
        values |= {"examples": public(skipped.examples)}
        self._record("skipped", number, values | {"in_a_row": skipped.in_a_row, "total": skipped.total})
        self.message(f"warning: step {number} was skipped, {skipped.total} so far: {skipped}")

    def _out_of_memory(self, number: int, parts: int) -> None:
        self._record("out_of_memory", number, {"parts": parts})
        self.message(
            f"warning: step {number} ran out of memory; from now on every batch is split into {parts} micro-batches, "
            "with the same result"
        )

    def _show(self, number: int, values: dict[str, Any]) -> None:
        self.shown_at = time.monotonic()
        if not self.main:
            return
        left = f"{self._time_per_epoch(values['epoch'])}{self._time_left(number)} left"
        shown = (
            f"loss {values['loss']:.3f}, lr {values['learning_rate']:.2e}, {values['tokens_per_second']:,.0f} tokens/s"
        )
        if self.on_terminal:
            self.bar.set_postfix_str(f"{left}, {shown}", refresh=False)  # truncated at the end on a narrow terminal
            self.bar.update(number - self.bar.n)
        else:
            self.patience = LATER_SECONDS
            of_all = "" if self.planned_steps is None else f"/{self.planned_steps}"
            self.message(f"step {number}{of_all}, epoch {values['epoch']:.2f}: {shown}, {left}")

    def _time_per_epoch(self, epoch: float) -> str:
        """Return the training time of an epoch at the average speed so far; empty in the first epoch of a stream, whose
        length is unknown."""
        return f"{tqdm.format_interval(self.seconds_training / epoch)} per epoch, " if epoch > 0 else ""

    def _time_left(self, number: int) -> str:
        """Return the time to the nearest limit at the average speed so far, evaluations included; unknown for epochs of
        a stream."""
        elapsed = self.seconds()
        limits = []
        if self.planned_steps is not None:
            limits.append(elapsed / number * (self.planned_steps - number))
        if self.max_seconds is not None:
            limits.append(max(0.0, self.max_seconds - elapsed))
        return tqdm.format_interval(min(limits)) if limits else "unknown time"

    def evaluation(
        self, name: str, number: int, scores: Scores, samples: Sequence[Example], is_best: bool | None = None
    ) -> None:
        """Log the scores and sample translations of the evaluation set `name`.

        Args:
            name: of the evaluation set, the key of its line.
            number: step of the model.
            scores: of the model.
            samples: translations to show.
            is_best: whether the model is the best so far; None for the final evaluation of the best model.
        """
        record = scores.as_record() | {"samples": [dataclasses.asdict(each) for each in samples]}
        self._record(name, number, record)
        track_samples(self.accelerator, name, self.latest, samples)
        best = ", the best so far" if is_best else ""
        title = (
            f"final {name}, best model (step {number})"
            if is_best is None
            else f"{name.replace('_', ' of the ')} at step {number}"
        )
        self.message(f"{title}: {log_line(scores)}{best}")

    def _record(self, kind: str, number: int, values: dict[str, Any]) -> None:
        """Write a line of `metrics.jsonl`, and the numbers among the values to the trackers."""
        numbers = {f"{kind}/{key}": value for key, value in values.items() if isinstance(value, int | float)}
        # Logged at the latest step: Weights & Biases drops values of earlier ones, such as scores of the best model.
        self.accelerator.log(numbers, step=self.latest)
        if self.main:
            line = {"kind": kind, "step": number, "seconds": round(self.seconds(), 2), **values}
            with writing(str(self.path)), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the progress bar."""
        self.bar.close()


def report(accelerator: Accelerator, folder: Path) -> None:
    """Write `report.html` on the main process; called last, because the other processes do not wait for it.

    Raises:
        ReportError: it cannot be written.
    """
    if accelerator.is_main_process:
        from .html_report import write_run_report  # imports matplotlib, which is slow

        write_run_report(folder)
