"""Train low-rank adapters (Hu et al., 2021, *LoRA*) with PEFT: W + (alpha / r) B A, where only A and B are trained.

Adapters are injected into the model, so training, evaluation and translation use it as before. PEFT is imported only
where adapters are trained.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..settings.model_arguments import FineTuningArguments
from ..system.output_folder import ADAPTER_WEIGHTS

ALL_LINEAR = "all-linear"
NAME = "default"
PREFIX = "base_model.model."  # of weights in the files of PEFT


def adapter_problems(model: nn.Module, targets: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the names of layers to adapt, one line each, with the names to choose from."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and ".layers." in name]
    if list(targets) == [ALL_LINEAR]:
        return
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            known = dict.fromkeys(name.rpartition(".")[2] for name in linear)
            yield f"no linear layer of the encoder's or decoder's layers is called {target!r}; use {', '.join(known)}"
    if not targets:
        yield f"names no layer; use q_proj, v_proj or {ALL_LINEAR}"


def is_peft_missing() -> bool:
    """Return whether PEFT is not installed."""
    return importlib.util.find_spec("peft") is None


def add_adapter(model: nn.Module, settings: FineTuningArguments) -> None:
    """Inject new adapters into a model, which change nothing yet (B is zero), and freeze everything else."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = settings.lora_target_modules
    config = LoraConfig(
        task_type="SEQ_2_SEQ_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=ALL_LINEAR if targets == [ALL_LINEAR] else targets,
        base_model_name_or_path=settings.model_name_or_path,
        revision=settings.model_revision,
    )
    inject_adapter_in_model(config, model, adapter_name=NAME)


def has_adapter(model: Any) -> bool:
    """Return whether the model has LoRA adapters."""
    return hasattr(model, "peft_config")


@torch.no_grad()
def merged_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights with which the model without adapters computes the same."""
    merged = {}
    for name, value in model.state_dict().items():
        if ".lora_" in name:
            continue
        layer, is_adapted, kind = name.partition(".base_layer.")
        if not is_adapted:
            merged[name] = value
        elif kind == "weight":
            adapted: Any = model.get_submodule(layer)
            merged[f"{layer}.{kind}"] = value + adapted.get_delta_weight(NAME)
        else:
            merged[f"{layer}.{kind}"] = value
    return merged


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapters as PEFT does: `PeftModel.from_pretrained` loads them on top of the base model."""
    folder.mkdir(parents=True, exist_ok=True)
    dataclasses.replace(model.peft_config[NAME], inference_mode=True).save_pretrained(str(folder))
    weights = {PREFIX + name: value.detach().cpu().contiguous() for name, value in _weights(model).items()}
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def load_adapter(model: nn.Module, folder: Path) -> None:
    """Load the adapters that `save_adapter` wrote into a model that has adapters."""
    from peft import set_peft_model_state_dict

    weights = {name.removeprefix(PREFIX): value for name, value in load_file(folder / ADAPTER_WEIGHTS).items()}
    assert weights.keys() == _weights(model).keys(), "the adapter was saved with the same settings"
    set_peft_model_state_dict(model, weights, adapter_name=NAME)


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    # Otherwise it may request the configuration of the base model from the Hub.
    weights: dict[str, torch.Tensor] = get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False)
    return weights
