"""Composition root of a training run: build data, model, optimiser and loop from the settings, and run them."""

from __future__ import annotations

from contextlib import closing, nullcontext

from accelerate.utils import set_seed
from transformers.utils.logging import disable_progress_bar

from .checkpoints.checkpoint import Checkpoint, Origin
from .checkpoints.resume import begin, choose_checkpoint, clear_up, has_finished, known_tokenizers
from .checkpoints.selection import Selection
from .checkpoints.state import TrainingState
from .data.batches import Batches, build_collator, open_batches
from .data.loading import Data, data_digests, load_data
from .evaluation.evaluator import Evaluator, choose_tokenizer
from .evaluation.scores import Scores
from .learning.initial_model import load_base_model, new_model
from .learning.learner import PreparedLearner, check_warmup, prepare_learner
from .learning.loop import Limits, Trainer
from .monitoring.metrics_file import ReportError
from .monitoring.profiling import profiling
from .monitoring.run_log import RunLog, report
from .monitoring.trackers import close_trackers, start_trackers
from .settings.arguments import Settings
from .system.processes import build_accelerator, check_same_data, on_main_process
from .system.signals import Stopped, StopSignals


def run(settings: Settings) -> Scores | None:
    """Train, evaluate and write a complete model folder; return the scores of the best model on the last held-out set,
    None if the run to resume has finished.

    Raises:
        LaunchError: before training, if the processes have different data.
        DataError: before training, if the data cannot be used.
        RecipeError: before training, if the warm-up would not end.
        CheckpointError: before training, if the base model or the checkpoint of the settings cannot be used; later, if
            a checkpoint cannot be written.
        NonFiniteError: too many steps in a row were not finite; the best model so far is in the folder `checkpoints`.
        MemoryShortageError: the smallest micro-batches do not fit into the memory of the device.
        ReportError: the report of the run cannot be written; everything else has been.
        Stopped: by a signal, with a checkpoint.
    """
    accelerator = build_accelerator(settings.optimisation.mixed_precision, settings.run.use_cpu)
    disable_progress_bar()  # of saving and loading, which would break the progress bar of training
    set_seed(settings.run.seed)
    if on_main_process(accelerator, lambda: has_finished(settings)):
        clear_up(accelerator, settings.run.folder)
        return None
    checkpoint = on_main_process(accelerator, lambda: choose_checkpoint(settings, accelerator.num_processes))
    base = load_base_model(settings, accelerator)
    data = load_data(settings, accelerator, known_tokenizers(accelerator, base, checkpoint))
    digests = data_digests(data) | ({} if base is None else {"base_model": base.digest()})
    check_same_data(accelerator, digests)
    batches = open_batches(settings, data, build_collator(settings, data.tokenizers, accelerator), accelerator)
    check_warmup(settings, batches)
    model = new_model(settings, data.tokenizers) if base is None else base.model
    begin(accelerator, settings, checkpoint, digests)
    start_trackers(accelerator, settings, None if checkpoint is None else checkpoint.state)
    training = Run(settings, data, batches, prepare_learner(settings, accelerator, model, batches, data), digests)
    try:
        minutes = training.train(checkpoint)
    except Stopped as stop:
        close_trackers(accelerator)
        try:
            report(accelerator, settings.run.folder)
        except ReportError as error:
            raise Stopped(f"{stop}; {error}") from error
        raise
    scores = training.selection.finish(data, minutes)
    close_trackers(accelerator)
    report(accelerator, settings.run.folder)
    if accelerator.is_main_process:
        print(training.selection.summary(data, scores))
    return scores


class Run:
    """A training run with loaded data and a prepared model.

    Args:
        settings: of the run.
        data: of the run.
        batches: of the training data.
        prepared: the learner with its model.
        digests: of the data and of the base model.

    Attributes:
        selection: the best model so far.
        log: of the run.
    """

    def __init__(
        self, settings: Settings, data: Data, batches: Batches, prepared: PreparedLearner, digests: dict[str, str]
    ) -> None:
        self.settings, self.data, self.batches, self.prepared = settings, data, batches, prepared
        self.accelerator = prepared.learner.accelerator
        self.origin = Origin(self.accelerator.num_processes, batches.group, digests)
        how, validation = settings.optimisation, data.held_out["validation"]
        planned_steps = how.planned_steps(batches.steps_per_epoch)
        run = settings.run
        self.log = RunLog(self.accelerator, run.folder, run.logging_steps, planned_steps, how.max_minutes)
        tokenize, batch_size = choose_tokenizer(settings, validation.text.targets), settings.evaluation.eval_batch_size
        evaluator = Evaluator(self.accelerator, data.tokenizers, batches.collator, batch_size, tokenize)
        self.selection = Selection(settings, evaluator, validation, self.log)

    def train(self, checkpoint: Checkpoint | None = None) -> float:
        """Train to the end, from a checkpoint if given, and keep the best model. Return the duration in minutes.

        Raises:
            Stopped: by a signal, with a checkpoint.
        """
        settings, log, selection = self.settings, self.log, self.selection
        learner, model, averages = self.prepared.learner, self.prepared.full_model, self.prepared.averages
        log.message(f"{self.prepared.size}; {self.batches.describe()}")
        with StopSignals() as signals, closing(log):
            trainer = Trainer(learner, self.batches, Limits.of(settings), log, signals.asked)
            state = TrainingState(model, learner, trainer.position, averages, selection, log)
            if checkpoint is not None:
                state.restore(checkpoint)
                log.message(f"resuming from {checkpoint.folder}")
            elif settings.finetuning.model_name_or_path is not None:
                selection.validate_base(model)
            with profiling(self.accelerator, log, settings.run.folder) if settings.run.profile else nullcontext():
                if selection.is_patient:
                    trainer.run(
                        lambda step: selection.validate(step, model, averages),
                        lambda: state.save(settings, self.data.tokenizers, self.origin),
                    )
            selection.validate_mean(learner.step, model, averages)
            return log.seconds() / 60
