"""Test the initialisation: unit-variance embeddings and logits, Xavier matrices, and training with post-norm."""

from __future__ import annotations

import math

import pytest
import torch

from sineformer import SineformerConfig, SineformerForConditionalGeneration


@pytest.fixture(scope="module")
def fresh() -> SineformerForConditionalGeneration:
    torch.manual_seed(0)
    return SineformerForConditionalGeneration(SineformerConfig(vocab_size=2000, d_model=128, dropout=0.0))


def test_scaled_embeddings_have_unit_variance_and_padding_is_zero(fresh) -> None:
    weight = fresh.model.shared.weight
    assert (weight[1:].std() * math.sqrt(128)).item() == pytest.approx(1.0, abs=0.02)
    assert not weight[0].any()


def test_matrices_are_xavier_uniform_and_biases_zero(fresh) -> None:
    layer = fresh.model.decoder.layers[0]
    for linear in (layer.self_attn.q_proj, layer.encoder_attn.out_proj, layer.fc1):
        bound = math.sqrt(6 / sum(linear.weight.shape))
        assert linear.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
        assert not linear.bias.any()
    assert bool((layer.fc2.bias == 0).all() and (layer.final_layer_norm.weight == 1).all())


def test_the_first_loss_is_near_log_v(fresh) -> None:
    ids = torch.randint(4, 2000, (8, 20), generator=torch.Generator().manual_seed(0))
    loss = fresh(input_ids=ids, labels=ids.flip(1)).loss.item()
    assert abs(loss - math.log(2000)) < 1.0


def test_init_std_changes_only_the_embeddings(make_model) -> None:
    default, changed = make_model(), make_model(init_std=3.0)
    assert changed.model.shared.weight[1:].std().item() == pytest.approx(3.0, rel=0.05)
    assert default.model.encoder.layers[0].fc1.weight.std().item() == pytest.approx(
        changed.model.encoder.layers[0].fc1.weight.std().item(), rel=0.05
    )


@pytest.mark.parametrize("normalize_before", [False, True])
def test_a_small_model_learns_to_copy(make_model, normalize_before: bool) -> None:
    model = make_model(normalize_before=normalize_before).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-9)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=50)
    generator = torch.Generator().manual_seed(0)
    for _ in range(350):  # after 250 steps the loss is near 0.5, depending on the rounding of the processor
        ids = torch.randint(4, 30, (32, 6), generator=generator)
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        warmup.step()
    assert loss.item() < 0.5


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_does_not_change_gradients(make_model, source, target, reentrant: bool) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = make_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model(input_ids=source, labels=target).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)
