"""Define the settings of a training run, as small dataclasses by concern.

Every field is a flat key of a recipe and a flag of the command line, with its default, its rule and its facts
(`facts.py`). `recipe.py` reads settings; `checks.py` has the rules between them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .data_arguments import DataArguments, TokenizerArguments
from .facts import (
    AT_LEAST_ONE,
    COMMON,
    ENDS_RUN,
    FINITE,
    FRACTION,
    MAY_CHANGE,
    MAY_DIFFER,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    PRIVATE,
    Fact,
    Rule,
    facts_of,
    setting,
)
from .model_arguments import FineTuningArguments, ModelArguments
from .schedules import SCHEDULES

LATEST = "latest"
NO_TRACKER = "none"
PAPER_WARMUP = 4_000  # steps (section 5.3)


@dataclass
class OptimisationArguments:
    """The optimiser, the batches, and when training ends (at the first limit reached)."""

    learning_rate: float = setting(
        "Peak of the schedule, reached after warmup_steps; for noam a factor, 1 in the paper.", 7e-4, POSITIVE, COMMON
    )
    lr_scheduler_type: str = setting(
        f"Learning rate after the warm-up: {'; '.join(f'{name}, {each.text}' for name, each in SCHEDULES.items())}.",
        "inverse_sqrt",
        choices=list(SCHEDULES),
    )
    adam_beta1: float = setting("Decay of the first moment of Adam (section 5.3).", 0.9, FRACTION)
    adam_beta2: float = setting("Decay of the second moment of Adam (section 5.3).", 0.98, FRACTION)
    weight_decay: float = setting("Decoupled weight decay of all trained weights (AdamW); 0: Adam.", 0.0, NOT_NEGATIVE)
    warmup_steps: int | None = setting(
        "Steps of linear warm-up; default: 4000 (section 5.3), or a tenth of the run if that is less.",
        None,
        AT_LEAST_ONE,
    )
    warmup_ratio: float | None = setting("Warm-up as a fraction of the run, instead of warmup_steps.", None, FRACTION)
    max_tokens: int = setting(
        "Tokens in a batch of one process, padding included, on the larger side.", 4_096, AT_LEAST_ONE, COMMON
    )
    # A resumed run must keep the number of batches per step over all processes.
    gradient_accumulation_steps: int = setting("Batches per process and step.", 1, AT_LEAST_ONE, MAY_CHANGE)
    max_grad_norm: float = setting("Largest norm of the gradient; 0: no clipping.", 0.0, NOT_NEGATIVE)
    max_skipped_steps: int = setting(
        "Skip up to n consecutive steps whose loss or gradient is not finite; one more ends the run.",
        10,
        NOT_NEGATIVE,
        MAY_CHANGE,
    )
    label_smoothing: float = setting("Label smoothing (section 5.4).", 0.1, FRACTION)
    r_drop: float = setting(
        "R-Drop (Liang et al., 2021): weight of the divergence between two passes with different dropout, such as 1; "
        "doubles time and memory of a step. 0: one pass.",
        0.0,
        NOT_NEGATIVE,
    )
    simcut: float = setting(
        "SimCut (Gao et al., 2022): weight of the divergence between a pass over all tokens and one in which some are "
        "zeroed, such as 3; doubles time and memory of a step. 0: one pass.",
        0.0,
        NOT_NEGATIVE,
    )
    simcut_p: float = setting("Probability of zeroing a token of source and target in SimCut.", 0.05, FRACTION)
    ema_decay: float = setting(
        "Evaluate and publish an exponential moving average of the weights, with this decay, such as 0.999; 0: no "
        "averaging.",
        0.0,
        FRACTION,
    )
    average_checkpoints: int = setting(
        "At the end, also evaluate the mean of the last n evaluated models (section 6.1: 5) and publish it if it is "
        "the best. Every process keeps copies of their weights.",
        1,
        AT_LEAST_ONE,
    )
    mixed_precision: Literal["no", "fp16", "bf16"] = setting("Precision of the forward pass.", "no", COMMON)
    max_steps: int | None = setting("Stop after n steps.", None, AT_LEAST_ONE, MAY_CHANGE, ENDS_RUN, COMMON)
    num_epochs: int | None = setting(
        "Stop after n passes over the training data.", None, AT_LEAST_ONE, MAY_CHANGE, ENDS_RUN, COMMON
    )
    max_minutes: float | None = setting(
        "Stop after n minutes of training, evaluation included.", None, POSITIVE, MAY_CHANGE, ENDS_RUN
    )

    def planned_steps(self, steps_per_epoch: int | None) -> int | None:
        """Return the largest number of optimiser steps of a run; None if unknown."""
        by_epochs = None if self.num_epochs is None or steps_per_epoch is None else self.num_epochs * steps_per_epoch
        return min((limit for limit in (self.max_steps, by_epochs) if limit is not None), default=None)

    def planned_warmup(self, planned_steps: int | None) -> int:
        """Return the steps of warm-up in a run of `planned_steps`, which are known if `warmup_ratio` is set. A fraction
        is rounded up, as in transformers."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        if planned_steps is None:
            return PAPER_WARMUP
        if self.warmup_ratio is not None:
            return max(1, math.ceil(self.warmup_ratio * planned_steps))
        return min(PAPER_WARMUP, math.ceil(planned_steps / 10))

    def warmup_problem(self, planned_steps: int | None) -> str | None:
        """Return why the warm-up does not end within a run of `planned_steps`, with the fix; None if it does."""
        if planned_steps is None or self.warmup_steps is None:
            return None
        ends = SCHEDULES[self.lr_scheduler_type].needs_length
        if self.warmup_steps < planned_steps + (not ends):
            return None
        return (
            f"warmup_steps: the warm-up of {self.warmup_steps} steps does not end in a run of {planned_steps}; set "
            "fewer steps, or warmup_ratio: 0.1"
        )


