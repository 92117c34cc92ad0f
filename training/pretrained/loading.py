"""Find and load a saved Sineformer and its tokenizers, from a folder or the Hub."""

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
# In the clone: the model that commands take which only show something, unless they are told another one.
SHIPPED_MODEL = "pretrained/sineformer-tiny-multi30k-en-de"


class PretrainedError(ValueError):
    """Raised if there is no such model, or it is not a Sineformer."""


def find_model(name: str, revision: str | None = None, files: list[str] | None = None) -> Path:
    """Return the folder of a model; one on the Hub is downloaded into the cache, in a folder named after its commit.

    Args:
        name: a folder, or the id of a model on the Hub.
        revision: branch, tag or commit on the Hub; None for the main branch.
        files: names or patterns of the files to download; None for all.

    Raises:
        PretrainedError: there is no such model, or it is of another type.
    """
    folder = Path(name)
    if not os.path.isdir(folder):
        if name == SHIPPED_MODEL:
            raise PretrainedError(f"{name} is not here: run this in the root folder of a clone, or give --model")
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=files))
        except HFValidationError as error:
            raise PretrainedError(f"{name} is neither a folder nor the id of a model on the Hub") from error
        except (HfHubHTTPError, OSError) as error:
            raise PretrainedError(f"{name} is not a folder, and cannot be downloaded from the Hub: {error}") from error
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
    """Return the configuration of the model in a folder, with some fields changed.

    Raises:
        PretrainedError: the configuration is damaged.
    """
    try:
        return SineformerConfig.from_pretrained(folder, **changes)
    except (OSError, StrictDataclassError) as error:
        raise PretrainedError(f"the model cannot be loaded: {error.__cause__ or error}") from error


def load_model(folder: Path, dtype: torch.dtype, config: SineformerConfig | None = None) -> tuple[Any, Tokenizers]:
    """Return the model in a folder, in evaluation mode, and its tokenizers.

    Args:
        folder: as returned by `find_model`.
        dtype: of the weights.
        config: used instead of the one in the folder.

    Raises:
        PretrainedError: tokenizer or weights are missing or damaged, or the tokenizer needs another library.
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
