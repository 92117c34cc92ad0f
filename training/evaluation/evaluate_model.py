"""Evaluate a finished model for publication: read, translate and score test sets, and report all problems together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import GenerationConfig

from ...modeling.tokenization_sineformer import tagged_languages
from ..data.batching import Seq2SeqCollator
from ..data.cleaning import CleaningReport, OnBadRows
from ..data.encoding import encode_pairs
from ..data.loading import read_split
from ..data.parallel_text import ParallelText
from ..data.tokenizer import Tokenizers
from ..pretrained.translation import translate_lines
from ..pretrained.translator import TranslationError, load_translator, read_lines, translate_into
from ..settings.arguments import public
from ..settings.data_arguments import DataArguments
from ..settings.record import library_versions, recorded_scoring, recorded_split
from .evaluator import Evaluator
from .languages import bleu_tokenizer, needs_target_language, tokenizer_problem
from .model_card import card_problem, dataset_name, update_model_card
from .published_scores import (
    BOOTSTRAP_SAMPLES,
    BOOTSTRAP_SEED,
    corpus_scores,
    length_ratio,
    repetition_rate,
    worst_sentences,
)
from .report import name_problem, report_folder_problem, write_report
from .scores import exact_match, perplexity


class EvaluationError(ValueError):
    """Raised with every problem that prevents an evaluation.

    Attributes:
        problems: one line each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count}; nothing was written:", *(f"  - {each}" for each in self.problems)]))


@dataclass
class EvaluationRequest:
    """Describe an evaluation: the model, the test sets and how they are translated and scored.

    Attributes:
        model: a folder written by training, or the id of a model on the Hub.
        data: for each test set, its files (two parallel text files, or tables); or "embedded"; or "hub", the id of a
            dataset, the split and optionally the configuration.
        output_dir: folder for the report; an older report there is replaced.
        names: of the test sets; default: the name of the first file up to its first dot, or the split.
        columns: names of the source and target column, in tables and datasets.
        dataset_name: name of the data in the model card.
        target_language: code of the language of the references; default: that in the record of the model's run or
            in its configuration, or en. It decides how text is tokenised and which scores are computed, and the
            direction of a model that translates both.
        bleu_tokenize: sacrebleu's name of the tokenizer of BLEU; default: that in the record of the model's run, or
            the one for the language.
        on_bad_rows: whether unusable rows are an error, or are left out and counted.
        compare: another model, or a file with its translations for each test set.
        num_beams: beams; default: the number saved with the model.
        batch_size: sentences per batch.
        device, dtype: device of the model, and precision of its weights.
        worst: number of sentences to show.
        update_model_card: whether to write the scores into the README.md of the model's folder too.
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
        """Return the entry for the model card, under the name used by the model's run if this is one of its splits."""
        recorded = recorded_split(model_folder, self.text.digest())
        split, data = (self.name, self.arguments) if recorded is None else recorded
        name = self.arguments.dataset_name or dataset_name(data)
        return {"type": public(str(data.dataset)), "name": name, "split": split}


@dataclass
class _System:
    """Hold a model and its tokenizers, or given translations, one list for each test set."""

    name: str
    model: Any = None
    tokenizers: Tokenizers | None = None
    translations: list[list[str]] = field(default_factory=list)


def evaluate_model(request: EvaluationRequest) -> dict[str, Any]:
    """Translate and score, write the report, and return its content.

    Raises:
        EvaluationError: with every problem found, before anything is translated or written.
        OSError: the report or the card cannot be written.
    """
    problems = _request_problems(request)
    sets = _read_sets(request, problems)
    system = _load(request.model, request, problems)
    baseline = _baseline(request, sets, problems) if request.compare else None
    datasets = _datasets(system, sets, problems)
    language, tokenize = _scoring(system, sets, request, problems)
    if problems or system is None:
        raise EvaluationError(problems)
    results = []
    translations = {}
    for number, data in enumerate(sets):
        translations[data.name] = _translate(system, data, number, request)
        theirs = None if baseline is None else _translate(baseline, data, number, request)
        scores = corpus_scores(translations[data.name], data.text.targets, language, theirs, tokenize)
        lengths = _count_words(translations[data.name], data.text.targets, language, tokenize)
        measured = {"scores": scores} | lengths | _measure(system, data, translations[data.name], theirs, request)
        results.append({"name": data.name, "dataset": datasets[data.name]} | measured)
    report = _describe(system, baseline, request) | {"target_language": language, "bleu_tokenize": tokenize}
    report |= {"sets": results, "versions": library_versions()}
    write_report(request.output_dir, report, translations)
    if request.update_model_card:
        update_model_card(Path(request.model), report)
    return report


