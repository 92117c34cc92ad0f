"""Define the base class of all Sineformer models: initialisation, loading, saving with the code, tied weights."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .configuration_sineformer import SineformerConfig
from .code_files import describe_code, remove_older_weights, write_code
from .generation import default_generation_config
from .positional_encoding import SinusoidalPositionalEncoding
from .translation_pipeline import SineformerTranslationPipeline

HUB_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr", "tags")


class SineformerPreTrainedModel(PreTrainedModel):
    """Base class: initialisation, loading, saving, and the class attributes that transformers reads.

    With this initialisation post-norm trains with warm-up alone. Xavier-uniform matrices and zero biases preserve the
    variance of activations and gradients. Embeddings are normal with standard deviation D^-0.5: scaled by sqrt(D)
    (section 3.4) they have unit variance, comparable to the sines and cosines added to them, and the tied output
    projection starts with logits of unit variance, hence with a loss near log V.
    """

    config_class = SineformerConfig
    config: SineformerConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["SineformerEncoderLayer", "SineformerDecoderLayer"]  # noqa: RUF012 - as in every PreTrainedModel
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.init_std or self.config.d_model**-0.5)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, SinusoidalPositionalEncoding):
            init.copy_(module.table, module.closed_form(module.table.shape[0]))
        else:
            super()._init_weights(module)

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """Return a small valid batch, for tracing."""
        input_ids = torch.ones(2, 4, dtype=torch.long, device=self.device)  # [B, S]
        return {"input_ids": input_ids, "decoder_input_ids": input_ids}

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load as in transformers, and keep the revision in the config, to load the tokenizer of the same one."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.can_generate() and getattr(model.generation_config, "_from_model_config", False):
            model.generation_config = default_generation_config(model.config)  # the folder has no generation config
        if kwargs.get("revision") is not None:
            model.config._commit_hash = str(kwargs["revision"])  # as earlier transformers do; never saved
        return loaded

    def save_pretrained(  # type: ignore[override] # other arguments are passed through
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save model and code, so that the folder loads without Sineformer; see `PreTrainedModel.save_pretrained`."""
        hub = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs} if push_to_hub else {}
        describe_code(self.config, SineformerTranslationPipeline)
        super().save_pretrained(save_directory, is_main_process, state_dict, **kwargs)
        if is_main_process:
            write_code(save_directory)
            if not getattr(self, "_hf_peft_config_loaded", False):  # with an adapter, no weights were saved
                remove_older_weights(save_directory, kwargs.get("variant"))
            if push_to_hub:
                self.push_to_hub(hub.pop("repo_id", Path(save_directory).name), **hub)

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False, **kwargs: Any) -> dict[str, str]:
        """Return the tied parameters by name. `tie_word_embeddings` is about the output projection only; source and
        target embeddings are tied by `share_encoder_decoder_embeddings`."""
        if all_submodels or self.config.tie_word_embeddings:
            return super().get_expanded_tied_weights_keys(all_submodels)
        tied = self._tied_weights_keys or {}
        return {name: source for name, source in tied.items() if name != "lm_head.weight"}

    def _resize_token_embeddings(self, new_num_tokens: int, *args: Any, **kwargs: Any) -> nn.Module:
        if self.config.share_encoder_decoder_embeddings:
            resized = super()._resize_token_embeddings(new_num_tokens, *args, **kwargs)
            self.config.decoder_vocab_size = resized.weight.shape[0]
        else:
            old: Any = self.get_input_embeddings()
            resized = self._get_resized_embeddings(old, new_num_tokens, *args, **kwargs)
            self.set_input_embeddings(resized)
        return self.get_input_embeddings()
