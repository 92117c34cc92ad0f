"""Test the tokenizer of a model that translates both directions: tags of languages before sources, none in targets."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from sineformer import SineformerTokenizer
from sineformer.modeling.translation_pipeline import SineformerTranslationPipeline
from sineformer.training.data.bpe import normalise, train_tokenizers

ENGLISH = ["A dog runs over the bridge.", "The dogs are running.", "Two men, 12 dogs & a cat."] * 20
GERMAN = ["Ein Hund läuft über die Brücke.", "Die Hunde laufen.", "Zwei Männer, 12 Hunde & eine Katze."] * 20
SOURCE, TARGET = "The dogs are running.", "Die Hunde laufen über die Brücke."
TEXTS = [SOURCE, " two  blanks", "A\nb", "12 </s> <pad>", "Ä 漢字", "<<de>> >>fr<< x"]
SIZE = 340


@pytest.fixture(scope="module")
def plain() -> SineformerTokenizer:
    """Return a tokenizer without tags, with the same merges: tags take two places of the vocabulary."""
    return train_tokenizers(ENGLISH, GERMAN, SIZE - 2).source


@pytest.fixture
def tagged() -> Any:
    """Return the tokenizer of a model that translates en to de by default."""
    return train_tokenizers(ENGLISH, GERMAN, SIZE, languages=("en", "de")).source


def stock(folder: Path) -> Any:
    """Load without the code of the folder, as a stock tokenizer."""
    loaded: Any = AutoTokenizer.from_pretrained(folder)
    assert type(loaded).__name__ != "SineformerTokenizer"
    return loaded


def with_code(folder: Path, **languages: str) -> Any:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=True, **languages)


LOAD: dict[str, Callable[[Path], Any]] = {"code": with_code, "stock": stock}


@pytest.fixture(params=["new", "code", "stock"])
def each(request: pytest.FixtureRequest, tagged: Any, tmp_path: Path) -> Any:
    """Return the tokenizer as trained, and as loaded with and without its code."""
    if request.param == "new":
        return tagged
    tagged.save_pretrained(tmp_path)
    return LOAD[request.param](tmp_path)


def test_tags_are_the_last_tokens_of_a_vocabulary_of_the_given_size(each: Any) -> None:
    assert len(each) == SIZE
    assert each.convert_tokens_to_ids([">>en<<", ">>de<<"]) == [SIZE - 2, SIZE - 1]
    assert {">>en<<", ">>de<<"} <= set(each.all_special_tokens)


@pytest.mark.parametrize("text", TEXTS)
def test_a_source_without_a_tag_gets_the_default_one(each: Any, plain: Any, text: str) -> None:
    assert each(text)["input_ids"] == [SIZE - 1, *plain(text)["input_ids"]]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("tag", [">>en<< ", ">>de<< ", "  >>en<< "])
def test_a_source_with_a_tag_gets_no_second_one(each: Any, plain: Any, tag: str, text: str) -> None:
    expected = [each.convert_tokens_to_ids(tag.strip()), *plain(text)["input_ids"]]
    batch = each([f"{tag}{text}", text])["input_ids"]
    assert batch == [expected, [SIZE - 1, *plain(text)["input_ids"]]]


def test_a_target_has_no_tag(tagged: Any, plain: Any, tmp_path: Path) -> None:
    tagged.save_pretrained(tmp_path)
    expected = plain(TARGET)["input_ids"]
    for tokenizer in (tagged, with_code(tmp_path)):
        assert tokenizer(text_target=TARGET)["input_ids"] == expected
        batch = tokenizer([SOURCE], text_target=[TARGET], return_tensors="pt")
        assert batch["labels"].tolist() == [expected]
        assert batch["input_ids"][0, 0] == SIZE - 1
        assert tokenizer(SOURCE, text_target=TARGET, truncation=True, max_target_length=3)["labels"][:2] == expected[:2]
        assert tokenizer(SOURCE)["input_ids"][0] == SIZE - 1, "sources have tags again"


def test_decoding_skips_tags(tagged: Any, tmp_path: Path) -> None:
    tagged.save_pretrained(tmp_path)
    for tokenizer in (tagged, with_code(tmp_path)):
        for text in TEXTS:
            ids = tokenizer(f">>en<< {text}")["input_ids"]
            assert tokenizer.decode(ids, skip_special_tokens=True) == normalise(text)
        assert tokenizer.decode(tokenizer(SOURCE)["input_ids"]) == f">>de<< {SOURCE}</s>"


def test_the_default_language_can_be_changed_and_is_saved(tagged: Any, tmp_path: Path) -> None:
    assert (tagged.src_lang, tagged.tgt_lang) == ("en", "de")
    tagged.tgt_lang = "en"
    assert (tagged.src_lang, tagged.tgt_lang) == ("de", "en")
    assert tagged(TARGET)["input_ids"][0] == SIZE - 2
    tagged.save_pretrained(tmp_path)
    assert with_code(tmp_path).tgt_lang == "en"
    assert stock(tmp_path)(TARGET)["input_ids"][0] == SIZE - 2
    tagged.src_lang = "en"
    assert tagged.tgt_lang == "de"
    tagged.src_lang, tagged.tgt_lang = "de", "en"  # as users of NLLB write it
    assert (tagged.src_lang, tagged.tgt_lang) == ("de", "en")


@pytest.mark.parametrize("languages", [{"src_lang": "de", "tgt_lang": "en"}, {"src_lang": "de"}, {"tgt_lang": "en"}])
def test_languages_can_be_given_when_loading(tagged: Any, tmp_path: Path, languages: dict[str, str]) -> None:
    tagged.save_pretrained(tmp_path)
    assert with_code(tmp_path, **languages)(TARGET)["input_ids"][0] == SIZE - 2


def test_unknown_languages_are_refused(tagged: Any, plain: Any, tmp_path: Path) -> None:
    for name in ("src_lang", "tgt_lang"):
        with pytest.raises(ValueError, match="translates between en and de, not 'fr'"):
            setattr(tagged, name, "fr")
        with pytest.raises(ValueError, match="one direction only"):
            setattr(plain, name, "de")
    assert (plain.src_lang, plain.tgt_lang) == (None, None)
    tagged.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Give one of the languages of this model: en or de"):
        tagged.tgt_lang = None
    with pytest.raises(ValueError, match="Source and target language are both 'de'"):
        with_code(tmp_path, src_lang="de", tgt_lang="de")


def test_tokens_that_would_multiply_tags_are_refused(tagged: Any) -> None:
    assert tagged.add_special_tokens({"eos_token": "</s>"}) == 0
    with pytest.raises(ValueError, match="No tokens can be added"):
        tagged.add_tokens("<name>")


@pytest.mark.parametrize("tokens", [{"cls_token": "<name>"}, {"extra_special_tokens": ["<name>"]}], ids=str)
def test_refused_special_tokens_leave_nothing_behind(tagged: Any, tmp_path: Path, tokens: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="No tokens can be added"):
        tagged.add_special_tokens(tokens)
    assert "<name>" not in tagged.all_special_tokens
    tagged.save_pretrained(tmp_path)
    assert with_code(tmp_path)(SOURCE) == tagged(SOURCE)


def test_tokens_are_spelled_as_in_the_vocabulary(tagged: Any, tmp_path: Path) -> None:
    tagged.save_pretrained(tmp_path)
    for tokenizer in (tagged, with_code(tmp_path)):
        ids = tokenizer(SOURCE)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(SIZE - 2) == ">>en<<"
        for tokens in (tokenizer.convert_ids_to_tokens(ids), [*tokenizer.tokenize(SOURCE), "</s>"]):
            assert tokens[0] == ">>de<<"
            assert tokenizer.convert_tokens_to_ids(tokens) == ids, "as programs that take tokens need"


def test_what_would_get_several_tags_is_refused(tagged: Any, plain: Any) -> None:
    words = SOURCE.split()
    for given in ({"text": words, "is_split_into_words": True}, {"text": SOURCE, "text_pair": SOURCE}):
        with pytest.raises(ValueError, match="A source is one text"):
            tagged(**given)
    split = {"text_target": words, "is_split_into_words": True}
    assert tagged(**split)["input_ids"] == plain(**split)["input_ids"]
    assert plain(words, is_split_into_words=True)["input_ids"] == plain(SOURCE)["input_ids"]


def test_copies_keep_the_direction(tagged: Any) -> None:
    tagged.tgt_lang = "en"
    for made in (copy.deepcopy(tagged), pickle.loads(pickle.dumps(tagged))):
        assert (made.src_lang, made.tgt_lang) == ("de", "en")
        assert made(TARGET, text_target=SOURCE) == tagged(TARGET, text_target=SOURCE)
        made.tgt_lang = "de"
        assert tagged.tgt_lang == "en"


def test_a_vocabulary_without_room_for_merges_is_refused_as_given() -> None:
    with pytest.raises(ValueError, match=r"vocab_size is 262, .* 2 tags of languages take 262"):
        train_tokenizers(ENGLISH, GERMAN, 262, languages=("en", "de"))


def ids_of(pipe: Any, text: str, **languages: str) -> list[int]:
    return pipe.preprocess(text, **pipe._sanitize_parameters(**languages)[0])["input_ids"][0].tolist()


@pytest.mark.parametrize("load", LOAD.values(), ids=LOAD.keys())
def test_a_pipeline_chooses_the_direction(
    make_model: Callable[..., Any], tagged: Any, plain: Any, tmp_path: Path, load: Callable[[Path], Any]
) -> None:
    tagged.save_pretrained(tmp_path)
    model = make_model(vocab_size=SIZE, source_language="en", target_language="de")
    pipe = SineformerTranslationPipeline(model=model, tokenizer=load(tmp_path))
    english, german, end = SIZE - 2, SIZE - 1, plain("x")["input_ids"]
    assert ids_of(pipe, "x") == [german, *end]
    for languages in ({"src_lang": "de", "tgt_lang": "en"}, {"src_lang": "de"}, {"tgt_lang": "en"}):
        assert ids_of(pipe, "x", **languages) == [english, *end]
        assert ids_of(pipe, ">>de<< x", **languages) == [german, *end], "the tag of the text decides"
    assert ids_of(pipe, "x", src_lang="en", tgt_lang="de") == [german, *end]
    assert ids_of(pipe, "x") == [german, *end], "a call does not change the default"
    for languages in ({"tgt_lang": "fr"}, {"src_lang": "fr"}, {"src_lang": "de", "tgt_lang": "de"}):
        with pytest.raises(ValueError, match=r"not 'fr'|are both 'de'"):
            pipe("x", **languages)
