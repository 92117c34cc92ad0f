"""Look into a translation: its tokens, their probabilities, and where the model attended.

All numbers come from one forward pass with the translation as the decoder's input (teacher forcing), so that they
belong to this translation, however it was found: by greedy or beam search, or written by someone else.

Letters of the shape comments: L layers, H heads, S source tokens, T target tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ...modeling.invisible_text import is_invisible
from ..data.tokenizer import Tokenizers
from .translation import Hypothesis, Search, search_lines

RUNNERS_UP = 5
SENTENCEPIECE_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
BYTES = re.compile(r"(?:<0x[0-9A-F]{2}>)+")
WORD_MARKS = "'-\N{RIGHT SINGLE QUOTATION MARK}"  # within a word: didn't, two-year-old


class InspectionError(ValueError):
    """Raised if there is nothing to inspect, or no such layer or head."""


class Candidate(NamedTuple):
    """Hold a token that could have been next, and its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class AttentionMap:
    """Hold where each token attends to.

    Attributes:
        queries, keys: tokens that attend, T or S, and that are attended to, S or T.
        weights: `[queries, keys]`; each row sums to 1.
    """

    queries: list[str]
    keys: list[str]
    weights: torch.Tensor

    def by_words(self) -> AttentionMap:
        """Return the same for words: what the tokens of a word attend to, on average, and how much is attended to the
        tokens of a word, in total."""
        queries, keys = word_groups(self.queries), word_groups(self.keys)
        rows = torch.stack([self.weights[group].mean(dim=0) for group in queries])  # [query words, keys]
        weights = torch.stack([rows[:, group].sum(dim=1) for group in keys], dim=1)  # [query words, key words]
        return AttentionMap(join_words(self.queries), join_words(self.keys), weights)


@dataclass(frozen=True)
class Inspection:
    """Hold what a model computes for a source and its translation.

    Attributes:
        source: source tokens, S, with the end token.
        target: tokens of the translation, T, with its end token if it has one.
        inputs: tokens that the decoder reads, T: the start token, then `target` without its last.
        probabilities: of each target token, given the source and the target tokens before it.
        runners_up: for each target token the likeliest others, best first.
        encoder_weights: of encoder self-attention, `[L, H, S, S]`.
        decoder_weights: of decoder self-attention, `[L, H, T, T]`.
        cross_weights: of cross-attention, `[L, H, T, S]`.
    """

    source: list[str]
    target: list[str]
    inputs: list[str]
    probabilities: list[float]
    runners_up: list[list[Candidate]]
    encoder_weights: torch.Tensor
    decoder_weights: torch.Tensor
    cross_weights: torch.Tensor

    def encoder_attention(self, layer: int | None = None, head: int | None = None) -> AttentionMap:
        """Return self-attention of the encoder; arguments and errors as of `cross_attention`."""
        return AttentionMap(self.source, self.source, _select(self.encoder_weights, layer, head))

    def decoder_attention(self, layer: int | None = None, head: int | None = None) -> AttentionMap:
        """Return self-attention of the decoder, among the tokens it reads; arguments as of `cross_attention`."""
        return AttentionMap(self.inputs, self.inputs, _select(self.decoder_weights, layer, head))

    def cross_attention(self, layer: int | None = None, head: int | None = None) -> AttentionMap:
        """Return where the decoder attends in the source when it predicts each target token: the alignment.

        Args:
            layer, head: from 0; None for the mean over all.

        Raises:
            InspectionError: there is no such layer or head.
        """
        return AttentionMap(self.target, self.source, _select(self.cross_weights, layer, head))


def _select(weights: torch.Tensor, layer: int | None, head: int | None) -> torch.Tensor:
    """Return the weights of a layer and head, or their mean."""
    for name, index, count in (("layer", layer, len(weights)), ("head", head, weights.shape[1])):
        if index is not None and not 0 <= index < count:
            raise InspectionError(f"there is no {name} {index}; the model has {count}, from 0 to {count - 1}")
    weights = weights.mean(dim=0) if layer is None else weights[layer]
    return weights.mean(dim=0) if head is None else weights[head]


