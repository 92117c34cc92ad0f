"""Test that torch.export makes one program of encoder and of decoder for all batch sizes and lengths."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from sineformer import SineformerForConditionalGeneration

BATCH, SOURCE, TARGET = Dim("batch"), Dim("source"), Dim("target")
# Batch size, source length, target length: one row, one token, and more tokens than rows in the position table (64).
OTHER_SIZES = [(5, 19, 2), (1, 50, 1), (2, 1, 3), (2, 100, 70)]
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Encode(nn.Module):
    """Run once for each sentence."""

    def __init__(self, model: SineformerForConditionalGeneration):
        super().__init__()
        self.encoder = model.model.encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.encoder(input_ids, attention_mask).last_hidden_state


class Decode(nn.Module):
    """Run once for each token."""

    def __init__(self, model: SineformerForConditionalGeneration):
        super().__init__()
        self.model = model

    def forward(self, target: torch.Tensor, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        output = self.model(decoder_input_ids=target, encoder_outputs=(states,), attention_mask=mask, use_cache=False)
        return output.logits


def inputs(rows: int, source_length: int, target_length: int) -> Inputs:
    generator = torch.Generator().manual_seed(source_length)
    source = torch.randint(4, 97, (rows, source_length), generator=generator)
    mask = torch.ones_like(source)
    mask[0, source_length // 2 + 1 :] = 0
    return source, mask, torch.randint(4, 97, (rows, target_length), generator=generator)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param(
            {"attn_implementation": "eager", "normalize_before": True, "sliding_window": 3}, marks=pytest.mark.slow
        ),
    ],
)
def test_one_exported_program_equals_the_model_at_every_length(make_model, strict: bool, changes) -> None:
    model = make_model(**changes)
    encode, decode = Encode(model), Decode(model)
    source, mask, target = inputs(3, 7, 5)
    of_source, of_target = {0: BATCH, 1: SOURCE}, {0: BATCH, 1: TARGET}
    exported_encode = export(encode, (source, mask), dynamic_shapes=(of_source, of_source), strict=strict).module()
    decode_inputs = (target, encode(source, mask).detach(), mask)
    decode_shapes = (of_target, of_source, of_source)
    exported_decode = export(decode, decode_inputs, dynamic_shapes=decode_shapes, strict=strict).module()
    for sizes in OTHER_SIZES:
        source, mask, target = inputs(*sizes)
        states = encode(source, mask)
        torch.testing.assert_close(exported_encode(source, mask), states, rtol=0, atol=1e-5)
        expected = decode(target, states, mask)
        torch.testing.assert_close(exported_decode(target, states, mask), expected, rtol=0, atol=1e-5)
