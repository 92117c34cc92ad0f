"""What `generate` does unless told otherwise: beams, and where a translation ends that does not end by itself.

The paper (Vaswani et al., 2017, section 6.1) searches with 4 beams and ends every translation at the length of its
source + 50 tokens. Letters of the shape comments: B batch, S source length, T target length, V target vocabulary.
"""

import copy
import functools
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, PreTrainedConfig, StoppingCriteria, StoppingCriteriaList

from .compatibility import CACHE, check_beams_know_two_vocabularies, warn_of_misspelt
from .generation_request import DEFAULT, FIELD, TOKEN_IDS, Request, default_max_length
from .incremental_decoder import IncrementalDecoder, decodes_as_written
from .inputs import check_source, check_token_ids
from .positional_encoding import count_positions
from .products import project
from .search import BeamSearch, GreedySearch, SearchOptions, SearchResult
from .transition_scores import transition_scores


def default_generation_config(config: PreTrainedConfig) -> GenerationConfig:
    """Return the generation config of a fresh model; it is saved with the model, and anyone may change it."""
    return GenerationConfig(
        **{name: getattr(config, name) for name in TOKEN_IDS},
        use_cache=config.use_cache,
        num_beams=4,
        max_length=default_max_length(config),
        **{FIELD: DEFAULT},
    )


class SourceLengthLimit(StoppingCriteria):
    """Ends each translation at a length of its own.

    One limit for the batch would make a translation depend on the sentences it shares a batch with.

    Args:
        limits: `[B]`, the longest translation of each source, its prompt included.
    """

    def __init__(self, limits: torch.Tensor) -> None:
        self.limits = limits

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        hypotheses = len(input_ids) // len(self.limits)
        limits = self.limits.to(input_ids.device).repeat_interleave(hypotheses)  # [B * hypotheses]
        return input_ids.shape[1] >= limits


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
        length, limits = request.max_length(), None
        if length is None and (limits := request.limits()) is not None:
            length = int(limits.max())
        others = (logits_processor, stopping_criteria, *args, None if inputs is None else kwargs.get("input_ids"))
        if all(each is None or (isinstance(each, list) and not each) for each in others):
            found = self._search(request, limits)
            if found is not None:
                return found
        if (request.value("num_beams") or 1) > 1 and self.config.target_vocab_size != self.config.vocab_size:
            check_beams_know_two_vocabularies()
        if limits is not None:
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

    @torch.no_grad()
    def _search(self, request: Request, limits: torch.Tensor | None) -> Any:
        """Return what `generate` returns, by the searches of `search.py`, or None if these are not what is asked for or
        not of this model. `limits` are the greatest lengths `[B]`, or None for the one of the request."""
        model: Any = self
        source = request.source(model.device)
        options = None if source is None else request.search_options(source, limits)
        if source is None or options is None or not decodes_as_written(self):
            return None
        self._validate_model_kwargs(dict(request.keywords))
        mask, encoded = (request.keywords.get(name) for name in ("attention_mask", "encoder_outputs"))
        if encoded is None:
            name = "input_ids" if source.ndim == 2 else "inputs_embeds"
            encoded = model.get_encoder()(**{name: source}, attention_mask=mask, return_dict=True)
        prompt = request.prompt(len(source), source.device)  # [B, T]
        check_token_ids("decoder_input_ids", prompt, model.model.decoder.embed_tokens)
        decoder = IncrementalDecoder(model.model.decoder, encoded.last_hidden_state, mask, options.beams)
        kind = GreedySearch if options.beams == 1 else BeamSearch
        found = kind(decoder, functools.partial(project, model.lm_head), prompt, options).run()
        return describe(found, decoder, options) if options.records else found.sequences

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As `GenerationMixin.prepare_inputs_for_generation`, with positions where the target has a mask: with a
        static cache it is passed on as a mask of 4 dimensions, from which they cannot be counted."""
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


def describe(found: SearchResult, decoder: IncrementalDecoder, options: SearchOptions) -> Any:
    """Return the result of a search as the output that `generate` of transformers returns."""
    # Here, so that a translation without this output does not depend on where transformers has it.
    from transformers.generation import (  # type: ignore[attr-defined]
        GenerateBeamEncoderDecoderOutput,
        GenerateEncoderDecoderOutput,
    )

    fields: dict[str, Any] = {"sequences": found.sequences, CACHE: decoder.cache()}
    if options.keeps_scores:
        fields["scores"] = tuple(found.scores)
    if options.keeps_logits:
        fields["logits"] = tuple(found.logits)
    if options.beams == 1:
        return GenerateEncoderDecoderOutput(**fields)
    if options.keeps_scores:
        fields["sequences_scores"] = found.sequences_scores
    fields["beam_indices"] = found.beam_indices
    return GenerateBeamEncoderDecoderOutput(**fields)
