"""Test what the page shows of a translated sentence."""

from __future__ import annotations

import re
from html import unescape

import pytest
import torch

from sineformer.training.page.page_model import MOST_TOKENS, PageModel
from sineformer.training.page.translated import (
    MEAN,
    Choice,
    Translated,
    choose_hypothesis,
    layers_and_heads,
    show_attention,
    show_tokens,
    translate,
)
from sineformer.training.page.views import heat_map, message, position_table, token_tables
from sineformer.training.pretrained.inspection import AttentionMap, inspect

SENTENCE = "the dog sleeps"
BEAMS = 3


@pytest.fixture(scope="module")
def translated(page_model: PageModel) -> Translated:
    """Return a translated sentence."""
    (*_, (_, _, shown)) = translate(page_model, SENTENCE, BEAMS)
    assert shown is not None
    return shown


def weights_of(table: str) -> torch.Tensor:
    """Return the weights in the cells of a heat map."""
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", table)
    return torch.tensor([[float(cell) for cell in re.findall(r"<td[^>]*>([\d.]+)</td>", row)] for row in rows])


def headers_of(table: str, scope: str) -> list[str]:
    found = re.findall(rf'<th scope="{scope}">(.*?)</th>', table)
    return [unescape(re.sub("<.*?>", "", each)) for each in found]


def test_the_translation_grows_and_ends_as_the_best_beam(page_model: PageModel) -> None:
    steps = list(translate(page_model, SENTENCE, BEAMS))
    texts = [text for _, text, _ in steps]
    greedy = list(page_model.drafts(SENTENCE))
    assert texts[:-2] == greedy
    assert texts[-2:] == [greedy[-1], page_model.search(SENTENCE, BEAMS)[0].text]
    assert [shown for _, _, shown in steps[:-1]] == [None] * (len(steps) - 1)


@pytest.mark.parametrize("text", ["", "dog " * (MOST_TOKENS + 1)])
def test_text_that_cannot_be_shown_gives_a_message_only(page_model: PageModel, text: str) -> None:
    ((said, translation, shown),) = translate(page_model, text, BEAMS)
    assert 'role="alert"' in said
    assert (translation, shown) == ("", None)


def test_several_sentences_are_said_to_be_risky(page_model: PageModel) -> None:
    (*_, (said, _, _)) = translate(page_model, "The dog sleeps. The dog sleeps.", 1)
    assert "several sentences" in said


@pytest.mark.parametrize("kind", ["cross", "encoder", "decoder"])
@pytest.mark.parametrize(("layer", "head"), [(MEAN, MEAN), (1, 2)])
def test_the_heat_map_has_the_weights_of_the_chosen_attention(
    translated: Translated, kind: str, layer: int, head: int
) -> None:
    attention = getattr(translated.inspection, f"{kind}_attention")(
        layer - 1 if layer else None, head - 1 if head else None
    )
    for words in (False, True):
        expected = attention.by_words() if words else attention
        table = show_attention(translated, Choice(kind, layer, head, words))
        torch.testing.assert_close(weights_of(table), expected.weights, atol=6e-4, rtol=0)
        assert [each.replace("\N{OPEN BOX}", " ") for each in headers_of(table, "col")] == expected.keys
        assert [each.replace("\N{OPEN BOX}", " ") for each in headers_of(table, "row")] == expected.queries
    assert ("head 2" in table) == (head == 2)


def test_another_hypothesis_has_its_own_inspection(translated: Translated, page_model: PageModel) -> None:
    other = choose_hypothesis(translated, 2)
    assert other is not None
    model, tokenizers = page_model.model, page_model.tokenizers
    assert other.inspection.target == inspect(model, tokenizers, SENTENCE, translated.hypotheses[2]).target
    assert show_attention(other, Choice()) != show_attention(translated, Choice())


def test_without_a_translation_nothing_is_shown() -> None:
    assert choose_hypothesis(None, 0) is None
    assert show_attention(None, Choice()) == ""
    assert show_tokens(None) == ("", "")


def test_tokens_have_their_probabilities_and_runners_up(translated: Translated) -> None:
    table = token_tables(translated.inspection)
    shown = [float(each) for each in re.findall(r"<span>([\d.]+) %</span>", table)]
    assert shown == pytest.approx([100 * each for each in translated.inspection.probabilities], abs=0.051)
    assert table.count("sf-other") == 5 * len(translated.inspection.target)


def test_positions_have_a_row_for_each_token(translated: Translated) -> None:
    _, positions = show_tokens(translated)
    assert positions.count("<img ") == len(translated.inspection.source)
    assert len(set(re.findall(r'src="(.*?)"', positions))) == len(translated.inspection.source)
    assert "all sines first" in position_table(["a"], 8, "halves")


def test_layers_and_heads_are_those_of_the_side(page_model: PageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_model.model.config, "decoder_layers", 7)
    assert [layers_and_heads(page_model, kind) for kind in ("encoder", "decoder", "cross")] == [(1, 2), (7, 2), (7, 2)]


def test_what_somebody_types_is_no_markup() -> None:
    bad = "<script>alert(1)</script>"
    attention = AttentionMap([bad], [bad], torch.ones(1, 1))
    for written in (heat_map(attention, "title"), message(bad), position_table([bad], 4, "interleaved")):
        assert "<script" not in written
        assert "&lt;script&gt;" in written
