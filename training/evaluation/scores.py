"""Compute, compare and show the scores of translations.

`METRICS` defines every validation metric. The log line, `metrics.jsonl`, the report of a run with its curves, the model
card and the choices of `best_metric` are derived from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sacrebleu.metrics import BLEU, CHRF

from .languages import WESTERN

LOSS, PERPLEXITY = "loss", "perplexity"


@dataclass(frozen=True)
class Column:
    """Title and format of a number in tables and logs.

    Attributes:
        title: header of its column.
        form: format of a value.
        in_log: name in a log line; None for the title.
    """

    title: str
    form: str
    in_log: str | None = None


class Measured(NamedTuple):
    """The value of a metric, and sacrebleu's signature, which makes it comparable, if it has one."""

    value: float
    signature: str | None = None


@dataclass(frozen=True)
class Metric:
    """A validation metric.

    Attributes:
        column: its title and format.
        measure: computes it from translations, one reference for each, and sacrebleu's name of the tokenizer of BLEU.
        less_is_better: whether a lower value is better.
        build: makes sacrebleu's metric for a tokenizer of BLEU, which published scores use too; None for a metric that
            sacrebleu does not compute.
    """

    column: Column
    measure: Callable[[Sequence[str], Sequence[str], str], Measured]
    less_is_better: bool = False
    build: Callable[[str], Any] | None = None


