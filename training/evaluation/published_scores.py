"""Compute scores for publication, with signatures and confidence intervals, and compare two systems.

All functions take lists of text, one translation and one reference for each sentence. sacrebleu computes the
scores and resamples the sentences (Koehn, 2004, *Statistical Significance Tests for Machine Translation Evaluation*).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest
from sacrebleu.tokenizers.tokenizer_base import BaseTokenizer
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from ..data.parallel_text import ParallelText
from .languages import WESTERN, bleu_tokenizer, has_spaces, tercom_segments
from .scores import METRICS, column

BOOTSTRAP_SAMPLES = 1_000
BOOTSTRAP_SEED = 12_345  # that of sacrebleu's command line, for equal numbers
SIGNIFICANT = 0.05
LONGEST_REPEAT = 4  # words
# For languages without spaces. One character twice is a common word in Chinese and Japanese.
REPEATED_CHARACTERS = range(2, 9)


class Measure(NamedTuple):
    """A corpus-level score: its title, whether lower is better, and a function that makes the sacrebleu metric."""

    title: str
    less_is_better: bool
    build: Callable[[], Any]


class MosesTokens(BaseTokenizer):
    """Tokenise as two Moses scripts (Koehn et al., 2007) in sequence, `normalize-punctuation.perl` and
    `tokenizer.perl`.

    Args:
        language: code of the language whose rules apply; English rules if Moses has none for it.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.normalizer, self.tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)

    def signature(self) -> str:
        """Return the value of `tok:` in sacrebleu's signatures."""
        return f"moses-{self.language}-{metadata.version('sacremoses')}"

    def __call__(self, line: str) -> str:
        tokens: str = self.tokenizer.tokenize(self.normalizer.normalize(line), return_str=True, escape=False)
        return tokens


def lower_case_bleu(language: str) -> BLEU:
    """Return BLEU as reported in the literature on Multi30k, over the lower-case `MosesTokens` of both sides."""
    bleu = BLEU(lowercase=True, tokenize="none")
    bleu.tokenizer = MosesTokens(language)
    bleu.tokenizer_signature = bleu.tokenizer.signature()
    return bleu


def measures(language: str, tokenize: str | None = None) -> dict[str, Measure]:
    """Return the scores that are meaningful for a language, by name.

    The tokenizer of Moses and TER count words between spaces. Languages without spaces have no `bleu_lowercase`, and of
    these only Chinese and Japanese, which Tercom can segment, have TER.

    Args:
        language: code of the translations' language.
        tokenize: sacrebleu's name of the tokenizer of BLEU; None for the default of the language.
    """
    chosen = tokenize or bleu_tokenizer(language)
    of_both = {name: partial(metric.build, chosen) for name, metric in METRICS.items() if metric.build is not None}
    builds: dict[str, Callable[[], Any]] = {"bleu": of_both.pop("bleu")}
    if has_spaces(language):
        builds["bleu_lowercase"] = lambda: lower_case_bleu(language)
    builds |= of_both
    if has_spaces(language):
        builds["ter"] = TER
    elif tercom_segments(language):
        builds["ter"] = lambda: TER(normalized=True, asian_support=True)
    return {name: Measure(column(name).title, name == "ter", build) for name, build in builds.items()}


def corpus_scores(
    translations: Sequence[str],
    references: Sequence[str],
    language: str,
    baseline: Sequence[str] | None = None,
    tokenize: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Return each of `measures` with its signature and a 95 % bootstrap interval, `mean` plus or minus `ci`.

    Args:
        translations: of the system.
        references: one for each translation.
        language: code of their language, which decides how text is tokenised.
        baseline: translations of another system, to compare with: adds its numbers as `baseline`, the two-sided
            `p_value` of the difference by paired bootstrap resampling, and `better`: "model", "baseline" or, unless
            p is below 0.05, "neither".
        tokenize: tokenizer of BLEU instead of the default of the language.
    """
    systems = [("model", translations)] if baseline is None else [("baseline", baseline), ("model", translations)]
    chosen = measures(language, tokenize)
    return {name: _score(measure, systems, references) for name, measure in chosen.items()}


def _score(measure: Measure, systems: list[tuple[str, Sequence[str]]], references: Sequence[str]) -> dict[str, Any]:
    # One test for each measure: a joint test would keep only the last of those with the same name in sacrebleu.
    with _seeded():
        test: Any = PairedTest(systems, {measure.title: measure.build()}, [references], "bs", BOOTSTRAP_SAMPLES)
        signatures, results = test()
    ((title, signature),) = signatures.items()
    *others, ours = results[title]
    numbers = _numbers(ours) | {"signature": str(signature)}
    if not others:
        return numbers
    difference = ours.score - others[0].score
    # sacrebleu returns the smallest possible p for equal systems: no resample differs more than they do.
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
    """Set the seed of sacrebleu's bootstrap, which it reads from the environment only."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(BOOTSTRAP_SEED)
    try:
        yield
    finally:
        del os.environ["SACREBLEU_SEED"]
        if before is not None:
            os.environ["SACREBLEU_SEED"] = before


def length_ratio(translations: Sequence[str], references: Sequence[str], tokenize: str = WESTERN) -> float:
    """Return tokens of all translations / tokens of all references, as counted by BLEU with this tokenizer."""
    score = BLEU(tokenize=tokenize).corpus_score(translations, [references])
    return score.sys_len / score.ref_len


def repetition_rate(texts: Sequence[str], language: str) -> float:
    """Return the percentage of texts with an immediate repetition of one to four words ("the the", "a man a man").
    Words are separated by spaces; case and punctuation count. In a language without spaces: of two to eight
    characters."""
    check = has_repetition if has_spaces(language) else has_repeated_characters
    return 100 * sum(map(check, texts)) / len(texts)


def has_repetition(text: str) -> bool:
    """Return whether one to `LONGEST_REPEAT` words are followed by the same words."""
    return _has_repeat(text.split(), range(1, LONGEST_REPEAT + 1))


def has_repeated_characters(text: str) -> bool:
    """Return whether characters, of a number in `REPEATED_CHARACTERS`, are followed by the same characters."""
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
    """Return the `count` sentences with the lowest sentence chrF, lowest first; ties in the order of the set, and those
    equal to their reference left out."""
    chrf = CHRF()
    scores = {
        index: chrf.sentence_score(ours, [reference]).score
        for index, (ours, reference) in enumerate(zip(translations, text.targets, strict=True))
        if ours != reference
    }
    chosen = sorted(scores, key=lambda index: (scores[index], index))[:count]
    rows = []
    for index in chosen:
        row = {"line": text.lines[index], "chrf": scores[index], "source": text.sources[index]}
        row |= {"reference": text.targets[index], "translation": translations[index]}
        rows.append(row if baseline is None else row | {"baseline": baseline[index]})
    return rows
