"""Measure the effect of each recipe option on a small run: train with and without it, with the same seed and steps.

    python scripts/benchmark.py recipes --output_dir runs/variants -- --config RECIPE.yaml --data_dir DIR

Flags after `--` are passed to the training of every run. Finished runs in the output folder are not repeated.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from sineformer.training.system.command_line import path, positive
from sineformer.training.system.output_folder import METRICS_FILE

# All schedules have the learning rate of the recipe, except noam, where it is the factor of the paper.
VARIANTS: dict[str, str] = {
    "the recipe": "",
    "attention_dropout: 0.1": "--attention_dropout 0.1",
    "activation_dropout: 0.1": "--activation_dropout 0.1",
    "encoder_layerdrop, decoder_layerdrop: 0.1": "--encoder_layerdrop 0.1 --decoder_layerdrop 0.1",
    "bpe_dropout: 0.1": "--bpe_dropout 0.1",
    "r_drop: 1": "--r_drop 1",
    "r_drop: 1, half the steps": "--r_drop 1 --max_steps {half}",
    "label_smoothing: 0": "--label_smoothing 0",
    "ema_decay: 0.99": "--ema_decay 0.99",
    "average_checkpoints: 3": "--average_checkpoints 3 --eval_steps {often}",
    "inverse_sqrt, average_checkpoints: 3": "--average_checkpoints 3 --eval_steps {often} "
    "--lr_scheduler_type inverse_sqrt",
    "inverse_sqrt, ema_decay: 0.99": "--ema_decay 0.99 --lr_scheduler_type inverse_sqrt",
    "cosine": "--lr_scheduler_type cosine",
    "noam": "--lr_scheduler_type noam --learning_rate 1",
}


def flags_of(name: str, max_steps: int) -> dict[str, str]:
    """Return the flags of a variant, by key."""
    words = VARIANTS[name].format(half=max_steps // 2, often=max(1, round(0.15 * max_steps))).split()
    flags = {"--max_steps": str(max_steps)} | dict(zip(words[::2], words[1::2], strict=True))
    return {"--eval_steps": flags["--max_steps"], "--num_beams": "1", "--report_to": "none"} | flags


def measure(folder: Path, flags: dict[str, str], others: list[str]) -> tuple[list[dict[str, Any]], float]:
    """Train in `folder`, unless done before; return the evaluations and the CPU time in minutes."""
    result = folder / "cpu_seconds.json"
    if not result.is_file():
        words = [word for pair in flags.items() for word in pair]
        program = [sys.executable, "-m", "sineformer.training.train", "--output_dir", str(folder), *words, *others]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        if subprocess.run([*program, "--overwrite_output_dir"]).returncode != 0:
            sys.exit(1)  # the run has printed its error
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        result.write_text(json.dumps(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    lines = [json.loads(line) for line in (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    evaluations = [line for line in lines if line["kind"] in ("validation", "validation_mean")]
    return evaluations, json.loads(result.read_text()) / 60


def row(name: str, scores: dict[str, Any], minutes: float) -> str:
    """Return a row of the table."""
    return f"| {name} | {scores['loss']:.3f} | {scores['bleu']:.2f} | {scores['chrf']:.2f} | {minutes:.1f} |"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; those after `--` go to the training of every run."""
    parser.add_argument("--output_dir", type=path, required=True)
    parser.add_argument("--max_steps", type=positive, default=500)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("training", nargs="*", metavar="-- FLAGS", help="flags of every run")


def run(options: argparse.Namespace) -> None:
    """Train every variant and print its scores."""
    rows, choices = [], []
    for name in options.only:
        folder = options.output_dir / "".join(each if each.isalnum() else "_" for each in name)
        evaluations, minutes = measure(folder, flags_of(name, options.max_steps), options.training)
        singles = [each for each in evaluations if each["kind"] == "validation"]
        rows.append(row(name, singles[-1], minutes))
        averaged = [each for each in evaluations if each["kind"] == "validation_mean"]
        rows += [row(f"{name}: averaged weights", each, minutes) for each in averaged]
        if len({each["step"] for each in singles}) > 1:
            best = [max(singles, key=lambda each: each["bleu"]), max(singles, key=lambda each: each["chrf"])]
            best.append(min(singles, key=lambda each: each["loss"]))
            steps = " | ".join(f"{each['step']}: {each['bleu']:.2f}" for each in best)
            choices.append(f"| {name} | {steps} |")
    print("| variant | validation loss | BLEU | chrF | CPU minutes |\n|---|---|---|---|---|", *rows, sep="\n")
    if choices:
        print("\n| best step and its BLEU | by BLEU | by chrF | by loss |\n|---|---|---|---|", *choices, sep="\n")
