"""Test FSDP over the layers in `_no_split_modules`: it finds every layer and has the losses of one process.

    python test_sharded.py RESULT

trains a few steps, also in several processes by `accelerate launch`.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from transformers import PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from sineformer import SineformerConfig, SineformerForConditionalGeneration

TWO_PROCESSES = Path(__file__).parents[2] / "training" / "accelerate" / "multi_cpu.yaml"
SIZES = {"vocab_size": 97, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "dropout": 0.0}
STEPS = 4


def shard_layers(model: PreTrainedModel, world_size: int) -> int:
    """Shard each layer and then the rest, as recommended for FSDP2; return the number of layers."""
    mesh = init_device_mesh("cpu", (world_size,))
    layers = [each for each in model.modules() if type(each).__name__ in model._no_split_modules]
    for each in (*layers, model):
        fully_shard(each, mesh=mesh)
    assert all(isinstance(each, FSDPModule) for each in layers)
    return len(layers)


def train(rank: int, world_size: int) -> list[float]:
    """Return the losses of a few steps on eight pairs, of which this process takes every `world_size`-th one."""
    torch.manual_seed(0)
    model = SineformerForConditionalGeneration(SineformerConfig(**SIZES)).train()
    source, target = (torch.randint(4, 97, (8, length)) for length in (7, 5))
    target[0, 2:] = target[5, 4:] = -100
    count = (target != -100).sum()
    if world_size > 1:
        assert shard_layers(model, world_size) == 5
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        batch = {"input_ids": source[rank::world_size], "labels": target[rank::world_size]}
        loss = model(**batch, num_items_in_batch=count).loss
        (loss * world_size).backward()  # FSDP averages gradients; the losses of processes are summed
        optimizer.step()
        optimizer.zero_grad()
        total = loss.detach().clone()
        if world_size > 1:
            dist.all_reduce(total)
        losses.append(total.item())
    return losses


@pytest.mark.slow
def test_two_sharded_processes_have_the_losses_of_one(tmp_path) -> None:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(TWO_PROCESSES)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    program = [__file__, str(tmp_path / "losses.json")]
    done = subprocess.run([*launch, *program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    losses = json.loads((tmp_path / "losses.json").read_text(encoding="utf-8"))
    assert losses == pytest.approx(train(0, 1), abs=1e-5)


@pytest.mark.parametrize("origin", ["package", "remote code"])
def test_no_split_modules_names_the_classes_of_all_layers(make_model, tmp_path, origin: str) -> None:
    model = make_model()
    if origin == "remote code":
        model.save_pretrained(tmp_path)
        name = "modeling_sineformer.SineformerForConditionalGeneration"
        model = get_class_from_dynamic_module(name, str(tmp_path)).from_pretrained(tmp_path)
    fsdp = pytest.importorskip("accelerate.utils.dataclasses")
    classes = {fsdp.get_module_class_from_name(model, name) for name in model._no_split_modules}
    policy = functools.partial(transformer_auto_wrap_policy, transformer_layer_cls=classes)
    wrapped = [name for name, each in model.named_modules() if policy(module=each, recurse=False, nonwrapped_numel=0)]
    stacks = (("encoder", 2), ("decoder", 3))
    assert wrapped == [f"model.{stack}.layers.{index}" for stack, count in stacks for index in range(count)]


def main() -> None:
    """Train in the launched processes; the first writes the losses."""
    dist.init_process_group("gloo")
    losses = train(dist.get_rank(), dist.get_world_size())
    if dist.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(losses), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
