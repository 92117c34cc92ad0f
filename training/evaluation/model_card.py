"""Write README.md of a trained model: fill in `model_card.md` from the settings and the measured scores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedConfig

from ...configuration.configuration_sineformer import NEWEST, OLDEST
from ..pretrained.card import TEMPLATE, architecture, python_literal
from ..settings.arguments import Settings, public
from ..settings.data_arguments import DataArguments
from ..settings.model_arguments import FineTuningArguments
from ..system.files import file_problem, write_file
from ..system.output_folder import ADAPTER_FOLDER, CARD
from .report import Report, notes, published_table, signatures
from .scores import Example, Scores, column, escaped, score_table, signature_line, table, validation_columns

SCORES = re.compile(r"^## Scores\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class RunRecord:
    """Hold the facts about a run that the card states, besides its settings.

    Attributes:
        scores: by name of the evaluation set; the last one is the model's result.
        examples: from the last set of `scores`.
        config: of the model.
        parameters: number of parameters.
        training_pairs: number of training pairs; None for a stream.
        step: of the best checkpoint.
        minutes: duration of the training, evaluations included.
        processes: number and kind of devices, as text.
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
    split, result = list(record.scores.items())[-1]
    repository = settings.run.hub_model_id if settings.run.push_to_hub else None
    card = ModelCard.from_template(
        card_data=_metadata(name, settings, record),
        template_path=str(TEMPLATE),
        title=escaped(name),
        place=python_literal(repository or name),
        dataset=dataset_name(data),
        source_language=data.source_language,
        target_language=data.target_language,
        both_directions=data.both_directions,
        training_pairs="a stream of" if record.training_pairs is None else f"{record.training_pairs:,}",
        example=python_literal(record.examples[0].source),
        scores=table(*score_table({k: each.as_record() for k, each in record.scores.items()}, validation_columns())),
        signatures=signature_line(result.signatures),
        example_set=split,
        examples=table(
            ("Source", "Reference", "Translation"),
            [(each.source, each.reference, each.translation) for each in record.examples],
        ),
        parameters=f"{record.parameters:,}",
        oldest_transformers=OLDEST,
        newest_transformers=NEWEST,
        architecture=architecture(record.config) + _origin(settings.finetuning) + _averaging(settings, record),
        best_metric=settings.evaluation.best_metric,
        step=record.step,
        minutes=f"{record.minutes:.1f}",
        processes=record.processes,
        max_length=data.max_length,
    )
    card.save(folder / CARD)


def _metadata(name: str, settings: Settings, record: RunRecord) -> ModelCardData:
    data = settings.data
    split, result = list(record.scores.items())[-1]
    comparable = {metric: result.values[metric] for metric in result.signatures}
    return ModelCardData(
        language=[code for code in (data.source_language, data.target_language) if code is not None] or None,
        library_name="transformers",
        pipeline_tag="translation",
        tags=["translation", "sineformer"],
        base_model=settings.finetuning.model_name_or_path if _is_from_hub(settings.finetuning) else None,
        datasets=[str(data.dataset)] if "/" in public(str(data.dataset)) else None,
        metrics=list(dict.fromkeys(map(_metric_type, comparable))),
        model_name=name,
        eval_results=eval_results(
            comparable, {"type": public(str(data.dataset)), "name": dataset_name(data), "split": split}
        ),
    )


def _is_from_hub(finetuning: FineTuningArguments) -> bool:
    return finetuning.model_revision is not None


def _origin(finetuning: FineTuningArguments) -> str:
    """Return which model was fine-tuned and which of its parameters; empty if trained from scratch."""
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
            f"weights and saved separately in the folder `{ADAPTER_FOLDER}`."
        )
    return text


def _averaging(settings: Settings, record: RunRecord) -> str:
    """Return how the weights were averaged; empty if they were not."""
    optimisation, text = settings.optimisation, ""
    if record.is_mean:
        text += f" The weights are the mean of the last evaluated models, at most {optimisation.average_checkpoints}."
    if optimisation.ema_decay > 0:
        evaluated = "Each of these models is" if record.is_mean else "The weights are"
        text += f" {evaluated} an exponential moving average over steps, with decay {optimisation.ema_decay}."
    return text


def dataset_name(data: DataArguments) -> str:
    """Return the name of the data in model cards."""
    names = {"embedded": "the embedded English-German task", "files": "local files"}
    return data.dataset_name or names.get(str(data.dataset), public(str(data.dataset)))


def card_problem(folder: Path) -> str | None:
    """Return why the scores of a model card cannot be updated, with the fix; None if they can."""
    path = folder / CARD
    if not path.is_file():
        return f"{path} is missing: there is no model card to update; write one with sineformer-push --card --dry-run"
    try:
        card = ModelCard.load(path)
    except (ValueError, OSError, yaml.YAMLError) as error:
        return f"{path} cannot be read as a model card: {' '.join(str(error).split())}"
    if not SCORES.search(card.text):
        return f"{path} has no section '## Scores' to update; add the heading"
    return file_problem(path)


def update_model_card(folder: Path, report: Report) -> None:
    """Write the scores of a report into `README.md`: they replace its section "Scores" and the model-index; the rest is
    unchanged.

    Raises:
        OSError: the file cannot be written; it is unchanged.
    """
    card = ModelCard.load(folder / CARD)
    card.data.eval_results = [result for each in report["sets"] for result in _published_results(each)]
    card.data.metrics = list(dict.fromkeys(_metric_type(name) for name in report["sets"][0]["scores"]))
    if not card.data.model_name:
        card.data.model_name = folder.resolve().name
    parts = [
        "## Scores",
        published_table(report["sets"], with_intervals=False),
        signatures(report["sets"]),
        notes(report),
    ]
    section = "\n\n".join([*parts, f"Beams: {report['generation']['num_beams']}.\n\n"])
    card.text = SCORES.sub(lambda _: section, card.text, count=1)
    write_file(folder / CARD, str(card))


def _published_results(data: Report) -> list[EvalResult]:
    return eval_results({name: score["score"] for name, score in data["scores"].items()}, data["dataset"])


def eval_results(scores: Mapping[str, float], dataset: Mapping[str, str]) -> list[EvalResult]:
    """Return scores, given by name, as entries of the model-index.

    Args:
        scores: on one evaluation set.
        dataset: `type`, `name` and `split` of the set.
    """
    return [
        EvalResult(
            task_type="translation",
            task_name="Translation",
            dataset_type=dataset["type"],
            dataset_name=dataset["name"],
            dataset_split=dataset["split"],
            metric_type=_metric_type(name),
            metric_name=column(name).title,
            metric_value=round(value, 2),
        )
        for name, value in scores.items()
    ]


def _metric_type(name: str) -> str:
    return name.partition("_")[0]
