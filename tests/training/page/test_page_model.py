"""Test what the page does with a model, from one thread and from several."""

from __future__ import annotations

import gzip
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from sineformer.training.page.page_model import LINES_PER_BATCH, MOST_TOKENS, PageModel
from sineformer.training.pretrained.translation import Search, search_lines, translate_lines
from sineformer.training.pretrained.translator import TranslationError

SENTENCE = "the dog sleeps"


def test_drafts_grow_to_the_greedy_translation(page_model: PageModel) -> None:
    drafts = list(page_model.drafts(SENTENCE))
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(drafts))
    greedy = translate_lines(page_model.model, page_model.tokenizers, [SENTENCE], num_beams=1)
    assert drafts[-1].split() == greedy[0].split()


def test_an_error_while_drafts_grow_is_raised_and_does_not_block(
    page_model: PageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(page_model.model, "generate", fail)
    with pytest.raises(torch.OutOfMemoryError):
        list(page_model.drafts(SENTENCE))
    monkeypatch.undo()
    assert list(page_model.drafts(SENTENCE))


def test_all_beams_are_returned_with_scores(page_model: PageModel) -> None:
    found = page_model.search(SENTENCE, 3)
    search = Search(3, 3, scores=True)
    assert found == search_lines(page_model.model, page_model.tokenizers, [SENTENCE], search)[0]
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_several_threads_get_the_same_as_one(page_model: PageModel) -> None:
    sentences = [f"the dog {'sleeps ' * count}" for count in range(1, 7)]
    alone = [(page_model.search(each, 2), list(page_model.drafts(each))[-1]) for each in sentences]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda each: (page_model.search(each, 2), list(page_model.drafts(each))[-1]), sentences))
    assert found == alone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no text"),
        (" \n\u200b", "no text"),
        ("dog " * (MOST_TOKENS + 1), f"at most {MOST_TOKENS}; type a single sentence"),
    ],
)
def test_text_that_cannot_be_shown_is_refused(page_model: PageModel, text: str, message: str) -> None:
    with pytest.raises(TranslationError, match=message):
        page_model.sentence(text)


def test_a_sentence_is_one_line(page_model: PageModel) -> None:
    assert page_model.sentence(" the dog\n  sleeps ") == SENTENCE


@pytest.mark.parametrize(
    ("name", "message"), [("", "name the folder"), ("no/such folder", "no/such folder is neither")]
)
def test_a_model_that_does_not_load_is_one_error(name: str, message: str) -> None:
    with pytest.raises(TranslationError, match=message):
        PageModel(name)


def test_a_model_is_described_in_one_line(page_model: PageModel) -> None:
    count = page_model.model.num_parameters()
    assert page_model.describe() == f"small, 1 + 1 layers, 2 heads, d_model 16, {count:,} parameters"


def test_a_file_is_translated_line_by_line_with_progress(page_model: PageModel, tmp_path: Path) -> None:
    lines = ["the dog sleeps", "", *(f"the dog {number}" for number in range(LINES_PER_BATCH)), "der Hund"]
    source, output = tmp_path / "in.txt.gz", tmp_path / "out.txt.gz"
    source.write_bytes(gzip.compress("\n".join(lines).encode()))
    progress = list(page_model.translate_file(source, output, 2))
    total = len(lines) - 1
    assert progress == [(0, total), (LINES_PER_BATCH, total), (total, total)]
    expected = translate_lines(page_model.model, page_model.tokenizers, lines, LINES_PER_BATCH, 2)
    assert gzip.decompress(output.read_bytes()).decode().split("\n")[:-1] == expected


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"good\n\xff\n", "in.txt:2 is not UTF-8")])
def test_an_unusable_file_leaves_no_output(page_model: PageModel, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "in.txt").write_bytes(content)
    with pytest.raises(TranslationError, match=message):
        list(page_model.translate_file(tmp_path / "in.txt", tmp_path / "out.txt", 1))
    assert not (tmp_path / "out.txt").exists()
