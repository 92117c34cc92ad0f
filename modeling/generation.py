"""What `generate` does unless told otherwise: beams, and where a translation ends that does not end by itself.

The paper (Vaswani et al., 2017, section 6.1) searches with 4 beams and ends every translation at the length of its
source + 50 tokens. Letters of the shape comments: B batch, S source length.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, PreTrainedConfig, StoppingCriteria, StoppingCriteriaList
from transformers.utils import logging

from .positional_encoding import count_positions
from .transition_scores import transition_scores

FIELD = "max_tokens_beyond_source"  # of the generation config; None for no such limit
DEFAULT = 50
TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")

logger = logging.get_logger(__name__)


def default_generation_config(config: PreTrainedConfig) -> GenerationConfig:
    """The generation config of a fresh model; saved with it, and anyone may change it."""
    return GenerationConfig(
        **{name: getattr(config, name) for name in TOKEN_IDS},
        use_cache=config.use_cache,
        num_beams=4,
        early_stopping=True,
        # transformers would put 20 where there is none, and Seq2SeqTrainer would save that.
        max_length=config.max_position_embeddings,
        **{FIELD: DEFAULT},
    )


class SourceLengthLimit(StoppingCriteria):
    """Ends each translation when it has as many new tokens as its own source has, and `extra` more.

    One limit for the whole batch would make a translation depend on the sentences it shares a batch with.

    Args:
        source_lengths: `[B]`, tokens of each source without padding.
        extra: tokens that a translation may have more than its source.
        prompt_length: tokens that each translation starts from, which do not count.
    """

    def __init__(self, source_lengths: torch.Tensor, extra: int, prompt_length: int = 1) -> None:
        self.limits = source_lengths + extra + prompt_length  # [B]

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        hypotheses = len(input_ids) // len(self.limits)
        limits = self.limits.to(input_ids.device).repeat_interleave(hypotheses)  # [B * hypotheses]
        return input_ids.shape[1] >= limits


def end_with_the_source(
    criteria: Iterable[StoppingCriteria] | None,
    inputs: Mapping[str, Any],
    given: GenerationConfig | None,
    saved: GenerationConfig,
) -> StoppingCriteriaList:
    """The caller's stopping criteria, and the length limit of each source.

    A `max_length` or `max_new_tokens` that the caller gave replaces the limit. One that was saved with the model holds
    beside it, with a warning if it is shorter than a source.

    Args:
        criteria: of the caller.
        inputs: keyword arguments of `generate`, the source among them.
        given: the generation config of the caller. saved: that of the model.
    """
    asked = [inputs.get(name, getattr(given, name, None)) for name in ("max_length", "max_new_tokens")]
    extra = getattr(given, FIELD, getattr(saved, FIELD, DEFAULT))
    lengths = _source_lengths(inputs)
    if extra is None or lengths is None or any(each is not None for each in asked):
        return StoppingCriteriaList(criteria or [])
    if saved.max_length is not None and (lengths > saved.max_length).any():
        logger.warning_once(
            f"A source is longer than `generation_config.max_length` ({saved.max_length}), where its translation will "
            "be cut. Give `max_length` or `max_new_tokens` to `generate`."
        )
    prompt = inputs.get("decoder_input_ids")
    limit = SourceLengthLimit(lengths, extra, 1 if prompt is None else prompt.shape[1])
    return StoppingCriteriaList([*(criteria or []), limit])


def _source_lengths(inputs: Mapping[str, Any]) -> torch.Tensor | None:
    """Tokens of each source, `[B]`; None where there is no source."""
    mask = inputs.get("attention_mask")
    if mask is not None and mask.ndim == 2:
        return mask.ne(0).sum(dim=1)  # [B]
    encoded = inputs.get("encoder_outputs")
    for states in (inputs.get("input_ids"), inputs.get("inputs_embeds"), None if encoded is None else encoded[0]):
        if states is not None:
            return torch.full(states.shape[:1], states.shape[1], device=states.device)  # [B]
    return None


class SineformerGenerationMixin(GenerationMixin):
    """`generate` with the length limit of each source, and with positions that do not count padding."""

    generation_config: GenerationConfig

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `GenerationMixin.generate`, and without `max_length` and `max_new_tokens` each translation ends at the
        length of its own source + `generation_config.max_tokens_beyond_source` (section 6.1), whatever its batch."""
        kwargs.pop("labels", None)  # Seq2SeqTrainer hands them on, and they have no part in generation
        tokenizer = kwargs.get("tokenizer")  # of `stop_strings`, which are looked for in the target
        kwargs |= {} if tokenizer is None else {"tokenizer": getattr(tokenizer, "target_tokenizer", None) or tokenizer}
        criteria = end_with_the_source(
            stopping_criteria, {"input_ids": inputs, **kwargs}, generation_config, self.generation_config
        )
        mixin: Any = super()
        return mixin.generate(inputs, generation_config, logits_processor, criteria, *args, **kwargs)

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As `GenerationMixin.prepare_inputs_for_generation`, with positions where the target has a mask: with a
        static cache it goes on as a mask of 4 dimensions, from which they cannot be counted."""
        mixin: Any = super()
        inputs = mixin.prepare_inputs_for_generation(input_ids, *args, **kwargs)
        for name in ("tokenizer", "assistant_tokenizer", "assistant_model"):
            inputs.pop(name, None)  # `generate` hands them on where its mode of decoding has no use for them
        mask = kwargs.get("decoder_attention_mask")
        if mask is not None and mask.ndim == 2:
            inputs["decoder_position_ids"] = count_positions(mask, inputs["decoder_input_ids"].shape[1])  # [B, T]
        return inputs

    def compute_transition_scores(
        self, sequences: torch.Tensor, scores: Any, beam_indices: Any = None, normalize_logits: bool = False
    ) -> torch.Tensor:
        """See `transition_scores`."""
        return transition_scores(sequences, scores, beam_indices, normalize_logits)
