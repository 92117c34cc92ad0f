"""From the wishes of a command line to a report: test sets read, translated and scored, all problems told together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..data.batching import Seq2SeqCollator
from ..data.cleaning import CleaningReport, OnBadRows
from ..data.encoding import encode_pairs
from ..data.loading import read_split
from ..data.parallel_text import ParallelText
from ..data.tokenizer import Tokenizers
from ..pretrained.translation import translate_lines
from ..pretrained.translator import TranslationError, load_translator, read_lines
from ..settings.arguments import DataArguments
from ..settings.record import library_versions, recorded_scoring, recorded_split
from .evaluator import Evaluator, perplexity
from .languages import bleu_tokenizer, needs_a_language, tokenizer_problem
from .model_card import dataset_name
from .published_scores import (
    BOOTSTRAP_SAMPLES,
    BOOTSTRAP_SEED,
    corpus_scores,
    exact_match,
    length_ratio,
    repetition_rate,
    worst_sentences,
)
from .report import card_problem, name_problem, report_folder_problem, update_model_card, write_report


class EvaluationError(ValueError):
    """All that stands in the way of an evaluation.

    Attributes:
        problems: one line each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count}; nothing was written:", *(f"  - {each}" for each in self.problems)]))


@dataclass
class Wishes:
    """What to evaluate, and how.

    Attributes:
        model: a folder that training wrote, or the id of a model on the Hub.
        data: for each test set, its files (two of lines, or tables); or "embedded"; or "hub", the id of a dataset, the
            split and perhaps the configuration.
        output_dir: folder for the report; an older report there is replaced.
        names: of the test sets; left out: the name of the first file up to its first dot, or the split.
        columns: of the source and of the target, in tables and datasets.
        dataset_name: what the model card calls the data.
        target_language: code of the language of the references; left out: as the record of the model's run has it, or
            en. It decides how text is divided into tokens, and which scores mean something.
        bleu_tokenize: sacrebleu's name of the tokenizer of BLEU; left out: as the record of the model's run has it, or
            the one that goes with the language.
        on_bad_rows: whether rows that are no pair end the evaluation, or are left out and counted.
        compare: another model, or a file with its translations for each test set.
        num_beams: beams; left out: what the model was saved with.
        batch_size: sentences translated at once.
        device, dtype: where, and the precision of the weights.
        worst: sentences to show.
        update_model_card: whether the scores go into the README.md of the model's folder too.
    """

    model: str
    data: list[list[str]]
    output_dir: Path
    names: list[str] = field(default_factory=list)
    columns: list[str] | None = None
    dataset_name: str | None = None
    target_language: str | None = None
    bleu_tokenize: str | None = None
    on_bad_rows: OnBadRows = "refuse"
    compare: list[str] = field(default_factory=list)
    num_beams: int | None = None
    batch_size: int = 64
    device: str | None = None
    dtype: str = "float32"
    worst: int = 10
    update_model_card: bool = False


@dataclass
class _TestSet:
    name: str
    arguments: DataArguments
    text: ParallelText
    cleaning: CleaningReport

    def dataset(self, model_folder: Path) -> dict[str, str]:
        """What the model card says of this set: as the run of the model called it, if it is one of the run's splits."""
        recorded = recorded_split(model_folder, self.text.digest())
        split, data = (self.name, self.arguments) if recorded is None else recorded
        name = self.arguments.dataset_name or dataset_name(data)
        return {"type": data.dataset, "name": name, "split": split}


@dataclass
class _System:
    """A model and its tokenizers, or translations that somebody else made, one list for each test set."""

    name: str
    model: Any = None
    tokenizers: Tokenizers | None = None
    translations: list[list[str]] = field(default_factory=list)


