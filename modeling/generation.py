"""What `generate` does unless told otherwise: beams, and where a translation ends that does not end by itself.

The paper (Vaswani et al., 2017, section 6.1) searches with 4 beams and ends every translation at the length of its
source + 50 tokens. Letters of the shape comments: B batch, S source length, T target length, V target vocabulary.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, PreTrainedConfig, StoppingCriteria, StoppingCriteriaList

from .compatibility import check_beams_know_two_vocabularies, warn_of_misspelt
from .inputs import check_source
from .positional_encoding import count_positions
from .transition_scores import transition_scores

FIELD = "max_tokens_beyond_source"  # of the generation config; None for no such limit
DEFAULT = 50
TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")


def default_generation_config(config: PreTrainedConfig) -> GenerationConfig:
    """Return the generation config of a fresh model; it is saved with the model, and anyone may change it."""
    return GenerationConfig(
        **{name: getattr(config, name) for name in TOKEN_IDS},
        use_cache=config.use_cache,
        num_beams=4,
        max_length=default_max_length(config),
        **{FIELD: DEFAULT},
    )


def default_max_length(config: PreTrainedConfig) -> int:
    """Return the `max_length` that nobody asked for: as many new tokens as the table of positions has, and the start.

    It stands in for none at all: where the field is empty, Seq2SeqTrainer fills in 20, which would then be saved.
    """
    return int(config.max_position_embeddings) + 1


class SourceLengthLimit(StoppingCriteria):
    """Ends each translation at a length of its own.

    One limit for the whole batch would make a translation depend on the sentences it shares a batch with.

    Args:
        limits: `[B]`, the longest translation of each source, its prompt included.
    """

    def __init__(self, limits: torch.Tensor) -> None:
        self.limits = limits

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        hypotheses = len(input_ids) // len(self.limits)
        limits = self.limits.to(input_ids.device).repeat_interleave(hypotheses)  # [B * hypotheses]
        return input_ids.shape[1] >= limits


class Request:
    """What a call of `generate` asks for, in the three ways there are: keywords win over the generation config that is
    given, and that wins over the one of the model.

    Args:
        keywords: of `generate`, the source among them.
        given: generation config of the call. saved: generation config of the model.
        config: of the model.
    """

    def __init__(
        self, keywords: Mapping[str, Any], given: GenerationConfig | None, saved: GenerationConfig, config: Any
    ) -> None:
        self.keywords, self.config = keywords, config
        self.levels: list[Any] = [keywords.get, *(vars(each).get for each in (given, saved) if each is not None)]

    def value(self, name: str) -> Any:
        """Return the value that wins, or None if no one gives any."""
        return next((value for level in self.levels if (value := level(name)) is not None), None)

    def max_length(self) -> int | None:
        """Return the length that was asked for, the prompt included, or None where nobody asked for one."""
        for number, level in enumerate(self.levels):
            new_tokens, length = level("max_new_tokens"), level("max_length")
            if new_tokens is not None:
                return int(new_tokens) + self.prompt_length()
            if length is not None and (number == 0 or length != default_max_length(self.config)):
                return int(length)
        return None

    def min_length(self) -> int:
        """Return the least length that was asked for, the prompt included."""
        new_tokens = self.value("min_new_tokens")
        return int(self.value("min_length") or 0) if new_tokens is None else int(new_tokens) + self.prompt_length()

    def prompt_length(self) -> int:
        """Return the number of tokens that each translation starts from, with the start that `generate` may add."""
        prompt = self.keywords.get("decoder_input_ids")
        if prompt is None:
            return 1
        start = self.value("decoder_start_token_id")
        has_start = start is None or bool((prompt[:, 0] == torch.as_tensor(start, device=prompt.device)).any())
        return prompt.shape[1] + (0 if has_start else 1)

    def source_lengths(self) -> torch.Tensor | None:
        """Return the number of tokens of each source, `[B]`; None where there is no source."""
        mask, ids = self.keywords.get("attention_mask"), self.keywords.get("input_ids")
        if mask is not None and mask.ndim == 2:
            return mask.ne(0).sum(dim=1)  # [B]
        if ids is not None and self.value("pad_token_id") is not None:
            return ids.ne(self.value("pad_token_id")).sum(dim=1)  # [B]; transformers makes the same mask
        encoded = self.keywords.get("encoder_outputs")
        for states in (ids, self.keywords.get("inputs_embeds"), None if encoded is None else encoded[0]):
            if states is not None:
                return torch.full(states.shape[:1], states.shape[1], device=states.device)  # [B]
        return None

    def limits(self) -> torch.Tensor | None:
        """Return the longest translation of each source, `[B]`, the prompt included, where nobody asked for a length:
        the source + `max_tokens_beyond_source`, and never less than a least length that was asked for."""
        extra = next((level(FIELD) for level in self.levels if self._has(level, FIELD)), DEFAULT)
        lengths = self.source_lengths()
        if lengths is None or extra is None:
            return None
        return (lengths + extra + self.prompt_length()).clamp(min=self.min_length())  # [B]

    def _has(self, level: Any, name: str) -> bool:
        missing = object()
        return level(name, missing) is not missing


class SineformerGenerationMixin(GenerationMixin):
    """`generate` with the length limit of each source, and with positions that do not count padding."""

    generation_config: GenerationConfig
    config: Any

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Translate as `GenerationMixin.generate` does.

        Without a `max_length` or `max_new_tokens` of the caller, in whatever way, each translation ends at the length
        of its own source + `generation_config.max_tokens_beyond_source` (section 6.1), whatever its batch.

        Raises:
            TypeError, ValueError: the source is no tensor of token ids `[B, S]`.
        """
        kwargs.pop("labels", None)  # Seq2SeqTrainer hands them on, and they have no part in generation
        tokenizer = kwargs.get("tokenizer")  # of `stop_strings`, which are looked for in the target
        kwargs |= {} if tokenizer is None else {"tokenizer": getattr(tokenizer, "target_tokenizer", None) or tokenizer}
        keywords = kwargs if inputs is None else {**kwargs, "input_ids": inputs}
        check_source(keywords.get("input_ids"))
        request = Request(keywords, generation_config, self.generation_config, self.config)
        if (request.value("num_beams") or 1) > 1 and self.config.target_vocab_size != self.config.vocab_size:
            check_beams_know_two_vocabularies()
        length, limits = request.max_length(), None
        if length is None and (limits := request.limits()) is not None:
            length = int(limits.max())
            stopping_criteria = StoppingCriteriaList([*(stopping_criteria or []), SourceLengthLimit(limits)])
        decided: dict[str, Any] = {} if length is None else {"max_length": length, "max_new_tokens": None}
        kwargs.pop(FIELD, None)
        if generation_config is None:
            kwargs |= decided
        else:
            if length is not None and self.generation_config.max_new_tokens is not None:
                # transformers fills empty fields from the model's config, and this one beats `max_length`.
                decided |= {"max_length": None, "max_new_tokens": length - request.prompt_length()}
            kwargs = {name: value for name, value in kwargs.items() if name not in decided}
            generation_config = copy.deepcopy(generation_config)
            vars(generation_config).update(decided)
        mixin: Any = super()
        return mixin.generate(inputs, generation_config, logits_processor, stopping_criteria, *args, **kwargs)

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
        self,
        sequences: torch.Tensor,
        scores: Any,
        beam_indices: Any = None,
        normalize_logits: bool = False,
        **kwargs: Any,
    ) -> torch.Tensor:
        """See `transition_scores`."""
        return transition_scores(sequences, scores, beam_indices, normalize_logits)

    def _validate_model_kwargs(self, model_kwargs: dict[str, Any], **kwargs: Any) -> None:
        """Warn of misspelt keywords instead of refusing all that this release of transformers does not know."""
        warn_of_misspelt(model_kwargs, vars(self.generation_config))
