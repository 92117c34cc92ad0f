"""Models that are there: a Sineformer in a folder or on the Hub, with its tokenizers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedConfig

from ...configuration.configuration_sineformer import SineformerConfig
from ...modeling.modeling_sineformer import SineformerForConditionalGeneration
from ..data.tokenizer import Tokenizers, load_tokenizers

CONFIG = "config.json"


class PretrainedError(ValueError):
    """There is no such model, or it is not one of ours."""


def find_model(name: str, revision: str | None = None, files: list[str] | None = None) -> Path:
    """The folder of a model, which for one on the Hub is in the cache and named after its commit.

    Args:
        name: a folder, or the id of a model on the Hub.
        revision: branch, tag or commit on the Hub; None for the main branch.
        files: those that are needed, by name or pattern; None for all.

    Raises:
        PretrainedError: there is no such model, or it is of another type.
    """
    folder = Path(name)
    if not os.path.isdir(folder):
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=files))
        except HFValidationError as error:
            raise PretrainedError(f"{name} is neither a folder nor the id of a model on the Hub") from error
        except (HfHubHTTPError, OSError) as error:
            raise PretrainedError(f"{name} is not a folder here, and the Hub does not give it: {error}") from error
    if not (folder / CONFIG).is_file():
        raise PretrainedError(f"{name} holds no {CONFIG}; give the output folder of a finished training")
    try:
        kind = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
    except OSError as error:
        raise PretrainedError(f"{name} cannot be loaded: {error}") from error
    if kind != SineformerConfig.model_type:
        raise PretrainedError(
            f"{name} is a model of type {kind!r}; this needs one of type {SineformerConfig.model_type!r}"
        )
    return folder


def load_config(folder: Path, **changes: Any) -> SineformerConfig:
    """The configuration of the model in a folder, with some fields changed.

    Raises:
        PretrainedError: it is damaged.
    """
    try:
        return SineformerConfig.from_pretrained(folder, **changes)
    except (OSError, StrictDataclassError) as error:
        raise PretrainedError(f"the model cannot be loaded: {error.__cause__ or error}") from error


def load_model(folder: Path, dtype: torch.dtype, config: SineformerConfig | None = None) -> tuple[Any, Tokenizers]:
    """The model in a folder, in evaluation mode, and its tokenizers.

    Args:
        folder: as `find_model` gives it.
        dtype: of the weights.
        config: in place of its own.

    Raises:
        PretrainedError: the tokenizer or weights are missing or damaged, or the tokenizer needs another library.
    """
    try:
        tokenizers = load_tokenizers(folder)
        loaded: Any = SineformerForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, config=config or load_config(folder), output_loading_info=True
        )
    except ImportError as error:
        raise PretrainedError("the tokenizer needs sentencepiece: pip install sentencepiece") from error
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise PretrainedError(f"the model cannot be loaded: {error}") from error
    model, report = loaded
    if report["missing_keys"]:
        raise PretrainedError(f"the model cannot be loaded: it lacks {', '.join(sorted(report['missing_keys']))}")
    return model, tokenizers
