"""Translate a text of any length: read a window of lines, translate it in batches, and yield it in order.

lines --windows--> batches of similar length --one process or several--> translations, window by window
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import torch

from ...modeling.tokenization_sineformer import split_tag
from ..data.tokenizer import Tokenizers
from ..system.workers import WorkerError, WorkerPool, count_cores
from .engines import ModelChoice, load_engine
from .splitting import Splitter, join_sentences, split_lines
from .translation import Hypothesis, Search, SourceBatch, search_batch, token_batches
from .translator import TranslationError

WINDOW = 4096  # lines: enough for batches of similar lengths
# Source tokens of a batch, multiplied by its beams: with more, a step no longer fits into the cache of a CPU. Greedy
# search gets half of it, since more than that gains nothing.
CPU_TOKENS = 10240
USUAL_BEAMS = 5
ACCELERATOR_TOKENS = 8192
LINES_OF_A_WORKER = 500  # a worker takes seconds to start

Found = list[list[Hypothesis]]  # of each line of a batch
Translate = Callable[[Iterable[SourceBatch]], Iterator[Found]]


def windows_of(lines: Iterable[str], size: int | None = None) -> Iterator[list[str]]:
    """Yield the lines in lists of `size`; None for `WINDOW`."""
    remaining = iter(lines)
    while window := list(islice(remaining, size or WINDOW)):
        yield window


def count_lines(windows: Iterator[list[str]], before: int) -> tuple[int | None, Iterator[list[str]]]:
    """Return the number of lines, with those `before` the windows, or None if the first window is full; and the
    windows."""
    first = next(windows, [])
    return (before + len(first) if len(first) < WINDOW else None), chain([first] if first else [], windows)


@dataclass
class Window:
    """Hold the lines of a window while their batches are translated.

    Attributes:
        lines: the sources.
        sentences: the texts to translate: the lines, or the sentences of all lines.
        found: hypotheses of each sentence. A sentence without visible characters has one, which is empty and certain.
        batches: of the sentences; at least one, which may be empty.
        split: the sentences of each line, if the lines are split.
    """

    lines: list[str]
    sentences: list[str]
    found: Found
    batches: list[SourceBatch]
    split: list[list[str]] | None
    placed: int = 0
    reported: int = field(default=0)

    def place(self, found: Found) -> int:
        """Put the hypotheses of the next batch into their places; return how many lines more are done."""
        batch = self.batches[self.placed]
        for index, hypotheses in zip(batch.lines, found, strict=True):
            self.found[index] = hypotheses
        self.placed += 1
        done = len(self.lines) * self.placed // len(self.batches)
        more, self.reported = done - self.reported, done
        return more

    def is_complete(self) -> bool:
        return self.placed == len(self.batches)

    def translations(self) -> Found:
        """Return the translations of each line; of a line that was split, the joined ones of its sentences."""
        if self.split is None:
            return self.found
        texts = (hypotheses[0].text for hypotheses in self.found)
        return [[Hypothesis(join_sentences(list(islice(texts, len(each)))))] for each in self.split]


@dataclass(frozen=True)
class TextTranslator:
    """Translate windows of lines with one model and the same options.

    Attributes:
        tokenizers: of the model.
        search: what to search for.
        max_tokens: source tokens in a batch, padding included.
        splitter: splits a line into sentences, which are translated one by one; None to translate it at once. With a
            splitter, a line has one translation and no score.
        translate_batches: yields what is found for each batch, in order.
        workers: number of processes that translate the batches.
    """

    tokenizers: Tokenizers
    search: Search
    max_tokens: int
    splitter: Splitter | None
    translate_batches: Translate
    workers: int = 1

    def translate(
        self, windows: Iterable[list[str]], report: Callable[[int], object] = lambda lines: None
    ) -> Iterator[tuple[list[str], Found]]:
        """Yield the lines of each window and their translations, in order. Later windows are read while earlier ones
        are translated.

        Args:
            report: called with the number of lines that are done since the last call.
        """
        begun: deque[Window] = deque()

        def batches() -> Iterator[SourceBatch]:
            for lines in windows:
                begun.append(self._window(lines))
                yield from begun[-1].batches

        for found in self.translate_batches(batches()):
            report(begun[0].place(found))
            if begun[0].is_complete():
                window = begun.popleft()
                yield window.lines, window.translations()

    def _window(self, lines: list[str]) -> Window:
        split = None if self.splitter is None else split_lines(lines, self._sentences)
        sentences = lines if split is None else list(chain(*split))
        batches = token_batches(self.tokenizers, sentences, self.max_tokens, self.workers)
        empty: Found = [[Hypothesis("", 0.0 if self.search.scores else None)] for _ in sentences]
        return Window(lines, sentences, empty, batches or [SourceBatch([], [])], split)

    def _sentences(self, line: str) -> list[str]:
        """Split a line; if it begins with the tag of a language, each sentence does."""
        assert self.splitter is not None
        tag, text = split_tag(self.tokenizers.source, line)
        return [f"{tag} {sentence}" if tag else sentence for sentence in self.splitter(text) if sentence]


@contextlib.contextmanager
def open_translator(
    choice: ModelChoice,
    search: Search,
    max_tokens: int | None = None,
    splitter: Splitter | None = None,
    workers: int = 1,
) -> Iterator[TextTranslator]:
    """Yield a translator, in this process or in several.

    Args:
        max_tokens: see `TextTranslator`; None for a number that suits device and beams.
        workers: number of processes, each with one thread of the CPU and the model; 1 for this one, with all cores.

    Raises:
        TranslationError: there is no such model, or it cannot be used; or a worker ended unexpectedly.
    """
    if max_tokens is None:
        beams = max(2, search.num_beams or USUAL_BEAMS, search.translations)
        max_tokens = CPU_TOKENS // beams if choice.on_cpu() else ACCELERATOR_TOKENS
    if workers == 1:
        model, tokenizers = load_engine(choice)
        in_turn: Translate = partial(map, partial(search_batch, model, tokenizers, search=search))
        try:
            yield TextTranslator(tokenizers, search, max_tokens, splitter, in_turn)
        except torch.OutOfMemoryError as error:
            raise TranslationError(f"{error}; use fewer --max_tokens than {max_tokens:,}") from error
        return
    if not choice.on_cpu():
        raise TranslationError("several workers translate on the CPU; add --device cpu, or leave out --workers")
    tokenizers = choice.load_tokenizers()
    try:
        with WorkerPool(WorkerSearch(choice, search), workers) as pool:
            yield TextTranslator(tokenizers, search, max_tokens, splitter, pool.map, workers)
    except WorkerError as error:
        raise TranslationError(f"{error}; if memory ran out, use fewer --workers than {workers}") from error


@dataclass(frozen=True)
class WorkerSearch:
    """Load the model in a worker, with one thread; return what translates a batch."""

    choice: ModelChoice
    search: Search

    def __call__(self) -> Callable[[SourceBatch], Found]:
        model: Any
        model, tokenizers = load_engine(self.choice, threads=1)
        return partial(search_batch, model, tokenizers, search=self.search)


def choose_workers(choice: ModelChoice, lines: int | None) -> int:
    """Return a number of workers for a text: one for each core of the CPU if there are enough lines for each.

    Args:
        lines: number of lines; None for many.
    """
    if not choice.on_cpu():
        return 1
    return count_cores() if lines is None else max(1, min(count_cores(), lines // LINES_OF_A_WORKER))
