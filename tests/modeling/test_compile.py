"""Test that torch.compile makes one graph of forward and training step, for all lengths.

The backend "eager" traces as every backend does, without code generation, which takes minutes; one slow test generates
code.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling import products


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def batch(rows: int, length: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(4, 97, (rows, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    mask[0, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.flip(1)}


def compiled(model: SineformerForConditionalGeneration) -> torch.nn.Module:
    return torch.compile(model, fullgraph=True, dynamic=True, backend="eager")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changes", [{}, {"normalize_before": True, "sliding_window": 3}])
def test_the_whole_model_is_one_graph_with_the_same_result(make_model, training: bool, changes) -> None:
    model = make_model(**changes).train(training)
    inputs = batch(3, 9)
    expected = model(**inputs, label_smoothing=0.1).loss
    expected_gradients = torch.autograd.grad(expected, list(model.parameters()))
    loss = compiled(model)(**inputs, label_smoothing=0.1).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, list(model.parameters())), expected_gradients)


@pytest.mark.parametrize("enough", [1, 32 * 32 * 60, 2**20])
def test_a_new_length_is_not_compiled_again(make_model, monkeypatch, enough: int) -> None:
    monkeypatch.setattr(products, "_is_onednn_faster", lambda: True)
    monkeypatch.setattr(products, "ENOUGH", enough)
    model = compiled(make_model().train())
    model(**batch(3, 9))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for rows, length in ((4, 10), (5, 17), (3, 40)):
            model(**batch(rows, length))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="needs g++ or clang++ to generate code")
def test_generated_code_equals_eager_training_steps_for_every_length(make_model, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # not the cache of a killed run
    model = make_model(encoder_layers=1, decoder_layers=1).train()
    fast = torch.compile(model, fullgraph=True, dynamic=True)
    parameters = list(model.parameters())
    for number, (rows, length) in enumerate(((3, 9), (4, 10), (3, 40))):
        inputs = batch(rows, length)
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            loss = fast(**inputs, label_smoothing=0.1).loss
        expected = model(**inputs, label_smoothing=0.1).loss
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        gradients = torch.autograd.grad(loss, parameters)
        torch.testing.assert_close(gradients, torch.autograd.grad(expected, parameters), rtol=1e-5, atol=1e-5)