def _request_problems(request: EvaluationRequest) -> list[str]:
    problems = []
    if request.names and len(request.names) != len(request.data):
        problems.append(f"{len(request.names)} names for {len(request.data)} test sets; give one name for each")
    for problem in (
        report_folder_problem(request.output_dir),
        card_problem(Path(request.model)) if request.update_model_card else None,
    ):
        if problem:
            problems.append(problem)
    return problems


def _read_sets(request: EvaluationRequest, problems: list[str]) -> list[_TestSet]:
    """Return the test sets that can be read; append the errors of the others to `problems`."""
    sets = []
    names = request.names if len(request.names) == len(request.data) else [_name_of(words) for words in request.data]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"{names.count(name)} test sets are called {name!r}; name them with --names")
    problems += filter(None, map(name_problem, names))
    for name, words in zip(names, request.data, strict=True):
        if words[0] == "hub" and (len(words) not in (3, 4) or request.columns is None):
            problems.append("a set of the Hub needs: hub ID SPLIT [CONFIGURATION], and --columns SOURCE TARGET")
            continue
        arguments = _data_arguments(words, request)
        try:
            sets.append(_TestSet(name, arguments, *read_split(arguments, "test")))
        except ValueError as error:
            problems.append(str(error))
    return sets


def _name_of(words: list[str]) -> str:
    if words[0] == "embedded":
        return "test"
    return words[2] if words[0] == "hub" and len(words) > 2 else Path(words[0]).name.partition(".")[0]


def _data_arguments(words: list[str], request: EvaluationRequest) -> DataArguments:
    """Return the settings of a run that name this test set, so that it is read as in training."""
    # Dropping rows is requested explicitly here, and the report counts them.
    data = DataArguments(dataset_name=request.dataset_name, on_bad_rows=request.on_bad_rows, max_unusable_share=1.0)
    if request.columns:
        data.source_column, data.target_column = request.columns
    if words[0] == "hub":
        data.dataset, data.test_split = words[1:3]
        data.dataset_config = words[3] if len(words) > 3 else None
    elif words == ["embedded"]:
        data.dataset = "embedded"
    else:
        data.dataset, data.test_files = "files", words
    return data


def _load(name: str, request: EvaluationRequest, problems: list[str]) -> _System | None:
    try:
        model, tokenizers = load_translator(name, request.device, getattr(torch, request.dtype))
        if request.target_language is not None and tagged_languages(tokenizers.source):
            translate_into(tokenizers, request.target_language)
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


def _scoring(
    system: _System | None, sets: list[_TestSet], request: EvaluationRequest, problems: list[str]
) -> tuple[str, str]:
    """Return the language code of the references, and the tokenizer of BLEU."""
    language, tokenize = request.target_language, request.bleu_tokenize
    if system is not None:
        try:
            recorded = recorded_scoring(Path(system.model.name_or_path))
        except ValueError as error:
            problems.append(str(error))
            recorded = None
        if recorded is not None:
            # The tokenizer set in a run's recipe is for the run's language, not for another one given here.
            tokenize = tokenize or (recorded[1] if language in (None, recorded[0]) else None)
            language = language or recorded[0]
        language = language or getattr(system.model.config, "target_language", None)
    if language is None and any(needs_target_language(data.text.targets) for data in sets):
        problems.append(
            "the language of the references is unknown, and BLEU cannot split their script into words; give "
            "--target_language, such as zh or ja"
        )
    if tokenize is not None and (problem := tokenizer_problem(tokenize)) is not None:
        problems.append(f"bleu_tokenize: {problem}")
    language = language or "en"
    return language, tokenize or bleu_tokenizer(language)