def evaluate_model(wishes: Wishes) -> dict[str, Any]:
    """Translate and score, write the report, and return it as its JSON has it.

    Raises:
        EvaluationError: with every problem found, before anything is translated or written.
        OSError: the report or the card cannot be written.
    """
    problems = _problems_of_wishes(wishes)
    sets = _read_sets(wishes, problems)
    system = _load(wishes.model, wishes, problems)
    baseline = _baseline(wishes, sets, problems) if wishes.compare else None
    datasets = _datasets(system, sets, problems)
    language, tokenize = _scoring(system, sets, wishes, problems)
    if problems or system is None:
        raise EvaluationError(problems)
    results = []
    translations = {}
    for number, data in enumerate(sets):
        translations[data.name] = _translate(system, data, number, wishes)
        theirs = None if baseline is None else _translate(baseline, data, number, wishes)
        scores = corpus_scores(translations[data.name], data.text.targets, language, theirs, tokenize)
        lengths = _count_words(translations[data.name], data.text.targets, language, tokenize)
        measured = {"scores": scores} | lengths | _measure(system, data, translations[data.name], theirs, wishes)
        results.append({"name": data.name, "dataset": datasets[data.name]} | measured)
    report = _describe(system, baseline, wishes) | {"target_language": language, "bleu_tokenize": tokenize}
    report |= {"sets": results, "versions": library_versions()}
    write_report(wishes.output_dir, report, translations)
    if wishes.update_model_card:
        update_model_card(Path(wishes.model), report)
    return report


def _problems_of_wishes(wishes: Wishes) -> list[str]:
    problems = []
    if wishes.names and len(wishes.names) != len(wishes.data):
        problems.append(f"{len(wishes.names)} names for {len(wishes.data)} test sets; give one name for each")
    for problem in (
        report_folder_problem(wishes.output_dir),
        card_problem(Path(wishes.model)) if wishes.update_model_card else None,
    ):
        if problem:
            problems.append(problem)
    return problems


def _read_sets(wishes: Wishes, problems: list[str]) -> list[_TestSet]:
    """The test sets that can be read; what is wrong with the others goes to `problems`."""
    sets = []
    names = wishes.names if len(wishes.names) == len(wishes.data) else [_name_of(words) for words in wishes.data]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"{names.count(name)} test sets are called {name!r}; name them with --names")
    problems += filter(None, map(name_problem, names))
    for name, words in zip(names, wishes.data, strict=True):
        if words[0] == "hub" and (len(words) not in (3, 4) or wishes.columns is None):
            problems.append("a set of the Hub needs: hub ID SPLIT [CONFIGURATION], and --columns SOURCE TARGET")
            continue
        arguments = _data_arguments(words, wishes)
        try:
            sets.append(_TestSet(name, arguments, *read_split(arguments, "test")))
        except ValueError as error:
            problems.append(str(error))
    return sets


def _name_of(words: list[str]) -> str:
    if words[0] == "embedded":
        return "test"
    return words[2] if words[0] == "hub" and len(words) > 2 else Path(words[0]).name.partition(".")[0]


def _data_arguments(words: list[str], wishes: Wishes) -> DataArguments:
    """The test set as the settings of a run name it, so that both read it alike."""
    # Whoever has rows left out here has asked for it, and the report counts them.
    data = DataArguments(dataset_name=wishes.dataset_name, on_bad_rows=wishes.on_bad_rows, max_unusable_share=1.0)
    if wishes.columns:
        data.source_column, data.target_column = wishes.columns
    if words[0] == "hub":
        data.dataset, data.test_split = words[1:3]
        data.dataset_config = words[3] if len(words) > 3 else None
    elif words != ["embedded"]:
        data.dataset, data.test_files = "files", words
    return data


def _load(name: str, wishes: Wishes, problems: list[str]) -> _System | None:
    try:
        model, tokenizers = load_translator(name, wishes.device, getattr(torch, wishes.dtype))
    except TranslationError as error:
        problems.append(str(error))
        return None
    title = Path(name).resolve().name if Path(name).is_dir() else name
    return _System(title, model, tokenizers)


def _datasets(system: _System | None, sets: list[_TestSet], problems: list[str]) -> dict[str, dict[str, str]]:
    if system is None:
        return {}
    try:
        return {data.name: data.dataset(Path(system.model.name_or_path)) for data in sets}
    except ValueError as error:
        problems.append(str(error))
        return {}


