"""A training run from settings to a model folder: the one place that knows all the parts."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch.utils.data import DataLoader
from transformers.utils.logging import disable_progress_bar

from ..configuration.configuration_sineformer import SineformerConfig
from ..modeling.modeling_sineformer import SineformerForConditionalGeneration
from .arguments import Settings
from .batching import Seq2SeqCollator, TokenBudgetBatchSampler, padding_share
from .checkpoint import BestCheckpoint, prepare_output_dir
from .data import Data, load_data
from .evaluation import Evaluator, Scores
from .loop import Learner, Limits, Trainer
from .model_card import Example, RunRecord, write_model_card
from .optimizer import build_optimizer, build_schedule
from .progress import METRICS_FILE, RunLog
from .record import write_settings, write_versions
from .tokenizer import Tokenizers

TRACKER = "tensorboard"
CARD_EXAMPLES = 8


def run(settings: Settings) -> Scores:
    """Train, evaluate and leave a complete model folder; returns the scores of the best model on the last held-out set.

    Raises:
        DataError: before training, if the data cannot be used.
        NonFiniteError: the loss or gradient is not finite; the best model so far is in the folder `checkpoints`.
    """
    output_dir = Path(str(settings.run.output_dir))
    accelerator = Accelerator(
        # Accelerate joins several processes on CPUs to one run only if told so; otherwise each would train alone.
        cpu=settings.run.use_cpu or not torch.accelerator.is_available(),
        mixed_precision=settings.optimisation.mixed_precision,
        log_with=TRACKER if settings.run.tensorboard else None,
        project_dir=output_dir,
        # The only buffers are tables of positions: constant, and larger in a process that has seen longer text.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    disable_progress_bar()  # of saving and loading: it would tear the bar of the training
    set_seed(settings.run.seed)
    data = load_data(settings, accelerator)
    model = build_model(settings, data.tokenizers)
    if accelerator.is_main_process:
        prepare_output_dir(output_dir, (METRICS_FILE, TRACKER))
        write_settings(output_dir, settings)
        write_versions(output_dir)
    accelerator.init_trackers(TRACKER)
    training = Run(settings, accelerator, data, model)
    training.train()
    scores = training.finish()
    accelerator.end_training()
    return scores


def build_model(settings: Settings, tokenizers: Tokenizers) -> SineformerForConditionalGeneration:
    """A fresh model for these vocabularies, with its generation parameters."""
    special = {
        "pad_token_id": tokenizers.target.pad_token_id,
        "bos_token_id": tokenizers.target.bos_token_id,
        "eos_token_id": tokenizers.target.eos_token_id,
        "decoder_start_token_id": tokenizers.target.bos_token_id,
    }
    config = SineformerConfig(
        **settings.model.config_fields(),
        **special,
        vocab_size=len(tokenizers.source),
        decoder_vocab_size=len(tokenizers.target),
        share_encoder_decoder_embeddings=tokenizers.joint,
    )
    config._attn_implementation = settings.model.attn_implementation
    model = SineformerForConditionalGeneration(config)
    model.generation_config.update(
        num_beams=settings.evaluation.num_beams,
        length_penalty=settings.evaluation.length_penalty,
        early_stopping=settings.evaluation.num_beams > 1,
    )
    return model


class Run:
    """Training and its end, for data and a model that are ready."""

    def __init__(
        self, settings: Settings, accelerator: Accelerator, data: Data, model: SineformerForConditionalGeneration
    ) -> None:
        self.settings, self.accelerator, self.data, self.model = settings, accelerator, data, model
        self.output_dir = Path(str(settings.run.output_dir))
        # Tensor cores work on multiples of 8.
        multiple = 8 if accelerator.device.type == "cuda" and accelerator.mixed_precision != "no" else 1
        self.collator = Seq2SeqCollator(data.tokenizers.source.pad_token_id, multiple)
        self.sampler = TokenBudgetBatchSampler(
            data.pairs.lengths,
            settings.optimisation.max_tokens,
            settings.run.seed,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            accumulation_steps=settings.optimisation.gradient_accumulation_steps,
            pad_to_multiple_of=multiple,
        )
        self.evaluator = Evaluator(accelerator, data.tokenizers, self.collator, settings.evaluation.eval_batch_size)
        self.best = BestCheckpoint(self.output_dir, settings.evaluation.best_metric)
        self.log = RunLog(
            accelerator,
            self.output_dir,
            settings.run.logging_steps,
            self._planned_steps(),
            settings.optimisation.max_minutes,
        )
        self.minutes = 0.0

    def _planned_steps(self) -> int | None:
        limits = self.settings.optimisation
        by_epochs = None if limits.num_epochs is None else limits.num_epochs * self.sampler.steps_per_epoch
        return min((limit for limit in (limits.max_steps, by_epochs) if limit is not None), default=None)

    def train(self) -> None:
        """Train to the end; the best model is in `checkpoints` then."""
        limits = Limits(
            self.settings.optimisation.max_steps,
            self.settings.optimisation.num_epochs,
            self.settings.optimisation.max_minutes,
            self.settings.evaluation.eval_steps,
        )
        loader: DataLoader[Any] = DataLoader(
            self.data.pairs,
            batch_sampler=self.sampler,
            collate_fn=self.collator,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        padding = padding_share(self.data.pairs.lengths, list(self.sampler), self.collator.pad_to_multiple_of)
        self.log.message(
            f"{self.model.num_parameters():,} parameters; {len(self.data.pairs):,} pairs; about "
            f"{self.sampler.steps_per_epoch:,} steps per epoch; padding {padding.source:.1%} of source and "
            f"{padding.target:.1%} of target positions"
        )
        started = time.monotonic()
        Trainer(self._learner(), self.sampler, loader, limits, self.log).run(self.validate)
        self.minutes = (time.monotonic() - started) / 60
        self.log.close()

    def _learner(self) -> Learner:
        optimisation = self.settings.optimisation
        self.model.to(self.accelerator.device)
        optimizer = build_optimizer(self.model, optimisation.learning_rate)
        planned_steps = self._planned_steps() if optimisation.lr_scheduler_type == "linear" else None
        schedule = build_schedule(optimizer, optimisation.warmup_steps, planned_steps)
        model, prepared_optimizer = self.accelerator.prepare(self.model, optimizer)
        model.train()
        # Until here all processes had one seed, for one model. Dropout differs from process to process.
        set_seed(self.settings.run.seed, device_specific=True)
        return Learner(
            self.accelerator,
            model,
            prepared_optimizer,
            schedule,
            optimisation.label_smoothing,
            optimisation.max_grad_norm,
            name_example=lambda index: self.data.text.place(int(self.data.pairs.rows[index])),
        )

    def validate(self, step: int) -> bool:
        """Measure the model, keep it if it is the best so far; False when patience is at its end."""
        scores, _ = self.evaluator.measure(
            self.model, self.data.held_out["validation"], self.settings.evaluation.eval_num_beams
        )
        is_best = self.best.judge(step, scores)
        if is_best and self.accelerator.is_main_process:
            self.best.save(self.model, self.data.tokenizers)
        self.log.evaluation("validation", step, scores, is_best)
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
        self.log.evaluation(held_out.name, self.best.step, scores)
        if self.accelerator.is_main_process:
            self.best.publish()
            assert self.best.scores is not None, "training ends with an evaluation"
            texts = zip(held_out.text.sources, held_out.text.targets, translations, strict=True)
            record = RunRecord(
                scores={"validation": self.best.scores, held_out.name: scores},
                examples=[Example(*each) for each in itertools.islice(texts, CARD_EXAMPLES)],
                config=model.config,
                parameters=model.num_parameters(),
                training_pairs=len(self.data.pairs),
                step=self.best.step,
                minutes=self.minutes,
                processes=f"{self.accelerator.num_processes} x {self.accelerator.device.type}",
            )
            write_model_card(self.output_dir, self.settings, record)
        self.accelerator.wait_for_everyone()
        return scores
