"""Handle the differences between releases of transformers.

The code saved with a checkpoint must run in later releases too. So it passes arguments to transformers by position
where names have changed, accepts unknown keywords, and recognises the cache of keys and values by its type: its name
is `past_key_values` up to transformers 5.23 and `cache` since.
"""

import dataclasses
import difflib
import re
import warnings
from collections.abc import Iterable
from typing import Any

import torch
import transformers
from transformers import Cache
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils import logging

# The name of the cache in the outputs of this release of transformers, and in the arguments that `generate` passes.
CACHE = dataclasses.fields(Seq2SeqLMOutput)[2].name
# Arguments of the forward methods; a keyword close to one of them is taken as misspelt.
ARGUMENTS = (
    *("input_ids", "attention_mask", "inputs_embeds", "encoder_outputs", "encoder_hidden_states"),
    *("encoder_attention_mask", "decoder_input_ids", "decoder_attention_mask", "decoder_inputs_embeds"),
    *("decoder_position_ids", "position_ids", "labels", "label_smoothing", "num_items_in_batch", "r_drop"),
    *("simcut", "word_dropout"),
    *("cache", "past_key_values", "use_cache", "return_dict", "output_attentions", "output_hidden_states"),
)

logger = logging.get_logger(__name__)


def find_cache(values: Iterable[Any]) -> Cache | None:
    """Return the first cache among the values of arguments."""
    return next((value for value in values if isinstance(value, Cache)), None)


def pop_cache(cache: Any, keywords: dict[str, Any]) -> Cache | None:
    """Return the cache given as `cache` or in `keywords`, and remove it from `keywords`.

    Raises:
        TypeError: the value is not a `Cache`, e.g. the tuples of transformers 4.
    """
    for name in [name for name, value in keywords.items() if name == "past_key_values" or isinstance(value, Cache)]:
        value = keywords.pop(name)
        cache = value if cache is None else cache
        if name != CACHE and name == "past_key_values" and value is not None and not torch.compiler.is_compiling():
            warnings.warn(
                f"`{name}` is deprecated since transformers 5.24. Use `{CACHE}`.", FutureWarning, stacklevel=3
            )
    if cache is not None and not isinstance(cache, Cache):
        raise TypeError(f"The cache is a {type(cache).__name__}; give a `Cache` of transformers or None.")
    return cache


def pop_return_dict(keywords: dict[str, Any], config: Any) -> bool:
    """Remove `return_dict` from `keywords` and return whether to return named outputs instead of a tuple."""
    return_dict = keywords.pop("return_dict", None)
    return bool(getattr(config, "return_dict", True) if return_dict is None else return_dict)


def warn_of_misspelt(keywords: Iterable[str], known: Iterable[str] = ()) -> None:
    """Warn once of each unknown keyword that is close to a known one; others may come from a later transformers.

    Args:
        known: known arguments other than those of the forward methods.
    """
    names = [*ARGUMENTS, *known]
    for name in (each for each in keywords if each not in names):
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
        if near:
            logger.warning_once(f"`{name}` is ignored: no argument has this name. Did you mean `{near[0]}`?")


def check_beams_know_two_vocabularies() -> None:
    """Raise if the beam search of transformers assumes a target vocabulary of the size of the source's.

    For requests that go there; the search of `search.py` knows both.

    Raises:
        ValueError: the release is older than 5.20.
    """
    if tuple(map(int, re.findall(r"\d+", transformers.__version__)[:2])) < (5, 20):
        raise ValueError(
            f"The vocabularies of source and target differ in size, and for these the beam search of transformers "
            f"{transformers.__version__} is wrong. Give `num_beams=1`, or upgrade: pip install --upgrade transformers. "
            "Or leave out what only that search does, such as logits processors and stopping criteria."
        )
