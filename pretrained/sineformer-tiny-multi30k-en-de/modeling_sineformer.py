r"""Define Sineformer, the encoder-decoder Transformer of Vaswani et al. (2017), *Attention Is All You Need*.

Contents, from small to large:

    attention.py            softmax(QK^T / sqrt(d_k)) V and multi-head attention                       section 3.2
    positional_encoding.py  sines and cosines of the position of each token                            section 3.5
    dropout.py              dropout                                                                    section 5.4
    products.py             products of states and weights, fast on more processors
    layers.py               encoder and decoder layer: attention, feed-forward, residual, norm         sections 3.1, 3.3
    loss.py                 cross-entropy with label smoothing                                         section 5.4
    consistency.py          the same for two noisy passes, and the divergence between them
    encoder_decoder.py      encoder and decoder: embeddings, positions, N layers                       section 3.1
    this file               both together, without and with the language-model head
    generation.py           defaults of `generate`: beams and the length limit                         section 6.1
    generation_request.py   the request of a call of `generate`
    search.py               greedy and beam search                                                     section 6.1
    incremental_decoder.py  the decoder, one position at a time
    likeliest_tokens.py     the best next tokens
    transition_scores.py    log-probabilities of generated tokens
    tokenization_sineformer.py  the tokenizer, with one vocabulary or two
    translation_pipeline.py `pipeline("translation")`
    invisible_text.py       detection of text without visible characters

    inputs.py               checks of arguments; labels shifted into decoder inputs
    outputs.py              logits of a training step, computed on first access
    pretrained_model.py     initialisation, loading and saving
    code_files.py           saves the code with the weights
    compatibility.py        differences between releases of transformers

    input_ids [B,S] --embed, *sqrt(D), +P--> encoder layers --> [B,S,D] --.
                                                                          v
    decoder_input_ids [B,T] --embed, *sqrt(D), +P--> decoder layers (cross-attention) --> [B,T,D] --head--> [B,T,V]

Letters of the shape comments, here and in every file: B batch, S source length, T target length, D d_model, H heads,
K = D/H width of a head, F inner width of the feed-forward network, V vocabulary.

Where this departs from the paper: biases in the attention projections (as in every common implementation), optional
pre-norm, and optional dropout on attention weights and activations.
"""

from typing import Any

import torch
from torch import nn
from transformers import Cache, PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput

# transformers copies a file of a checkpoint together with the files that it imports. If several processes fill its
# module cache at once, one may find a file copied by another, but not yet the imports of that file: so this file
# imports all others. It also registers `pipeline("translation", model=MODEL)` for every loaded model.
from .attention import MultiHeadAttention  # noqa: F401
from .code_files import write_code  # noqa: F401
from .compatibility import CACHE, find_cache, pop_cache, pop_return_dict
from .consistency import consistency_loss, pop_weights
from .dropout import dropout  # noqa: F401
from .encoder_decoder import SineformerDecoder, SineformerEncoder, causal_mask_function
from .generation import SineformerGenerationMixin, default_generation_config
from .generation_request import Request  # noqa: F401
from .incremental_decoder import IncrementalDecoder  # noqa: F401
from .inputs import check_exactly_one, check_labels, shift_tokens_right
from .invisible_text import is_invisible  # noqa: F401
from .layers import SineformerDecoderLayer  # noqa: F401
from .likeliest_tokens import likeliest  # noqa: F401
from .loss import cross_entropy, translation_loss
from .outputs import TranslationOutput
from .positional_encoding import SinusoidalPositionalEncoding  # noqa: F401
from .pretrained_model import SineformerPreTrainedModel
from .products import project
from .search import BeamSearch  # noqa: F401
from .tokenization_sineformer import SineformerTokenizer  # noqa: F401
from .transition_scores import transition_scores  # noqa: F401
from .translation_pipeline import SineformerTranslationPipeline  # noqa: F401


class SineformerModel(SineformerPreTrainedModel):
    """Encoder and decoder without a head; the class that `AutoModel` loads."""

    def __init__(self, config: PreTrainedConfig):
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
        # transformers 5.20 adds `embed_tokens` for every model with a tied head.
        plan = self._tp_plan or {}
        self._tp_plan = {name: style for name, style in plan.items() if name != "embed_tokens"} | shared

    def get_input_embeddings(self) -> nn.Module:
        """Return the embeddings of the source, and of the target too if they are shared."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embeddings of the source, and of the target too if they are shared."""
        self.encoder.embed_tokens = value
        if self.config.share_encoder_decoder_embeddings:
            self.shared = self.decoder.embed_tokens = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Any, ...] | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput | tuple[Any, ...]:
        """Encode the source and decode the target.

        Args:
            input_ids: source `[B, S]`, or `inputs_embeds` `[B, S, D]`, or `encoder_outputs` of an earlier call.
            attention_mask: of the source, `[B, S]`, 1 for real tokens and 0 for padding.
            decoder_input_ids: target `[B, T]`, or `decoder_inputs_embeds` `[B, T, D]`.
            decoder_attention_mask: of the target, `[B, cached + T]`.
            cache, use_cache: keys and values of earlier steps; whether to return them. `past_key_values`, or a `Cache`
                under any other name, is an alias of `cache`.
            decoder_position_ids: positions of the target, `[B, T]`; counted from its mask if not given.
            word_dropout: in place of that of the configuration; a number, or one for each sentence `[B]`.

        Returns:
            `last_hidden_state` `[B, T, D]`, the encoder's output, the cache, and attentions if requested.

        Raises:
            ValueError, TypeError: inputs are missing, given twice, of a wrong shape or outside the vocabulary.
        """
        return_dict = pop_return_dict(kwargs, self.config)
        cache = pop_cache(cache, kwargs)
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
            cache,
            decoder_inputs_embeds,
            use_cache=use_cache,
            position_ids=decoder_position_ids,
            return_dict=True,
            **kwargs,
        )
        output = Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            **{CACHE: decoder_outputs.get(CACHE)},
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )
        return output if return_dict else output.to_tuple()