@dataclass
class EvaluationArguments:
    """When and how the model is evaluated, and which checkpoint is the best."""

    eval_steps: int | None = setting(
        "Evaluate every n steps; default: after each epoch.", None, AT_LEAST_ONE, MAY_CHANGE
    )
    best_metric: str = setting("Validation metric that chooses the best checkpoint: bleu, chrf, loss, ...", "bleu")
    bleu_tokenize: str | None = setting(
        "Tokenizer of sacrebleu for BLEU: 13a, intl, zh, char, ja-mecab, ...; default: the one for the target "
        "language.",
        None,
    )
    patience: int | None = setting(
        "Stop after n consecutive evaluations without improvement.", None, AT_LEAST_ONE, MAY_CHANGE, ENDS_RUN, COMMON
    )
    eval_num_beams: int = setting("Beams for translating the validation set; 1 is greedy.", 1, AT_LEAST_ONE)
    eval_batch_size: int = setting("Sentences per batch of translations.", 64, AT_LEAST_ONE, MAY_CHANGE)
    num_beams: int = setting(
        "Beams for the test at the end, saved as the default of the model.",
        4,
        AT_LEAST_ONE,
        MAY_CHANGE,
        MAY_DIFFER,
        COMMON,
    )
    length_penalty: float = setting(
        "Exponent of the length in beam search, saved as the default of the model.", 1.0, FINITE, MAY_CHANGE, MAY_DIFFER
    )


@dataclass
class RunArguments:
    """Output folder, checkpoints, devices and logging of the run."""

    output_dir: str | None = setting(
        "Folder for the model and the record of its training.", None, PATH, PRIVATE, MAY_CHANGE, COMMON
    )
    overwrite_output_dir: bool = setting(
        "Write into an output folder that is not empty, and remove its checkpoints.", False, MAY_CHANGE
    )
    resume_from_checkpoint: str | None = setting(
        "Resume the run in output_dir, from its latest complete checkpoint or from the folder given. A run without a "
        "checkpoint starts again; a finished one is unchanged.",
        None,
        PATH,
        MAY_CHANGE,
        COMMON,
        aliases=["--resume"],
        nargs="?",
        const=LATEST,
    )
    save_steps: int | None = setting("Save a checkpoint to resume from every n steps.", None, AT_LEAST_ONE, MAY_CHANGE)
    save_minutes: float | None = setting("The same every n minutes.", 15.0, POSITIVE, MAY_CHANGE)
    save_total_limit: int = setting("Keep the last n checkpoints, beside the best model.", 2, AT_LEAST_ONE, MAY_CHANGE)
    use_cpu: bool = setting("Train on the CPU even if there is an accelerator.", False, MAY_CHANGE)
    seed: int = setting("Seed of initialisation, batches and dropout.", 1, NOT_NEGATIVE, COMMON)
    logging_steps: int = setting("Report every n steps.", 50, AT_LEAST_ONE, MAY_CHANGE)
    profile: bool = setting("Write a profile of three of the first steps.", False, MAY_CHANGE)
    report_to: list[str] = setting(
        "Trackers of the run beside metrics.jsonl: tensorboard, wandb, both, or none.", ["tensorboard"], MAY_CHANGE
    )
    push_to_hub: bool = setting("Upload the model to the Hub when the run has finished.", False, MAY_CHANGE, COMMON)
    hub_model_id: str | None = setting(
        "Repository for it, such as your-name/en-de; created if missing.", None, MAY_CHANGE
    )
    hub_private_repo: bool = setting("Make that repository private.", True, MAY_CHANGE)

    @property
    def folder(self) -> Path:
        """Return the path of `output_dir`, which checked settings always have."""
        assert self.output_dir is not None, "checks.py refuses settings without it"
        return Path(self.output_dir)

    @property
    def trackers(self) -> list[str]:
        """Return the trackers that `report_to` names."""
        return [name for name in self.report_to if name != NO_TRACKER]


@dataclass
class Settings:
    """All settings of a run, by concern."""

    model: ModelArguments
    finetuning: FineTuningArguments
    data: DataArguments
    tokenizer: TokenizerArguments
    optimisation: OptimisationArguments
    evaluation: EvaluationArguments
    run: RunArguments

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as the flat keys and values of a recipe."""
        flat: dict[str, Any] = {}
        for concern in dataclasses.fields(self):
            flat |= dataclasses.asdict(getattr(self, concern.name))
        return flat


CONCERNS: dict[str, Any] = {
    "model": ModelArguments,
    "finetuning": FineTuningArguments,
    "data": DataArguments,
    "tokenizer": TokenizerArguments,
    "optimisation": OptimisationArguments,
    "evaluation": EvaluationArguments,
    "run": RunArguments,
}


def keys_with(fact: Fact, *concerns: Any) -> list[str]:
    """Return the names of the settings with a fact: of all concerns, or of the given dataclasses."""
    of = concerns or CONCERNS.values()
    return [key.name for concern in of for key in dataclasses.fields(concern) if fact in facts_of(key)]


def without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, by key, with absolute paths shortened as by `public`, for files that others see."""
    paths = keys_with(Fact.PATH)
    return {key: public(value) if key in paths else value for key, value in values.items()}


def public(value: Any) -> Any:
    """Return the last component of an absolute path, or of each one in a list; any other value as it is."""
    if isinstance(value, list):
        return [public(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def rules() -> dict[str, Rule]:
    """Return the rule of every setting that has one, by key."""
    keys = (key for concern in CONCERNS.values() for key in dataclasses.fields(concern))
    return {key.name: fact for key in keys for fact in facts_of(key) if isinstance(fact, Rule)}
