"""Compare the training speed of Sineformer, MarianMTModel and torch.nn.Transformer.

    python scripts/benchmark_training.py [--rounds 7] [--device cuda --dtype bf16]

All models have the same sizes, batches and optimiser, and take turns in one process. Prints the median of rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn
from transformers import MarianConfig, MarianMTModel

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.training.system.command_line import positive, run_command

SIZES: dict[str, Any] = {
    "d_model": 128,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 256,
    "decoder_ffn_dim": 256,
}
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2, "decoder_start_token_id": 2}


class TorchTransformer(nn.Module):
    """torch.nn.Transformer with tied embeddings, positions and cross-entropy, as in its tutorials."""

    def __init__(self, vocab_size: int):
        super().__init__()
        width, heads, layers = SIZES["d_model"], SIZES["encoder_attention_heads"], SIZES["encoder_layers"]
        self.embed = nn.Embedding(vocab_size, width)
        self.scale = math.sqrt(width)
        self.positions = nn.Buffer(torch.zeros(1, 1024, width))
        self.transformer = nn.Transformer(
            width, heads, layers, layers, SIZES["encoder_ffn_dim"], dropout=0.1, batch_first=True
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets = labels.roll(1, dims=1).clamp(min=0)
        targets[:, 0] = SPECIAL["decoder_start_token_id"]
        source, target = (
            nn.functional.dropout(self.embed(ids) * self.scale + self.positions[:, : ids.shape[1]], 0.1)
            for ids in (input_ids, targets)
        )
        hidden = attention_mask == 0
        causal = nn.Transformer.generate_square_subsequent_mask(labels.shape[1], device=labels.device)
        output = self.transformer(
            source,
            target,
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
        )
        logits = output @ self.embed.weight.T
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def make_models(vocab_size: int) -> dict[str, nn.Module]:
    """Return the models to compare, by name."""
    ours = SineformerForConditionalGeneration(SineformerConfig(vocab_size=vocab_size, **SIZES, **SPECIAL))
    marian = MarianMTModel(
        MarianConfig(
            vocab_size=vocab_size, scale_embedding=True, activation_function="relu", dropout=0.1, **SIZES, **SPECIAL
        )
    )
    return {"Sineformer": ours, "MarianMTModel": marian, "torch.nn.Transformer": TorchTransformer(vocab_size)}


def batches(vocab_size: int, max_tokens: int, device: str) -> list[dict[str, torch.Tensor]]:
    """Return batches of different lengths, with little padding, as from length buckets."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for length in (8, 10, 12, 14, 16, 20, 26):
        ids = torch.randint(4, vocab_size, (max_tokens // length, length), generator=generator)
        mask = torch.ones_like(ids)
        labels = ids.roll(3, dims=1)
        short = torch.rand(len(ids), generator=generator) < 0.4
        mask[short, -1] = 0
        labels[short, -1] = -100
        batch = {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask, "labels": labels}
        made.append({name: value.to(device) for name, value in batch.items()})
    return made


def step_of(model: nn.Module, dtype: str, device: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """Return a function that takes a training step of `model`."""
    optimizer = torch.optim.Adam(model.to(device).train().parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
    mixed = torch.autocast(device, torch.bfloat16) if dtype == "bf16" else contextlib.nullcontext()

    def step(batch: dict[str, torch.Tensor]) -> None:
        with mixed:
            output = model(**batch)
        loss = output if isinstance(output, torch.Tensor) else output.loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Time all models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--vocab_size", type=positive, default=8000)
    parser.add_argument("--max_tokens", type=positive, default=2048)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    data = batches(arguments.vocab_size, arguments.max_tokens, arguments.device)
    tokens = sum(int((batch["labels"] != -100).sum()) for batch in data)
    models = make_models(arguments.vocab_size)
    steps = {name: step_of(model, arguments.dtype, arguments.device) for name, model in models.items()}
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(arguments.rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            for batch in data:
                step(batch)
            if arguments.device == "cuda":
                torch.cuda.synchronize()
            if round_number:  # the first is warm-up
                speeds[name].append(tokens / (time.perf_counter() - started))
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {arguments}")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}\n")
    print("| model | parameters | target tokens/s, median (min to max) | Sineformer is faster by |\n|---|---|---|---|")
    for name, values in speeds.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(speeds["Sineformer"], values, strict=True))
        size = sum(parameter.numel() for parameter in models[name].parameters() if parameter.requires_grad)
        print(f"| {name} | {size:,} | {statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f}) "
              f"| {ratio:.2f}x |")  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_command(main))
