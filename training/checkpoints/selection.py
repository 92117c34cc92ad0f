"""Choose the best model of a run by its scores on the validation set, keep it, and publish it at the end."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...modeling.modeling_sineformer import SineformerForConditionalGeneration
from ..data.corpus import EvaluationSet
from ..data.loading import Data
from ..evaluation.evaluator import Evaluator, pick_samples
from ..evaluation.model_card import RunRecord, write_model_card
from ..evaluation.scores import Example, Scores, is_better
from ..learning.averaging import Averages
from ..monitoring.metrics_file import VALIDATION_BASE
from ..monitoring.run_log import RunLog
from ..monitoring.summary import summarize_run
from ..settings.arguments import Settings
from ..system.files import MANIFEST, copy_file, write_folder, write_manifest, writing
from ..system.output_folder import best_folder
from ..system.processes import on_main_process
from ..system.sharding import FullModel
from .checkpoint import remove_checkpoints, remove_old_checkpoints, save_model

CARD_EXAMPLES = 8


@dataclass
class Best:
    """The best evaluation so far, which checkpoints hold.

    Attributes:
        step: of the best model.
        is_mean: whether it is the mean of several models, the last of which is that of the step.
        scores: of the best model; None before the first evaluation.
        evaluations_since: number of later evaluations, none of them better.
    """

    step: int = 0
    is_mean: bool = False
    scores: Scores | None = None
    evaluations_since: int = 0

    def judge(self, step: int, scores: Scores, metric: str, is_mean: bool = False) -> bool:
        """Record an evaluation; return whether it is the best so far by `metric`."""
        if self.scores is not None and not is_better(scores, self.scores, metric):
            self.evaluations_since += 1
            return False
        self.step, self.is_mean, self.scores, self.evaluations_since = step, is_mean, scores, 0
        return True


@dataclass
class Selection:
    """The best model of a run, in a separate folder in `checkpoints`.

    Every process calls the methods that evaluate; the main process writes.

    Attributes:
        settings: of the run; gives the folder, the metric, patience, and the number of checkpoints to keep.
        evaluator: measures the models.
        validation: the set that models are chosen on.
        log: receives the scores.
        best: the best evaluation so far.
        base: scores of the model to fine-tune, before training; None for a new model.
    """

    settings: Settings
    evaluator: Evaluator
    validation: EvaluationSet
    log: RunLog
    best: Best = field(default_factory=Best)
    base: Scores | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of the best model."""
        return best_folder(self.settings.run.folder, self.best.step, self.best.is_mean)

    @property
    def is_patient(self) -> bool:
        """Return whether fewer than `patience` evaluations in a row were no better than the best one."""
        patience = self.settings.evaluation.patience
        return patience is None or self.best.evaluations_since < patience

    def validate_base(self, model: FullModel) -> None:
        """Evaluate the model to fine-tune before training, for comparison; it is not a candidate for the best model."""
        num_beams = self.settings.evaluation.eval_num_beams
        self.base, translations = self.evaluator.measure(model.gather(), self.validation, num_beams)
        samples = pick_samples(self.validation, translations)
        self.log.evaluation(VALIDATION_BASE, 0, self.base, samples, is_best=False)

    def validate(self, step: int, model: FullModel, averages: Averages) -> bool:
        """Evaluate the model, or its moving average if there is one, and keep it if it is the best so far; return
        whether training should continue.

        Raises:
            CheckpointError: the best model cannot be written.
        """
        with averages.evaluated_weights():
            self._evaluate("validation", step, model)
        return self.is_patient

    def validate_mean(self, step: int, model: FullModel, averages: Averages) -> None:
        """Evaluate the mean of the last evaluated models, if there are several, and keep it if it is the best so far.

        Raises:
            CheckpointError: the best model cannot be written.
        """
        with averages.mean() as is_mean:
            if is_mean:
                self._evaluate("validation_mean", step, model, is_mean=True)

    def _evaluate(self, name: str, step: int, model: FullModel, is_mean: bool = False) -> None:
        evaluation, full = self.settings.evaluation, model.gather()
        scores, translations = self.evaluator.measure(full, self.validation, evaluation.eval_num_beams)
        is_best = self.best.judge(step, scores, evaluation.best_metric, is_mean)
        if is_best:
            on_main_process(self.evaluator.accelerator, lambda: self._write(full))
        self.log.evaluation(name, step, scores, pick_samples(self.validation, translations), is_best)

    def _write(self, model: Any) -> None:
        def write(aside: Path) -> None:
            save_model(aside, model, self.evaluator.tokenizers)
            write_manifest(aside)

        with writing(f"the best model, {self.folder}"):
            write_folder(self.folder, write)
            self.remove_old()

    def remove_old(self) -> None:
        """Remove the checkpoints beyond `save_total_limit`, and the best models that nothing needs any more."""
        run = self.settings.run
        remove_old_checkpoints(run.folder, run.save_total_limit, self.folder)

    def finish(self, data: Data, minutes: float) -> Scores:
        """Measure the best model on the last held-out set, with its saved number of beams; copy it into the output
        folder, write its card and remove the checkpoints; return the scores. Every process calls it.

        Args:
            data: of the run.
            minutes: duration of training.

        Raises:
            CheckpointError: the output folder cannot be written.
        """
        accelerator, settings = self.evaluator.accelerator, self.settings
        accelerator.wait_for_everyone()  # the main process has written it
        model: Any = SineformerForConditionalGeneration.from_pretrained(
            self.folder, attn_implementation=settings.model.attn_implementation
        )
        model.to(accelerator.device)
        held_out = list(data.held_out.values())[-1]
        self.log.message(f"final {held_out.name}: translating {len(held_out.text):,} sentences with the best model")
        scores, translations = self.evaluator.measure(model, held_out, settings.evaluation.num_beams)
        self.log.evaluation(held_out.name, self.best.step, scores, pick_samples(held_out, translations))
        assert self.best.scores is not None, "training ends with an evaluation"
        before = {} if self.base is None else {"validation, base model": self.base}
        texts = zip(held_out.text.sources, held_out.text.targets, translations, strict=True)
        record = RunRecord(
            scores=before | {"validation": self.best.scores, held_out.name: scores},
            examples=[Example(*each) for each in itertools.islice(texts, CARD_EXAMPLES)],
            config=model.config,
            parameters=model.num_parameters(),
            training_pairs=data.train.size,
            step=self.best.step,
            minutes=minutes,
            is_mean=self.best.is_mean,
            processes=f"{accelerator.num_processes} x {accelerator.device.type}",
        )
        on_main_process(accelerator, lambda: self._end(record))
        return scores

    def summary(self, data: Data, scores: Scores) -> str:
        """Return the last lines of a run with the `scores` of `finish`."""
        return summarize_run(self.settings.run.folder, self.best.step, list(data.held_out.values())[-1], scores)

    def _end(self, record: RunRecord) -> None:
        with writing(str(self.settings.run.folder)):
            self.publish()
            write_model_card(self.settings.run.folder, self.settings, record)
            remove_checkpoints(self.settings.run.folder)

    def publish(self) -> None:
        """Copy the best model into the output folder. The original stays: until the run has ended, resuming from
        a checkpoint needs it."""
        for entry in self.folder.iterdir():
            if entry.name != MANIFEST:
                _copy(entry, self.settings.run.folder / entry.name)


def _copy(entry: Path, target: Path) -> None:
    """Copy a file or folder, replacing an earlier one of that name."""
    if entry.is_dir():

        def write(aside: Path) -> None:
            shutil.copytree(entry, aside, dirs_exist_ok=True)

        write_folder(target, write)
    else:
        copy_file(entry, target)
