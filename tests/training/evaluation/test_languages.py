"""Test the tokenizer of sacrebleu chosen for a language, for every form of its code."""

import pytest
from sacrebleu.metrics import BLEU

from sineformer.training.evaluation.languages import (
    bleu_tokenizer,
    has_spaces,
    needs_target_language,
    tokenizer_problem,
)

CHINESE = ["zh", "ZH", "zh-CN", "zh_TW", "zh-Hans-CN", "zh_Hant", "zho_Hans", "zho", "chi", "cmn", "yue_Hant", "cn"]
JAPANESE = ["ja", "jpn", "ja-JP", "ja_XX", "jpn_Jpan", "jp", "Japanese"]
OTHERS_WITHOUT_SPACES = [
    "th",
    "tha_Thai",
    "lo",
    "lao_Laoo",
    "km",
    "khm_Khmr",
    "my",
    "my_MM",
    "mya_Mymr",
    "bo",
    "dzo_Tibt",
]
KOREAN = ["ko", "kor", "ko-KR", "kor_Hang"]
WITH_SPACES = ["en", "de", "deu_Latn", "pt-BR", "sr_Cyrl", "hi", "vi", "zh-Latn", "nan_Latn", "zha", "kok", "mt", "x"]


@pytest.mark.parametrize(
    ("codes", "tokenizer", "spaces"),
    [
        (CHINESE, "zh", False),
        (JAPANESE, "char", False),
        (OTHERS_WITHOUT_SPACES, "char", False),
        (KOREAN, "char", True),
        (WITH_SPACES, "13a", True),
    ],
)
def test_the_tokenizer_follows_from_the_language(codes: list[str], tokenizer: str, spaces: bool) -> None:
    assert {code: bleu_tokenizer(code) for code in codes} == dict.fromkeys(codes, tokenizer)
    assert {code: has_spaces(code) for code in codes} == dict.fromkeys(codes, spaces)
    assert tokenizer_problem(tokenizer) is None, "it needs no further package and no network"


def test_an_unknown_tokenizer_or_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'moses' is not one of sacrebleu's tokenizers: none, zh, 13a, intl, char" in str(tokenizer_problem("moses"))
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    assert "pip install sacrebleu[ja]" in str(tokenizer_problem("ja-mecab"))
    with pytest.raises(RuntimeError):
        BLEU(tokenize="ja-mecab")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("狗睡觉。", True), ("작은 개", True), ("The 狗 sleeps", False), ("Ein Hund.", False), ("12 !", False)],
)
def test_text_that_13a_cannot_split_is_detected_by_its_letters(text: str, expected: bool) -> None:
    assert needs_target_language([text, text]) is expected
