"""README.md of a trained model: `model_card.md` filled in from the settings and the measured scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedConfig

from ...configuration.configuration_sineformer import NEWEST, OLDEST
from ..settings.arguments import DataArguments, Settings
from ..settings.model_arguments import FineTuningArguments
from ..system.output_folder import ADAPTER_FOLDER, CARD
from .evaluator import Scores

TEMPLATE = Path(__file__).resolve().parent.parent.parent / "model_card.md"
SCORE_COLUMNS = ("Set", "Sentences", "Beams", "BLEU", "chrF", "Exact match", "Loss", "Perplexity")


@dataclass(frozen=True)
class Example:
    """A sentence of an evaluation set, its reference and the model's translation."""

    source: str
    reference: str
    translation: str


@dataclass(frozen=True)
class RunRecord:
    """What the card tells about a run, beyond its settings.

    Attributes:
        scores: by name of the evaluation set; the last one is the model's result.
        examples: from the last set of `scores`.
        config: of the model.
        parameters: their number.
        training_pairs: pairs trained on; None for a stream.
        step: of the best checkpoint.
        minutes: training took, evaluations included.
        processes: what it ran on, in words.
        is_mean: whether the weights are the mean of the last evaluated models.
    """

    scores: dict[str, Scores]
    examples: Sequence[Example]
    config: PreTrainedConfig
    parameters: int
    training_pairs: int | None
    step: int
    minutes: float
    processes: str
    is_mean: bool = False


def write_model_card(folder: Path, settings: Settings, record: RunRecord) -> None:
    """Write README.md: metadata with the scores (model-index), how to use the model, how it was made."""
    name = folder.resolve().name
    data = settings.data
    card = ModelCard.from_template(
        card_data=_metadata(name, settings, record),
        template_path=str(TEMPLATE),
        title=_as_it_is(name),
        place=_python_literal(name),
        dataset=dataset_name(data),
        source_language=data.source_language,
        target_language=data.target_language,
        training_pairs="a stream of" if record.training_pairs is None else f"{record.training_pairs:,}",
        example=_python_literal(record.examples[0].source),
        scores=_score_table(record.scores),
        signatures=_signatures(record.scores),
        example_set=list(record.scores)[-1],
        examples=table(
            ("Source", "Reference", "Translation"),
            [(each.source, each.reference, each.translation) for each in record.examples],
        ),
        parameters=f"{record.parameters:,}",
        oldest_transformers=OLDEST,
        newest_transformers=NEWEST,
        architecture=_architecture(record.config) + _origin(settings.finetuning) + _averaging(settings, record),
        best_metric=settings.evaluation.best_metric,
        step=record.step,
        minutes=f"{record.minutes:.1f}",
        processes=record.processes,
        max_length=data.max_length,
    )
    card.save(folder / CARD)


def _metadata(name: str, settings: Settings, record: RunRecord) -> ModelCardData:
    data = settings.data
    return ModelCardData(
        language=[data.source_language, data.target_language],
        library_name="transformers",
        pipeline_tag="translation",
        tags=["translation", "sineformer"],
        base_model=settings.finetuning.model_name_or_path if _is_from_hub(settings.finetuning) else None,
        datasets=[data.dataset] if "/" in data.dataset else None,
        metrics=["bleu", "chrf"],
        model_name=name,
        eval_results=_eval_results(data, record),
    )


def _python_literal(text: str) -> str:
    """Return text as a string of Python on one line, in which Markdown sees no end of the code either."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("```", r"\x60\x60\x60")
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in quoted) + '"'


def _is_from_hub(finetuning: FineTuningArguments) -> bool:
    return finetuning.model_revision is not None


def _origin(finetuning: FineTuningArguments) -> str:
    """What the model was fine-tuned from, and which part of it was; empty if it was trained from scratch."""
    name = finetuning.model_name_or_path
    if name is None:
        return ""
    origin = f"the local model `{Path(name).resolve().name}`"
    if _is_from_hub(finetuning):
        origin = f"[{name}](https://huggingface.co/{name}) at commit `{finetuning.model_revision}`"
    text = f" Fine-tuned from {origin}, with its tokenizer."
    if finetuning.freeze:
        text += f" Not trained: {', '.join(f'`{part}`' for part in finetuning.freeze)}."
    if finetuning.lora_r > 0:
        targets = ", ".join(f"`{target}`" for target in finetuning.lora_target_modules)
        text += (
            f" Trained as low-rank adapters of rank {finetuning.lora_r} on {targets}, which are merged into the "
            f"weights and stand for themselves in the folder `{ADAPTER_FOLDER}`."
        )
    return text


def _averaging(settings: Settings, record: RunRecord) -> str:
    """What the weights are an average of; empty if they are none."""
    optimisation, text = settings.optimisation, ""
    if record.is_mean:
        text += f" The weights are the mean of the last evaluated models, at most {optimisation.average_checkpoints}."
    if optimisation.ema_decay > 0:
        evaluated = "Each of these models is" if record.is_mean else "The weights are"
        text += f" {evaluated} an exponential moving average over steps, with decay {optimisation.ema_decay}."
    return text


def dataset_name(data: DataArguments) -> str:
    """What people call the data."""
    names = {"embedded": "the embedded English-German task", "files": "local files"}
    return data.dataset_name or names.get(data.dataset, data.dataset)


def _eval_results(data: DataArguments, record: RunRecord) -> list[EvalResult]:
    split, scores = list(record.scores.items())[-1]
    values = {"bleu": ("BLEU", scores.bleu), "chrf": ("chrF", scores.chrf)}
    return [
        EvalResult(
            task_type="translation",
            task_name="Translation",
            dataset_type=data.dataset,
            dataset_name=dataset_name(data),
            dataset_split=split,
            metric_type=metric,
            metric_name=title,
            metric_value=round(value, 2),
        )
        for metric, (title, value) in values.items()
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that shows each cell as it is, whatever marks and line breaks are in it."""
    first, *others = ([_as_it_is(cell) for cell in row] for row in (header, *rows))
    lines = [first, ["---"] * len(header), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _as_it_is(text: str) -> str:
    """Text on one line, in which Markdown sees no marks of its own."""
    return re.sub(r"([\\`*|<\[])", r"\\\1", " ".join(text.split()))


def _score_table(scores: dict[str, Scores]) -> str:
    return table(
        SCORE_COLUMNS,
        [
            (
                name,
                str(each.sentences),
                str(each.num_beams),
                f"{each.bleu:.2f}",
                f"{each.chrf:.2f}",
                f"{each.exact_match:.1f} %",
                f"{each.loss:.3f}",
                f"{each.perplexity:.2f}",
            )
            for name, each in scores.items()
        ],
    )


def _signatures(scores: dict[str, Scores]) -> str:
    last = list(scores.values())[-1]
    return f"sacrebleu signatures: BLEU `{last.bleu_signature}`, chrF `{last.chrf_signature}`."


def _architecture(config: PreTrainedConfig) -> str:
    return (
        f"{config.encoder_layers} encoder and {config.decoder_layers} decoder layers, width {config.d_model}, "
        f"{config.encoder_attention_heads} heads, feed-forward {config.encoder_ffn_dim}, "
        f"{'pre' if config.normalize_before else 'post'}-norm, sinusoidal positions, "
        f"vocabulary {config.vocab_size:,}"
        + (f" and {config.decoder_vocab_size:,}." if config.decoder_vocab_size != config.vocab_size else ".")
    )