def inspect(model: Any, tokenizers: Tokenizers, source: str, translation: Hypothesis | str | None = None) -> Inspection:
    """Inspect a source and a translation of it.

    The attention of the model becomes "eager", and stays so: other implementations do not return weights. The results
    of the model change by rounding alone.

    Args:
        model: in evaluation mode.
        tokenizers: of source and target.
        source: a sentence.
        translation: one that `search_lines` found, token by token as found; a text; or None for the best that
            the model finds as its generation config says.

    Raises:
        InspectionError: the source has no visible characters, or the translation no tokens.
    """
    if is_invisible(source):
        raise InspectionError("the source has no visible characters; give a sentence")
    if translation is None:
        translation = search_lines(model, tokenizers, [source], Search())[0][0]
    source_ids = tokenizers.source(source, verbose=False)["input_ids"]
    if isinstance(translation, Hypothesis):
        target_ids = list(translation.ids)
    else:
        target_ids = tokenizers.target(text_target=translation, verbose=False)["input_ids"]
    if not target_ids:
        raise InspectionError("the translation has no tokens; give its text, or one that `search_lines` found")
    return inspect_ids(model, tokenizers, source_ids, target_ids)


@torch.inference_mode()
def inspect_ids(model: Any, tokenizers: Tokenizers, source_ids: Sequence[int], target_ids: Sequence[int]) -> Inspection:
    """Inspect a source and a translation given as token ids, S and T, with their end tokens; see `inspect`."""
    if model.config._attn_implementation != "eager":
        model.set_attn_implementation("eager")
    source = torch.tensor([list(source_ids)], device=model.device)  # [1, S]
    target = torch.tensor([list(target_ids)], device=model.device)  # [1, T]
    inputs = model.prepare_decoder_input_ids_from_labels(target)  # [1, T]
    output = model(input_ids=source, decoder_input_ids=inputs, output_attentions=True, use_cache=False)
    probabilities = output.logits[0].float().softmax(dim=-1).cpu()  # [T, V]
    chosen = probabilities.gather(1, target.cpu().T).squeeze(1)  # [T]
    others = probabilities.scatter(1, target.cpu().T, -1.0).topk(RUNNERS_UP)
    runners_up = [
        [Candidate(*each) for each in zip(target_tokens(tokenizers, ids), values, strict=True)]
        for ids, values in zip(others.indices.tolist(), others.values.tolist(), strict=True)
    ]
    return Inspection(
        source=source_tokens(tokenizers, source_ids),
        target=target_tokens(tokenizers, target_ids),
        inputs=target_tokens(tokenizers, inputs[0].tolist()),
        probabilities=chosen.tolist(),
        runners_up=runners_up,
        encoder_weights=_stack(output.encoder_attentions),
        decoder_weights=_stack(output.decoder_attentions),
        cross_weights=_stack(output.cross_attentions),
    )


def _stack(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the weights `[1, H, T, S]` of all layers as `[L, H, T, S]`, in fp32 on the CPU."""
    return torch.cat(list(layers)).float().cpu()


def source_tokens(tokenizers: Tokenizers, ids: Sequence[int]) -> list[str]:
    """Return the tokens of source ids; a blank at the start of a token belongs to it."""
    tokenizer: Any = tokenizers.source
    if tokenizers.joint and getattr(tokenizer, "separate_vocabs", False):
        # A Marian tokenizer with two vocabularies names ids by that of the target.
        names = {index: token for token, index in tokenizer.get_src_vocab().items()}
        return [_with_blank(names[index]) for index in ids]
    return [_with_blank(token) for token in tokenizer.convert_ids_to_tokens(list(ids))]


def target_tokens(tokenizers: Tokenizers, ids: Sequence[int]) -> list[str]:
    """Return the tokens of target ids, as `source_tokens` does."""
    return [_with_blank(token) for token in tokenizers.target.convert_ids_to_tokens(list(ids))]


def _with_blank(token: str) -> str:
    return token.replace(SENTENCEPIECE_BLANK, " ")


def word_groups(tokens: Sequence[str]) -> list[list[int]]:
    """Return the indices of the tokens of each word.

    A token that starts with a blank starts a word, and punctuation is a word of its own. Text without blanks between
    words, such as Chinese, is not split.
    """
    groups: list[list[int]] = []
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else ""
        apart = token.startswith(" ") or _stands_alone(token) or _stands_alone(before)
        if before == " " or (index and not apart):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _stands_alone(token: str) -> bool:
    """Return whether a token is punctuation or a special token such as `</s>`, and not part of a word."""
    if BYTES.fullmatch(token):
        return False
    return not any(char.isalnum() or char in WORD_MARKS for char in token) or bool(re.fullmatch("<.+>", token))


def join_words(tokens: Sequence[str]) -> list[str]:
    """Return the words that tokens make up; bytes of a character outside the vocabulary become that character."""
    joined = ["".join(tokens[index] for index in group) for group in word_groups(tokens)]
    return [BYTES.sub(_decode_bytes, word).strip(" ") for word in joined]


def _decode_bytes(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("<0x", "").replace(">", "")).decode("utf-8", errors="replace")
