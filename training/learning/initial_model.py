"""Make a new model, or load the base model to fine-tune."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from transformers import GenerationConfig

from ...configuration.configuration_sineformer import SineformerConfig
from ...modeling.modeling_sineformer import SineformerForConditionalGeneration
from ...modeling.tokenization_sineformer import tagged_languages
from ..data.tokenizer import Tokenizers
from ..pretrained.loading import PretrainedError, find_model, load_config, load_model
from ..settings.arguments import EvaluationArguments, Settings, keys_with
from ..settings.data_arguments import DataArguments
from ..settings.facts import Fact
from ..settings.model_arguments import FineTuningArguments, ModelArguments
from ..system.files import CheckpointError, checksum
from ..system.processes import on_main_process
from .adapter import add_adapter
from .freezing import freeze


class BaseModel(NamedTuple):
    """The model to fine-tune, prepared for training, with its tokenizers and its folder."""

    model: SineformerForConditionalGeneration
    tokenizers: Tokenizers
    folder: Path

    def digest(self) -> str:
        """Return the SHA-256 of the weight files."""
        files = [*self.folder.glob("*.safetensors"), *self.folder.glob("*.bin")]
        checksums = "".join(map(checksum, sorted(files)))
        return hashlib.sha256(checksums.encode()).hexdigest()


def new_model(settings: Settings, tokenizers: Tokenizers) -> SineformerForConditionalGeneration:
    """Return a new model for these vocabularies, with its generation parameters."""
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
        **_languages(settings),
    )
    config._attn_implementation = settings.model.attn_implementation
    model = SineformerForConditionalGeneration(config)
    _set_search(model.generation_config, settings.evaluation)
    return model


def _languages(settings: Settings) -> dict[str, Any]:
    """Return the fields of the configuration that record what the model translates."""
    return {"source_language": settings.data.source_language, "target_language": settings.data.target_language}


def _set_search(generation: GenerationConfig, evaluation: EvaluationArguments) -> None:
    generation.num_beams, generation.length_penalty = evaluation.num_beams, evaluation.length_penalty
    if evaluation.num_beams == 1:
        # transformers refuses to save settings of beam search for a greedy search.
        generation.length_penalty, generation.early_stopping = 1.0, None


def load_base_model(settings: Settings, accelerator: Accelerator) -> BaseModel | None:
    """Return the base model of the settings, with modules frozen or adapters added; None to train a new model. Every
    process calls it.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    finetuning = settings.finetuning
    if finetuning.model_name_or_path is None:
        return None
    on_main_process(accelerator, lambda: _find(finetuning))  # downloads it for all
    folder = _find(finetuning)
    model, tokenizers = _load(folder, settings)
    if finetuning.lora_r > 0:
        add_adapter(model, finetuning)
    tied = freeze(model, finetuning.freeze)
    if tied:
        accelerator.print(f"also frozen, because their weights are tied: {', '.join(tied)}", file=sys.stderr)
    return BaseModel(model, tokenizers, folder)


def _find(finetuning: FineTuningArguments) -> Path:
    try:
        return find_model(str(finetuning.model_name_or_path), finetuning.model_revision)
    except PretrainedError as error:
        raise CheckpointError(f"model_name_or_path: {error}") from error


def _load(folder: Path, settings: Settings) -> tuple[Any, Tokenizers]:
    """Return the model, with the dropout and the generation parameters of the settings, and its tokenizers, with the
    direction of the settings."""
    own = keys_with(Fact.MAY_DIFFER, ModelArguments)
    config = load_config(folder, **{key: getattr(settings.model, key) for key in own}, **_languages(settings))
    config._attn_implementation = settings.model.attn_implementation
    try:
        model, tokenizers = load_model(folder, torch.float32, config)
    except PretrainedError as error:
        raise CheckpointError(f"model_name_or_path: {error}") from error
    _set_search(model.generation_config, settings.evaluation)
    return model, _with_direction(tokenizers, settings.data)


def _with_direction(tokenizers: Tokenizers, data: DataArguments) -> Tokenizers:
    """Return the tokenizers, with the target language of the settings as the default if they have tags of languages."""
    tokenizer: Any = tokenizers.source
    known, languages = tagged_languages(tokenizer), [str(data.source_language), str(data.target_language)]
    if not known:
        if data.both_directions:
            raise CheckpointError(
                "both_directions: the tokenizer of model_name_or_path has no tags of languages; start from a model "
                "that was trained with both_directions, or without a model"
            )
        return tokenizers
    if set(languages) != set(known):
        raise CheckpointError(
            f"source_language, target_language: the model of model_name_or_path translates between "
            f"{' and '.join(known)}, got {' and '.join(languages)}; give these, or start without it"
        )
    if tokenizer.tgt_lang == data.target_language:
        return tokenizers
    tokenizer.tgt_lang = data.target_language
    return tokenizers._replace(files=None)