def _baseline(request: EvaluationRequest, sets: list[_TestSet], problems: list[str]) -> _System | None:
    """Return the system to compare with: given translations if the first name is a file, otherwise a model."""
    if not Path(request.compare[0]).is_file():
        if len(request.compare) > 1:
            problems.append(
                f"{request.compare[0]} is not a file; compare with one model, or with a file for each test set"
            )
            return None
        return _load(request.compare[0], request, problems)
    if len(request.compare) != len(request.data):
        problems.append(
            f"{len(request.compare)} files to compare with for {len(request.data)} test sets; give one each"
        )
        return None
    system = _System(", ".join(Path(each).name for each in request.compare))
    for file in request.compare:
        try:
            system.translations.append(read_lines(Path(file)))
        except TranslationError as error:
            problems.append(str(error))
    if len(system.translations) == len(sets):
        for file, lines, data in zip(request.compare, system.translations, sets, strict=True):
            if len(lines) != len(data.text):
                problems.append(f"{file} has {len(lines)} lines, but {data.name} has {len(data.text)} sentences")
    return system


def _translate(system: _System, data: _TestSet, number: int, request: EvaluationRequest) -> list[str]:
    if system.tokenizers is None:
        return system.translations[number]
    sources, many = data.text.sources, len(data.text) > request.batch_size
    return translate_lines(system.model, system.tokenizers, sources, request.batch_size, request.num_beams, many)


def _count_words(translations: list[str], references: list[str], language: str, tokenize: str) -> dict[str, float]:
    """Return the statistics counted in words, or in characters for languages without spaces."""
    return {
        "length_ratio": length_ratio(translations, references, tokenize),
        "repetition_rate": repetition_rate(translations, language),
        "repetition_rate_of_references": repetition_rate(references, language),
    }


def _measure(
    system: _System, data: _TestSet, translations: list[str], theirs: list[str] | None, request: EvaluationRequest
) -> dict[str, Any]:
    assert system.tokenizers is not None, "checked by `evaluate_model`"
    text, references = data.text, data.text.targets
    pairs = encode_pairs(text, system.tokenizers, sys.maxsize, data.cleaning)
    collator = Seq2SeqCollator(system.tokenizers.source.pad_token_id)
    evaluator = Evaluator(Accelerator(cpu=True), system.tokenizers, collator, request.batch_size)
    loss = evaluator.mean_loss(system.model, pairs)
    return {
        "sha256": text.digest(),
        "sentences": len(text),
        "bad_rows": {reason: rows.count for reason, rows in data.cleaning.reasons.items()},
        "exact_match": exact_match(translations, references),
        "target_tokens": int(pairs.lengths[:, 1].sum()),
        "loss": loss,
        "perplexity": perplexity(loss),
        "worst": worst_sentences(text, translations, request.worst, theirs),
    }


def _describe(system: _System, baseline: _System | None, request: EvaluationRequest) -> dict[str, Any]:
    beams = request.num_beams or system.model.generation_config.num_beams or 1
    return {
        "model": system.name,
        "parameters": system.model.num_parameters(),
        "compared_with": None if baseline is None else baseline.name,
        "generation": _chosen(system.model.generation_config) | {"num_beams": beams},
        "batch_size": request.batch_size,
        "dtype": request.dtype,
        "device": system.model.device.type,
        "bootstrap": {"samples": BOOTSTRAP_SAMPLES, "seed": BOOTSTRAP_SEED, "interval": 0.95},
    }


def _chosen(generation: GenerationConfig) -> dict[str, Any]:
    """Return the generation settings that differ from the defaults, which some programs save with the model too."""
    defaults: dict[str, Any] = getattr(GenerationConfig, "_get_default_generation_params", dict)()
    ignored = {"transformers_version"}  # of the time it was saved
    values = generation.to_diff_dict().items()
    return {key: value for key, value in values if key not in ignored and defaults.get(key) != value}
