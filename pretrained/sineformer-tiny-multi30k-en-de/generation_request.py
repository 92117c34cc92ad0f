"""What a call of `generate` asks for, and whether the searches of `search.py` do it.

Letters of the shape comments: B batch, S source length, T target length.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig

from .search import SearchOptions

FIELD = "max_tokens_beyond_source"  # of the generation config; None for no such limit
DEFAULT = 50
TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
# What the searches know of.
INPUTS = ("encoder_outputs", "input_ids", "inputs_embeds", "attention_mask", "decoder_input_ids")
LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens", FIELD)
BEAMS = ("num_beams", "num_return_sequences", "length_penalty", "early_stopping")
OUTPUTS = ("return_dict_in_generate", "output_scores", "output_logits")
# What has no part in them: options of sampling and of stop strings, which count only with those.
UNUSED = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("tokenizer", "trust_remote_code", "disable_compile", "transformers_version"),
)
# Values that switch something off, beside None and False.
OFF = {
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "guidance_scale", "num_beam_groups"), 1),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "diversity_penalty", "penalty_alpha"), 0),
    "use_cache": True,
}
DEFAULTS = vars(GenerationConfig())  # of a later release, for what it adds


def default_max_length(config: PreTrainedConfig) -> int:
    """Return the `max_length` that nobody asked for: as many new tokens as the table of positions has, and the start.

    It stands in for none at all: where the field is empty, Seq2SeqTrainer fills in 20, which would then be saved.
    """
    return int(config.max_position_embeddings) + 1


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
        self.levels = [keywords, *(vars(each) for each in (given, saved) if each is not None)]

    def value(self, name: str, default: Any = None) -> Any:
        """Return the value that wins, or the default if no one gives any."""
        return next((value for level in self.levels if (value := level.get(name)) is not None), default)

    def max_length(self) -> int | None:
        """Return the length that was asked for, the prompt included, or None where nobody asked for one."""
        for number, level in enumerate(self.levels):
            new_tokens, length = level.get("max_new_tokens"), level.get("max_length")
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
        start = self.start_token()
        has_start = start is None or bool((prompt[:, 0] == torch.as_tensor(start, device=prompt.device)).any())
        return prompt.shape[1] + (0 if has_start else 1)

    def source_lengths(self) -> torch.Tensor | None:
        """Return the number of tokens of each source, `[B]`; None where there is no source."""
        mask, ids = self.keywords.get("attention_mask"), self.keywords.get("input_ids")
        if mask is not None and mask.ndim == 2:
            return mask.ne(0).sum(dim=1)  # [B]
        if ids is not None and self.value("pad_token_id") is not None:
            return ids.ne(self.value("pad_token_id")).sum(dim=1)  # [B]
        encoded = self.keywords.get("encoder_outputs")
        for states in (ids, self.keywords.get("inputs_embeds"), None if encoded is None else encoded[0]):
            if states is not None:
                return torch.full(states.shape[:1], states.shape[1], device=states.device)  # [B]
        return None

    def limits(self) -> torch.Tensor | None:
        """Return the longest translation of each source, `[B]`, the prompt included, where nobody asked for a length:
        the source + `max_tokens_beyond_source`, and never less than a least length that was asked for."""
        extra = next((level[FIELD] for level in self.levels if FIELD in level), DEFAULT)
        lengths = self.source_lengths()
        if lengths is None or extra is None:
            return None
        return (lengths + extra + self.prompt_length()).clamp(min=self.min_length())  # [B]

    def source(self, device: torch.device) -> torch.Tensor | None:
        """Return the source, `[B, S]` or `[B, S, D]`, if there is one that everything else fits, on `device`."""
        encoded, ids, embeds, mask, prompt = (self.keywords.get(name) for name in INPUTS)
        states = getattr(encoded, "last_hidden_state", None)
        sources = [each for each in (ids, embeds, states) if each is not None]
        if not sources or (encoded is not None and states is None) or (ids is not None and embeds is not None):
            return None
        shape = sources[0].shape[:2]
        fits = (
            shape.numel() > 0
            and all(each.shape[:2] == shape for each in sources)
            and (mask is None or mask.shape == shape)
            and (prompt is None or (prompt.ndim == 2 and len(prompt) == shape[0] and prompt.shape[1] > 0))
            and all(each is None or each.device == device for each in (*sources, mask, prompt))
        )
        return sources[0] if fits else None

    def prompt(self, size: int, device: torch.device) -> torch.Tensor:
        """Return what each of `size` translations starts from `[B, T]`; `generate` adds a start that is missing."""
        given = self.keywords.get("decoder_input_ids")
        start = torch.full((size, 1), self.start_token(), device=device)  # [B, 1]
        if given is None:
            return start
        return given.long() if given.shape[1] == self.prompt_length() else torch.cat([start, given], dim=1)

    def start_token(self) -> Any:
        """Return the token that every translation starts with."""
        return self.value("decoder_start_token_id", self.value("bos_token_id"))

    def end_tokens(self) -> list[Any]:
        """Return the tokens of which each ends a translation."""
        ends = self.value("eos_token_id")
        return [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [ends]

    def search_options(self, source: torch.Tensor, limits: torch.Tensor | None) -> SearchOptions | None:
        """Return what the searches of `search.py` are to do, or None if they do not do what is asked for.

        Args:
            source: `[B, S]` or `[B, S, D]`.
            limits: the greatest length of each translation, its prompt included, `[B]`; None for one of all.
        """
        length = self.max_length() if limits is None else int(limits.max())
        length = self.value("max_length") if length is None else length
        if length is None or not self._is_a_search(length):
            return None
        if limits is None:
            limits = torch.full(source.shape[:1], length, device=source.device)  # [B]
        ends = self.end_tokens()
        records = bool(self.value("return_dict_in_generate"))
        return SearchOptions(
            beams=self.value("num_beams", 1),
            returned=self.value("num_return_sequences", 1),
            length_penalty=self.value("length_penalty", 1.0),
            early_stopping=self.value("early_stopping", False),
            limits=limits,
            longest=length,
            min_length=self.min_length(),
            ends=torch.tensor(ends, device=limits.device),
            pad=self.value("pad_token_id", ends[0]),
            records=records,
            keeps_scores=records and bool(self.value("output_scores")),
            keeps_logits=records and bool(self.value("output_logits")),
        )

    def _is_a_search(self, length: int) -> bool:
        """Whether greedy or beam search for at most `length` tokens is all that is asked for, with valid values."""
        beams, returned = self.value("num_beams", 1), self.value("num_return_sequences", 1)
        tokens = [self.start_token(), *self.end_tokens(), self.value("pad_token_id", 0)]
        penalty = self.value("length_penalty", 1.0)
        return (
            self._names_searches_alone()
            and all(isinstance(each, int) and not isinstance(each, bool) for each in (beams, returned, *tokens))
            and 1 <= returned <= beams
            and len(tokens) > 2
            and all(0 <= each < self.config.target_vocab_size for each in tokens)
            and isinstance(penalty, int | float)
            and self.value("early_stopping", False) in (True, False, "never")
            and self.prompt_length() < length >= self.min_length()
        )

    def _names_searches_alone(self) -> bool:
        """Whether all that is given is an argument of the searches, has no part in them, or is off."""
        if any(name in self.keywords and self.keywords[name] is None for name in (*BEAMS, *TOKEN_IDS)):
            return False  # None as a keyword is a value for transformers, which refuses most of them
        if vars(self.config).keys() & {*LENGTHS, *BEAMS, *OUTPUTS}:
            return False  # they do not belong there, and transformers says so
        return not self.other_names()

    def other_names(self) -> list[str]:
        """Return the names of all that is asked for beyond the searches."""
        known = {*INPUTS, *LENGTHS, *BEAMS, *OUTPUTS, *TOKEN_IDS, *UNUSED}
        names = set().union(*self.levels)
        return sorted(name for name in names - known if not (name.startswith("_") or self._is_off(name)))

    def _is_off(self, name: str) -> bool:
        value = self.value(name)
        if value is None or (value is False and name != "use_cache"):
            return True
        if isinstance(value, torch.Tensor):
            return False
        return any(name in values and values[name] == value for values in (OFF, DEFAULTS))