def _scoring(system: _System | None, sets: list[_TestSet], wishes: Wishes, problems: list[str]) -> tuple[str, str]:
    """The code of the language of the references, and the tokenizer of BLEU."""
    language, tokenize = wishes.target_language, wishes.bleu_tokenize
    if system is not None:
        try:
            recorded = recorded_scoring(Path(system.model.name_or_path))
        except ValueError as error:
            problems.append(str(error))
            recorded = None
        if recorded is not None:
            # What a run's recipe asks for goes with the run's language, not with another that is given here.
            tokenize = tokenize or (recorded[1] if language in (None, recorded[0]) else None)
            language = language or recorded[0]
    if language is None and any(needs_a_language(data.text.targets) for data in sets):
        problems.append(
            "nothing says which language the references are in, and their script is not one that BLEU divides into "
            "words; give --target_language, such as zh or ja"
        )
    if tokenize is not None and (problem := tokenizer_problem(tokenize)) is not None:
        problems.append(f"bleu_tokenize: {problem}")
    language = language or "en"
    return language, tokenize or bleu_tokenizer(language)


def _baseline(wishes: Wishes, sets: list[_TestSet], problems: list[str]) -> _System | None:
    """The system to compare with: files if the first is one, else a model."""
    if not Path(wishes.compare[0]).is_file():
        if len(wishes.compare) > 1:
            problems.append(f"{wishes.compare[0]} is no file; compare with one model, or with a file for each test set")
            return None
        return _load(wishes.compare[0], wishes, problems)
    if len(wishes.compare) != len(wishes.data):
        problems.append(f"{len(wishes.compare)} files to compare with for {len(wishes.data)} test sets; give one each")
        return None
    system = _System(", ".join(Path(each).name for each in wishes.compare))
    for file in wishes.compare:
        try:
            system.translations.append(read_lines(Path(file)))
        except TranslationError as error:
            problems.append(str(error))
    if len(system.translations) == len(sets):
        for file, lines, data in zip(wishes.compare, system.translations, sets, strict=True):
            if len(lines) != len(data.text):
                problems.append(f"{file} has {len(lines)} lines, but {data.name} has {len(data.text)} sentences")
    return system


def _translate(system: _System, data: _TestSet, number: int, wishes: Wishes) -> list[str]:
    if system.tokenizers is None:
        return system.translations[number]
    sources, many = data.text.sources, len(data.text) > wishes.batch_size
    return translate_lines(system.model, system.tokenizers, sources, wishes.batch_size, wishes.num_beams, many)


def _count_words(translations: list[str], references: list[str], language: str, tokenize: str) -> dict[str, float]:
    """What is counted in words, or in characters where words have no blanks between them."""
    return {
        "length_ratio": length_ratio(translations, references, tokenize),
        "repetition_rate": repetition_rate(translations, language),
        "repetition_rate_of_references": repetition_rate(references, language),
    }


def _measure(
    system: _System, data: _TestSet, translations: list[str], theirs: list[str] | None, wishes: Wishes
) -> dict[str, Any]:
    assert system.tokenizers is not None, "it was loaded"
    text, references = data.text, data.text.targets
    pairs = encode_pairs(text, system.tokenizers, sys.maxsize, data.cleaning)
    collator = Seq2SeqCollator(system.tokenizers.source.pad_token_id)
    evaluator = Evaluator(Accelerator(cpu=True), system.tokenizers, collator, wishes.batch_size)
    loss = evaluator.mean_loss(system.model, pairs)
    return {
        "sha256": text.digest(),
        "sentences": len(text),
        "bad_rows": {reason: rows.count for reason, rows in data.cleaning.reasons.items()},
        "exact_match": exact_match(translations, references),
        "target_tokens": int(pairs.lengths[:, 1].sum()),
        "loss": loss,
        "perplexity": perplexity(loss),
        "worst": worst_sentences(text, translations, wishes.worst, theirs),
    }


def _describe(system: _System, baseline: _System | None, wishes: Wishes) -> dict[str, Any]:
    generation = system.model.generation_config.to_diff_dict()
    generation.pop("transformers_version", None)  # of the time it was saved
    beams = wishes.num_beams or system.model.generation_config.num_beams or 1
    return {
        "model": system.name,
        "parameters": system.model.num_parameters(),
        "compared_with": None if baseline is None else baseline.name,
        "generation": generation | {"num_beams": beams},
        "batch_size": wishes.batch_size,
        "dtype": wishes.dtype,
        "device": system.model.device.type,
        "bootstrap": {"samples": BOOTSTRAP_SAMPLES, "seed": BOOTSTRAP_SEED, "interval": 0.95},
    }
