"""Test weights offloaded to the CPU or disk, and int8 weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TorchAoConfig

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.positional_encoding import sinusoidal_encoding

accelerate = pytest.importorskip("accelerate")
LAYERS_ON_DISK = {
    **dict.fromkeys(("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"), "cpu"),
    **dict.fromkeys(("model.encoder.embed_positions", "model.decoder.embed_positions"), "cpu"),
    **dict.fromkeys(("model.encoder.layers.0", "model.decoder.layers"), "disk"),
    "model.encoder.layers.1": "cpu",
}


def load(folder: Path, **arguments: Any) -> SineformerForConditionalGeneration:
    return SineformerForConditionalGeneration.from_pretrained(folder, **arguments).eval()


def with_map(device_map: Any, **arguments: Any) -> Callable[[Path, Path], SineformerForConditionalGeneration]:
    return lambda folder, aside: load(folder, device_map=device_map, offload_folder=aside, **arguments)


def dispatched(folder: Path, aside: Path) -> SineformerForConditionalGeneration:
    device_map = {"model": "cpu", "lm_head": "disk"}
    return accelerate.dispatch_model(load(folder), device_map, main_device="cpu", offload_dir=aside)


def offloaded(to: str, buffers: bool) -> Callable[[Path, Path], SineformerForConditionalGeneration]:
    settings = {"execution_device": "cpu", "offload_buffers": buffers}
    if to == "cpu":
        return lambda folder, aside: accelerate.cpu_offload(load(folder), **settings)
    return lambda folder, aside: accelerate.disk_offload(load(folder), aside, **settings)


WAYS = {
    "map auto": with_map("auto"),
    "map auto, little memory": with_map("auto", max_memory={"cpu": 60_000}),
    "map layers to disk": with_map(LAYERS_ON_DISK),
    "map all to disk": with_map({"": "disk"}),
    "dispatch_model": dispatched,
    "cpu_offload": offloaded("cpu", False),
    "cpu_offload of buffers": offloaded("cpu", True),
    "disk_offload": offloaded("disk", False),
    "disk_offload of buffers": offloaded("disk", True),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("changes", [{}, {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False}])
def test_offloaded_weights_give_bit_equal_outputs(make_model, source, target, tmp_path, way: str, changes) -> None:
    if way == "map layers to disk" and changes:
        pytest.skip("the map names the shared embedding")
    model = make_model(**changes)
    model.save_pretrained(tmp_path / "model")
    offloading = WAYS[way](tmp_path / "model", tmp_path / "aside")
    longer = source.repeat(1, 10)  # longer than the position table
    for ids in (source, longer):
        expected = model(input_ids=ids, decoder_input_ids=target).logits
        assert torch.equal(offloading(input_ids=ids, decoder_input_ids=target).logits, expected)
    generated = offloading.generate(source, num_beams=2, max_length=9)
    assert torch.equal(generated, model.generate(source, num_beams=2, max_length=9))
    table = offloading.model.encoder.embed_positions.table
    assert torch.equal(table, sinusoidal_encoding(torch.arange(len(table)), 32))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_arguments_of_from_pretrained_take_effect(make_model, source, target, tmp_path, attention: str) -> None:
    make_model().save_pretrained(tmp_path)
    model = load(tmp_path, dtype=torch.bfloat16, device_map="cpu", attn_implementation=attention)
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}
    assert {each.device.type for each in model.parameters()} == {"cpu"}
    assert model.config._attn_implementation == attention
    assert model(input_ids=source, decoder_input_ids=target).logits.dtype == torch.bfloat16


@pytest.mark.skipif(not hasattr(torch.ao.quantization, "quantize_dynamic"), reason="this torch has none, only torchao")
def test_dynamic_int8_is_close_and_keeps_learned_translations(make_model, source, target) -> None:
    model = make_model(max_position_embeddings=16).train()
    target = torch.cat([target, torch.full((3, 1), 3)], dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        model(input_ids=source, labels=target).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in favour of torchao
        small = torch.ao.quantization.quantize_dynamic(model.eval(), {torch.nn.Linear}, dtype=torch.qint8)
    probabilities = [each(input_ids=source, labels=target).logits.softmax(-1) for each in (model, small)]
    torch.testing.assert_close(probabilities[1], probabilities[0], rtol=0, atol=0.05)
    assert torch.equal(small.generate(source, max_length=8)[:, 1:7], target)


@pytest.mark.slow
def test_int8_weights_of_torchao_are_close_and_load_again_bit_equal(make_model, source, target, tmp_path) -> None:
    torchao = pytest.importorskip("torchao.quantization", reason="needs `pip install torchao`")
    model = make_model()
    model.save_pretrained(tmp_path / "whole")
    quantization = TorchAoConfig(torchao.Int8WeightOnlyConfig())
    small = load(tmp_path / "whole", quantization_config=quantization, dtype=torch.float32)
    assert "torchao" in type(small.model.encoder.layers[0].fc1.weight).__module__
    outputs = [each(input_ids=source, labels=target) for each in (model, small)]
    torch.testing.assert_close(outputs[1].loss, outputs[0].loss, rtol=0.01, atol=0)
    torch.testing.assert_close(outputs[1].logits.softmax(-1), outputs[0].logits.softmax(-1), rtol=0, atol=0.05)
    small.save_pretrained(tmp_path / "small")
    again = load(tmp_path / "small")
    assert "torchao" in type(again.model.encoder.layers[0].fc1.weight).__module__
    assert torch.equal(again(input_ids=source, labels=target).logits, outputs[1].logits)
    assert torch.equal(again.generate(source, max_length=8), small.generate(source, max_length=8))
