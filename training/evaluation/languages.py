"""Choose the tokenizer of BLEU by language code, and say whether a language writes spaces between words.

sacrebleu's default tokenizer 13a splits text at spaces and punctuation, so a sentence in Chinese or Thai is a single
token. The choice made here depends on the code alone and needs no further package, so a score is the same on every
machine: `zh` for Chinese, `char` (single characters) for the other languages without spaces and for Korean, which
writes phrases between spaces. `ja-mecab` and `ko-mecab` must be set explicitly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sacrebleu.metrics import BLEU

_LETTER = re.compile(r"[^\W\d_]")
# Scripts of these languages: Thai and Lao, Tibetan, Burmese, Khmer, kana, Han, Hangul.
_LETTER_OF_THESE = re.compile(
    "[\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]"
)

WESTERN, CHINESE, CHARACTERS = BLEU.TOKENIZER_DEFAULT, "zh", "char"
KOREAN = "ko"

# ISO 639-1 to -3 codes by group, with names and the country codes that data sets use for languages.
_LANGUAGES = {
    CHINESE: "zh zho chi cmn yue wuu nan hak gan hsn cjy cdo cpx czh czo mnp lzh cn chinese mandarin cantonese",
    "ja": "ja jpn jp ryu ams japanese",
    KOREAN: "ko kor okm korean",
    "th": "th tha nod tts sou thai",
    "lo": "lo lao laotian",
    "km": "km khm khmer",
    "my": "my mya bur rki mnw shn ksw blk burmese",
    "bo": "bo bod tib dz dzo adx khg tibetan dzongkha",
}
_GROUP_OF = {code: group for group, codes in _LANGUAGES.items() for code in codes.split()}
# ISO 15924: a script in the code decides, so zh-Latn is Pinyin and nan_Latn has spaces.
_GROUP_OF_SCRIPT = {
    **{"hans": CHINESE, "hant": CHINESE, "hani": CHINESE, "hanb": CHINESE, "bopo": CHINESE},
    **{"jpan": "ja", "hira": "ja", "kana": "ja", "hrkt": "ja", "kore": KOREAN, "hang": KOREAN},
    **{"thai": "th", "lana": "th", "laoo": "lo", "khmr": "km", "mymr": "my", "tibt": "bo"},
}
_TOKENIZERS = {CHINESE: CHINESE, **{group: CHARACTERS for group in _LANGUAGES if group != CHINESE}}


def _group(code: str) -> str | None:
    """Return the group of languages of a code such as `zh`, `zh-CN`, `zho_Hans` or `ja_XX`."""
    language, *others = re.split(r"[-_]", code.strip().lower())
    for part in others:
        if len(part) == 4 and part.isalpha():
            return _GROUP_OF_SCRIPT.get(part)
    return _GROUP_OF.get(language)


def bleu_tokenizer(language: str) -> str:
    """Return sacrebleu's name of the default tokenizer of BLEU for a language."""
    return _TOKENIZERS.get(_group(language) or "", WESTERN)


def has_spaces(language: str) -> bool:
    """Return whether this language writes spaces between words or phrases."""
    return _group(language) in (None, KOREAN)


def tercom_segments(language: str) -> bool:
    """Return whether Tercom can segment this language, which has no spaces, into words."""
    return _group(language) in (CHINESE, "ja")


def needs_target_language(texts: Iterable[str]) -> bool:
    """Return whether most letters of these texts are in scripts that 13a cannot split into words."""
    letters, of_these = 0, 0
    for text in texts:
        letters += len(_LETTER.findall(text))
        of_these += len(_LETTER_OF_THESE.findall(text))
    return 2 * of_these > letters


def tokenizer_problem(name: str) -> str | None:
    """Return why BLEU cannot use the tokenizer of this name, with the fix; None if it can."""
    if name not in BLEU.TOKENIZERS:
        return f"{name!r} is not one of sacrebleu's tokenizers: {', '.join(BLEU.TOKENIZERS)}"
    try:
        BLEU(tokenize=name)
    except (Exception, SystemExit) as error:  # a missing package, a wrong dictionary, a failed download
        reason = " ".join(str(error).split()) or repr(error)
        return (
            f"{name} does not work here ({reason}); install what it needs, or choose another of sacrebleu's tokenizers"
        )
    return None
