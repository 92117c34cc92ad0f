"""Compare a trained model with its quantised copy (8-bit weights) on the CPU: scores, size, time.

    python scripts/benchmark.py int8 --model runs/demo [--sentences 500]

Uses dynamic quantisation of PyTorch: weights in int8, activations quantised at each call. Both models translate the
same sentences of the test set of the embedded task.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import warnings
from typing import Any

import torch
from torch import nn

from sineformer.training.pretrained.translator import TranslationError, load_translator
from sineformer.training.system.command_line import needs_extra, path_or_name, positive

with needs_extra("train"):
    from accelerate import Accelerator

    from sineformer.training.data.batching import Seq2SeqCollator
    from sineformer.training.data.corpus import EvaluationSet
    from sineformer.training.data.encoding import encode_pairs
    from sineformer.training.data.loading import read_split
    from sineformer.training.evaluation.evaluator import Evaluator
    from sineformer.training.settings.data_arguments import DataArguments


def quantize(model: nn.Module) -> nn.Module:
    """Return a copy with 8-bit weights in all linear layers, the output projection included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # moves to a separate package
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def megabytes(model: nn.Module) -> float:
    """Return the size of the saved weights, without non-persistent buffers."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell() / 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", type=path_or_name, required=True, help="model folder, trained on the embedded task")
    parser.add_argument("--sentences", type=positive, default=500)
    parser.add_argument("--quick", action="store_true", help="10 sentences")


def run(options: argparse.Namespace) -> int:
    """Score both models and print a table; return the exit status."""
    if options.quick:
        options.sentences = 10
    try:
        model, tokenizers = load_translator(options.model, "cpu", torch.float32)
    except TranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text, report = read_split(DataArguments(dataset="embedded", test_size=options.sentences), "test")
    held_out = EvaluationSet("test", text, encode_pairs(text, tokenizers, sys.maxsize, report))
    evaluator = Evaluator(
        Accelerator(cpu=True), tokenizers, Seq2SeqCollator(tokenizers.source.pad_token_id), batch_size=64
    )
    print(f"{'weights':8}{'BLEU':>8}{'exact':>8}{'loss':>9}{'MB':>8}{'seconds':>9}")
    systems: dict[str, Any] = {"fp32": model, "int8": quantize(model)}
    for name, system in systems.items():
        started = time.perf_counter()
        scores, _ = evaluator.measure(system, held_out, num_beams=1)
        seconds = time.perf_counter() - started
        bleu, exact = scores.values["bleu"], scores.values["exact_match"]
        print(f"{name:8}{bleu:8.2f}{exact:7.1f}%{scores.loss:9.4f}{megabytes(system):8.2f}{seconds:9.1f}")
    return 0
