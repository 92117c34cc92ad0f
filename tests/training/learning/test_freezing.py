"""Test freezing modules of a model."""

from typing import Any

import pytest
import torch
from torch import nn

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.training.learning.freezing import freeze, freeze_problems, parameter_summary
from sineformer.training.learning.optimizer import build_optimizer


def make_model(**changes: Any) -> SineformerForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "dropout": 0.0}
    layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return SineformerForConditionalGeneration(SineformerConfig(**{**sizes, **layers, **changes}))


def frozen_names(model: nn.Module) -> set[str]:
    return {name for name, each in model.named_parameters(remove_duplicate=False) if not each.requires_grad}


SEPARATE = {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False}


@pytest.mark.parametrize("part", ["encoder.layers.1", "model.encoder.layers.1", "encoder.layers.1*"])
def test_a_module_is_frozen_with_all_its_submodules(part: str) -> None:
    model = make_model(encoder_layers=11)
    assert freeze(model, [part]) == []
    expected = {"1"} if part[-1] == "1" else {"1", "10"}
    assert {name.split(".")[3] for name in frozen_names(model)} == expected
    assert len(frozen_names(model)) == 16 * len(expected)


def test_patterns_and_single_parameters_can_be_frozen() -> None:
    model = make_model()
    freeze(model, ["decoder.layers.*.fc1", "encoder.layers.0.fc2.bias"])
    weights = {f"model.decoder.layers.{layer}.fc1.{kind}" for layer in (0, 1) for kind in ("weight", "bias")}
    assert frozen_names(model) == weights | {"model.encoder.layers.0.fc2.bias"}


@pytest.mark.parametrize("part", ["embeddings", "lm_head", "shared", "decoder.embed_tokens"])
def test_a_tied_matrix_is_frozen_under_all_its_names(part: str) -> None:
    model = make_model()
    names = {"shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}
    through_ties = set(freeze(model, [part]))
    assert {name.removeprefix("model.") for name in frozen_names(model)} == names
    assert through_ties == ({"lm_head.weight"} if part == "embeddings" else names - {f"{part}.weight"})


def test_untied_matrices_are_frozen_one_by_one() -> None:
    model = make_model(**SEPARATE)
    assert freeze(model, ["encoder.embed_tokens"]) == []
    assert frozen_names(model) == {"model.encoder.embed_tokens.weight"}
    freeze(model, ["embeddings"])
    assert frozen_names(model) == {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"}


def test_unknown_names_are_reported_with_known_ones() -> None:
    model = make_model()
    (problem,) = freeze_problems(model, ["encoder", "encodr"])
    assert problem == (
        "the model has no part 'encodr'; it has embeddings, encoder, decoder, lm_head, encoder.layers.0, "
        "encoder.layers.1, decoder.layers.0, decoder.layers.1, and their submodules"
    )
    with pytest.raises(ValueError, match=r"no part 'encoder\.layers\.7'"):
        freeze(model, ["encoder.layers.7"])
    assert not frozen_names(model)


def test_nothing_left_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="encoder, decoder is the complete model, and nothing is left to train"):
        freeze(make_model(), ["encoder", "decoder"])
    freeze(make_model(tie_word_embeddings=False), ["encoder", "decoder"])


def test_frozen_parameters_do_not_change_and_have_no_optimiser_state() -> None:
    model = make_model()
    freeze(model, ["encoder"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, 0.1)
    source, labels = torch.randint(4, 50, (2, 5)), torch.randint(4, 50, (2, 4))
    for _ in range(2):
        model(input_ids=source, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("model.decoder.layers")}
    # The gradient of a key's bias is zero: it adds the same to all scores of a query.
    assert {name for name in trained if not name.endswith("k_proj.bias")} <= changed <= trained
    assert len(optimizer.state) == len(trained)


def test_the_parameter_summary_counts_tied_matrices_once() -> None:
    model = make_model()
    total = sum(each.numel() for each in model.parameters())
    assert parameter_summary(model) == f"{total:,} parameters"
    freeze(model, ["embeddings"])
    assert parameter_summary(model) == f"{total:,} parameters, {total - 400:,} of them ({1 - 400 / total:.1%}) trained"
