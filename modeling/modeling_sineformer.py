r"""Sineformer, the encoder-decoder Transformer of Vaswani et al. (2017), *Attention Is All You Need*.

Contents, from small to large:

    attention.py            softmax(QK^T / sqrt(d_k)) V and multi-head attention                       section 3.2
    positional_encoding.py  sines and cosines that tell a token its position                           section 3.5
    layers.py               encoder and decoder layer: attention, feed-forward, residual, norm         sections 3.1, 3.3
    loss.py                 cross-entropy with label smoothing                                         section 5.4
    inputs.py               checks of what callers send; labels shifted into decoder inputs
    generation.py           what `generate` does unless told otherwise: beams, where a translation ends section 6.1
    this file               embeddings, encoder, decoder, the whole model, and its language-model head
    code_files.py           the code that travels with the weights
    transition_scores.py    how likely each token of a translation was
    tokenization_sineformer.py  the tokenizer, of one vocabulary or of two
    invisible_text.py       text that shows nothing, which is not translated
    translation_pipeline.py `pipeline("translation")`

    input_ids [B,S] --embed, *sqrt(D), +P--> encoder layers --> [B,S,D] --.
                                                                          v
    decoder_input_ids [B,T] --embed, *sqrt(D), +P--> decoder layers (cross-attention) --> [B,T,D] --head--> [B,T,V]

Letters of the shape comments, here and in every file: B batch, S source length, T target length, D d_model, H heads,
K = D/H width of a head, F inner width of the feed-forward network, V vocabulary.

Where this departs from the paper: biases in the attention projections (as in every common implementation), optional
pre-norm, and dropout on attention weights and activations if asked for.
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

# Every file that travels with the weights, also those not needed here: several processes that fill the module cache of
# transformers at once each take what this file imports. And models then know `pipeline("translation", model=MODEL)`.
from ..configuration.configuration_sineformer import SineformerConfig
from .attention import MultiHeadAttention
from .code_files import describe_code, write_code
from .generation import SineformerGenerationMixin, default_generation_config
from .inputs import check_exactly_one, check_keywords, check_labels, check_mask, check_token_ids, shift_tokens_right
from .invisible_text import shows_nothing as shows_nothing
from .layers import SineformerDecoderLayer, SineformerEncoderLayer
from .loss import cross_entropy, translation_loss
from .positional_encoding import SinusoidalPositionalEncoding, count_positions
from .tokenization_sineformer import SineformerTokenizer as SineformerTokenizer
from .transition_scores import transition_scores as transition_scores
from .translation_pipeline import SineformerTranslationPipeline


class SineformerPreTrainedModel(PreTrainedModel):
    """Initialisation, saving and what transformers wants to know of every Sineformer model.

    Initialisation lets post-norm train with warm-up alone: Xavier-uniform matrices keep the variance of activations
    and gradients alike through a layer, with zero biases. Embeddings are normal with standard deviation D^-0.5, so
    that after scaling by sqrt(D) (section 3.4) they have unit variance, on a par with the sines and cosines added to
    them, and the tied output projection starts with logits of unit variance, hence with a loss near log V.
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
    def _init_weights(self, module: nn.Module) -> None:
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
        """A small valid batch, for tracing."""
        input_ids = torch.ones(2, 4, dtype=torch.long, device=self.device)  # [B, S]
        return {"input_ids": input_ids, "decoder_input_ids": input_ids}

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; the config remembers the revision, for what else belongs to these weights."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if kwargs.get("revision") is not None:
            model.config._commit_hash = str(kwargs["revision"])  # earlier versions of transformers do it; never saved
        return loaded

    def save_pretrained(  # type: ignore[override] # arguments not named here pass through
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save as `PreTrainedModel.save_pretrained` does, and the code too: the folder loads without Sineformer."""
        hub = {name: kwargs.pop(name) for name in HUB_ARGUMENTS if name in kwargs} if push_to_hub else {}
        describe_code(self.config, SineformerTranslationPipeline)
        super().save_pretrained(save_directory, is_main_process, state_dict, **kwargs)
        if is_main_process:
            write_code(save_directory)
            if push_to_hub:
                self.push_to_hub(hub.pop("repo_id", Path(save_directory).name), **hub)

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Which parameter is which other. `tie_word_embeddings` speaks of the output projection alone here: source
        and target embeddings are one matrix whenever `share_encoder_decoder_embeddings` is set."""
        if all_submodels or self.config.tie_word_embeddings:
            return super().get_expanded_tied_weights_keys(all_submodels)
        tied = self._tied_weights_keys or {}
        return {name: source for name, source in tied.items() if name != "lm_head.weight"}

    def _resize_token_embeddings(
        self, new_num_tokens: int, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Module:
        if self.config.share_encoder_decoder_embeddings:
            resized = super()._resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
            self.config.decoder_vocab_size = resized.weight.shape[0]
        else:
            old: Any = self.get_input_embeddings()
            resized = self._get_resized_embeddings(old, new_num_tokens, pad_to_multiple_of, mean_resizing)
            self.set_input_embeddings(resized)
        return self.get_input_embeddings()


HUB_ARGUMENTS = ("repo_id", "commit_message", "commit_description", "private", "token", "revision", "create_pr", "tags")


class SineformerStack(SineformerPreTrainedModel):
    """What encoder and decoder have in common: embeddings with positions before the layers, perhaps a norm after."""

    def __init__(self, config: SineformerConfig, vocab_size: int, layers: Sequence[nn.Module]):
        super().__init__(config)
        self.dropout = config.dropout
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.embed_tokens: nn.Module = nn.Embedding(vocab_size, config.d_model, config.pad_token_id)
        self.embed_positions = SinusoidalPositionalEncoding(
            config.max_position_embeddings, config.d_model, config.position_layout
        )
        self.layers = nn.ModuleList(layers)
        if config.add_final_layer_norm:
            self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()
        # The plans of the configuration name the layers of the whole model, which would put a stack's own before them.
        self._tp_plan, self._fsdp_plan = {}, {}

    def embed(self, name: str, input_ids: torch.Tensor | None, inputs_embeds: Any) -> torch.Tensor:
        """Scaled embeddings `[B, S, D]` of `input_ids` `[B, S]`, or of `inputs_embeds`, which come unscaled."""
        check_exactly_one(**{f"{name}input_ids": input_ids, f"{name}inputs_embeds": inputs_embeds})
        if input_ids is not None:
            check_token_ids(f"{name}input_ids", input_ids, self.embed_tokens)
            inputs_embeds = self.embed_tokens(input_ids)  # [B, S, D]
        return inputs_embeds * self.embed_scale

    def add_positions(self, embeds: torch.Tensor, positions: torch.Tensor, max_length: int) -> torch.Tensor:
        """Embeddings `[B, S, D]` plus the encoding of `positions` `[B or 1, S]`, with dropout (section 5.4)."""
        states = embeds + self.embed_positions(positions, max_length).to(embeds.dtype)  # [B, S, D]
        return nn.functional.dropout(states, self.dropout, self.training)

    def normalize(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The norm at the end of the stack, to which pre-norm layers leave it."""
        return self.layer_norm(hidden_states) if self.config.add_final_layer_norm else hidden_states


class SineformerEncoder(SineformerStack):
    """N layers of self-attention and feed-forward over the source (section 3.1)."""

    _can_record_outputs = {"hidden_states": SineformerEncoderLayer, "attentions": MultiHeadAttention}  # noqa: RUF012

    def __init__(self, config: SineformerConfig):
        layers = [SineformerEncoderLayer(config, layer_idx) for layer_idx in range(config.encoder_layers)]
        super().__init__(config, config.vocab_size, layers)

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode the source.

        Args:
            input_ids: `[B, S]`; or `inputs_embeds` `[B, S, D]`, as the embedding layer returns them.
            attention_mask: `[B, S]`, 1 for real tokens and 0 for padding on either side.

        Returns:
            `last_hidden_state` `[B, S, D]`.

        Raises:
            ValueError, TypeError: the inputs are missing, doubled, of a wrong shape or outside the vocabulary.
        """
        check_keywords(kwargs, ("input_ids", "attention_mask", "inputs_embeds"))
        embeds = self.embed("", input_ids, inputs_embeds)
        length = embeds.shape[1]
        check_mask("attention_mask", attention_mask, length)
        if attention_mask is not None and attention_mask.ndim == 2:
            positions = count_positions(attention_mask, length)  # [B, S]
        else:
            positions = torch.arange(length, device=embeds.device).unsqueeze(0)  # [1, S]
        windowed = self.config.sliding_window is not None
        make_mask = create_bidirectional_sliding_window_mask if windowed else create_bidirectional_mask
        mask = make_mask(config=self.config, inputs_embeds=embeds, attention_mask=attention_mask)
        hidden_states = self.add_positions(embeds, positions, length)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, **kwargs)
        return BaseModelOutput(last_hidden_state=self.normalize(hidden_states))


class SineformerDecoder(SineformerStack):
    """N layers of causal self-attention, attention to the source and feed-forward over the target (section 3.1)."""

    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": SineformerDecoderLayer,
        "attentions": OutputRecorder(MultiHeadAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(MultiHeadAttention, index=1, layer_name="encoder_attn"),
    }

    def __init__(self, config: SineformerConfig):
        layers = [SineformerDecoderLayer(config, layer_idx) for layer_idx in range(config.decoder_layers)]
        super().__init__(config, config.target_vocab_size, layers)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Decode the target, all positions at once or, with a cache, those that are new.

        Args:
            input_ids: `[B, T]`; or `inputs_embeds` `[B, T, D]`, as the embedding layer returns them.
            attention_mask: `[B, cached + T]`, 1 for real tokens and 0 for padding on either side.
            encoder_hidden_states: `[B, S, D]`, output of the encoder.
            encoder_attention_mask: `[B, S]`, 1 for real source tokens.
            past_key_values: keys and values of earlier steps.
            use_cache: whether to return such a cache.
            position_ids: `[B, T]`, each below cached + T; counted from the mask if not given.

        Returns:
            `last_hidden_state` `[B, T, D]` and `past_key_values`.

        Raises:
            ValueError, TypeError: the inputs are missing, doubled, of a wrong shape or outside the vocabulary.
        """
        check_keywords(kwargs, ("input_ids", "attention_mask", "encoder_hidden_states", "inputs_embeds"))
        embeds = self.embed("decoder_", input_ids, inputs_embeds)
        if encoder_hidden_states is None:
            raise ValueError("The decoder needs `encoder_hidden_states` [batch, length, d_model] to attend to.")
        check_mask("attention_mask (of the source)", encoder_attention_mask, encoder_hidden_states.shape[1])
        if use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(config=self.config), DynamicCache(config=self.config))
        elif past_key_values is not None and not isinstance(past_key_values, EncoderDecoderCache):
            past_key_values = EncoderDecoderCache(past_key_values, DynamicCache(config=self.config))
        positions, max_length = self.target_positions(embeds, attention_mask, past_key_values)
        positions = positions if position_ids is None else position_ids  # [B or 1, T]
        causal_mask = causal_mask_function(self.config)(
            config=self.config,
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            past_key_values=None if past_key_values is None else past_key_values.self_attention_cache,
        )
        source_mask = create_bidirectional_mask(
            config=self.config,
            inputs_embeds=embeds,
            attention_mask=encoder_attention_mask,
            encoder_hidden_states=encoder_hidden_states,
        )
        hidden_states = self.add_positions(embeds, positions, max_length)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                causal_mask,
                encoder_hidden_states,
                source_mask,
                past_key_values=past_key_values,
                **kwargs,
            )
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=self.normalize(hidden_states), past_key_values=past_key_values
        )

    @staticmethod
    def target_positions(
        embeds: torch.Tensor, attention_mask: torch.Tensor | None, cache: EncoderDecoderCache | None
    ) -> tuple[torch.Tensor, int]:
        """Positions `[B or 1, T]` of the tokens of this call, and a number above all of them."""
        length = embeds.shape[1]
        past_length = 0 if cache is None else cache.get_seq_length()
        if isinstance(past_length, int):
            max_length = past_length + length
            check_mask("decoder_attention_mask", attention_mask, max_length)
        else:  # A static cache counts in a tensor; looking at it would wait for the device.
            max_length = cache.self_attention_cache.layers[0].max_cache_len
            check_mask("decoder_attention_mask", attention_mask, None)
        if attention_mask is not None and attention_mask.ndim == 2:
            return count_positions(attention_mask, length), max_length  # [B, T]
        return (torch.arange(length, device=embeds.device) + past_length).unsqueeze(0), max_length  # [1, T]


def causal_mask_function(config: SineformerConfig) -> Callable[..., Any]:
    """The mask of decoder self-attention: earlier positions, all or those in the sliding window."""
    return create_sliding_window_causal_mask if config.sliding_window else create_causal_mask


class SineformerModel(SineformerPreTrainedModel):
    """Encoder and decoder without a head; what `AutoModel` gives."""

    def __init__(self, config: SineformerConfig):
        super().__init__(config)
        self._tied_weights_keys = {}
        if config.share_encoder_decoder_embeddings:
            self.shared: nn.Module = nn.Embedding(config.vocab_size, config.d_model, config.pad_token_id)
            self._tied_weights_keys = {
                "encoder.embed_tokens.weight": "shared.weight",
                "decoder.embed_tokens.weight": "shared.weight",
            }
        self.encoder = SineformerEncoder(config)
        self.decoder = SineformerDecoder(config)
        self.post_init()
        shared = {"shared": "embedding_rowwise"} if config.share_encoder_decoder_embeddings else {}
        # transformers 5.20 adds `embed_tokens` for every model that ties its head.
        plan = self._tp_plan or {}
        self._tp_plan = {name: style for name, style in plan.items() if name != "embed_tokens"} | shared

    def get_input_embeddings(self) -> nn.Module:
        """Embeddings of the source, and of the target too if they are shared."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embeddings of the source, and of the target too if they are shared."""
        self.encoder.embed_tokens = value
        if self.config.share_encoder_decoder_embeddings:
            self.shared = self.decoder.embed_tokens = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Any, ...] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """Encode the source and decode the target.

        Args:
            input_ids: source `[B, S]`, or `inputs_embeds` `[B, S, D]`, or `encoder_outputs` of an earlier call.
            attention_mask: of the source, `[B, S]`, 1 for real tokens and 0 for padding.
            decoder_input_ids: target `[B, T]`, or `decoder_inputs_embeds` `[B, T, D]`.
            decoder_attention_mask: of the target, `[B, cached + T]`.
            past_key_values, use_cache: keys and values of earlier steps; whether to return them.
            decoder_position_ids: positions of the target, `[B, T]`; counted from its mask if not given.

        Returns:
            `last_hidden_state` `[B, T, D]`, the encoder's output, the cache, and attentions if asked for.

        Raises:
            ValueError, TypeError: the inputs are missing, doubled, of a wrong shape or outside the vocabulary.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, inputs_embeds, return_dict=True, **kwargs)
        else:
            check_exactly_one(input_ids=input_ids, inputs_embeds=inputs_embeds, encoder_outputs=encoder_outputs)
        if isinstance(encoder_outputs, tuple | list):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        decoder_outputs = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs.last_hidden_state,
            attention_mask,
            past_key_values,
            decoder_inputs_embeds,
            use_cache=use_cache,
            position_ids=decoder_position_ids,
            return_dict=True,
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            past_key_values=decoder_outputs.past_key_values,
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )


class SineformerForConditionalGeneration(SineformerPreTrainedModel, SineformerGenerationMixin):
    """The model with its output projection (section 3.4), for translation; what `AutoModelForSeq2SeqLM` gives."""

    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012
    _fsdp_plan = {"lm_head": "keep_full_weight"}  # noqa: RUF012

    def __init__(self, config: SineformerConfig):
        super().__init__(config)
        self.model = SineformerModel(config)
        within = {f"model.{name}": f"model.{source}" for name, source in (self.model._tied_weights_keys or {}).items()}
        embeddings = "shared" if config.share_encoder_decoder_embeddings else "decoder.embed_tokens"
        self._tied_weights_keys = within | {"lm_head.weight": f"model.{embeddings}.weight"}
        self.lm_head = nn.Linear(config.d_model, config.target_vocab_size, bias=config.lm_head_bias)
        self.generation_config = default_generation_config(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Any, ...] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Predict the target, and with `labels` the loss.

        Args:
            labels: `[B, T]`, target tokens ending in the end token, -100 where there is no target. The decoder's
                input is made from them if it is not given.
            num_items_in_batch: number of targets the loss is divided by, of the whole step where several micro-
                batches or processes share one; by default the number of targets in `labels`.
            label_smoothing: of the loss (section 5.4). r_drop: see `translation_loss`, of which it is an option.

        The other arguments are those of `SineformerModel.forward`.

        Returns:
            `loss`, if there are labels, and `logits` `[B, T, V]`. In training with labels there are no logits: the
            loss is computed without ever holding them all (leave the labels out to get them).

        Raises:
            ValueError, TypeError: the inputs are missing, doubled, of a wrong shape or outside the vocabulary.
        """
        # No parameter of its own: Trainer takes every parameter with "label" in its name for a column of the data.
        label_smoothing: float = kwargs.pop("label_smoothing", 0.0)
        r_drop: float = kwargs.pop("r_drop", 0.0)
        if labels is not None:
            use_cache = False
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            check_labels(labels, decoder_input_ids, decoder_inputs_embeds, self.model.decoder.embed_tokens)
        outputs = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            inputs_embeds,
            decoder_inputs_embeds,
            use_cache,
            return_dict=True,
            **kwargs,
        )
        loss, logits = None, None
        if labels is not None and self.training:
            loss = translation_loss(
                outputs.last_hidden_state, self.lm_head, labels, num_items_in_batch, label_smoothing, r_drop
            )
        else:
            logits = self.lm_head(outputs.last_hidden_state)  # [B, T, V]
            if labels is not None:
                loss = cross_entropy(logits, labels, num_items_in_batch, label_smoothing)
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return Seq2SeqLMOutput(loss=loss, logits=logits, **rest)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """The decoder's input `[B, T]` for `labels` `[B, T]`."""
        return shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)

    @staticmethod
    def create_masks_for_generate(
        config: SineformerConfig,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None,
        **kwargs: Any,
    ) -> Any:
        """The decoder's mask, made ahead of a compiled step; called by `generate` with a static cache."""
        return causal_mask_function(config)(config, inputs_embeds, attention_mask, past_key_values)

    def resize_decoder_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        """Resize the target vocabulary of a model whose source and target do not share embeddings.

        Raises:
            ValueError: they do; use `resize_token_embeddings`.
        """
        if self.config.share_encoder_decoder_embeddings:
            raise ValueError(
                "Source and target share their embeddings (`share_encoder_decoder_embeddings`); use "
                "`resize_token_embeddings`, which resizes both."
            )
        decoder: Any = self.model.decoder
        decoder.embed_tokens = self._get_resized_embeddings(decoder.embed_tokens, new_num_tokens)
        self.lm_head = self._get_resized_lm_head(self.lm_head, new_num_tokens)
        self.config.decoder_vocab_size = new_num_tokens
        self.tie_weights()
        return decoder.embed_tokens


__all__ = [
    "SineformerDecoder",
    "SineformerEncoder",
    "SineformerForConditionalGeneration",
    "SineformerModel",
    "SineformerPreTrainedModel",
]
