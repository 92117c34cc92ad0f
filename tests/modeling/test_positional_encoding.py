"""Test the formula of sinusoidal positions, and that the table equals it after making, moving and loading a model."""

from __future__ import annotations

import math

import pytest
import torch

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.positional_encoding import (
    SinusoidalPositionalEncoding,
    count_positions,
    sinusoidal_encoding,
)


def test_even_columns_are_sines_and_odd_columns_cosines() -> None:
    encoding = SinusoidalPositionalEncoding(60, 32)(torch.arange(60).unsqueeze(0))
    assert encoding.shape == (1, 60, 32)
    for position in range(60):
        for i in range(16):
            angle = position / 10000 ** (2 * i / 32)
            assert encoding[0, position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-7)
            assert encoding[0, position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-7)


def test_the_halves_layout_has_the_same_features_sines_first() -> None:
    interleaved = sinusoidal_encoding(torch.arange(60), 32)
    halves = sinusoidal_encoding(torch.arange(60), 32, layout="halves")
    assert torch.equal(halves, torch.cat([interleaved[:, 0::2], interleaved[:, 1::2]], dim=-1))


def test_large_positions_are_exact_in_fp32() -> None:
    encoding = sinusoidal_encoding(torch.tensor([99_999]), 4)
    expected = [math.sin(99_999), math.cos(99_999), math.sin(999.99), math.cos(999.99)]
    assert encoding[0].tolist() == torch.tensor(expected, dtype=torch.float32).tolist()


@pytest.mark.parametrize(("d_model", "layout", "message"), [(7, "interleaved", "even"), (8, "thirds", "halves")])
def test_an_odd_width_or_unknown_layout_is_refused(d_model: int, layout: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sinusoidal_encoding(torch.arange(3), d_model, layout)


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert count_positions(mask, 5)[0, 2:].tolist() == [0, 1, 2]
    assert count_positions(mask, 5)[1, :3].tolist() == [0, 1, 2]
    assert count_positions(mask, 2)[0].tolist() == [1, 2]


def test_the_table_grows_for_longer_input_and_keeps_its_rows() -> None:
    encoding = SinusoidalPositionalEncoding(8, 16)
    first = encoding.table.clone()
    grown = encoding(torch.arange(100).unsqueeze(0))
    assert torch.equal(grown[0], sinusoidal_encoding(torch.arange(100), 16))
    assert torch.equal(encoding.table[:8], first)


def test_a_model_takes_input_longer_than_the_table(make_model) -> None:
    ids = torch.randint(4, 97, (1, 150), generator=torch.Generator().manual_seed(0))
    short, long = make_model(max_position_embeddings=16), make_model(max_position_embeddings=512)
    torch.testing.assert_close(
        short(input_ids=ids, decoder_input_ids=ids).logits, long(input_ids=ids, decoder_input_ids=ids).logits
    )


def assert_closed_form(model: SineformerForConditionalGeneration) -> None:
    for stack in (model.model.encoder, model.model.decoder):
        table = stack.embed_positions.table
        expected = sinusoidal_encoding(torch.arange(table.shape[0]), model.config.d_model)
        assert table.dtype == torch.float32
        assert torch.equal(table, expected)


def test_the_table_is_not_in_the_checkpoint(make_model) -> None:
    assert not [name for name in make_model().state_dict() if "position" in name]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_table_stays_exact_when_the_model_is_cast(make_model, dtype: torch.dtype) -> None:
    model = make_model().to(dtype)
    assert_closed_form(model)
    logits = model(input_ids=torch.tensor([[5, 6]]), decoder_input_ids=torch.tensor([[2]])).logits
    assert logits.dtype == dtype


def test_the_table_is_exact_after_to_empty(make_model, tmp_path) -> None:
    model = make_model()
    with torch.device("meta"):
        hollow = SineformerForConditionalGeneration(model.config)
    hollow.to_empty(device="cpu").load_state_dict(model.state_dict())
    assert_closed_form(hollow)
    with torch.device("meta"):
        hollow = SineformerForConditionalGeneration(model.config)
    hollow.load_state_dict(model.state_dict(), assign=True)
    assert_closed_form(hollow)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"dtype": torch.float16},
        {"dtype": torch.bfloat16},
        {"dtype": "auto"},
        {"device_map": "auto"},
        {"device_map": "cpu", "dtype": torch.bfloat16},
        {"low_cpu_mem_usage": True},
    ],
)
def test_the_table_is_exact_after_from_pretrained(make_model, tmp_path, arguments) -> None:
    if "device_map" in arguments:
        pytest.importorskip("accelerate")
    make_model().save_pretrained(tmp_path)
    assert_closed_form(SineformerForConditionalGeneration.from_pretrained(tmp_path, **arguments))


@pytest.mark.parametrize("include_buffers", [False, True])
def test_the_table_is_exact_after_accelerates_loading(make_model, tmp_path, include_buffers: bool) -> None:
    accelerate = pytest.importorskip("accelerate")
    model = make_model()
    model.save_pretrained(tmp_path)
    with accelerate.init_empty_weights(include_buffers=include_buffers):
        hollow = SineformerForConditionalGeneration(model.config)
    if include_buffers:
        hollow.to_empty(device="cpu")
    hollow.tie_weights()
    weights = str(tmp_path / "model.safetensors")
    assert_closed_form(accelerate.load_checkpoint_and_dispatch(hollow, weights, device_map={"": "cpu"}))


def test_without_positions_word_order_is_lost_and_with_them_it_is_not(make_model) -> None:
    """Compare 我 爱 你 and 你 爱 我: without positions, the same vectors in another order."""
    encoder = make_model().model.encoder
    forward, backward = torch.tensor([[10, 11, 12]]), torch.tensor([[12, 11, 10]])
    with_positions = [encoder(ids).last_hidden_state for ids in (forward, backward)]
    assert not torch.allclose(with_positions[0], with_positions[1].flip(1), atol=1e-3)
    encoder.embed_positions.table.zero_()
    without = [encoder(ids).last_hidden_state for ids in (forward, backward)]
    torch.testing.assert_close(without[0], without[1].flip(1))
