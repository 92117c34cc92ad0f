"""Numbers about translations that one can publish: scores with signatures and intervals, and a test of two systems.

Everything here works on lists of text, one translation and one reference for each sentence. sacrebleu computes the
scores and resamples the sentences (Koehn, 2004, *Statistical Significance Tests for Machine Translation Evaluation*).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any, NamedTuple

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest
from sacrebleu.tokenizers.tokenizer_base import BaseTokenizer
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from ..data.parallel_text import ParallelText
from .languages import WESTERN, bleu_tokenizer, has_asian_words, has_blanks
from .scores import column

BOOTSTRAP_SAMPLES = 1_000
BOOTSTRAP_SEED = 12_345  # that of sacrebleu's own command line, whose numbers these are
SIGNIFICANT = 0.05
LONGEST_REPEAT = 4  # words
# Of a language without blanks. Many words of Chinese and Japanese are one character twice.
REPEATED_CHARACTERS = range(2, 9)


class Measure(NamedTuple):
    """A score of a whole test set: its title, whether less of it is better, and what computes it."""

    title: str
    less_is_better: bool
    build: Callable[[], Any]


class MosesTokens(BaseTokenizer):
    """Makes tokens as two Moses scripts (Koehn et al., 2007) do one after the other, `normalize-punctuation.perl` and
    `tokenizer.perl`.

    Args:
        language: whose rules are followed; those of English where Moses has none for it.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.normalizer, self.tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)

    def signature(self) -> str:
        """The part `tok:` of sacrebleu's signatures."""
        return f"moses-{self.language}-{metadata.version('sacremoses')}"

    def __call__(self, line: str) -> str:
        tokens: str = self.tokenizer.tokenize(self.normalizer.normalize(line), return_str=True, escape=False)
        return tokens


def lower_case_bleu(language: str) -> BLEU:
    """Return BLEU as the literature on Multi30k has it, over the lower-case `MosesTokens` of both sides."""
    bleu = BLEU(lowercase=True, tokenize="none")
    bleu.tokenizer = MosesTokens(language)
    bleu.tokenizer_signature = bleu.tokenizer.signature()
    return bleu


def measures(language: str, tokenize: str | None = None) -> dict[str, Measure]:
    """Return the scores that mean something for a language, by name.

    The tokenizer of Moses and TER count words between blanks. A language without blanks has no score of the first, and
    TER of Chinese and Japanese alone, whose text Tercom divides itself.

    Args:
        language: code of the translations' language.
        tokenize: sacrebleu's name of the tokenizer of BLEU; None for the one that goes with the language.
    """
    builds: dict[str, Callable[[], Any]] = {"bleu": lambda: BLEU(tokenize=tokenize or bleu_tokenizer(language))}
    if has_blanks(language):
        builds["bleu_lowercase"] = lambda: lower_case_bleu(language)
    builds["chrf"] = CHRF
    if has_blanks(language):
        builds["ter"] = TER
    elif has_asian_words(language):
        builds["ter"] = lambda: TER(normalized=True, asian_support=True)
    return {name: Measure(column(name).title, name == "ter", build) for name, build in builds.items()}


def corpus_scores(
    translations: Sequence[str],
    references: Sequence[str],
    language: str,
    baseline: Sequence[str] | None = None,
    tokenize: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Every one of `measures`, each with its signature and a 95 % bootstrap interval, `mean` plus or minus `ci`.

    Args:
        translations: of the system.
        references: as many.
        language: code of theirs, which decides how text is divided into tokens.
        baseline: translations of another system, to compare with: adds its numbers as `baseline`, the two-sided
            `p_value` of the difference by paired bootstrap resampling, and `better`: "model", "baseline" or, where
            p is not below 0.05, "neither".
        tokenize: of BLEU, in place of the tokenizer that goes with the language.
    """
    systems = [("model", translations)] if baseline is None else [("baseline", baseline), ("model", translations)]
    chosen = measures(language, tokenize)
    return {name: _score(measure, systems, references) for name, measure in chosen.items()}


def _score(measure: Measure, systems: list[tuple[str, Sequence[str]]], references: Sequence[str]) -> dict[str, Any]:
    # One test for each measure: a test of several would keep only the last of those that sacrebleu names alike.
    with _seeded():
        test: Any = PairedTest(systems, {measure.title: measure.build()}, [references], "bs", BOOTSTRAP_SAMPLES)
        signatures, results = test()
    ((title, signature),) = signatures.items()
    *others, ours = results[title]
    numbers = _numbers(ours) | {"signature": str(signature)}
    if not others:
        return numbers
    difference = ours.score - others[0].score
    # sacrebleu gives equal systems the smallest p there is: none of its resamples differs more than they do.
    p_value = 1.0 if difference == 0 else ours.p_value
    better = "model" if (difference > 0) is not measure.less_is_better else "baseline"
    return numbers | {
        "baseline": _numbers(others[0]),
        "p_value": p_value,
        "better": better if p_value < SIGNIFICANT else "neither",
    }


def _numbers(result: Any) -> dict[str, float]:
    return {"score": float(result.score), "mean": float(result.mean), "ci": float(result.ci)}


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Give sacrebleu the seed of its bootstrap, which it takes from the environment alone."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(BOOTSTRAP_SEED)
    try:
        yield
    finally:
        del os.environ["SACREBLEU_SEED"]
        if before is not None:
            os.environ["SACREBLEU_SEED"] = before


def length_ratio(translations: Sequence[str], references: Sequence[str], tokenize: str = WESTERN) -> float:
    """Tokens of all translations / tokens of all references, as BLEU with this tokenizer counts them."""
    score = BLEU(tokenize=tokenize).corpus_score(translations, [references])
    return score.sys_len / score.ref_len


def repetition_rate(texts: Sequence[str], language: str) -> float:
    """Percentage of texts with a repetition: one to four words that follow themselves at once ("the the",
    "a man a man"). Words are what stands between spaces, with their case and punctuation. In a language without
    blanks, two to eight characters that do."""
    check = has_repetition if has_blanks(language) else has_repeated_characters
    return 100 * sum(map(check, texts)) / len(texts)


def has_repetition(text: str) -> bool:
    """Whether one to `LONGEST_REPEAT` words are followed by the same words."""
    return _has_repeat(text.split(), range(1, LONGEST_REPEAT + 1))


def has_repeated_characters(text: str) -> bool:
    """Whether as many characters as `REPEATED_CHARACTERS` says are followed by the same characters."""
    return _has_repeat("".join(text.split()), REPEATED_CHARACTERS)


def _has_repeat(units: Sequence[str], lengths: Iterable[int]) -> bool:
    return any(
        units[start : start + length] == units[start + length : start + 2 * length]
        for length in lengths
        for start in range(len(units) - 2 * length + 1)
    )


def worst_sentences(
    text: ParallelText, translations: Sequence[str], count: int, baseline: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The `count` sentences with the lowest sentence chrF, lowest first; equal ones in the order of the set."""
    chrf = CHRF()
    scores = [
        chrf.sentence_score(ours, [reference]).score for ours, reference in zip(translations, text.targets, strict=True)
    ]
    chosen = sorted(range(len(text)), key=lambda index: (scores[index], index))[:count]
    rows = []
    for index in chosen:
        row = {"line": text.lines[index], "chrf": scores[index], "source": text.sources[index]}
        row |= {"reference": text.targets[index], "translation": translations[index]}
        rows.append(row if baseline is None else row | {"baseline": baseline[index]})
    return rows
