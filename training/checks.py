"""Check settings of the right types; all problems are found and reported together, before anything starts.

Rules of a single setting are at its field. Here are the rules between settings, and between settings and data, folders,
libraries, the device and the launch: one function for each concern, in the order of `problems_of`.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError

from ..configuration.configuration_sineformer import SineformerConfig
from ..modeling.modeling_sineformer import SineformerForConditionalGeneration
from ..modeling.tokenization_sineformer import TAG, tag_of
from .data.loading import columns_of, languages_of
from .data.readers.sources import read_files
from .evaluation.languages import tokenizer_problem
from .evaluation.scores import best_metrics
from .learning.adapter import is_peft_missing
from .settings.arguments import (
    NO_TRACKER,
    EvaluationArguments,
    OptimisationArguments,
    RunArguments,
    Settings,
    rules,
)
from .settings.data_arguments import EMBEDDED, EMBEDDED_LANGUAGES, SPLITS, DataArguments
from .settings.model_arguments import FineTuningArguments, ModelArguments
from .settings.schedules import SCHEDULES
from .system.launch import launch_problems, uses_deepspeed, uses_fsdp
from .system.output_folder import TRACKERS, state_folders
from .upload import upload_problems

LARGEST_INTEGER = 2**31 - 1
SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # as in `datasets`
LEAST_NOAM_FACTOR = 0.01


def problems_of(settings: Settings) -> Iterator[str]:
    """Yield everything that is wrong with the settings, one line each, naming the key and the fix."""
    out_of_range = list(_range_problems(settings))
    yield from out_of_range
    if not any(problem.partition(":")[0] in settings.model.config_fields() for problem in out_of_range):
        yield from _model_problems(settings.model)
    yield from _attention_problems(settings.model.attn_implementation)
    yield from _finetuning_problems(settings)
    yield from _data_problems(settings.data)
    yield from _both_directions_problems(settings)
    yield from _stream_problems(settings)
    yield from _batch_problems(settings)
    yield from _two_passes_problems(settings)
    yield from _schedule_problems(settings)
    yield from _end_problems(settings.optimisation)
    yield from _precision_problems(settings)
    yield from _launch_problems(settings)
    yield from _scoring_problems(settings.evaluation)
    yield from _tracker_problems(settings.run)
    yield from _output_problems(settings.run)
    yield from upload_problems(settings.run)


def _range_problems(settings: Settings) -> Iterator[str]:
    """Yield the settings that break their own rule."""
    rule_of = rules()
    for key, value in settings.as_dict().items():
        if key in rule_of and value is not None and not rule_of[key].holds(value):
            yield f"{key}: {rule_of[key].text}, got {value}"
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            yield f"{key}: must be at most {LARGEST_INTEGER}, got {value}"


def _model_problems(model: ModelArguments) -> Iterator[str]:
    """Yield the reason if `SineformerConfig` refuses the settings."""
    try:
        SineformerConfig(**model.config_fields())
    except StrictDataclassError as error:
        yield f"model: {error.__cause__ or error}"


def _attention_problems(name: str) -> Iterator[str]:
    """Yield why transformers cannot use this attention implementation here, found by making a small model."""
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
    """Yield the settings of fine-tuning that do not work with each other or with the rest."""
    finetuning = settings.finetuning
    name, adapts = finetuning.model_name_or_path, finetuning.lora_r > 0
    if name is None:
        given = {"model_revision": finetuning.model_revision, "freeze": finetuning.freeze, "lora_r": adapts}
        for key in (key for key, value in given.items() if value):
            yield f"{key}: only for fine-tuning; set model_name_or_path"
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
        yield "freeze, lora_r: with adapters, the complete model is frozen; remove freeze"
    if adapts and (settings.optimisation.ema_decay or settings.optimisation.average_checkpoints > 1):
        # The product of two means is not the mean of the products.
        yield "lora_r: averages of adapters are not those of the weights; remove ema_decay and average_checkpoints"
    if adapts and is_peft_missing():
        yield "lora_r: adapters need PEFT: pip install 'peft>=0.18'"


def _data_problems(data: DataArguments) -> Iterator[str]:
    """Yield the data that cannot be read, and problems with columns and languages."""
    if data.dataset is None:
        yield (
            "dataset: nothing says what to train on; give train_files and validation_files, the id of a dataset on the "
            "Hub as dataset, or 'dataset: embedded' for the embedded English-German task"
        )
    for split in SPLITS:
        files = data.files_of(split)
        if data.dataset != "files" and files:
            yield f"{split}_files: only read with 'dataset: files', but dataset is {data.dataset!r}"
        elif data.dataset == "files" and split == "validation" and not files:
            if not data.holds_out:
                yield "validation_files: give them, or hold pairs out of train_files with validation_size"
        elif data.dataset == "files" and (files or split == "train"):
            try:
                read_files(files, columns_of(data), languages_of(data))
            except ValueError as error:
                yield f"{split}_files: {error}"
    if (data.source_column is None) != (data.target_column is None):
        yield "source_column, target_column: set both or neither"
    elif data.source_column is not None and data.source_column == data.target_column:
        yield f"source_column, target_column: both are {data.source_column!r}"
    yield from _language_problems(data)
    yield from _holdout_problems(data)


def _holdout_problems(data: DataArguments) -> Iterator[str]:
    """Yield why no validation pairs can be held out as the settings ask."""
    if data.validation_size is None or data.dataset is None:
        return
    if data.dataset == EMBEDDED:
        if data.validation_size < 1:
            yield "validation_size: of the embedded task it is a number of pairs"
    elif data.dataset != "files":
        yield "validation_size: of a dataset on the Hub, use slices, such as train_split: train[1000:]"
    elif data.holds_out and data.streaming:
        yield "streaming, validation_size: nothing can be held out of a stream; give validation_files"


def _language_problems(data: DataArguments) -> Iterator[str]:
    """Yield what is wrong with the languages of the data."""
    if data.dataset not in (None, EMBEDDED, "files") and (columns_of(data) or languages_of(data)) is None:
        yield (
            "source_language, target_language: give the codes of both, such as en and fr, if the columns of the "
            "dataset are named after them; otherwise give source_column and target_column"
        )
    elif data.source_language is not None and data.source_language == data.target_language:
        yield f"source_language, target_language: both are {data.source_language!r}"
    elif data.dataset == "embedded" and (data.source_language, data.target_language) != EMBEDDED_LANGUAGES:
        yield f"source_language, target_language: the embedded task goes from {' to '.join(EMBEDDED_LANGUAGES)}"


def _both_directions_problems(settings: Settings) -> Iterator[str]:
    """Yield why the pairs cannot be used in both directions."""
    data = settings.data
    if not data.both_directions:
        return
    languages = [data.source_language, data.target_language]
    if None in languages:
        yield "both_directions: give the codes of both languages as source_language and target_language, such as en, de"
    elif not all(TAG.fullmatch(tag_of(str(code))) for code in languages):
        yield f"both_directions: the codes of the languages become tags and have no blanks, got {languages}"
    if settings.tokenizer.target_vocab_size is not None:
        yield "both_directions, target_vocab_size: need a joint vocabulary; remove the latter, or take another model"


def _stream_problems(settings: Settings) -> Iterator[str]:
    """Yield the settings that do not work with streaming, or only with it."""
    data, optimisation = settings.data, settings.optimisation
    if not data.streaming:
        if data.stream_workers:
            yield "stream_workers: only for streaming; set streaming: true"
        if data.shuffle_buffer != DataArguments.shuffle_buffer:
            yield "shuffle_buffer: only for streaming; set streaming: true"
        return
    if data.dataset not in ("embedded", "files") and not SPLIT_NAME.fullmatch(data.train_split):
        yield (
            f"train_split: a stream takes no slices or sums of splits, got {data.train_split!r}; name one split, or "
            "remove streaming"
        )
    if data.cache_dir is not None:
        yield "streaming, cache_dir: a stream is not cached; remove one of them"
    if data.on_bad_rows == "refuse":
        yield "streaming, on_bad_rows: bad rows of a stream are found only while training; use on_bad_rows: drop"
    if settings.tokenizer.bpe_dropout:
        yield "streaming, bpe_dropout: a stream is not kept to be segmented again in every epoch; remove one of them"
    if settings.tokenizer.tokenizer_sample is None and settings.finetuning.model_name_or_path is None:
        yield "tokenizer_sample: set the number of pairs of the stream to train the vocabulary on, for example 1000000"
    if SCHEDULES[optimisation.lr_scheduler_type].needs_length and optimisation.max_steps is None:
        yield f"max_steps: set it; {optimisation.lr_scheduler_type} needs an end, and a stream has no known length"


def _batch_problems(settings: Settings) -> Iterator[str]:
    """Yield a problem if some sentences fit into no batch."""
    if settings.data.max_length + settings.data.both_directions > settings.optimisation.max_tokens:
        tag = " and the tag of a language" if settings.data.both_directions else ""
        yield f"max_length, max_tokens: a sentence of max_length tokens{tag} must fit into a batch of max_tokens"


def _two_passes_problems(settings: Settings) -> Iterator[str]:
    """Yield the settings of two passes that do not work together."""
    optimisation = settings.optimisation
    if optimisation.r_drop and optimisation.simcut:
        yield "r_drop, simcut: both compare two passes, in different ways; set one of them to 0"
    if optimisation.simcut and not optimisation.simcut_p:
        yield "simcut_p: without it SimCut zeroes no token; give a probability such as 0.05"
    if optimisation.simcut and settings.model.word_dropout:
        yield "simcut, word_dropout: SimCut compares with a pass over all tokens; set word_dropout: 0"
    if not optimisation.simcut and optimisation.simcut_p != OptimisationArguments.simcut_p:
        yield "simcut_p: only for SimCut; set simcut"


def _schedule_problems(settings: Settings) -> Iterator[str]:
    """Yield the settings that do not work with the learning-rate schedule."""
    optimisation = settings.optimisation
    kind = optimisation.lr_scheduler_type
    if SCHEDULES[kind].needs_length and optimisation.max_steps is None and optimisation.num_epochs is None:
        yield f"lr_scheduler_type: {kind} ends at the last step; set max_steps or num_epochs"
    problem = optimisation.warmup_problem(optimisation.max_steps)
    if problem is not None and SCHEDULES[kind].needs_length:
        yield problem
    if optimisation.warmup_ratio is not None:
        if optimisation.warmup_steps is not None:
            yield "warmup_steps, warmup_ratio: set one of them; the value null removes that of a recipe"
        if optimisation.max_steps is None and (optimisation.num_epochs is None or settings.data.streaming):
            yield "warmup_ratio: the length of the run is unknown; set max_steps, or use warmup_steps"
    if kind == "noam" and optimisation.learning_rate < LEAST_NOAM_FACTOR:
        yield (
            f"learning_rate: with noam it is a factor to equation (3), 1 in the paper; {optimisation.learning_rate} "
            f"would hardly learn, give at least {LEAST_NOAM_FACTOR}"
        )


def _end_problems(optimisation: OptimisationArguments) -> Iterator[str]:
    """Yield a problem if training would never end."""
    if optimisation.max_steps is None and optimisation.num_epochs is None and optimisation.max_minutes is None:
        yield "max_steps, num_epochs, max_minutes: training would never end; set at least one"


def _precision_problems(settings: Settings) -> Iterator[str]:
    """Yield a problem if the device does not support the precision."""
    no_gpu = settings.run.use_cpu or not torch.accelerator.is_available()
    if settings.optimisation.mixed_precision == "fp16" and no_gpu:
        yield "mixed_precision: fp16 needs a GPU; use bf16 or no"


def _launch_problems(settings: Settings) -> Iterator[str]:
    """Yield the settings of the launch that are unsupported, by themselves or with these settings."""
    yield from launch_problems()
    optimisation, finetuning = settings.optimisation, settings.finetuning
    if uses_deepspeed():
        if optimisation.mixed_precision == "fp16":
            yield "mixed_precision: fp16 is not supported with DeepSpeed; use bf16"
        if optimisation.ema_decay:
            yield "ema_decay is not supported with DeepSpeed; remove it or use another accelerate config"
    if uses_fsdp():
        if optimisation.ema_decay or optimisation.average_checkpoints > 1:
            yield "ema_decay, average_checkpoints: not with FSDP; remove them or use another accelerate config"
        if finetuning.freeze or finetuning.lora_r > 0:
            yield (
                "freeze, lora_r: do not work with FSDP; train in one process or with training/accelerate/multi_gpu.yaml"
            )


def _scoring_problems(evaluation: EvaluationArguments) -> Iterator[str]:
    """Yield problems with the settings of scores."""
    if evaluation.best_metric not in best_metrics():
        yield f"best_metric: {evaluation.best_metric!r} is none of {', '.join(best_metrics())}"
    problem = None if evaluation.bleu_tokenize is None else tokenizer_problem(evaluation.bleu_tokenize)
    if problem is not None:
        yield f"bleu_tokenize: {problem}"


def _tracker_problems(run: RunArguments) -> Iterator[str]:
    """Yield the trackers that are unknown or not installed."""
    for name in run.trackers:
        if name not in TRACKERS:
            yield f"report_to: {name!r} is none of {', '.join(TRACKERS)} or {NO_TRACKER}"
        elif importlib.util.find_spec(name) is None:
            yield f"report_to: {name} is not installed; pip install {name}, or remove it from report_to"
    if NO_TRACKER in run.report_to and run.trackers:
        yield f"report_to: {NO_TRACKER} is given with {', '.join(run.trackers)}; remove one"


def _output_problems(run: RunArguments) -> Iterator[str]:
    """Yield why the output folder cannot be used."""
    if run.output_dir is None:
        yield "output_dir: set the folder for the model, for example --output_dir runs/first"
        return
    folder = Path(run.output_dir)
    resume = run.resume_from_checkpoint is not None
    if resume and run.overwrite_output_dir:
        yield "resume_from_checkpoint, overwrite_output_dir: resume the run or replace it; set one of them"
    if os.path.isfile(folder):
        yield f"output_dir: {folder} is a file; choose another name"
    elif not _writable(folder):
        yield f"output_dir: {folder} cannot be written to; choose another folder or change its permissions"
    elif run.overwrite_output_dir or resume or not folder.is_dir():
        return
    elif state_folders(folder):
        yield (
            f"output_dir: {folder} has checkpoints of a run; add --resume to continue it, choose another folder, or "
            "add --overwrite_output_dir, which removes them"
        )
    elif any(folder.iterdir()):
        yield f"output_dir: {folder} is not empty; choose another folder or add --overwrite_output_dir"


def _writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, which may not exist yet."""
    try:
        existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    except OSError:
        return False
    return os.access(existing, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
