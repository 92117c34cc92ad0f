"""What must hold for settings of the right types, found before anything starts."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.activations import ACT2FN

from ..configuration.configuration_sineformer import SineformerConfig
from ..modeling.modeling_sineformer import SineformerForConditionalGeneration
from .data.loading import columns_of
from .data.readers.sources import read_files
from .evaluation.languages import tokenizer_problem
from .evaluation.scores import best_metrics
from .learning.adapter import is_peft_missing
from .learning.optimizer import ENDING_AT_ZERO
from .settings.arguments import (
    NO_TRACKER,
    SPLITS,
    DataArguments,
    EvaluationArguments,
    FineTuningArguments,
    ModelArguments,
    OptimisationArguments,
    RunArguments,
    Settings,
)
from .system.output_folder import TRACKERS, state_folders

LARGEST_INTEGER = 2**31 - 1
EMBEDDED_LANGUAGES = ("en", "de")
SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # as `datasets` has it
LEAST_NOAM_FACTOR = 0.01
_AT_LEAST_ONE = (
    *("d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"),
    *("encoder_ffn_dim", "decoder_ffn_dim", "max_position_embeddings", "train_size", "validation_size", "test_size"),
    *("max_characters", "max_length", "max_length_ratio", "max_tokens", "gradient_accumulation_steps", "warmup_steps"),
    *("max_steps", "num_epochs", "eval_steps", "patience", "eval_num_beams", "eval_batch_size", "num_beams"),
    *("tokenizer_sample", "shuffle_buffer", "logging_steps", "save_steps", "save_total_limit", "lora_alpha"),
    "average_checkpoints",
    *("vocab_size", "target_vocab_size"),
)
_SHARES = (
    *("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"),
    *("lora_dropout", "label_smoothing", "ema_decay"),
)
_NOT_NEGATIVE = ("stream_workers", "max_grad_norm", "max_skipped_steps", "lora_r", "r_drop")
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{key: (lambda value: value >= 1, "must be at least 1") for key in _AT_LEAST_ONE},
    **{key: (lambda value: 0 <= value < 1, "must be in [0, 1)") for key in _SHARES},
    **{
        key: (lambda value: 0 < value < math.inf, "must be a positive number")
        for key in ("learning_rate", "max_minutes", "save_minutes")
    },
    **{key: (lambda value: 0 <= value <= 1, "must be in [0, 1]") for key in ("bpe_dropout", "max_unusable_share")},
    "length_penalty": (math.isfinite, "must be a finite number"),
    "seed": (lambda value: value >= 0, "must not be negative"),
    **{key: (lambda value: value >= 0, "must not be negative") for key in _NOT_NEGATIVE},
    "activation_function": (lambda value: value in ACT2FN, "must be a name that transformers.activations.ACT2FN knows"),
}


def problems_of(settings: Settings) -> Iterator[str]:
    """Everything that is wrong, one line each, naming the key and the mend."""
    out_of_range = list(_range_problems(settings))
    yield from out_of_range
    if not any(problem.partition(":")[0] in settings.model.config_fields() for problem in out_of_range):
        yield from _model_problems(settings.model)
    yield from _attention_problems(settings.model.attn_implementation)
    yield from _finetuning_problems(settings)
    yield from _data_problems(settings.data)
    yield from _stream_problems(settings)
    yield from _limit_problems(settings)
    yield from _scoring_problems(settings.evaluation)
    yield from _tracker_problems(settings.run)
    yield from _output_problems(settings.run)


def _range_problems(settings: Settings) -> Iterator[str]:
    for key, value in settings.as_dict().items():
        if key in _RANGES and value is not None:
            holds, rule = _RANGES[key]
            if not holds(value):
                yield f"{key}: {rule}, got {value}"
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            yield f"{key}: must be at most {LARGEST_INTEGER}, got {value}"


def _model_problems(model: ModelArguments) -> Iterator[str]:
    try:
        SineformerConfig(**model.config_fields())
    except StrictDataclassError as error:
        yield f"model: {error.__cause__ or error}"


def _attention_problems(name: str) -> Iterator[str]:
    """Whether transformers can compute attention in this way, here: it says so when a model is made, however small."""
    if name == ModelArguments.attn_implementation:
        return
    small = SineformerConfig(
        vocab_size=8,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
    )
    small._attn_implementation = name
    try:
        with torch.device("meta"):
            SineformerForConditionalGeneration(small)
    except (ValueError, ImportError) as error:
        yield f"attn_implementation: {error}"


def _finetuning_problems(settings: Settings) -> Iterator[str]:
    finetuning = settings.finetuning
    name, adapts = finetuning.model_name_or_path, finetuning.lora_r > 0
    if name is None:
        given = {"model_revision": finetuning.model_revision, "freeze": finetuning.freeze, "lora_r": adapts}
        for key in (key for key, value in given.items() if value):
            yield f"{key}: only for a model that is there; say with model_name_or_path which"
    elif settings.run.output_dir is not None and os.path.isdir(name):
        output_dir = Path(settings.run.output_dir)
        if Path(name).resolve().is_relative_to(output_dir.resolve()):
            yield f"output_dir: {output_dir} holds the model of model_name_or_path; choose another folder"
    if not adapts:
        defaults = FineTuningArguments()
        for key in ("lora_alpha", "lora_dropout", "lora_target_modules"):
            if getattr(finetuning, key) != getattr(defaults, key):
                yield f"{key}: only for adapters; set lora_r"
    if adapts and finetuning.freeze:
        yield "freeze, lora_r: with adapters, all of the model stays as it is; leave out freeze"
    if adapts and (settings.optimisation.ema_decay or settings.optimisation.average_checkpoints > 1):
        # The product of two means is not the mean of the products.
        yield "lora_r: averages of adapters are not those of the weights; leave out ema_decay and average_checkpoints"
    if adapts and is_peft_missing():
        yield "lora_r: adapters need PEFT: pip install 'peft>=0.18'"


def _data_problems(data: DataArguments) -> Iterator[str]:
    for split in SPLITS:
        files = data.files_of(split)
        if data.dataset != "files" and files:
            yield f"{split}_files: only read with 'dataset: files', but dataset is {data.dataset!r}"
        elif data.dataset == "files" and (files or split != "test"):
            try:
                read_files(files, columns_of(data))
            except ValueError as error:
                yield f"{split}_files: {error}"
    if (data.source_column is None) != (data.target_column is None):
        yield "source_column, target_column: set both or neither"
    elif data.source_column is not None and data.source_column == data.target_column:
        yield f"source_column, target_column: both are {data.source_column!r}"
    if data.source_language == data.target_language:
        yield f"source_language, target_language: both are {data.source_language!r}"
    elif data.dataset == "embedded" and (data.source_language, data.target_language) != EMBEDDED_LANGUAGES:
        yield f"source_language, target_language: the embedded task goes from {' to '.join(EMBEDDED_LANGUAGES)}"


def _stream_problems(settings: Settings) -> Iterator[str]:
    data, optimisation = settings.data, settings.optimisation
    if not data.streaming:
        if data.stream_workers:
            yield "stream_workers: only for a stream; set streaming: true"
        if data.shuffle_buffer != DataArguments.shuffle_buffer:
            yield "shuffle_buffer: only for a stream; set streaming: true"
        return
    if data.dataset not in ("embedded", "files") and not SPLIT_NAME.fullmatch(data.train_split):
        yield (
            f"train_split: a stream takes no slices or sums of splits, got {data.train_split!r}; name one split, or "
            "leave out streaming"
        )
    if data.cache_dir is not None:
        yield "streaming, cache_dir: a stream is not kept; leave out one of them"
    if data.on_bad_rows == "refuse":
        yield "streaming, on_bad_rows: bad rows of a stream come out while it trains; use on_bad_rows: drop"
    if settings.tokenizer.bpe_dropout:
        yield "streaming, bpe_dropout: a stream is not held to be cut anew in every epoch; leave out one of them"
    if settings.tokenizer.tokenizer_sample is None and settings.finetuning.model_name_or_path is None:
        yield "tokenizer_sample: say on how many pairs of the stream the vocabulary is trained, for example 1000000"
    if optimisation.lr_scheduler_type in ("linear", "cosine") and optimisation.max_steps is None:
        yield f"max_steps: set it; {optimisation.lr_scheduler_type} needs an end, and a stream has no known length"


def _limit_problems(settings: Settings) -> Iterator[str]:
    optimisation = settings.optimisation
    if optimisation.max_steps is None and optimisation.num_epochs is None and optimisation.max_minutes is None:
        yield "max_steps, num_epochs, max_minutes: nothing says when to stop; set at least one"
    yield from _schedule_problems(optimisation)
    if settings.data.max_length > optimisation.max_tokens:
        yield "max_length, max_tokens: a sentence of max_length tokens must fit into a batch of max_tokens"
    no_gpu = settings.run.use_cpu or not torch.accelerator.is_available()
    if optimisation.mixed_precision == "fp16" and no_gpu:
        yield "mixed_precision: fp16 needs a GPU; use bf16 or no"


def _scoring_problems(evaluation: EvaluationArguments) -> Iterator[str]:
    if evaluation.best_metric not in best_metrics():
        yield f"best_metric: {evaluation.best_metric!r} is none of {', '.join(best_metrics())}"
    problem = None if evaluation.bleu_tokenize is None else tokenizer_problem(evaluation.bleu_tokenize)
    if problem is not None:
        yield f"bleu_tokenize: {problem}"


def _tracker_problems(run: RunArguments) -> Iterator[str]:
    for name in run.trackers:
        if name not in TRACKERS:
            yield f"report_to: {name!r} is none of {', '.join(TRACKERS)} or {NO_TRACKER}"
        elif importlib.util.find_spec(name) is None:
            yield f"report_to: {name} is not installed; pip install {name}, or take it out of report_to"
    if NO_TRACKER in run.report_to and run.trackers:
        yield f"report_to: {NO_TRACKER} stands beside {', '.join(run.trackers)}; leave one out"


def _schedule_problems(optimisation: OptimisationArguments) -> Iterator[str]:
    kind = optimisation.lr_scheduler_type
    if kind in ENDING_AT_ZERO:
        if optimisation.max_steps is None and optimisation.num_epochs is None:
            yield f"lr_scheduler_type: {kind} ends at the last step; set max_steps or num_epochs, to say which that is"
        elif optimisation.max_steps is not None and optimisation.warmup_steps >= optimisation.max_steps:
            yield f"warmup_steps: {kind} has to come down after the warm-up; use fewer than max_steps"
    if kind == "noam" and optimisation.learning_rate < LEAST_NOAM_FACTOR:
        yield (
            f"learning_rate: with noam it is a factor to equation (3), 1 in the paper; {optimisation.learning_rate} "
            f"would hardly learn, give at least {LEAST_NOAM_FACTOR}"
        )


def _output_problems(run: RunArguments) -> Iterator[str]:
    if run.output_dir is None:
        yield "output_dir: say where the model goes, for example --output_dir runs/first"
        return
    folder = Path(run.output_dir)
    resume = run.resume_from_checkpoint is not None
    if resume and run.overwrite_output_dir:
        yield "resume_from_checkpoint, overwrite_output_dir: go on with what is there or replace it; set one of them"
    if os.path.isfile(folder):
        yield f"output_dir: {folder} is a file; choose another name"
    elif not _writable(folder):
        yield f"output_dir: {folder} cannot be written to; choose another folder or change its permissions"
    elif run.overwrite_output_dir or resume or not folder.is_dir():
        return
    elif state_folders(folder):
        yield (
            f"output_dir: {folder} has checkpoints of a run; add --resume to go on with it, choose another folder, or "
            "add --overwrite_output_dir, which removes them"
        )
    elif any(folder.iterdir()):
        yield f"output_dir: {folder} is not empty; choose another folder or add --overwrite_output_dir"


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself and those above it that are missing."""
    try:
        existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    except OSError:
        return False
    return os.access(existing, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
