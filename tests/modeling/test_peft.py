"""Test low-rank adapters of PEFT: training, saving, loading, merging, gradient checkpointing and remote code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from sineformer import SineformerForConditionalGeneration

peft = pytest.importorskip("peft")
ATTENTION = ["q_proj", "v_proj"]
ALL_LINEAR = {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}


@pytest.fixture(params=["package", "remote code"])
def load(request: pytest.FixtureRequest, make_model, tmp_path) -> Callable[[], PreTrainedModel]:
    """Return a function that loads the same base model, with the class of the package or of the saved code."""
    make_model().save_pretrained(tmp_path / "base")
    model_class: Any = SineformerForConditionalGeneration
    if request.param == "remote code":
        name = "modeling_sineformer.SineformerForConditionalGeneration"
        model_class = get_class_from_dynamic_module(name, str(tmp_path / "base"))
        assert model_class.__module__.startswith("transformers_modules.")
    return lambda: model_class.from_pretrained(tmp_path / "base")


@pytest.fixture
def batch(source, target) -> dict[str, torch.Tensor]:
    target[0, 3:] = -100
    return {"input_ids": source, "labels": target}


def train_adapter(base: PreTrainedModel, batch: dict[str, torch.Tensor], **settings: Any) -> Any:
    """Train five steps; check that the loss falls and the base weights do not change."""
    torch.manual_seed(0)
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, **settings)).train()
    frozen = {name: each.clone() for name, each in model.named_parameters() if not each.requires_grad}
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(model.get_parameter(name), weight) for name, weight in frozen.items())
    return model.eval()


SETTINGS = [
    {"target_modules": ATTENTION},
    {"target_modules": "all-linear"},
    {"target_modules": ATTENTION, "modules_to_save": ["lm_head"]},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_adapter_trains_saves_loads_and_merges(load, batch, tmp_path, settings: dict[str, Any]) -> None:
    trained = train_adapter(load(), batch, **settings)
    expected = trained(**batch).logits
    trained.save_pretrained(tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(load(), tmp_path / "adapter").eval()
    assert torch.equal(loaded(**batch).logits, expected)
    merged = loaded.merge_and_unload()
    logits = merged(**batch).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    again = SineformerForConditionalGeneration.from_pretrained(tmp_path / "merged")
    assert torch.equal(again(**batch).logits, logits)


def test_all_linear_means_every_projection_but_the_tied_head(make_model) -> None:
    config = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules="all-linear")
    model = peft.get_peft_model(make_model(), config)
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert {name.rsplit(".", 1)[-1] for name in adapted} == ALL_LINEAR
    assert len(adapted) == 2 * 6 + 3 * 10


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_does_not_change_gradients_of_an_adapter(
    load, batch, tmp_path: Path, use_reentrant: bool
) -> None:
    train_adapter(load(), batch, target_modules=ATTENTION).save_pretrained(tmp_path / "adapter")
    gradients = []
    for checkpointing in (False, True):
        model = peft.PeftModel.from_pretrained(load(), tmp_path / "adapter", is_trainable=True).train()
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        model(**batch).loss.backward()
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.requires_grad})
    assert all(gradient is not None and gradient.any() for gradient in gradients[0].values())
    torch.testing.assert_close(gradients[1], gradients[0])
