"""Test that the sharding plans name existing modules, tied embeddings included."""

from __future__ import annotations

import re

import pytest

EMBEDDINGS = ("model.encoder.embed_tokens", "model.decoder.embed_tokens")


@pytest.mark.parametrize("shared", [True, False])
def test_every_entry_of_a_plan_names_a_module_of_the_model(make_model, shared: bool) -> None:
    model = make_model(share_encoder_decoder_embeddings=shared)
    names = {re.sub(r"\.\d+\b", ".*", name) for name, _ in model.named_modules()}
    assert {*model._tp_plan, *model._fsdp_plan} - names == set()


@pytest.mark.parametrize("shared", [True, False])
def test_tensor_parallelism_shards_all_modules_of_a_tied_matrix_alike(make_model, shared: bool) -> None:
    plan = make_model(share_encoder_decoder_embeddings=shared)._tp_plan
    embeddings = (*EMBEDDINGS, "model.shared") if shared else EMBEDDINGS
    assert {name: style for name, style in plan.items() if "layers" not in name} == {
        **dict.fromkeys(embeddings, "embedding_rowwise"),
        "lm_head": "colwise_gather_output",
    }
