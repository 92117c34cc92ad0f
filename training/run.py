"""A training run from settings to a model folder: the one place that knows all the parts."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch.utils.data import DataLoader
from transformers.utils.logging import disable_progress_bar

from ..modeling.modeling_sineformer import SineformerForConditionalGeneration
from .checkpoints.checkpoint import (
    BestCheckpoint,
    end_checkpoints,
    prepare_output_dir,
    remove_old_checkpoints,
    save_model,
)
from .checkpoints.resume import check_data, choose_checkpoint, has_finished, remove_later
from .checkpoints.state import TrainingState, best_name_of, random_state, read_state
from .data.batching import EvaluationSet, Seq2SeqCollator, TokenBudgetBatchSampler
from .data.bpe_dropout import BpeDropoutPairs, BpeDropoutSampler
from .data.loading import Data, DataError, data_digests, load_data
from .data.streaming import Batching, StreamedBatches, TextStream
from .evaluation.evaluator import Evaluator, choose_tokenizer, pick_samples
from .evaluation.model_card import RunRecord, write_model_card
from .evaluation.scores import Example, Scores
from .learning.averaging import Averages
from .learning.freezing import trained_share
from .learning.initial_model import fresh_model, load_base_model
from .learning.loop import Learner, Limits, Trainer
from .learning.optimizer import build_optimizer, build_schedule
from .learning.skipped_steps import Skips
from .monitoring.metrics_file import ReportError
from .monitoring.profiling import profiling
from .monitoring.run_log import RunLog
from .monitoring.trackers import close_trackers, start_trackers
from .settings.arguments import Settings
from .settings.record import write_settings, write_versions
from .system.files import remove_leftovers, write_folder, write_manifest, writing
from .system.output_folder import METRICS_FILE, PROFILE_FOLDER, REPORT_FILES, SETTINGS_FILE, TRACKERS, state_folder
from .system.processes import build_accelerator, check_same_data, check_same_disk, on_main_process
from .system.sharding import WholeModel
from .system.signals import Stopped, StopSignals

CARD_EXAMPLES = 8


def run(settings: Settings) -> Scores | None:
    """Train, evaluate and leave a complete model folder; returns the scores of the best model on the last held-out set,
    None if the run to go on with has finished.

    Raises:
        LaunchError: before training, if the processes cannot train together, or do not have the same data.
        DataError: before training, if the data cannot be used.
        CheckpointError: before training, if it cannot begin or go on from the model or checkpoint that the settings ask
            for; later, if one cannot be written.
        NonFiniteError: too many steps in a row were not finite; the best model so far is in the folder `checkpoints`.
        MemoryShortageError: the memory of the device does not suffice for the smallest micro-batches.
        ReportError: the report of the run cannot be written; everything else is there.
        Stopped: by a signal, with a checkpoint.
    """
    how, use_cpu = settings.optimisation, settings.run.use_cpu
    accelerator = build_accelerator(how.mixed_precision, use_cpu, how.ema_decay, how.average_checkpoints)
    disable_progress_bar()  # of saving and loading: it would tear the bar of the training
    set_seed(settings.run.seed)
    if on_main_process(accelerator, lambda: has_finished(settings)):
        clear_up(accelerator, settings)
        return None
    checkpoint = on_main_process(accelerator, lambda: choose_checkpoint(settings, accelerator.num_processes))
    base = load_base_model(settings, accelerator)
    data = load_data(settings, accelerator, None if base is None else base.tokenizers)
    digests = data_digests(data) | ({} if base is None else {"base_model": base.digest()})
    check_same_data(accelerator, digests)
    model = fresh_model(settings, data.tokenizers) if base is None else base.model
    on_main_process(accelerator, lambda: begin(settings, checkpoint, digests))
    check_same_disk(accelerator, Path(str(settings.run.output_dir)) / SETTINGS_FILE)
    start_trackers(accelerator, settings, None if checkpoint is None else read_state(checkpoint))
    training = Run(settings, accelerator, data, model, digests)
    try:
        training.train(checkpoint)
    except Stopped as stop:
        close_trackers(accelerator)
        try:
            report(accelerator, settings)
        except ReportError as error:
            raise Stopped(f"{stop}; {error}") from error
        raise
    scores = training.finish()
    close_trackers(accelerator)
    report(accelerator, settings)
    return scores


def report(accelerator: Accelerator, settings: Settings) -> None:
    """Show the run so far in `report.html`, last of all: the other processes wait only for the end."""
    if accelerator.is_main_process:
        from .monitoring.html_report import write_run_report  # with matplotlib, which takes long to import

        write_run_report(Path(str(settings.run.output_dir)))


def clear_up(accelerator: Accelerator, settings: Settings) -> None:
    """Do what a run has left undone that was killed after it had finished."""
    output_dir = Path(str(settings.run.output_dir))
    on_main_process(accelerator, lambda: end_checkpoints(output_dir))
    report(accelerator, settings)


def begin(settings: Settings, checkpoint: Path | None, digests: dict[str, str]) -> None:
    """Make the output folder ready for a new run, or for going on from a checkpoint.

    Args:
        settings: of the run.
        checkpoint: to go on from.
        digests: of the data and of the model that the run begins from.

    Raises:
        CheckpointError: the checkpoint is of other data, or the folder cannot be written.
    """
    output_dir = Path(str(settings.run.output_dir))
    if checkpoint is not None:
        check_data(checkpoint, digests)
    with writing(str(output_dir)):
        if checkpoint is None:
            prepare_output_dir(output_dir, (METRICS_FILE, *REPORT_FILES, *TRACKERS, PROFILE_FOLDER))
        else:
            remove_later(checkpoint)
            remove_leftovers(checkpoint.parent)
        write_settings(output_dir, settings)
        write_versions(output_dir, digests)


class Run:
    """Training and its end, for data and a model that are ready."""

    def __init__(
        self,
        settings: Settings,
        accelerator: Accelerator,
        data: Data,
        model: SineformerForConditionalGeneration,
        digests: dict[str, str],
    ) -> None:
        self.settings, self.accelerator, self.data, self.model = settings, accelerator, data, model
        self.digests = digests
        self.minutes = 0.0
        self.output_dir = Path(str(settings.run.output_dir))
        # Tensor cores work on multiples of 8.
        multiple = 8 if accelerator.device.type == "cuda" and settings.optimisation.mixed_precision != "no" else 1
        self.collator = Seq2SeqCollator(data.tokenizers.source.pad_token_id, multiple)
        try:
            self.sampler = self._sampler()
        except ValueError as error:
            raise DataError(f"training data: {error}") from error
        tokenize = choose_tokenizer(settings, data.held_out["validation"].text.targets)
        batch_size = settings.evaluation.eval_batch_size
        self.evaluator = Evaluator(accelerator, data.tokenizers, self.collator, batch_size, tokenize)
        self.best = BestCheckpoint(self.output_dir, settings.evaluation.best_metric)
        self.log = RunLog(
            accelerator,
            self.output_dir,
            settings.run.logging_steps,
            self._planned_steps(),
            settings.optimisation.max_minutes,
        )

    def _sampler(self) -> TokenBudgetBatchSampler | StreamedBatches:
        optimisation, seed, train = self.settings.optimisation, self.settings.run.seed, self.data.train
        if isinstance(train, TextStream):
            batching = Batching(self.data.tokenizers, self.collator, optimisation.max_tokens, seed)
            return StreamedBatches(train, batching, self.accelerator, optimisation.gradient_accumulation_steps)
        sampler = BpeDropoutSampler if isinstance(train.pairs, BpeDropoutPairs) else TokenBudgetBatchSampler
        return sampler(
            train.pairs.lengths_on_demand,
            optimisation.max_tokens,
            seed,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            accumulation_steps=optimisation.gradient_accumulation_steps,
            pad_to_multiple_of=self.collator.pad_to_multiple_of,
        )

    def _planned_steps(self) -> int | None:
        limits, in_epoch = self.settings.optimisation, self.sampler.steps_per_epoch
        by_epochs = None if limits.num_epochs is None or in_epoch is None else limits.num_epochs * in_epoch
        return min((limit for limit in (limits.max_steps, by_epochs) if limit is not None), default=None)

    def _limits(self) -> Limits:
        optimisation, run = self.settings.optimisation, self.settings.run
        ends = optimisation.max_steps, optimisation.num_epochs, optimisation.max_minutes
        return Limits(*ends, self.settings.evaluation.eval_steps, run.save_steps, run.save_minutes)

    def train(self, checkpoint: Path | None = None) -> None:
        """Train to the end, from a checkpoint if one is given; the best model is in `checkpoints` then.

        Raises:
            Stopped: by a signal, with a checkpoint.
        """
        loader = self._loader()
        with StopSignals() as signals, contextlib.closing(self.log):
            trainer = Trainer(self._learner(), self.sampler, loader, self._limits(), self.log, signals.asked)
            state = TrainingState(self.whole, trainer.learner, trainer.position, self.best, self.log)
            if checkpoint is not None:
                state.restore(checkpoint)
                self.averages.restore(checkpoint)
                self.log.message(f"going on from {checkpoint}")
            with self._profiling():
                if self._is_patient():
                    trainer.run(self.validate, lambda: self.save(state))
            with self.averages.mean() as is_mean:
                if is_mean:
                    self._judge("validation_mean", trainer.learner.step, is_mean=True)
            self.minutes = self.log.seconds() / 60

    def _profiling(self) -> contextlib.AbstractContextManager[None]:
        if self.settings.run.profile:
            return profiling(self.accelerator, self.log, self.output_dir)
        return contextlib.nullcontext()

    def _loader(self) -> DataLoader[Any] | None:
        """What makes the sampler's batches; None for a stream, which makes its own. The log says what there is."""
        train, sampler, share = self.data.train, self.sampler, trained_share(self.model)
        if isinstance(train, TextStream) or isinstance(sampler, StreamedBatches):
            self.log.message(f"{share}; a stream of pairs, {self.settings.data.shuffle_buffer:,} at a time")
            return None
        padding = sampler.padding()
        self.log.message(
            f"{share}; {len(train.pairs):,} pairs; about {sampler.steps_per_epoch:,} steps per epoch; padding "
            f"{padding.source:.1%} of source and {padding.target:.1%} of target positions"
        )
        return DataLoader(
            train.pairs,
            batch_sampler=sampler,
            collate_fn=self.collator,
            pin_memory=self.accelerator.device.type == "cuda",
            generator=torch.Generator(),  # otherwise it draws from the one of dropout whenever it is opened
        )

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint; every process has to call it."""
        random_states = gather_object([random_state(self.accelerator)])
        model, moments = self.whole.up_to_date(), state.moments()

        def write(aside: Path) -> None:
            save_model(aside, model, self.data.tokenizers)
            write_settings(aside, self.settings)
            state.save(aside, moments, random_states, origin)
            self.averages.save(aside)
            write_manifest(aside)

        origin = {
            "processes": self.accelerator.num_processes,
            "batches_per_step": self.sampler.group,
            "data": self.digests,
        }
        folder = state_folder(self.output_dir, state.learner.step)
        on_main_process(self.accelerator, lambda: self._write_checkpoint(folder, write))

    def _write_checkpoint(self, folder: Path, write: Callable[[Path], None]) -> None:
        with writing(f"checkpoint {folder}"):
            write_folder(folder, write)
            remove_old_checkpoints(self.best, self.settings.run.save_total_limit, best_name_of)

    def _learner(self) -> Learner:
        optimisation = self.settings.optimisation
        self.model.to(self.accelerator.device)
        self.whole = WholeModel(self.model, self.accelerator)
        optimizer = build_optimizer(self.model, optimisation.learning_rate)
        kind, width = optimisation.lr_scheduler_type, self.model.config.d_model
        schedule = build_schedule(optimizer, optimisation.warmup_steps, kind, self._planned_steps(), width)
        model, prepared_optimizer = self.accelerator.prepare(self.model, optimizer)
        model.train()
        self.averages = Averages(self.model, optimisation.ema_decay, optimisation.average_checkpoints)
        self.averages.follow(optimizer)
        # Until here all processes had one seed, for one model. Dropout differs from process to process.
        set_seed(self.settings.run.seed, device_specific=True)
        return Learner(
            self.accelerator,
            model,
            prepared_optimizer,
            schedule,
            optimisation.label_smoothing,
            optimisation.max_grad_norm,
            optimisation.r_drop,
            name_example=self.data.train.place,
            skips=Skips(optimisation.max_skipped_steps),
        )

    def validate(self, step: int) -> bool:
        """Measure the model, keep it if it is the best so far; False when patience is at its end."""
        with self.averages.to_be_evaluated():
            self._judge("validation", step)
        return self._is_patient()

    def _judge(self, name: str, step: int, is_mean: bool = False) -> None:
        model, held_out = self.whole.up_to_date(), self.data.held_out["validation"]
        scores, translations = self.evaluator.measure(model, held_out, self.settings.evaluation.eval_num_beams)
        is_best = self.best.judge(step, scores, is_mean)
        if is_best:
            on_main_process(self.accelerator, lambda: self._write_best(model))
        self.log.evaluation(name, step, scores, pick_samples(held_out, translations), is_best)

    def _write_best(self, model: Any) -> None:
        with writing(f"the best model, {self.best.folder}"):
            self.best.save(model, self.data.tokenizers)
            remove_old_checkpoints(self.best, self.settings.run.save_total_limit, best_name_of)

    def _is_patient(self) -> bool:
        patience = self.settings.evaluation.patience
        return patience is None or self.best.evaluations_since < patience

    def finish(self) -> Scores:
        """Measure the best model on the last held-out set, with the beams it is saved with; move it to the output
        folder and write its card."""
        self.accelerator.wait_for_everyone()  # the main process has written it
        model: Any = SineformerForConditionalGeneration.from_pretrained(
            self.best.folder, attn_implementation=self.settings.model.attn_implementation
        )
        model.to(self.accelerator.device)
        held_out = list(self.data.held_out.values())[-1]
        scores, translations = self.evaluator.measure(model, held_out, self.settings.evaluation.num_beams)
        self.log.evaluation(held_out.name, self.best.step, scores, pick_samples(held_out, translations))
        on_main_process(self.accelerator, lambda: self._publish(model, held_out, scores, translations))
        return scores

    def _publish(self, model: Any, held_out: EvaluationSet, scores: Scores, translations: list[str]) -> None:
        assert self.best.scores is not None, "training ends with an evaluation"
        with writing(str(self.output_dir)):
            self.best.publish()
            texts = zip(held_out.text.sources, held_out.text.targets, translations, strict=True)
            record = RunRecord(
                scores={"validation": self.best.scores, held_out.name: scores},
                examples=[Example(*each) for each in itertools.islice(texts, CARD_EXAMPLES)],
                config=model.config,
                parameters=model.num_parameters(),
                training_pairs=None if isinstance(self.data.train, TextStream) else len(self.data.train.pairs),
                step=self.best.step,
                minutes=self.minutes,
                is_mean=self.best.is_mean,
                processes=f"{self.accelerator.num_processes} x {self.accelerator.device.type}",
            )
            write_model_card(self.output_dir, self.settings, record)
            end_checkpoints(self.output_dir)