class SineformerForConditionalGeneration(SineformerPreTrainedModel, SineformerGenerationMixin):
    """The model with output projection (section 3.4), for translation; `AutoModelForSeq2SeqLM` loads this class."""

    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012
    _fsdp_plan = {"lm_head": "keep_full_weight"}  # noqa: RUF012

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.model = SineformerModel(config)
        within = {f"model.{name}": f"model.{source}" for name, source in (self.model._tied_weights_keys or {}).items()}
        embeddings = "shared" if config.share_encoder_decoder_embeddings else "decoder.embed_tokens"
        self._tied_weights_keys = within | {"lm_head.weight": f"model.{embeddings}.weight"}
        self.lm_head = nn.Linear(config.d_model, config.target_vocab_size, bias=config.lm_head_bias)
        self.generation_config = default_generation_config(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Any, ...] | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput | tuple[Any, ...]:
        """Compute logits of the target, and with `labels` the loss.

        Args:
            labels: `[B, T]`, target tokens ending in the end token, -100 where there is no target. If the decoder's
                input is not given, it is made from them.
            num_items_in_batch: number of targets that the sum of losses is divided by: of the complete step, if it
                has several micro-batches or processes. Default: the number of targets in `labels`.
            label_smoothing: of the loss (section 5.4).
            r_drop, simcut: in training, weight of the divergence between two passes (`consistency.py`); the second half
                of the batch must repeat the first.

        The other arguments are those of `SineformerModel.forward`.

        Returns:
            `loss`, if there are labels, and `logits` `[B, T, V]`. In training with labels the loss is computed without
            storing all logits; they are computed on first access, or for `return_dict=False`. If several processes
            train, the output has logits only with `return_dict=False`.

        Raises:
            ValueError, TypeError: inputs are missing, given twice, of a wrong shape or outside the vocabulary.
        """
        # Not a named parameter: Trainer takes every parameter with "label" in its name for a column of the data.
        label_smoothing: float = kwargs.pop("label_smoothing", 0.0)
        weights = pop_weights(kwargs)
        return_dict = pop_return_dict(kwargs, self.config)
        cache = pop_cache(cache, kwargs)
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
            cache,
            inputs_embeds,
            decoder_inputs_embeds,
            use_cache,
            return_dict=True,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        if labels is None or not self.training:
            logits = project(self.lm_head, hidden)  # [B, T, V]
            loss = None if labels is None else cross_entropy(logits, labels, num_items_in_batch, label_smoothing)
            output = Seq2SeqLMOutput(loss=loss, logits=logits, **rest)
        else:
            given = hidden, self.lm_head, labels, num_items_in_batch, label_smoothing
            loss = translation_loss(*given) if weights is None else consistency_loss(*given, weights)
            # The wrappers of a model for several processes (DDP, FSDP) read every field of its output.
            several = torch.distributed.is_available() and torch.distributed.is_initialized()
            if not return_dict:
                output = Seq2SeqLMOutput(loss=loss, logits=project(self.lm_head, hidden), **rest)
            elif several or torch.compiler.is_compiling():
                output = Seq2SeqLMOutput(loss=loss, **rest)
            else:
                output = TranslationOutput(loss=loss, **rest)
                output.set_lazy_logits(hidden, self.lm_head)
        return output if return_dict else output.to_tuple()

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Return the decoder's input `[B, T]` for `labels` `[B, T]`."""
        return shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)

    @staticmethod
    def create_masks_for_generate(
        config: PreTrainedConfig,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return the decoder's mask, made before a compiled step; `generate` calls this with a static cache."""
        cache = find_cache((*args, *kwargs.values()))
        return causal_mask_function(config)(config, inputs_embeds, attention_mask, cache)

    def resize_decoder_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        """Resize the target vocabulary of a model with separate source and target embeddings.

        Raises:
            ValueError: source and target share embeddings; use `resize_token_embeddings`.
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
