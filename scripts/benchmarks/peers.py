"""Define models of the same sizes: Sineformer, MarianMTModel and torch.nn.Transformer, and batches for them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import MarianConfig, MarianMTModel

from sineformer import SineformerConfig, SineformerForConditionalGeneration

# Heads have a width of 32 in the tiny model and of 64, as in the paper, in the base model.
SIZES = {"tiny": (128, 4, 4, 256), "base": (512, 6, 8, 2048)}  # width, layers of each stack, heads, feed-forward
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2, "decoder_start_token_id": 2}
DROPOUT = 0.1

Batch = dict[str, torch.Tensor]


def fields(size: str) -> dict[str, Any]:
    """Return the fields of a configuration that give the size of the model."""
    width, layers, heads, inner = SIZES[size]
    sides = ("encoder", "decoder")
    return {
        "d_model": width,
        **{f"{side}_layers": layers for side in sides},
        **{f"{side}_attention_heads": heads for side in sides},
        **{f"{side}_ffn_dim": inner for side in sides},
    }


class TorchTransformer(nn.Module):
    """torch.nn.Transformer with tied embeddings, positions and cross-entropy, as in its tutorials."""

    def __init__(self, vocab_size: int, size: str, longest: int):
        super().__init__()
        width, layers, heads, inner = SIZES[size]
        self.embed = nn.Embedding(vocab_size, width)
        self.scale = math.sqrt(width)
        self.positions = nn.Buffer(torch.zeros(1, longest, width))
        self.transformer = nn.Transformer(width, heads, layers, layers, inner, dropout=DROPOUT, batch_first=True)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of `labels` `[B, T]`."""
        targets = labels.roll(1, dims=1).clamp(min=0)
        targets[:, 0] = SPECIAL["decoder_start_token_id"]
        source, target = (
            nn.functional.dropout(self.embed(ids) * self.scale + self.positions[:, : ids.shape[1]], DROPOUT)
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


def sineformer(vocab_size: int, size: str, longest: int = 1024) -> SineformerForConditionalGeneration:
    """Return our model with random weights."""
    config = SineformerConfig(vocab_size=vocab_size, max_position_embeddings=longest, **fields(size), **SPECIAL)
    return SineformerForConditionalGeneration(config)


def marian(vocab_size: int, size: str, longest: int = 1024) -> MarianMTModel:
    """Return the same model of transformers."""
    same: dict[str, Any] = {"scale_embedding": True, "activation_function": "relu", "dropout": DROPOUT}
    return MarianMTModel(
        MarianConfig(vocab_size=vocab_size, max_position_embeddings=longest, **same, **fields(size), **SPECIAL)
    )


def torch_transformer(vocab_size: int, size: str, longest: int = 1024) -> TorchTransformer:
    """Return the same model of PyTorch."""
    return TorchTransformer(vocab_size, size, longest)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "Sineformer": sineformer,
    "MarianMTModel": marian,
    "torch.nn.Transformer": torch_transformer,
}


def make_batch(vocab_size: int, sentences: int, length: int, device: str = "cpu") -> Batch:
    """Return random sentences, of which two fifths are one token shorter than the others."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(4, vocab_size, (sentences, length), generator=generator)
    mask, labels = torch.ones_like(ids), ids.roll(3, dims=1)
    short = torch.rand(sentences, generator=generator) < 0.4
    mask[short, -1] = 0
    labels[short, -1] = -100
    batch = {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask, "labels": labels}
    return {name: value.to(device) for name, value in batch.items()}


def make_batches(vocab_size: int, max_tokens: int, device: str = "cpu") -> list[Batch]:
    """Return batches of at most `max_tokens` positions per side, each of one length, as length buckets give them."""
    return [
        make_batch(vocab_size, max(1, max_tokens // length), length, device) for length in (8, 10, 12, 14, 16, 20, 26)
    ]


def count_targets(batches: list[Batch]) -> int:
    """Return the number of real target tokens."""
    return sum(int((batch["labels"] != -100).sum()) for batch in batches)


def training_step(model: nn.Module, device: str = "cpu", dtype: str = "fp32") -> Callable[[Batch], None]:
    """Return a function that takes a training step of `model` with Adam."""
    optimizer = torch.optim.Adam(model.to(device).train().parameters(), lr=1e-4, betas=(0.9, 0.98), fused=True)
    mixed = torch.autocast(device, torch.bfloat16) if dtype == "bf16" else contextlib.nullcontext()

    def step(batch: Batch) -> None:
        with mixed:
            output = model(**batch)
        loss = output if isinstance(output, torch.Tensor) else output.loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
