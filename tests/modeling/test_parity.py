"""Test outputs and gradients against torch.nn.Transformer and MarianMTModel with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.attention import MultiHeadAttention

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def copy_attention(theirs: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
    for index, projection in enumerate((ours.q_proj, ours.k_proj, ours.v_proj)):
        projection.weight.data.copy_(theirs.in_proj_weight.data.chunk(3)[index])
        projection.bias.data.copy_(theirs.in_proj_bias.data.chunk(3)[index])
    ours.out_proj.load_state_dict(theirs.out_proj.state_dict())


def copy_transformer(theirs: nn.Transformer, ours: SineformerForConditionalGeneration) -> None:
    for their_stack, our_stack in ((theirs.encoder, ours.model.encoder), (theirs.decoder, ours.model.decoder)):
        for their_layer, our_layer in zip(their_stack.layers, our_stack.layers, strict=True):
            copy_attention(their_layer.self_attn, our_layer.self_attn)
            norms = [our_layer.self_attn_layer_norm, our_layer.final_layer_norm]
            if hasattr(our_layer, "encoder_attn"):
                copy_attention(their_layer.multihead_attn, our_layer.encoder_attn)
                norms.insert(1, our_layer.encoder_attn_layer_norm)
            for index, norm in enumerate(norms, start=1):
                norm.load_state_dict(getattr(their_layer, f"norm{index}").state_dict())
            our_layer.fc1.load_state_dict(their_layer.linear1.state_dict())
            our_layer.fc2.load_state_dict(their_layer.linear2.state_dict())
        if hasattr(our_stack, "layer_norm"):
            our_stack.layer_norm.load_state_dict(their_stack.norm.state_dict())


@pytest.mark.parametrize("normalize_before", [False, True])
def test_equals_torch_nn_transformer(make_model, randomize_vectors, source, target, normalize_before: bool) -> None:
    ours = make_model(
        normalize_before=normalize_before, decoder_attention_heads=4, decoder_layers=2, decoder_ffn_dim=64
    ).train()
    theirs = nn.Transformer(32, 4, 2, 2, 64, dropout=0.0, batch_first=True, norm_first=normalize_before)
    if not normalize_before:
        # torch ends both stacks with a norm even after post-norm layers; the paper does not.
        theirs.encoder.norm = theirs.decoder.norm = None
    randomize_vectors(theirs)
    copy_transformer(theirs, ours)
    padding = torch.zeros(3, 7, dtype=torch.bool)
    padding[1, 4:] = True
    embeds = [
        stack.add_positions(stack.embed("", ids, None), torch.arange(ids.shape[1])[None], ids.shape[1]).detach()
        for stack, ids in ((ours.model.encoder, source), (ours.model.decoder, target))
    ]
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    expected = theirs(*embeds, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    output = ours.model(source, (~padding).long(), target).last_hidden_state
    torch.testing.assert_close(output, expected, **TOLERANCE)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (expected * weights).sum().backward()
    (output * weights).sum().backward()
    for their_layer, our_layer in zip(theirs.encoder.layers, ours.model.encoder.layers, strict=True):
        torch.testing.assert_close(our_layer.fc1.weight.grad, their_layer.linear1.weight.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            our_layer.self_attn.v_proj.weight.grad,
            their_layer.self_attn.in_proj_weight.grad.chunk(3)[2],
            rtol=1e-4,
            atol=1e-5,
        )


# Not one vocabulary with an untied output projection: Marian then has three separate embeddings.
@pytest.mark.parametrize(("separate_vocabularies", "tied"), [(False, True), (True, True), (True, False)])
def test_equals_marian(marian_and_ours, source, target, separate_vocabularies: bool, tied: bool) -> None:
    if separate_vocabularies:
        changes = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 101}
    else:
        changes = {"share_encoder_decoder_embeddings": True}
    theirs, ours = marian_and_ours(tie_word_embeddings=tied, **changes)
    mask = torch.ones_like(source)
    mask[2, 5:] = 0
    expected = theirs(input_ids=source, attention_mask=mask, labels=target)
    output = ours(input_ids=source, attention_mask=mask, labels=target)
    torch.testing.assert_close(output.logits, expected.logits, **TOLERANCE)
    torch.testing.assert_close(output.loss, expected.loss, **TOLERANCE)
    ours.train()(input_ids=source, attention_mask=mask, labels=target).loss.backward()
    expected.loss.backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        # If nothing is tied, `shared` of Marian's decoder gets no gradient.
        expected_gradient = gradients[name] if gradients.get(name) is not None else torch.zeros_like(parameter)
        found = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        torch.testing.assert_close(found, expected_gradient, **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")
