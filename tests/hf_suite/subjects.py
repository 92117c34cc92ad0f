"""Becomes `tests/subjects.py`: the classes that the suite runs on, chosen by the environment variable SUITE_SUBJECT."""

import functools
import os
from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    MarianConfig,
    MarianModel,
    MarianMTModel,
    PreTrainedConfig,
    PreTrainedModel,
)

SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "dropout": 0.0,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


@dataclass(frozen=True)
class Subject:
    """One model: its configuration, the model without a head, and the one that translates."""

    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]
    translation_class: type[PreTrainedModel]

    @property
    def is_ours(self) -> bool:
        """Whether this is Sineformer, from wherever its classes came."""
        return self.config_class.model_type == "sineformer"


@functools.cache
def subject() -> Subject:
    """The classes named by SUITE_SUBJECT: "marian", "package", or a saved model folder, whose own code is loaded."""
    chosen = os.environ["SUITE_SUBJECT"]
    if chosen == "marian":
        return Subject(MarianConfig, MarianModel, MarianMTModel)
    if chosen == "package":
        import sineformer

        return Subject(
            sineformer.SineformerConfig, sineformer.SineformerModel, sineformer.SineformerForConditionalGeneration
        )
    config = AutoConfig.from_pretrained(chosen, trust_remote_code=True)
    model = AutoModel.from_pretrained(chosen, trust_remote_code=True)
    translation = AutoModelForSeq2SeqLM.from_pretrained(chosen, trust_remote_code=True)
    loaded = Subject(type(config), type(model), type(translation))
    if not loaded.translation_class.__module__.startswith("transformers_modules."):
        raise RuntimeError(f"{chosen} was to give its own classes, and gave {loaded}.")
    return loaded


def register() -> None:
    """Make the Auto classes know Sineformer. Its model for translation is also what the suite's tests of FSDP get, who
    ask AutoModelForCausalLM for a model to train."""
    if not subject().is_ours:
        return
    chosen = subject()
    AutoConfig.register(chosen.config_class.model_type, chosen.config_class, exist_ok=True)
    AutoModel.register(chosen.config_class, chosen.model_class, exist_ok=True)
    for auto_class in (AutoModelForSeq2SeqLM, AutoModelForCausalLM):
        auto_class.register(chosen.config_class, chosen.translation_class, exist_ok=True)