def exact_match(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return the percentage of translations equal to their reference, character for character."""
    return 100 * sum(map(str.__eq__, translations, references)) / len(references)


def perplexity(loss: float) -> float:
    """Return the perplexity for a mean cross-entropy in nats."""
    return math.exp(min(loss, 700.0))  # exp overflows above 709


def _sacrebleu(title: str, build: Callable[[str], Any]) -> Metric:
    def measure(translations: Sequence[str], references: Sequence[str], tokenize: str) -> Measured:
        metric = build(tokenize)
        score = metric.corpus_score(translations, [references]).score
        return Measured(score, str(metric.get_signature()))  # complete only after a score

    return Metric(Column(title, "{:.2f}"), measure, build=build)


# By name, which is the key in `metrics.jsonl` and in checkpoints, and a value of `best_metric`. All curves share one
# scale from 0 to 100.
METRICS = {
    "bleu": _sacrebleu("BLEU", lambda tokenize: BLEU(tokenize=tokenize)),
    "chrf": _sacrebleu("chrF", lambda tokenize: CHRF()),
    "chrf_plus_plus": _sacrebleu("chrF++", lambda tokenize: CHRF(word_order=2)),  # Popovic, 2017
    "exact_match": Metric(
        Column("Exact match", "{:.1f} %", in_log="exact"),
        lambda translations, references, tokenize: Measured(exact_match(translations, references)),
    ),
}

# Other columns of tables.
_COLUMNS = {
    "step": Column("Step", "{:,}"),
    "sentences": Column("Sentences", "{}"),
    "num_beams": Column("Beams", "{}"),
    "bleu_lowercase": Column("BLEU, lower case", "{:.2f}"),
    "ter": Column("TER", "{:.2f}"),
    "length_ratio": Column("Length", "{:.3f}"),
    "repetition_rate": Column("Repetition", "{:.1f} %"),
    LOSS: Column("Loss", "{:.3f}", in_log="loss"),
    PERPLEXITY: Column("Perplexity", "{:.2f}", in_log="perplexity"),
}


@dataclass(frozen=True)
class Scores:
    """Scores on one evaluation set.

    Attributes:
        loss: mean cross-entropy per target token in nats, without label smoothing.
        values: by name of the metric in `METRICS`; an older run may lack some.
        signatures: of sacrebleu, by name of the metric.
        sentences: size of the set.
        num_beams: beams of the translations.
    """

    loss: float
    values: Mapping[str, float]
    signatures: Mapping[str, str]
    sentences: int
    num_beams: int

    @property
    def perplexity(self) -> float:
        """Return the perplexity per target token."""
        return perplexity(self.loss)

    def as_record(self) -> dict[str, Any]:
        """Return flat keys and values, the form of logs and checkpoints."""
        signatures = {f"{name}_signature": signature for name, signature in self.signatures.items()}
        sizes = {"sentences": self.sentences, "num_beams": self.num_beams}
        return {LOSS: self.loss, **self.values, **signatures, **sizes, PERPLEXITY: self.perplexity}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Scores:
        """Return the scores in a record of `as_record`, without metrics that are not in `METRICS`."""
        keys = {name: f"{name}_signature" for name in METRICS}
        return cls(
            loss=record[LOSS],
            values={name: record[name] for name in METRICS if name in record},
            signatures={name: record[key] for name, key in keys.items() if key in record},
            sentences=record["sentences"],
            num_beams=record["num_beams"],
        )


def is_record(line: Mapping[str, Any]) -> bool:
    """Return whether a line of a log holds `Scores`."""
    return {LOSS, "sentences", "num_beams"} <= line.keys()


def score_translations(
    translations: Sequence[str], references: Sequence[str], tokenize: str = WESTERN
) -> dict[str, Any]:
    """Return the value of each of `METRICS` under its name, and its signature as `NAME_signature` if it has one.

    Args:
        translations: of a model.
        references: one for each translation.
        tokenize: sacrebleu's name of the tokenizer of BLEU.
    """
    record: dict[str, Any] = {}
    for name, metric in METRICS.items():
        record[name], signature = metric.measure(translations, references, tokenize)
        if signature is not None:
            record[f"{name}_signature"] = signature
    return record


def best_metrics() -> list[str]:
    """Return the possible values of `best_metric`."""
    return [*METRICS, LOSS]


def is_better(candidate: Scores, best: Scores, name: str) -> bool:
    """Return whether the candidate is better in one of `best_metrics`; a missing value is worse than any.

    The loss breaks ties, such as two early checkpoints with a BLEU of zero.
    """

    def merit(scores: Scores) -> tuple[float, float]:
        if name not in scores.values:
            return -math.inf, -scores.loss
        value = scores.values[name]
        return (-value if METRICS[name].less_is_better else value), -scores.loss

    return merit(candidate) > merit(best)


def column(name: str) -> Column:
    """Return the title and format of the number of this name."""
    return METRICS[name].column if name in METRICS else _COLUMNS[name]


def validation_columns() -> list[str]:
    """Return the names of the columns of validation tables, in order."""
    return ["sentences", "num_beams", *METRICS, LOSS, PERPLEXITY]


def score_table(records: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table of scores.

    Args:
        records: numbers by name of the evaluation set; text is shown unchanged, and a missing number as an empty cell.
        names: of the columns.
    """
    header = ["Set", *(column(name).title for name in names)]
    return header, [[row, *(_cell(name, record.get(name, "")) for name in names)] for row, record in records.items()]


def _cell(name: str, value: Any) -> str:
    return value if isinstance(value, str) else column(name).form.format(value)


def log_line(scores: Scores) -> str:
    """Return the scores on one line, the loss first."""
    record = scores.as_record()
    columns = {name: column(name) for name in (LOSS, PERPLEXITY, *METRICS) if name in record}
    return ", ".join(f"{each.in_log or each.title} {each.form.format(record[name])}" for name, each in columns.items())


def signature_line(signatures: Mapping[str, str]) -> str:
    """Return a sentence in Markdown with the signatures of metrics, given by name."""
    return f"sacrebleu signatures: {', '.join(f'{column(name).title} `{each}`' for name, each in signatures.items())}."


@dataclass(frozen=True)
class Example:
    """A sentence of an evaluation set, its reference and the model's translation."""

    source: str
    reference: str
    translation: str


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with the text of each cell escaped."""
    first, *others = ([escaped(cell) for cell in row] for row in (header, *rows))
    lines = [first, ["---"] * len(header), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Return text on one line, with the marks of Markdown escaped."""
    return re.sub(r"([\\`*|<\[])", r"\\\1", " ".join(text.split()))
