"""Take, as a program for tests, five steps of two micro-batches, shared by the processes there are.

    python faulty_steps.py FILE        or by `accelerate launch`

In step 2 the loss of the second micro-batch is infinite. In steps 3 and 4 it is twice as large and does not fit into
memory.
Into FILE goes what every step reported, how gradients were added up, and a sum of each weight.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.training.data.batching import MicroBatch
from sineformer.training.learning.accumulation import Accumulation
from sineformer.training.learning.learner import Learner
from sineformer.training.learning.optimizer import build_optimizer, build_schedule

SIZES = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 16, "dropout": 0.0}
LAYERS = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}


def micro_batch(examples: range) -> MicroBatch:
    """Return examples of eight tokens on each side."""
    generator = torch.Generator().manual_seed(examples.start)
    sides = torch.randint(4, 30, (2, len(examples), 8), generator=generator)
    inputs = {"input_ids": sides[0], "attention_mask": torch.ones_like(sides[0]), "labels": sides[1]}
    return MicroBatch(list(examples), inputs)


def make_faulty(learner: Learner) -> None:
    """Have the second micro-batch fail as described at the top of this file."""
    add_gradient = learner.add_gradient

    def faulty(batch: MicroBatch, target_tokens: int) -> torch.Tensor:
        loss = add_gradient(batch, target_tokens)
        if len(batch.examples) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss * math.inf if learner.step == 1 and 2 in batch.examples else loss

    learner.add_gradient = faulty  # type: ignore[method-assign]


def main(file: Path) -> None:
    """Take the steps, and write the results."""
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model: Any = SineformerForConditionalGeneration(SineformerConfig(vocab_size=30, **SIZES, **LAYERS))
    optimizer = build_optimizer(model, 0.01)
    schedule = build_schedule(optimizer, 2)
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    learner = Learner(accelerator, prepared, prepared_optimizer, schedule)
    learner.accumulation.manual_reduce = isinstance(prepared, DistributedDataParallel)
    make_faulty(learner)
    added_up: list[int] = []
    reduce_gradients = Accumulation._reduce_gradients

    def noted(self: Accumulation) -> None:
        added_up.append(learner.step + 1)
        reduce_gradients(self)

    Accumulation._reduce_gradients = noted  # type: ignore[method-assign]
    reports = []
    for end in (6, 6, 10, 10, 6):
        micro_batches = [micro_batch(range(0, 2)), micro_batch(range(2, end))]
        mine = micro_batches[accelerator.process_index :: accelerator.num_processes]
        reports.append(learner.update(mine, end * 8))
    if accelerator.is_main_process:
        sums = [float(weight.abs().sum()) for name, weight in model.named_parameters() if "k_proj.bias" not in name]
        steps = [[each.loss, each.gradient_norm, each.skipped, each.parts] for each in reports]
        file.write_text(json.dumps({"steps": steps, "added_up": added_up, "sums": sums}))
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
