"""Read the settings of a run, complete them from the base model, and check them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from ..configuration.configuration_sineformer import SineformerConfig
from ..modeling.generation import default_generation_config
from ..modeling.modeling_sineformer import SineformerForConditionalGeneration
from .checks import problems_of
from .learning.adapter import adapter_problems
from .learning.freezing import freeze_problems
from .pretrained.loading import CONFIG, PretrainedError, find_model, load_config
from .settings.arguments import Settings, keys_with
from .settings.facts import Fact
from .settings.model_arguments import ModelArguments
from .settings.recipe import RecipeError, read_values, settings_of
from .system.processes import print_once

GENERATION_CONFIG = "generation_config.json"
FINE_TUNING_RATE = 1e-4
FINE_TUNING_WARMUP = 100  # steps, in a run of unknown length


def read_settings(argv: Sequence[str]) -> Settings:
    """Return the settings of a command line, `[--config RECIPE.yaml] [--key value ...]`; flags override the recipe.

    Raises:
        RecipeError: with all problems: unknown or repeated keys, wrong types, values out of range, missing files,
            unsupported combinations, an output folder that is in use.
    """
    values, problems = read_values(argv)
    problems += inherit(values)
    if values.get("model_name_or_path") is not None:
        fit_to_fine_tuning(values)
    settings = settings_of(values)
    problems += problems_of(settings)
    if problems:
        raise RecipeError(problems)
    if None in (settings.data.source_language, settings.data.target_language):
        print_once(
            "warning: source_language and target_language are not both given, so the model will not record its "
            "languages, and BLEU is tokenised as for a western one; give codes, such as en and fr"
        )
    return settings


def fit_to_fine_tuning(values: dict[str, Any]) -> None:
    """Set the learning rate and the warm-up for fine-tuning where they are not given: a trained model needs smaller and
    fewer steps than a new one."""
    if values.get("lr_scheduler_type") != "noam":
        values.setdefault("learning_rate", FINE_TUNING_RATE)
    steps_known = values.get("max_steps") is not None or (
        values.get("num_epochs") is not None and not values.get("streaming")
    )
    if not steps_known and values.get("warmup_ratio") is None:
        values.setdefault("warmup_steps", FINE_TUNING_WARMUP)


def inherit(values: dict[str, Any]) -> list[str]:
    """If `model_name_or_path` is set, take the settings that are not given from it: architecture, vocabulary sizes,
    dropout, languages, search parameters, and its commit on the Hub.

    Args:
        values: of the settings, by key; filled in.

    Returns:
        The problems, one line each: there is no such model, a key contradicts it, or it has no module of that name to
        freeze or adapt.
    """
    name, revision = values.get("model_name_or_path"), values.get("model_revision")
    if name is None:
        return []
    if revision is not None and os.path.isdir(name):
        return [f"model_revision: only models on the Hub have revisions, and {name} is a folder; remove it"]
    try:
        folder = find_model(name, revision, [CONFIG, GENERATION_CONFIG])
        config = load_config(folder)
    except PretrainedError as error:
        return [f"model_name_or_path: {error}"]
    if not os.path.isdir(name):
        values["model_revision"] = folder.name
    problems, may_differ = [], keys_with(Fact.MAY_DIFFER)
    for key, value in _own_settings(config, folder).items():
        if values.setdefault(key, value) != value and key not in may_differ:
            has = "none" if value is None else value
            problems.append(f"{key}: {name} has {has}, got {values[key]}; remove it, the model decides")
    return problems + list(_part_problems(config, values))


def _own_settings(config: SineformerConfig, folder: Path) -> dict[str, Any]:
    """Return the settings that a model has, by key."""
    defaults = ModelArguments().config_fields()
    own = {key: type(default)(getattr(config, key)) for key, default in defaults.items()}
    generation = default_generation_config(config)
    if (folder / GENERATION_CONFIG).is_file():
        generation = GenerationConfig.from_pretrained(folder)
    languages = {"source_language": config.source_language, "target_language": config.target_language}
    own |= {key: code for key, code in languages.items() if code is not None}  # models of earlier versions have none
    return own | {
        "vocab_size": config.vocab_size,
        "target_vocab_size": None if config.share_encoder_decoder_embeddings else config.target_vocab_size,
        "tokenizer_sample": None,
        "num_beams": generation.num_beams or 1,
        "length_penalty": 1.0 if generation.length_penalty is None else generation.length_penalty,
    }


def _part_problems(config: SineformerConfig, values: dict[str, Any]) -> Iterator[str]:
    with torch.device("meta"):
        model = SineformerForConditionalGeneration(config)
    yield from (f"freeze: {problem}" for problem in freeze_problems(model, values.get("freeze", [])))
    if values.get("lora_r", 0) > 0 and "lora_target_modules" in values:
        problems = adapter_problems(model, values["lora_target_modules"])
        yield from (f"lora_target_modules: {problem}" for problem in problems)
