"""Translate a sentence for the page, and show what the model did: attention, tokens and positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..pretrained.inspection import AttentionMap, Inspection
from ..pretrained.splitting import has_several_sentences
from ..pretrained.translation import Hypothesis
from ..pretrained.translator import TranslationError
from .page_model import PageModel
from .views import heat_map, message, position_table, token_tables

MEAN = 0  # in the lists of layers and heads, which count from 1
TITLES = {"cross": "Alignment", "encoder": "Encoder", "decoder": "Decoder"}


@dataclass(frozen=True)
class Translated:
    """Hold what one visitor has translated; each visitor has their own.

    Attributes:
        model: that translated it.
        sentence: the source.
        hypotheses: best first.
        inspection: of the hypothesis that is shown.
    """

    model: PageModel
    sentence: str
    hypotheses: list[Hypothesis]
    inspection: Inspection


class Choice(NamedTuple):
    """Hold which attention is shown.

    Attributes:
        kind: one of `TITLES`.
        layer, head: from 1; `MEAN` for the mean of all.
        words: whether rows and columns are words; tokens otherwise.
    """

    kind: str = "cross"
    layer: int = MEAN
    head: int = MEAN
    words: bool = True


def translate(model: PageModel, text: str, num_beams: int) -> Iterator[tuple[str, str, Translated | None]]:
    """Yield a message, the translation so far and, with the last one, what can be shown of it.

    The translation first grows as greedy search finds it; beam search, which has none before its end, replaces it.
    """
    try:
        sentence = model.sentence(text)
    except TranslationError as error:
        yield message(str(error), is_problem=True), "", None
        return
    draft = ""
    for draft in model.drafts(sentence):
        yield message("Greedy search ..."), draft, None
    yield message(f"Beam search with {num_beams} beams ..."), draft, None
    hypotheses = model.search(sentence, num_beams)
    inspection = model.inspect(sentence, hypotheses[0])
    said = f"Greedy search found: {draft}" if draft != hypotheses[0].text else "Greedy search found the same."
    if has_several_sentences(sentence):
        said += " The text seems to have several sentences; the model was trained on single ones and may drop the rest."
    yield message(said), hypotheses[0].text, Translated(model, sentence, hypotheses, inspection)


def choose_hypothesis(shown: Translated | None, rank: int | None) -> Translated | None:
    """Return what can be shown of another hypothesis, from 0, of the same sentence."""
    if shown is None or rank is None or rank >= len(shown.hypotheses):
        return shown
    return replace(shown, inspection=shown.model.inspect(shown.sentence, shown.hypotheses[rank]))


def show_attention(shown: Translated | None, choice: Choice) -> str:
    """Return the heat map of the chosen attention; nothing before the first translation."""
    if shown is None:
        return ""
    layer, head = (None if each == MEAN else each - 1 for each in (choice.layer, choice.head))
    attention: AttentionMap = getattr(shown.inspection, f"{choice.kind}_attention")(layer, head)
    names = [f"layer {choice.layer}" if choice.layer else "mean of all layers"]
    names += [f"head {choice.head}" if choice.head else "mean of all heads"]
    title = f"{TITLES[choice.kind]}, {' and '.join(names)}"
    return heat_map(attention.by_words() if choice.words else attention, title)


def show_tokens(shown: Translated | None) -> tuple[str, str]:
    """Return the tables of tokens and of positions; nothing before the first translation."""
    if shown is None:
        return "", ""
    config = shown.model.model.config
    positions = position_table(shown.inspection.source, config.d_model, config.position_layout)
    return token_tables(shown.inspection), positions


def layers_and_heads(model: PageModel, kind: str) -> tuple[int, int]:
    """Return the number of layers and heads that a kind of attention has."""
    config, side = model.model.config, "encoder" if kind == "encoder" else "decoder"
    return getattr(config, f"{side}_layers"), getattr(config, f"{side}_attention_heads")
